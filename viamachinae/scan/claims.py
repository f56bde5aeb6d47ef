"""What processes are at work on: a small file each, which shows and never locks.

Nothing is decided from a claim. A process that dies leaves its claim behind; the
next reader on the same host sees that the process is gone, a reader elsewhere
sees how long ago it gave its last sign, by its own clock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viamachinae.scan.notes import read_notes, stamp, when, write_note
from viamachinae.schema.publish import alive

if TYPE_CHECKING:
    from viamachinae.scan.store import Store
    from viamachinae.scan.task import Task

__all__ = ["BEAT", "Claim", "claimed", "claims", "stale_claims", "sweep_claims"]

#: Time between two signs of a process at work (s).
BEAT = 30.0
#: A process of another host that gave no sign for so long, by its own clock, counts as gone (s).
_SILENT = 900.0


@dataclass(frozen=True)
class Claim:
    """What one process says that it works on.

    Parameters
    ----------
    path : Path
        Its file.
    host, pid : str, int
        The process.
    at : str
        Its last sign, by its own clock (ISO 8601, UTC).
    beat : int
        How many signs it gave.
    tasks : tuple of mapping
        ``id``, ``key``, ``attempt``, ``started`` of its tasks.
    alive : bool or None
        Whether the process lives; ``None`` when it belongs to another host.
    """

    path: Path
    host: str
    pid: int
    at: str
    beat: int
    tasks: tuple[Mapping[str, Any], ...]
    alive: bool | None

    @property
    def at_work(self) -> bool:
        """Whether it may be believed: its process lives, or gave a sign not long ago."""
        if self.alive is not None:
            return self.alive
        try:
            last = datetime.strptime(self.at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        except ValueError:
            return False
        return abs(time.time() - last) < _SILENT


@contextmanager
def claimed(store: Store, task: Task, attempt: int = 1) -> Iterator[None]:
    """Say in the folder, as long as the block lasts, that this process works on a task.

    Parameters
    ----------
    store : Store
        The scan folder.
    task : Task
        What it works on.
    attempt : int
        Which try this is.
    """
    process = _process(store.root, os.getpid())
    process.begin(task.id, {"key": task.key, "attempt": attempt, "started": when(time.time())})
    try:
        yield
    finally:
        process.end(task.id)


def claims(root: Path) -> list[Claim]:
    """Return what the processes at a folder say that they work on."""
    found = []
    for path, body in read_notes(root / "claims"):
        with contextlib.suppress(KeyError, TypeError, ValueError):
            tasks = tuple(dict(task) for task in body["tasks"])
            host, pid = str(body["host"]), int(body["pid"])
            life = _lives(host, pid, body.get("birth"))
            found.append(Claim(path, host, pid, str(body["at"]), int(body["beat"]), tasks, life))
    return found


def stale_claims(root: Path, *, all_hosts: bool = False) -> Iterator[Path]:
    """Yield the claims of dead processes of this host, and with ``all_hosts`` all those of other hosts."""
    for claim in claims(root):
        if claim.alive is False or (claim.alive is None and all_hosts):
            yield claim.path


def sweep_claims(root: Path) -> None:
    """Delete the claims of dead processes of this host."""
    for path in stale_claims(root):
        with contextlib.suppress(OSError):
            path.unlink()


class _Process:
    """The claim of this process at one folder."""

    def __init__(self, root: Path) -> None:
        name = f"{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}.json"
        self._path = root / "claims" / name
        self._tasks: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._birth = _birth(os.getpid())
        self._beat = 0

    def begin(self, name: str, facts: dict[str, Any]) -> None:
        with self._lock:
            self._tasks[name] = facts
            self._write()

    def end(self, name: str) -> None:
        with self._lock:
            self._tasks.pop(name, None)
            if self._tasks:
                self._write()
                return
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)

    def beat(self) -> None:
        """Give a sign, if it has work."""
        with self._lock:
            if self._tasks:
                self._write()

    def _write(self) -> None:
        self._beat += 1
        tasks = [{"id": name, **facts} for name, facts in self._tasks.items()]
        body = {**stamp(), "birth": self._birth, "beat": self._beat, "tasks": tasks}
        # A folder that takes no more files has worse to complain about.
        with contextlib.suppress(OSError):
            write_note(self._path, body, durable=False)


class _Heart:
    """One thread a process that gives the signs of all its claims."""

    def __init__(self) -> None:
        self._processes: list[_Process] = []
        threading.Thread(target=self._go_on, name="claims", daemon=True).start()

    def add(self, process: _Process) -> None:
        self._processes.append(process)

    def _go_on(self) -> None:
        while True:
            time.sleep(BEAT)
            for process in tuple(self._processes):
                process.beat()


@cache
def _process(root: Path, pid: int) -> _Process:
    """Return the claim of this process: a fork has its own."""
    process = _Process(root)
    _heart(pid).add(process)
    return process


@cache
def _heart(_pid: int) -> _Heart:
    """Return the thread of this process: a fork has none of the threads before it."""
    return _Heart()


def _birth(pid: int) -> str:
    """Return what tells a process from a later one of the same number; empty without a /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot} {fields[19]}"


def _lives(host: str, pid: int, birth: object) -> bool | None:
    if host != socket.gethostname():
        return None
    return alive(pid) and birth in (None, "", _birth(pid))
