"""The benchmark of the runner measures what it says, and its numbers are numbers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from viamachinae.cli.overhead import rows
from viamachinae.errors import TaskError
from viamachinae.scan.overhead import measure as measured
from viamachinae.scan.overhead.commands import commands_of, roomy_folder
from viamachinae.scan.overhead.folder import Fake, fake_scan, fake_settings
from viamachinae.scan.overhead.job import main
from viamachinae.scan.overhead.measure import Options, measure
from viamachinae.scan.status import scan_status
from viamachinae.sky.patches import make_patches


def test_fake_tasks_are_published_as_those_of_a_scan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["30", "--out", str(tmp_path)]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["tasks"] == seen["done"] == 30
    assert 0 < seen["memory_first"] <= seen["memory_last"] < 10e9
    stages = {stage.stage: stage for stage in scan_status(tmp_path).stages}
    assert all(stage.done == stage.total for stage in stages.values())
    assert stages["scores"].done == 30
    # Done ones are not done again.
    assert main(["30", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == 0


def test_a_job_that_fails_ends_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measured, "_JOB", "viamachinae.scan.overhead.no_such_job")
    with pytest.raises(TaskError, match="no_such_job"):
        measure(Options(20))


def test_a_fake_scan_has_as_many_score_tasks_as_asked_for(tmp_path: Path) -> None:
    for n, patches in ((60, 1), (61, 2), (12_000, 200)):
        assert len(make_patches(fake_settings(n).patches)) == patches
    assert fake_scan(tmp_path / "scan", Fake(61)).done_now["scores"] == 61


@pytest.mark.heavy
def test_the_driver_needs_no_more_memory_for_twelve_thousand_tasks_on_ray(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["12000", "--workers", "2"]) == 0
    seen = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert seen["tasks"] == seen["done"] == 12_000
    assert seen["memory_last"] - seen["memory_first"] < 20e6


@pytest.mark.heavy
def test_commands_answer_in_three_seconds_on_twelve_thousand_tasks() -> None:
    with roomy_folder() as folder:
        fake_scan(folder / "scan", Fake(12_000))
        for name, words in commands_of(folder / "scan").items():
            command = [sys.executable, "-m", "viamachinae", *words]
            if name == "plan_s":  # the first of a folder measures
                subprocess.run(command, check=True, capture_output=True)
            before = os.times()
            subprocess.run(command, check=True, capture_output=True)
            after = os.times()
            # What it takes of a processor: a busy machine makes nobody fail.
            user = after.children_user - before.children_user
            system = after.children_system - before.children_system
            assert user + system < 3.0, name


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
    described = (measured.__doc__ or "").replace("wN", "w1") + (measured.__doc__ or "").replace("wN", "w2")
    assert set(result) <= set(described.split("``")[1::2])
    assert len(rows(result)) == 22
