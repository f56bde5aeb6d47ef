"""How long to try and to wait: a budget of time, back-off with jitter, an end when asked to stop."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from viamachinae.errors import ResumeError, TaskError
from viamachinae.stars.archive.faults import BadAnswerError, FaultError, RefusedError

__all__ = ["Clock", "Patience", "retry_after"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_FIRST, _LONGEST = 1.0, 120.0  # s between two tries
_POLL_FIRST, _POLL_LONGEST, _POLL_GROWTH = 0.2, 10.0, 1.5


@dataclass(frozen=True)
class Clock:
    """Time as the downloads see it; tests put their own in its place.

    Parameters
    ----------
    now : callable
        Seconds on a clock that never goes back.
    wait : callable
        Wait for an event or for seconds; says whether the event came.
    draw : callable
        A number from 0 to 1, for the jitter.
    """

    now: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Event, float], bool] = threading.Event.wait
    draw: Callable[[], float] = field(default=random.SystemRandom().random)


class Patience:
    """The tries of one piece of work, all within one budget of time.

    Parameters
    ----------
    what : str
        The work as messages name it.
    budget : float
        Seconds that it may take, over all tries and waits.
    stop : threading.Event
        Set: end soon.
    clock : Clock
        Time.
    bad_answers : int
        Wrong answers after which the service's answer is believed to stay wrong.

    Attributes
    ----------
    retries : int
        Tries that followed a fault.
    last : str
        The last fault.
    """

    def __init__(
        self,
        what: str,
        budget: float,
        stop: threading.Event,
        clock: Clock,
        *,
        bad_answers: int = 5,
    ) -> None:
        self.what = what
        self.stop = stop
        self.clock = clock
        self.retries = 0
        self.last = "none"
        self._budget = budget
        self._deadline = clock.now() + budget
        self._bad_left = bad_answers
        self._poll = _POLL_FIRST

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self._deadline - self.clock.now()

    def with_few_tries(self) -> Patience:
        """Return the rest of this patience, with less trust in wrong answers."""
        return Patience(self.what, self.left, self.stop, self.clock, bad_answers=2)

    def check(self) -> None:
        """Raise when there is a reason not to go on.

        Raises
        ------
        ResumeError
            Asked to stop.
        TaskError
            The budget is spent.
        """
        if self.stop.is_set():
            msg = f"{self.what}: interrupted; run the same command again to go on from here"
            raise ResumeError(msg)
        if self.left <= 0:
            raise TaskError(self._spent())

    def persist(self, work: Callable[[], T], but: type[FaultError] | tuple[()] = ()) -> T:
        """Return what ``work`` returns when no fault keeps it from doing so.

        Parameters
        ----------
        work : callable
            One try.
        but : type, optional
            Faults that are not endured but raised.

        Raises
        ------
        ResumeError, TaskError, FaultError
            As :meth:`endure`.
        """
        while True:
            self.check()
            try:
                return work()
            except but:
                raise
            except FaultError as fault:
                self.endure(fault)

    def endure(self, fault: FaultError) -> None:
        """Wait as a fault demands, longer after every one.

        Raises
        ------
        ResumeError
            Asked to stop.
        TaskError
            The wait does not fit in the budget.
        FaultError
            The fault itself: the service refuses, or its answers stay wrong.
        """
        self.last = fault.words
        self._bad_left -= isinstance(fault, BadAnswerError)
        if isinstance(fault, RefusedError) or self._bad_left <= 0:
            raise fault
        wait = min(_FIRST * 2.0**self.retries, _LONGEST) * (0.5 + 0.5 * self.clock.draw())
        self.retries += 1
        if fault.retry_after is not None:
            wait += fault.retry_after
        self.check()
        if wait > self.left:
            raise TaskError(self._spent())
        logger.info("%s: %s; again in %.0f s", self.what, fault.words, wait)
        self._sleep(wait)

    def poll(self) -> None:
        """Wait until the next look at a running job, each time a little longer."""
        self.check()
        self._sleep(min(self._poll, max(self.left, 0.0)))
        self._poll = min(self._poll * _POLL_GROWTH, _POLL_LONGEST)

    def poll_anew(self) -> None:
        """Look often again: another job begins."""
        self._poll = _POLL_FIRST

    def _sleep(self, seconds: float) -> None:
        if self.clock.wait(self.stop, seconds):
            self.check()

    def _spent(self) -> str:
        return (
            f"{self.what}: not done within archive.budget = {self._budget:g} s, the last fault: {self.last}; "
            "finished parts are kept: run the same command again when the service is well, or raise "
            "archive.budget"
        )


def retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header (seconds or an HTTP date, RFC 9110), None without one."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)
