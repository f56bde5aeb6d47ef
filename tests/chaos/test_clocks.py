"""Clocks that are wrong, and times of files that say nothing: no decision hangs on either."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_scan import Fault, undo_behind

from viamachinae.scan.status import scan_status

#: The first and the last second of the years that clocks are set to (Unix time, s).
EPOCH, LATE = 0.0, 4_102_444_799.0


@pytest.mark.parametrize(
    ("stage", "when"),
    [
        ("report", EPOCH),
        pytest.param("report", LATE, marks=pytest.mark.heavy),
        pytest.param("plan", EPOCH, marks=pytest.mark.heavy),
        ("fragments", LATE),
        pytest.param("plan", LATE, marks=pytest.mark.heavy),
    ],
)
def test_times_of_files(
    out: Path, fault: Fault, get_over: Callable[..., None], when: float, stage: str
) -> None:
    fault.of("times of files", f"{'1970' if when == EPOCH else '2099'} after {stage}")
    if stage != "report":
        undo_behind(out, stage)
    for path in out.rglob("*"):
        os.utime(path, (when, when))
    get_over(out)


def test_times_of_files_in_disorder(out: Path, fault: Fault, get_over: Callable[..., None]) -> None:
    fault.of("times of files", "inputs newer than what was made of them")
    for i, path in enumerate(sorted(out.rglob("*"), reverse=True)):
        os.utime(path, (LATE - 1e5 * i, LATE - 1e5 * i))
    get_over(out)


def _back(real: Callable[[], float]) -> Callable[[], float]:
    """Return a clock that goes backwards, ten times as fast."""
    first = real()
    return lambda: first - 10 * (real() - first)


@pytest.mark.parametrize(
    ("clock", "stage"),
    [
        ("backwards", "scores"),
        *(pytest.param(c, "plan", marks=pytest.mark.heavy) for c in ("1970", "2099", "backwards")),
    ],
)
def test_a_clock_that_is_wrong(
    out: Path,
    fault: Fault,
    get_over: Callable[..., None],
    clock: str,
    stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fault.of("clocks", f"{clock} after {stage}")
    undo_behind(out, stage)
    real, began = time.time, time.time()
    clocks: dict[str, Callable[[], float]] = {
        "1970": lambda: EPOCH + real() - began,
        "2099": lambda: LATE + real() - began,
        "backwards": _back(real),
    }
    monkeypatch.setattr(time, "time", clocks[clock])
    get_over(out)
    assert all(stage.seconds >= 0 for stage in scan_status(out).stages)
    monkeypatch.undo()
    get_over(out)
