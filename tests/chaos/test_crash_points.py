"""A process that is killed at every named place of what it does: the same command gets over it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from chaos_scan import Fault, assert_same_catalogue, catalogue, command, settings, undo_behind
from crash_points import AFTERWARDS, DAMAGED, TASK, TURN, Place, Trap
from test_files import flipped
from test_kills import scratch  # noqa: F401  a fixture
from victims import Run, until

from viamachinae.errors import ExitCode
from viamachinae.scan.drive import run_scan
from viamachinae.scan.failures import record_failure
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.schema.publish import file_sha256

KIND = "kill -9 at a named place"
#: Places of the default run, each of another kind.
_ALWAYS = ("first of several files renamed", "receipt renamed", "settings written")


def _cases(places: Sequence[str], always: Sequence[str]) -> list[object]:
    return [pytest.param(name, marks=[] if name in always else [pytest.mark.heavy]) for name in places]


def end_at(place: Place, words: Sequence[str], folder: Path) -> None:
    """Give a command whose process is killed at a place."""
    trap = Trap(folder, place)
    line = [sys.executable, "-m", "viamachinae", *words]
    done = subprocess.run(
        line, env={**os.environ, **trap.environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert trap.reached()
    assert done.returncode == -signal.SIGKILL, done.stderr


def again(words: Sequence[str]) -> None:
    """Give the same command once more."""
    line = [sys.executable, "-m", "viamachinae", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == ExitCode.COMPLETE, done.stderr


@pytest.mark.parametrize("name", _cases([*TASK], _ALWAYS))
def test_in_the_life_of_a_task(
    out: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    get_over: Callable[..., None],
    name: str,
) -> None:
    fault.of(KIND, name)
    words = command(out, "--inline")
    if name.startswith("settings"):
        (out / "scan.toml").unlink()
    if name == "asked to end":
        words += ["--until-walltime", "auto"]
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 40))
    store = Store(out)
    lines = store.receipts("lines")
    undo_behind(out, "scores")
    for receipt in lines:
        record_failure(store, receipt.task, "an error", "a trace")
    end_at(TASK[name], words, tmp_path)
    get_over(out)
    assert not scan_status(out).failures


@pytest.mark.parametrize("name", _cases([*DAMAGED], ("withdrawal noted",)))
def test_when_a_result_is_withdrawn(
    out: Path, tmp_path: Path, fault: Fault, get_over: Callable[..., None], name: str
) -> None:
    fault.of(KIND, name)
    undo_behind(out, "scores")
    for path in (out / "stars").glob("*.parquet"):
        flipped(path)
    end_at(DAMAGED[name], command(out, "--inline"), tmp_path)
    get_over(out)


def test_a_worker_of_ray(
    out: Path,
    tmp_path: Path,
    fault: Fault,
    get_over: Callable[..., None],
    scratch: Path,  # noqa: F811
) -> None:
    """Ray's runner tries the task again, in the same command."""
    fault.of(KIND, "products staged, in a worker of Ray")
    undo_behind(out, "scores")
    trap = Trap(tmp_path, TASK["products staged"])
    with Run(out, scratch, environment=trap.environment) as run:
        driver = run.driver()
        assert run.wait() == ExitCode.COMPLETE, run.said()
        assert trap.reached() != [driver]
        assert "lost its worker process" in run.said()
        until(lambda: not run.processes(), 5)
    get_over(out)


@pytest.mark.heavy
def test_between_the_loss_of_a_driver_and_the_next_one(
    out: Path,
    tmp_path: Path,
    fault: Fault,
    get_over: Callable[..., None],
    scratch: Path,  # noqa: F811
) -> None:
    fault.of(KIND, "driver lost, about to be started again")
    undo_behind(out, "scores")
    trap = Trap(tmp_path, *TURN)
    with Run(out, scratch, environment=trap.environment) as run:
        assert run.wait() == -signal.SIGKILL, run.said()
        _, above = trap.reached()
        assert above == run.pid
        until(lambda: not run.processes(), 5)
    get_over(out)


@pytest.mark.parametrize("name", _cases([*AFTERWARDS["pack"]], ("archive staged",)))
def test_pack(
    out: Path, undisturbed: Path, tmp_path: Path, fault: Fault, get_over: Callable[..., None], name: str
) -> None:
    fault.of(KIND, name)
    words = ["pack", str(out), "--force", "--to", str(tmp_path / "to" / "scan.tar.zst")]
    end_at(AFTERWARDS["pack"][name], words, tmp_path)
    again(words)
    again(["pack", str(undisturbed), "--force", "--to", str(tmp_path / "other.tar.zst")])
    assert [path.name for path in (tmp_path / "to").glob("*.tar.zst")] == ["scan.tar.zst"]
    assert file_sha256(tmp_path / "to" / "scan.tar.zst") == file_sha256(tmp_path / "other.tar.zst")
    get_over(out)


@pytest.mark.heavy
@pytest.mark.parametrize("name", AFTERWARDS["export"])
def test_export(out: Path, tmp_path: Path, fault: Fault, get_over: Callable[..., None], name: str) -> None:
    fault.of(KIND, name)
    words = ["export", str(out), "--to", str(tmp_path / "catalogue")]
    end_at(AFTERWARDS["export"][name], words, tmp_path)
    again(words)
    again(["export", str(out), "--to", str(tmp_path / "other")])
    ours, theirs = (
        {p.name: file_sha256(p) for p in (tmp_path / folder).iterdir() if not p.name.endswith(".tmp")}
        for folder in ("catalogue", "other")
    )
    assert ours == theirs
    get_over(out)


@pytest.mark.parametrize("name", _cases([*AFTERWARDS["merge"]], ("files taken, receipt not",)))
def test_merge(out: Path, tmp_path: Path, fault: Fault, get_over: Callable[..., None], name: str) -> None:
    fault.of(KIND, name)
    twin, both = shutil.copytree(out, tmp_path / "twin"), tmp_path / "both"
    words = ["merge", str(out), str(twin), "--out", str(both)]
    end_at(AFTERWARDS["merge"][name], words, tmp_path)
    again(words)
    get_over(both)


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same scan of a sky without streams."""
    folder = tmp_path_factory.mktemp("null") / "out"
    run_scan(settings(mock={"streams": []}), folder, runner=InlineRunner())
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("name", AFTERWARDS["calibrate"])
def test_calibrate(out: Path, undisturbed: Path, null: Path, tmp_path: Path, fault: Fault, name: str) -> None:
    fault.of(KIND, name)
    other = shutil.copytree(undisturbed, tmp_path / "other")
    words = ["calibrate", str(out), "--null", str(null)]
    end_at(AFTERWARDS["calibrate"][name], words, tmp_path)
    again(words)
    again(["calibrate", str(other), "--null", str(null)])
    again(command(out, "--inline"))
    assert not list(out.rglob("*.tmp"))
    assert_same_catalogue(out, other)
    pd.testing.assert_frame_equal(*(pd.read_parquet(f / "calibration.parquet") for f in (out, other)))
    assert catalogue(out)["ecsv"]["p_value"].notna().all()
    fault.commands, fault.survived = 1, True


def test_the_places_are_told_from_a_command_that_is_not_disturbed(out: Path, tmp_path: Path) -> None:
    """A name that no longer reaches its place is seen: nothing is killed, and nothing pretends to be."""
    nowhere = Place("viamachinae.scan.store", "Store.publish", "before", "no task has these words")
    with pytest.raises(AssertionError, match="no process came by"):
        end_at(nowhere, command(out, "--inline"), tmp_path)
