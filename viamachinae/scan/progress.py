"""How far a stage is: a live line in a terminal, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["LogProgress", "Progress", "RichProgress", "for_terminal"]

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Shows one stage at a time."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, stage: str, total: int, done: int) -> None:
        """Begin a stage of ``total`` tasks, ``done`` of which were done before."""
        ...

    def advance(self) -> None:
        """One more task ended."""
        ...

    def heard(self, rows: int, size: int) -> None:
        """Count rows and bytes that a download brought; called from several threads."""
        ...

    def finish(self) -> None:
        """End the stage."""
        ...


class _Received:
    """What a stage has downloaded so far."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.rows = self.size = 0
        self._began = time.monotonic()

    def add(self, rows: int, size: int) -> None:
        with self._lock:
            self.rows += rows
            self.size += size

    def __str__(self) -> str:
        if not self.size:
            return ""
        rate = self.size / max(time.monotonic() - self._began, 1e-9)
        return f"{self.rows:,} rows, {self.size / 1e6:.1f} MB, {rate / 1e6:.2f} MB/s"


class LogProgress:
    """A log line at most every ``interval`` seconds, with rate and time left."""

    def __init__(self, interval: float = 15.0) -> None:
        self.interval = interval
        self._stage, self._total, self._before, self._ended = "", 0, 0, 0
        self._began = self._last = 0.0
        self._received = _Received()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, stage: str, total: int, done: int) -> None:
        """Begin a stage."""
        self._stage, self._total, self._before, self._ended = stage, total, done, 0
        self._began = self._last = time.monotonic()
        self._received = _Received()
        logger.info("%-9s %d task%s, %d done before", stage, total, "s" * (total != 1), done)

    def advance(self) -> None:
        """Count one more task, and say so when the last line is old enough."""
        self._ended += 1
        now = time.monotonic()
        left = self._total - self._before - self._ended
        if left and now - self._last >= self.interval:
            self._last = now
            rate = self._ended / (now - self._began)
            self._say(
                "%d/%d tasks, %.3g tasks/s, about %.0f s left",
                self._before + self._ended, self._total, rate, left / rate,
            )  # fmt: skip

    def heard(self, rows: int, size: int) -> None:
        """Count what a download brought, and say so when the last line is old enough."""
        self._received.add(rows, size)
        now = time.monotonic()
        if now - self._last >= self.interval:
            self._last = now
            self._say("%d/%d tasks", self._before + self._ended, self._total)

    def finish(self) -> None:
        """Say how long the stage took."""
        if self._ended:
            seconds = time.monotonic() - self._began
            plural = "s" * (self._ended != 1)
            self._say("%d task%s ended in %.1f s", self._ended, plural, seconds)

    def _say(self, text: str, *values: object) -> None:
        received = str(self._received)
        logger.info("%-9s " + text + "%s", self._stage, *values, f", {received}" if received else "")


class RichProgress:
    """A live line a stage on stderr: bar, count, rate, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._id: TaskID | None = None
        self._ended, self._began = 0, 0.0
        self._received = _Received()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int, done: int) -> None:
        """Begin a stage with a line of its own."""
        self._ended, self._began = 0, time.monotonic()
        self._received = _Received()
        self._id = self._bars.add_task(stage, total=total, completed=done, rate="")

    def advance(self) -> None:
        """Move the line, with the rate of this run alone."""
        if self._id is not None:
            self._ended += 1
            rate = self._ended / max(time.monotonic() - self._began, 1e-9)
            shown = f"{rate:.2f}/s" if rate >= 1 else f"{60 * rate:.1f}/min"
            self._bars.update(self._id, advance=1, rate=str(self._received) or shown)

    def heard(self, rows: int, size: int) -> None:
        """Show what a download has brought so far in place of the rate."""
        self._received.add(rows, size)
        if self._id is not None:
            self._bars.update(self._id, rate=str(self._received))

    def finish(self) -> None:
        """Leave the line as it stands."""
        if self._id is not None:
            self._bars.stop_task(self._id)
            self._id = None


def for_terminal() -> Progress:
    """Return live lines when stderr is a terminal, log lines otherwise."""
    return RichProgress() if sys.stderr.isatty() else LogProgress()
