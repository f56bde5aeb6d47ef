"""How long a download tries: back-off, budget, Retry-After, and an end when asked to stop."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from viamachinae.errors import ResumeError, TaskError
from viamachinae.stars.archive.faults import BadAnswerError, LostJobError, RefusedError, TransientError
from viamachinae.stars.archive.patience import Clock, Patience, retry_after


class Time:
    """A clock that waits in no time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return stop.is_set()

    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, wait=self.wait, draw=lambda: 1.0)


def patience(budget: float = 1e6, **more: int) -> tuple[Patience, Time]:
    time = Time()
    return Patience("cell o4-00217", budget, threading.Event(), time.clock(), **more), time


def test_waits_double_up_to_two_minutes():
    tries, time = patience()
    for _ in range(10):
        tries.endure(TransientError("busy"))
    assert time.waits == [1, 2, 4, 8, 16, 32, 64, 120, 120, 120]
    assert tries.retries == 10


def test_waits_are_jittered():
    stop = threading.Event()
    draws = iter((0.0, 0.5, 1.0))
    time = Time()
    tries = Patience("x", 1e6, stop, Clock(lambda: time.now, time.wait, lambda: next(draws)))
    for _ in range(3):
        tries.endure(TransientError("busy"))
    assert time.waits == [0.5, 1.5, 4.0]


def test_the_service_is_not_asked_before_the_time_it_names():
    tries, time = patience()
    tries.endure(TransientError("busy", retry_after=300.0))
    assert time.waits == [301.0]


def test_a_budget_is_never_overdrawn_and_the_error_names_it_and_the_last_fault():
    tries, time = patience(100.0)
    for _ in range(6):
        tries.endure(TransientError("HTTP 503"))
    with pytest.raises(TaskError, match=r"o4-00217: not done within archive.budget = 100 s.*HTTP 503"):
        tries.endure(TransientError("HTTP 503"))
    assert time.now == 63.0
    tries, time = patience(100.0)
    with pytest.raises(TaskError):
        tries.endure(TransientError("HTTP 429", retry_after=3600.0))
    assert time.waits == []  # it knows at once that this is too long
    time.now = 101.0
    with pytest.raises(TaskError):
        tries.check()


def test_wrong_answers_are_believed_after_a_few_and_refusals_at_once():
    tries, _ = patience(bad_answers=3)
    tries.endure(BadAnswerError("9 rows, 10 counted"))
    tries.endure(LostJobError("HTTP 404"))
    for _ in range(5):
        tries.endure(TransientError("busy"))
    with pytest.raises(BadAnswerError, match="9 rows"):
        tries.endure(BadAnswerError("9 rows, 10 counted"))
    with pytest.raises(RefusedError):
        patience()[0].endure(RefusedError("HTTP 401"))


def test_polls_grow_from_a_fifth_of_a_second_to_ten():
    tries, time = patience()
    for _ in range(15):
        tries.poll()
    assert time.waits[0] == 0.2
    assert time.waits[1] == pytest.approx(0.3)
    assert time.waits[-1] == 10.0
    tries.poll_anew()
    tries.poll()
    assert time.waits[-1] == 0.2


def test_a_wait_ends_when_asked_to_stop():
    stop = threading.Event()
    tries = Patience("x", 1e6, stop, Clock())
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(ResumeError, match="same command"):
        tries.endure(TransientError("busy", retry_after=100.0))
    assert time.monotonic() - begun < 2.0


def test_retry_after_is_seconds_or_a_date():
    assert retry_after(None) is None
    assert retry_after("") is None
    assert retry_after("17") == 17.0
    assert retry_after("soon") is None
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert retry_after(later) == pytest.approx(90.0, abs=3.0)
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
