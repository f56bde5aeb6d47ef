"""Runs in a row that finish no task: the last says so, and what says nothing of the tasks is not counted."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from viamachinae.errors import DataError, ResumeError, TaskError
from viamachinae.scan.groups import Group
from viamachinae.scan.idle import Idle
from viamachinae.scan.interrupt import Stop


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path


def asked(reason: str = "the wall-time ends") -> Stop:
    stop = Stop()
    stop.ask(reason)
    return stop


def cut_short(
    idle: Idle, stop: Stop | None = None, cause: BaseException | None = None, *, useful: bool = False
) -> None:
    """Run until somebody or something asks the run to end."""
    with idle.watched(stop or asked()):
        if useful:
            idle.useful()
            assert not idle.path.exists()  # at once, since the run may be killed
        msg = "stopped (the wall-time ends): 2 of 3 tasks of scores are left; every finished task is kept"
        raise ResumeError(msg) from cause


def killed(idle: Idle) -> object:
    """Run as far as a process comes that is killed."""
    run = idle.watched(asked())
    run.__enter__()
    return run


def test_the_third_run_that_did_nothing_says_so_and_the_count_begins_anew(out: Path) -> None:
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(ResumeError):
                cut_short(Idle(out))
        with pytest.raises(TaskError, match=r"3 runs in a row .*2 of 3 tasks of scores are left.*--time"):
            cut_short(Idle(out))
        assert not Idle(out).path.exists()


def test_a_task_that_is_done_ends_the_row(out: Path) -> None:
    for _ in range(2):
        with pytest.raises(ResumeError):
            cut_short(Idle(out))
    with pytest.raises(ResumeError):
        cut_short(Idle(out), useful=True)
    for _ in range(2):
        with pytest.raises(ResumeError):
            cut_short(Idle(out))


@pytest.mark.parametrize("error", [None, DataError("unusable"), ZeroDivisionError()])
def test_a_run_that_ends_for_another_reason_ends_the_row(out: Path, error: Exception | None) -> None:
    with pytest.raises(ResumeError):
        cut_short(Idle(out))
    if error is None:
        with Idle(out).watched(Stop()):
            pass
    else:
        with pytest.raises(type(error)), Idle(out).watched(Stop()):
            raise error
    assert not Idle(out).path.exists()


def test_who_ends_a_run_on_purpose_is_not_told_of_the_time(out: Path) -> None:
    for _ in range(5):
        with pytest.raises(ResumeError):
            cut_short(Idle(out), Stop(), KeyboardInterrupt())  # Ctrl-C
    for _ in range(5):
        with Stop() as stop:
            signal.raise_signal(signal.SIGTERM)  # scancel, preemption
            with pytest.raises(ResumeError):
                cut_short(Idle(out), stop)
    for _ in range(2):
        with pytest.raises(ResumeError):
            cut_short(Idle(out))


def test_a_task_that_outlasts_every_grace_counts(out: Path) -> None:
    for _ in range(2):
        with pytest.raises(ResumeError):
            cut_short(Idle(out), asked(), KeyboardInterrupt())
    with pytest.raises(TaskError, match=r"the wall-time ends: what ran was dropped"):
        cut_short(Idle(out), asked(), KeyboardInterrupt())


def test_groups_are_counted_apart(out: Path) -> None:
    for idle in (Idle(out), Idle(out, Group(1, 2)), Idle(out, Group(2, 2))) * 2:
        with pytest.raises(ResumeError):
            cut_short(idle)
    assert sorted(path.name for path in (out / "log").iterdir()) == [
        "idle-1-of-2.json", "idle-2-of-2.json", "idle.json"
    ]  # fmt: skip


def test_runs_that_are_killed_again_and_again_end_too(out: Path) -> None:
    runs = [killed(Idle(out)) for _ in range(12)]
    with pytest.raises(TaskError, match=r"12 runs were killed .*memory"):
        killed(Idle(out))
    runs.append(killed(Idle(out)))  # somebody tries again


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "runs": "many"}'])
def test_a_damaged_note_is_none(out: Path, text: str) -> None:
    Idle(out).path.write_text(text)
    with pytest.raises(ResumeError):
        cut_short(Idle(out))
