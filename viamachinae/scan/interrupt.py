"""When a run must end: a signal, a file, or the end of the wall-time asks it to."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

__all__ = ["NEVER", "STALE", "Stop", "blocked_signals", "signature"]

logger = logging.getLogger(__name__)

#: Environment variable: signature of the stop file when the command was given, where that was earlier.
STALE = "VIAMACHINAE_STALE_STOP"
#: Signals that ask a run to end. Not USR1, which NCCL catches. SIGHUP: its terminal is gone.
_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
#: Whoever sends SIGTERM kills soon after: Slurm waits 30 s unless told otherwise (s).
_AFTER_TERM = 25.0
#: Part of the grace, and the most of it (s), that is kept for leaving.
_LEAVING, _LEAVING_MOST = 0.25, 6.0
_POLL = 0.5
#: Signals so close together (s) are one: a job step and the command above this one both pass them on.
_TOGETHER = 1.0


class Stop:
    """Hears that a run must end, and says how long tasks may still run.

    Entered, it listens to SIGTERM and SIGUSR2 (in the main thread), looks for the
    file and at the clock. A second signal, or the end of the grace, raises
    :class:`KeyboardInterrupt` in the main thread, as Ctrl-C does at once.

    Parameters
    ----------
    grace : float
        Time from the request to the moment by which the process must be gone (s).
    file : Path, optional
        The run is asked to end when this file appears, or is touched; one that an earlier
        run was ended with does not count.
    end : float, optional
        Unix time at which the process will be killed (s).
    """

    def __init__(self, grace: float = 60.0, file: Path | None = None, end: float | None = None) -> None:
        self.grace = grace
        self.file = file
        #: Why the run must end; empty while nobody asked.
        self.reason = ""
        #: Whether SIGTERM came: whoever sends it wants the run gone, done or not.
        self.terminated = False
        # The clock of this machine may be set meanwhile.
        self._end = math.inf if end is None else time.monotonic() + end - time.time()
        self._gone = self._end
        self._over = False
        self._heard_at = math.inf  # the first signal, whatever else asked before
        self._stale = os.environ.get(STALE, signature(file))
        self._closed = threading.Event()
        self._before: dict[int, object] = {}
        self._watcher: threading.Thread | None = None

    @property
    def asked(self) -> bool:
        """Whether the run must end."""
        return bool(self.reason)

    @property
    def left(self) -> float:
        """Time in which tasks may still run (s); infinite when no end is known."""
        return self._gone - min(_LEAVING * self.grace, _LEAVING_MOST) - time.monotonic()

    def ask(self, reason: str, within: float | None = None) -> None:
        """Ask the run to end, and to be gone ``within`` so many seconds (by default the grace)."""
        if not self.reason:
            self._gone = min(self._end, time.monotonic() + (self.grace if within is None else within))
            self.reason = reason

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._heard) for number in heard}
        if self.file is not None and signature(self.file) == self._stale != "":
            logger.warning(
                "%s is there already, and is taken for an old request: touch it again to end this run",
                self.file,
            )
        self._look()
        if self.file is not None or self._end < math.inf or self._before:
            self._watcher = threading.Thread(target=self._watch, name="stop", daemon=True)
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        if self._watcher is not None:
            self._watcher.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        self.terminated = self.terminated or number == signal.SIGTERM
        if self._over or now - self._heard_at > _TOGETHER:
            raise KeyboardInterrupt
        self._heard_at = min(now, self._heard_at)
        within = min(self.grace, _AFTER_TERM) if number == signal.SIGTERM else self.grace
        self.ask(f"signal {signal.Signals(number).name}", within)

    def _watch(self) -> None:
        """Look for the file and at the clock until the run has ended."""
        told = False
        while not self._closed.wait(_POLL):
            if not self.asked:
                self._look()
            if self.asked and not told:
                told = True
                logger.warning(
                    "asked to end (%s): no more tasks are started, those that run have %.0f s",
                    self.reason, max(0.0, self.left),
                )  # fmt: skip
            if self.asked and time.monotonic() >= self._gone:
                self._over = True
                if self._before:  # wakes the main thread whatever it waits for
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
                return

    def _look(self) -> None:
        if signature(self.file) not in ("", self._stale):
            self.ask(f"{self.file} is there")
        elif time.monotonic() >= self._end - self.grace:
            self.ask("the wall-time ends")


def signature(file: Path | None) -> str:
    """Return what tells a file from an earlier one at its place, empty where there is none."""
    try:
        found = None if file is None else file.stat()
    except OSError:
        return ""
    return "" if found is None else f"{found.st_ino} {found.st_mtime_ns}"


#: Nobody asks.
NEVER = Stop()


@contextmanager
def blocked_signals() -> Iterator[None]:
    """Keep SIGUSR2 from the processes that start inside; then put the handlers back that were replaced.

    Batch systems send their warning to all processes of a job step: it would kill those of Ray, which
    inherit what is blocked here. Ray replaces the handlers of SIGTERM and SIGINT when it starts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
