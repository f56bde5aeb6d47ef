"""The benchmark of the runner measures what it says, and its numbers are numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from viamachinae.cli.overhead import rows
from viamachinae.errors import TaskError
from viamachinae.scan.overhead import measure as measured
from viamachinae.scan.overhead.job import main, tasks_of
from viamachinae.scan.overhead.measure import Options, measure
from viamachinae.scan.store import Store


def test_fake_tasks_are_published_as_those_of_a_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["30", "--out", str(tmp_path)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["tasks"] == seen["done"] == 30
    assert 0 < seen["memory_first"] <= seen["memory_last"] < 10e9
    store = Store(tmp_path)
    assert all(store.done(task) for task in tasks_of(30))
    # Done ones are not done again.
    assert main(["30", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == 0


def test_a_job_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_JOB", "viamachinae.scan.overhead.no_such_job")
    with pytest.raises(TaskError, match="no_such_job"):
        measure(Options(20))


@pytest.mark.heavy
def test_everything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "runner.json"
    command = [sys.executable, "-m", "viamachinae", "benchmark", "runner", "--json", str(file)]
    subprocess.run([*command, "--tasks", "40", "--stars", "5000"], check=True, capture_output=True)
    result = json.loads(file.read_text(encoding="utf-8"))
    numbers = {name: value for name, value in result.items() if name != "kill_kept"}
    assert all(math.isfinite(value) and value >= 0 for value in numbers.values())
    assert result["kill_kept"]
    assert result["wait_efficiency"] > 0.6
    assert set(result) <= set((measured.__doc__ or "").replace("wN", "w1").split("``")) | {
        "work_w2_s", "bare_w2_s", "wait_w2_s"
    }  # fmt: skip
    assert len(rows(result)) == 13
