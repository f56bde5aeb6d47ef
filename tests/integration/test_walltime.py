"""A run that is asked to end, by a signal, a file or the clock, ends in time and says how to go on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, ExitCode, ResumeError, TaskError
from viamachinae.scan.drive import run_scan
from viamachinae.scan.interrupt import Stop
from viamachinae.scan.options import RunOptions
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.stages import DEFAULT_STAGES, StageFunction
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.walltime import end_of
from viamachinae.schema.publish import file_sha256

TREE: dict[str, Any] = {
    "scan": {"name": "walltime", "seed": 3},
    "patches": {"centres": [[148.6, 24.2]], "radius": 4.0},
    "fiducial": {"radius": 3.0},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-17.0, -6.0], "min_stars": 10, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 20, "min_stars": 30},
    "scorer": {"name": "anode"},
    "density": {"blocks": 1, "hidden": 16, "max_epochs": 2, "batch_size": 64},
    "trunk": {"density": 0.05, "max_star_steps": 20_000},
    "mock": {"density": 0.05},
    "runner": {"grace": 4.0},
}
SETTINGS = Settings.model_validate(TREE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_scan(SETTINGS, out, runner=InlineRunner())
    return out


@pytest.fixture
def searched(undisturbed: Path, tmp_path: Path) -> Path:
    """The scan without what its scores led to, and without them."""
    out = shutil.copytree(undisturbed, tmp_path / "out")
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
    return out


def slow(seconds: float, told: Callable[[int], None] = lambda _: None) -> dict[str, StageFunction]:
    """Return stages whose scores take their time; ``told`` hears how many began."""
    began: list[str] = []

    def scores(task: Task, store: Store, settings: Settings) -> Products:
        began.append(task.name)
        told(len(began))
        time.sleep(seconds)
        return DEFAULT_STAGES["scores"](task, store, settings)

    return {**DEFAULT_STAGES, "scores": scores}


def done(out: Path) -> int:
    return len(list((out / "receipts" / "scores").rglob("*.json")))


def finish(out: Path, undisturbed: Path) -> None:
    assert run_scan(SETTINGS, out, runner=InlineRunner()).complete
    for name in ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv"):
        assert file_sha256(out / name) == file_sha256(undisturbed / name)


def test_the_run_ends_before_its_wall_time_does(searched: Path, undisturbed: Path) -> None:
    total, end = done(undisturbed), time.time() + 8.0
    with pytest.raises(ResumeError, match="of scores are left") as caught:
        run_scan(SETTINGS, searched, RunOptions(end=end), runner=InlineRunner(), stages=slow(1.5))
    assert time.time() < end
    left = total - done(searched)
    assert 0 < left < total
    assert f"{left} of {total} tasks of scores" in str(caught.value)
    assert "lines, fragments, streams, report" in str(caught.value)
    assert "run the same command again" in str(caught.value)
    finish(searched, undisturbed)


def test_a_task_that_outlasts_the_grace_is_dropped(searched: Path, undisturbed: Path) -> None:
    end = time.time() + 5.0
    with pytest.raises(ResumeError, match="interrupted"):
        run_scan(SETTINGS, searched, RunOptions(end=end), runner=InlineRunner(), stages=slow(60.0))
    assert time.time() < end + 2.0
    assert done(searched) == 0
    finish(searched, undisturbed)


def test_the_third_run_that_finishes_no_task_is_not_to_be_resumed(searched: Path, undisturbed: Path) -> None:
    expected: tuple[type[Exception], ...] = (ResumeError, ResumeError, TaskError)
    for kind in expected:
        options = RunOptions(end=time.time() + 4.0)  # within the grace already
        with pytest.raises(kind) as caught:
            run_scan(SETTINGS, searched, options, runner=InlineRunner(), stages=slow(60.0))
    assert "3 runs in a row" in str(caught.value)
    assert "of scores are left" in str(caught.value)
    finish(searched, undisturbed)
    assert not list((searched / "log").glob("idle*"))


def test_a_run_whose_time_is_over_starts_nothing(searched: Path) -> None:
    began: list[int] = []
    with pytest.raises(ResumeError, match="the wall-time ends"):
        run_scan(
            SETTINGS,
            searched,
            RunOptions(end=time.time() + 1.0),
            runner=InlineRunner(),
            stages=slow(0.0, began.append),
        )
    assert began == []


def test_a_finished_scan_is_finished_whatever_the_time(undisturbed: Path) -> None:
    options = RunOptions(end=time.time() + 1.0)
    assert run_scan(SETTINGS, undisturbed, options, runner=InlineRunner()).complete


def test_the_file_ends_the_run_once(searched: Path, undisturbed: Path, tmp_path: Path) -> None:
    flag = tmp_path / "stop"
    flag.touch()  # of an earlier run: it would end this one, and every one after it
    stages = slow(1.0, lambda n: flag.touch() if n == 2 else None)
    with pytest.raises(ResumeError, match=f"{flag} is there"):
        run_scan(SETTINGS, searched, RunOptions(stop_file=flag), runner=InlineRunner(), stages=stages)
    assert 2 <= done(searched) < done(undisturbed)
    options = RunOptions(stop_file=flag)
    assert run_scan(SETTINGS, searched, options, runner=InlineRunner()).complete


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_lets_the_running_task_end_and_a_second_one_does_not(
    searched: Path, undisturbed: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def first(n: int) -> None:
        if n == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(ResumeError, match=number.name):
        run_scan(SETTINGS, searched, runner=InlineRunner(), stages=slow(0.2, first))
    assert done(searched) == 2
    assert signal.getsignal(number) is before

    def both(n: int) -> None:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # passed on twice, it is one
        threading.Timer(1.5, os.kill, (os.getpid(), number)).start()

    began = time.monotonic()
    with pytest.raises(ResumeError, match="interrupted"):
        run_scan(SETTINGS, searched, runner=InlineRunner(), stages=slow(30.0, both))
    assert time.monotonic() - began < 15.0
    assert done(searched) == 2
    finish(searched, undisturbed)


def test_the_command_leaves_with_75(searched: Path, tmp_path: Path) -> None:
    toml = tmp_path / "scan.toml"
    toml.write_text(dump(SETTINGS), encoding="utf-8")
    command = [sys.executable, "-m", "viamachinae", "run", str(toml), "--out", str(searched), "--inline"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SLURM_JOB_END_TIME": str(int(time.time() + 3))}
    ended = subprocess.run(
        [*command, "--until-walltime", "auto"], capture_output=True, text=True, check=False, env=environment
    )
    assert ended.returncode == ExitCode.RESUME, ended.stderr
    assert "the wall-time ends" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_signal_outside_the_main_thread_stays_as_it_was() -> None:
    found: list[bool] = []

    def enter() -> None:
        with Stop(grace=1.0, end=time.time() + 0.5) as stop:
            time.sleep(1.0)
            found.append(stop.asked)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_seconds_from_now() -> None:
    assert end_of("90", {}) == pytest.approx(time.time() + 90.0, abs=2.0)


def test_the_end_of_a_slurm_job() -> None:
    assert end_of("auto", {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1900000000"}) == 1_900_000_000.0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("1-02:03:04", 93784.0), ("02:03:04", 7384.0), ("5:00", 300.0), ("UNLIMITED", None)],
)
def test_an_older_slurm_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, seconds: float | None
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$3" = 12_3 ] && echo "  {said}  "\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    end = end_of("auto", {"SLURM_JOB_ID": "12_3"})
    assert end == (None if seconds is None else pytest.approx(time.time() + seconds, abs=5.0))


@pytest.mark.parametrize("asked", ["soon", "0", "-3", "inf", "nan", "auto"])
def test_a_time_that_nobody_can_know_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="--until-walltime"):
        end_of(asked, {})


def test_what_slurm_does_not_say_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho INVALID\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ConfigError, match="INVALID"):
        end_of("auto", {"SLURM_JOB_ID": "12"})
    squeue.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="squeue"):
        end_of("auto", {"SLURM_JOB_ID": "12"})
