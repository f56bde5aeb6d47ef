"""A process above that of a run: it starts another one when the run is lost to a fault of the machine.

Ray ends its driver on the spot, past every handler of Python, when one of Ray's own processes on the same
machine dies, and a kernel short of memory kills without asking. What was published stands, so the next
process goes on from there. When this process is killed itself, all that it started ends with it.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from viamachinae.errors import ExitCode
from viamachinae.scan.interrupt import STALE, signature
from viamachinae.scan.leftovers import end_all, ended_with_us

__all__ = ["BEGAN", "supervise", "wanted"]

#: Set for the run below: when the command was given (Unix time).
BEGAN = "VIAMACHINAE_BEGAN"
#: Set for the run below and all that it starts: by which run that was.
_RUN = "VIAMACHINAE_RUN"

#: Runs in all; after the last the batch system may try another node.
_RUNS = 4
#: Runs that all ended sooner than this (s) will do so another time too.
_HARDLY = 30.0
#: Signals that are handed down. Ctrl-C reaches every process of a terminal by itself.
_HANDED_DOWN = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)
_DEATH_OF_PARENT = 1  # PR_SET_PDEATHSIG of prctl(2)


def wanted(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a command is one that Ray can end; it runs below another process then."""
    apart = {"--inline", "--help"}
    return arguments[:1] == ["run"] and not apart & set(arguments) and BEGAN not in environment


def supervise(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run a command in a process of its own, again when that is lost; return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        What stands behind ``viamachinae``.
    say : callable
        Tells the user.
    """
    mark = secrets.token_hex(16)
    # What lies at the stop file's place now is not meant for this command, whichever process looks.
    stale = os.environ.get(STALE, signature(_stop_file(arguments)))
    environment = {**os.environ, BEGAN: str(time.time()), _RUN: mark, STALE: stale}
    lived = 0.0
    with ended_with_us(f"{_RUN}={mark}"), _Signals() as signals:
        for left in reversed(range(_RUNS)):
            began = time.monotonic()
            code = signals.run(_command(arguments), environment)
            lived = max(lived, time.monotonic() - began)
            if code in list(ExitCode):
                return code
            # What the next run would meet half dead: workers that still publish, Ray's own processes.
            end_all(f"{_RUN}={mark}")
            if signals.heard:
                say("ended by a signal; every finished task is kept, run the same command again")
                return ExitCode.RESUME
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            then = "it is started again" if left else "run the same command again"
            say(f"the run was lost ({how}: Ray or the system ended it); every finished task is kept, {then}")
    if lived < _HARDLY:
        say("it never came far: another time would end alike, so a batch job does not come back")
        return ExitCode.FAILED
    return ExitCode.RESUME


def _command(arguments: Sequence[str]) -> list[str]:
    """Return the command of the run: not with the modules of the folder that it is given in."""
    return [sys.executable, "-P", "-m", "viamachinae", *arguments]


def _stop_file(arguments: Sequence[str]) -> Path | None:
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--stop-file":
            return Path(value) if equals else next(map(Path, arguments[i + 1 : i + 2]), None)
    return None


class _Signals:
    """Hands the signals that end a run down to it, and remembers that there were any."""

    def __init__(self) -> None:
        self.heard = False
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: list[int] = []
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        # nohup has SIGHUP ignored already, and so it stays.
        handed = [number for number in _HANDED_DOWN if signal.getsignal(number) != signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._hear) for number in handed}
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a command; return its exit code."""
        # Single-threaded so far: the function runs safely in the child.
        child = subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)  # noqa: S603, PLW1509
        self._child = child
        while self._waiting:
            child.send_signal(self._waiting.pop(0))
        try:
            return child.wait()
        finally:
            self._child = None

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self.heard = True
        if self._child is None:
            self._waiting.append(number)
        else:
            self._child.send_signal(number)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Pass a Ctrl-C on to a run that is about to begin: a terminal tells one that has begun."""
        self.heard = True
        if self._child is None:
            self._hear(number, frame)


def _die_with_parent() -> None:
    """End this process when the one above it is killed: nobody else would."""
    ctypes.CDLL(None).prctl(_DEATH_OF_PARENT, signal.SIGKILL, 0, 0, 0)
