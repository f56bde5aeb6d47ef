"""Temporary folders of this machine that do not outlive their process for long, even when it is killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Scratch", "scratch", "sweep_scratch"]

_PREFIX = "vm-"
#: A Unix socket's path holds 103 bytes at least, of which Ray takes 64 and the folder's own name 12.
_LONGEST = 27
_LOCK = "lock"


class Scratch:
    """A temporary folder under a short path, and the lock that says that its process lives.

    The lock goes with the process, whatever ends it, and tells also across containers, which have numbers
    of processes of their own.
    """

    def __init__(self) -> None:
        # It gets its name when it is locked: nothing looks at another name.
        new = Path(tempfile.mkdtemp(prefix="vm.", dir=_base()))
        self._lock = os.open(new / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        _locked(self._lock)
        self.path = new.rename(new.with_name(_PREFIX + new.name.removeprefix("vm.")))

    def remove(self) -> None:
        """Remove the folder."""
        _remove(self.path)
        os.close(self._lock)


@contextmanager
def scratch() -> Iterator[Path]:
    """Lend a temporary folder."""
    folder = Scratch()
    try:
        yield folder.path
    finally:
        folder.remove()


def sweep_scratch() -> int:
    """Remove the temporary folders of processes that were killed; return how many.

    Folders of other users, and of processes that live, stay.
    """
    count = 0
    for folder in Path(_base()).glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            if _locked(lock):
                _remove(folder)
                count += 1
        finally:
            os.close(lock)
    return count


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: when that is killed, the next sweep still knows the rest as ours."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != _LOCK:
                path.unlink()
        if [path.name for path in folder.iterdir()] == [_LOCK]:
            (folder / _LOCK).unlink()
            folder.rmdir()


def _base() -> str:
    base = tempfile.gettempdir()
    return base if len(base) <= _LONGEST else "/tmp"  # noqa: S108


def _locked(descriptor: int) -> bool:
    """Take the lock of a folder and return whether that was possible."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
