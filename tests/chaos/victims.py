"""The processes of a run in processes of its own: found by a mark that all of them inherit, and killed."""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos_scan import LOG, command

from viamachinae.scan.claims import claims

__all__ = ["KINDS", "Process", "Run", "until"]

#: Set for every process of a run.
MARK = "VIAMACHINAE_CHAOS_MARK"
#: Not handed to a run: what the tests' own processes were told.
_UNSAID = (LOG, "RAY_AUTH_MODE", "RAY_ADDRESS")
_STAGE = re.compile(r"^\S+ (\w+) +\d+ tasks?, \d+ done before", re.MULTILINE)
_SLOWEST = 240.0


@dataclass(frozen=True)
class Process:
    """A process that lives: its number, its parent's, and its command line."""

    pid: int
    parent: int
    words: tuple[str, ...]

    @property
    def program(self) -> str:
        return os.path.basename(self.words[0]) if self.words else ""  # noqa: PTH119  titles are no paths


#: Kind of process -> how it is told from the others of its run.
KINDS: Mapping[str, Callable[[Process, int], bool]] = {
    "supervisor": lambda process, first: process.pid == first,
    "driver": lambda process, first: process.parent == first and "viamachinae" in process.words,
    "worker": lambda process, _: process.words[0].startswith("ray::_call"),
    "raylet": lambda process, _: process.program == "raylet",
    "gcs_server": lambda process, _: process.program == "gcs_server",
}


class Run:
    """One `run` command in a session of its own, on Ray unless told otherwise.

    Parameters
    ----------
    out : Path
        The scan folder.
    scratch : Path
        Where its temporary files go, under a short path.
    words : sequence of str, optional
        What stands behind ``viamachinae``; by default the `run` command with two workers.
    environment : mapping, optional
        Further variables.
    """

    def __init__(
        self,
        out: Path,
        scratch: Path,
        words: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.out = out
        self._mark = secrets.token_hex(8)
        self._said = scratch.with_name(f"{scratch.name}.{self._mark}")
        clean = {name: value for name, value in os.environ.items() if name not in _UNSAID}
        words = words or command(out, "--workers", "2")
        with self._said.open("wb") as said:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "viamachinae", *words],
                stdout=subprocess.DEVNULL,
                stderr=said,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**clean, "TMPDIR": str(scratch), MARK: self._mark, **(environment or {})},
            )
        self._heard = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes():
            _signal(process.pid)
        self._popen.wait()
        self._said.unlink()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def code(self) -> int | None:
        """The exit code; ``None`` while the command runs."""
        return self._popen.poll()

    def said(self) -> str:
        return self._said.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        """Return the exit code once the command has ended."""
        return self._popen.wait(_SLOWEST)

    def forget(self) -> None:
        """Let only what is said from now on count as heard."""
        self._heard = len(self.said())

    def stage(self) -> str:
        """Return the stage at which the run is; empty before the first, and after :meth:`forget`."""
        found = _STAGE.findall(self.said()[self._heard :])
        return found[-1] if found else ""

    def processes(self) -> list[Process]:
        """Return every living process of the run, whoever started it and wherever it was moved to."""
        return list(_below(f"{MARK}={self._mark}".encode(), str(self.pid)))

    def find(self, kind: str) -> Process | None:
        """Return a process of a kind, ``None`` where none lives."""
        if kind == "worker":
            return self._at_work()
        return next((p for p in self.processes() if KINDS[kind](p, self.pid)), None)

    def driver(self) -> int:
        """Return the number of the driver once it lives."""
        until(lambda: self.code is not None or self.find("driver"), _SLOWEST)
        found = self.find("driver")
        assert found is not None, self.said()
        return found.pid

    def _at_work(self) -> Process | None:
        """Return a worker of Ray that does a task of the scan now."""
        for claim in claims(self.out):
            found = _read(claim.pid)
            if claim.alive and claim.tasks and found is not None and KINDS["worker"](found, self.pid):
                return found
        return None

    def kill(self, kind: str) -> Process | None:
        """Kill a process of a kind with SIGKILL; return it, or ``None`` where none lives."""
        found = self.find(kind)
        if found is None:
            return None
        # Looked at again: the number could be another's by now.
        assert _read(found.pid) is None or KINDS[kind](found, self.pid)
        if not _signal(found.pid):
            return None
        if found.pid == self.pid:
            assert self._popen.wait(30) == -signal.SIGKILL
        until(lambda: _read(found.pid) is None, 30)
        return found


def until(condition: Callable[[], object], seconds: float) -> float:
    """Wait for a condition; return how long that took (s).

    Raises
    ------
    TimeoutError
        It did not come true.
    """
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            msg = f"not so after {seconds:g} s"
            raise TimeoutError(msg)
        time.sleep(0.01)
    return time.monotonic() - began


def _signal(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _below(mark: bytes, session: str) -> Iterator[Process]:
    """Yield what has the mark or is of the session: a title can be written over an environment."""
    for name in os.listdir("/proc"):  # noqa: PTH208  asked often
        if name.isdigit():
            try:
                told = Path("/proc", name, "environ").read_bytes()
                stat = Path("/proc", name, "stat").read_text(encoding="utf-8")
            except OSError:
                continue
            mine = mark in told.split(b"\0") or stat.rpartition(")")[2].split()[3] == session
            found = _read(int(name)) if mine else None
            if found is not None:
                yield found


def _read(pid: int) -> Process | None:
    """Return a living process; ``None`` for one that is gone, or dead and not buried."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        state, parent = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
    except OSError:
        return None
    return None if state in "ZX" or not words[0] else Process(pid, int(parent), tuple(words))
