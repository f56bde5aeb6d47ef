"""Atomic publishing: a file is either whole under its name or not there."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = [
    "Staged",
    "Writer",
    "alive",
    "atomic_text",
    "commit",
    "file_sha256",
    "flush_folder",
    "machine",
    "make_folder",
    "place",
    "staged",
    "sweep",
    "temporaries",
    "temporary",
]

#: Writes one output at the given (temporary) path; returns its rows, or ``None`` when it has none.
Writer = Callable[[Path], int | None]

_FLUSHED_AT_ONCE = 8
_TEMP = re.compile(r"^\..+\.(?P<owner>.+)~(?P<pid>\d+)~[0-9a-f]{8}\.tmp$")


@dataclass(frozen=True)
class Staged:
    """A file that is written under a temporary name.

    Parameters
    ----------
    temp : Path
        Where it lies.
    rows : int or None
        What its writer returned.
    size : int
        Its bytes.
    sha256 : str
        Hash of its bytes.
    """

    temp: Path
    rows: int | None
    size: int
    sha256: str


def temporary(path: Path) -> Path:
    """Return an unused name beside ``path``: machine, process and a random part tell writers apart."""
    tag = f"{machine()}~{os.getpid()}~{secrets.token_hex(4)}"
    return path.with_name(f".{path.name}.{tag}.tmp")


@contextlib.contextmanager
def staged(writers: Mapping[Path, Writer], *, durable: bool = True) -> Iterator[dict[Path, Staged]]:
    """Write files under temporary names in their folders; what is not committed is deleted in the end.

    Parameters
    ----------
    writers : mapping
        Final path -> what writes the file.
    durable : bool
        Whether the bytes are flushed to disk.
    """
    temps: list[Path] = []
    try:
        found = {}
        for path, writer in writers.items():
            make_folder(path.parent)
            temp = temporary(path)
            temps.append(temp)
            rows = writer(temp)
            found[path] = (temp, rows)
        if durable:
            _at_once(_flush, temps)
        yield {
            path: Staged(temp, rows, temp.stat().st_size, file_sha256(temp))
            for path, (temp, rows) in found.items()
        }
    finally:
        for temp in temps:
            temp.unlink(missing_ok=True)


def commit(files: Mapping[Path, Staged], *, durable: bool = True) -> None:
    """Give staged files their names, and flush each of their folders once."""
    for path, file in files.items():
        file.temp.replace(path)
    if durable:
        _at_once(flush_folder, list({path.parent: None for path in files}))


def place(path: Path, writer: Writer, *, durable: bool = True) -> tuple[int | None, int, str]:
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
    with staged({path: writer}, durable=durable) as files:
        commit(files, durable=durable)
    return files[path].rows, files[path].size, files[path].sha256


def atomic_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Publish a small text file."""

    def write(temp: Path) -> None:
        temp.write_text(text, encoding="utf-8")

    place(path, write, durable=durable)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut."""
    try:
        _flush(folder)
    except OSError as error:
        # Some network file systems flush no folders: each rename is safe.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise


@cache
def machine() -> str:
    """Return a name for where numbers of processes mean something: a host since it started, or a container.

    Hosts of one cluster may all be called ``localhost``, and a container bears the name of its host while it
    counts its own processes.
    """
    numbers = hashlib.sha256()
    with contextlib.suppress(OSError):  # a system without a /proc has neither
        numbers.update(Path("/proc/sys/kernel/random/boot_id").read_bytes())
        numbers.update(str(Path("/proc/self/ns/pid").readlink()).encode())
    return f"{socket.gethostname()}-{numbers.hexdigest()[:8]}"


def _at_once(flush: Callable[[Path], None], paths: Sequence[Path]) -> None:
    """Flush several files or folders side by side: one commit of a journal then serves all of them."""
    if len(paths) < 2:
        for path in paths:
            flush(path)
        return
    with ThreadPoolExecutor(min(len(paths), _FLUSHED_AT_ONCE)) as pool:
        for done in [pool.submit(flush, path) for path in paths]:
            done.result()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def temporaries(root: Path, *, all_hosts: bool = False) -> Iterator[Path]:
    """Yield what killed processes of this machine left half written below a folder.

    Parameters
    ----------
    root : Path
        The folder.
    all_hosts : bool
        Also what processes of other machines left, or of this one before it was started anew: nobody here
        can say whether they live.
    """
    ours = f".{machine()}"
    for here, _, names in os.walk(root):
        for name in names:
            match = _TEMP.match(name) if name.endswith(".tmp") else None
            if match is None:
                continue
            # A host may have dots in its name, as the file has: its end decides.
            mine = f".{name[1 : match.end('owner')]}".endswith(ours)
            if (mine and not alive(int(match["pid"]))) or (all_hosts and not mine):
                yield Path(here, name)


def sweep(root: Path) -> int:
    """Delete what killed processes of this machine left half written; return how many files.

    Files of other machines, and of processes that still live, are never touched.
    """
    count = 0
    for path in temporaries(root):
        path.unlink(missing_ok=True)
        count += 1
    return count


def alive(pid: int) -> bool:
    """Say whether a process of this host lives."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
