"""Atomic publishing: a file is either whole under its name or not there."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

__all__ = ["Writer", "atomic_text", "file_sha256", "place", "sweep", "temporary"]

#: Writes one output at the given (temporary) path; returns its rows, or ``None`` when it has none.
Writer = Callable[[Path], int | None]

_TEMP = re.compile(r"^\.(?P<name>.+)\.(?P<host>[^~]+)~(?P<pid>\d+)~[0-9a-f]{8}\.tmp$")


def temporary(path: Path) -> Path:
    """Return an unused name beside ``path``: host, process and a random part tell writers apart."""
    tag = f"{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{tag}.tmp")


def place(path: Path, writer: Writer) -> tuple[int | None, int, str]:
    """Write ``path`` through a temporary file in the same folder.

    Written, flushed to disk, renamed, and the folder flushed: a reader, or a
    machine that lost power, sees the old file or the new one, never a part.

    Returns
    -------
    rows : int or None
        What the writer returned.
    size : int
        Bytes of the file.
    sha256 : str
        Hash of the file's bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = temporary(path)
    try:
        rows = writer(temp)
        with temp.open("rb") as handle:
            os.fsync(handle.fileno())
        size, digest = temp.stat().st_size, file_sha256(temp)
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)
    flush_folder(path.parent)
    return rows, size, digest


def atomic_text(path: Path, text: str) -> None:
    """Publish a small text file."""

    def write(temp: Path) -> None:
        temp.write_text(text, encoding="utf-8")

    place(path, write)


def flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sweep(root: Path) -> int:
    """Delete what killed processes of this host left half written; return how many files.

    Files of other hosts, and of processes that still live, are never touched.
    """
    host, count = socket.gethostname(), 0
    for path in root.rglob(".*.tmp"):
        match = _TEMP.match(path.name)
        if match and match["host"] == host and not _alive(int(match["pid"])):
            path.unlink(missing_ok=True)
            count += 1
    return count


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
