"""An index of receipts: what thousands of small files say, in a few that are quick to read.

Every process that publishes appends lines to a file of its own in ``index/``, so
that writers on several hosts need no lock. A line either repeats a receipt (but for
its provenance), with the hash of its bytes and its inode, or says that the receipt of a hash is
withdrawn; the second kind is written before the receipt goes. A receipt is taken
from the index only when it is listed in its folder with the inode that the line
names, and no line of any process withdraws it. In every other case, after a torn
line, in a copied folder, without an index, the receipt itself is read. No time
of any clock or file plays a part. Deleting ``index/`` loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import socket
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Entry", "Index", "note_published", "note_withdrawn", "read_index", "rebuild", "text_sha256"]

#: What a line repeats of a receipt: what tells where a scan stands, not where a result comes from.
_REPEATED = ("format", "stage", "name", "key", "inputs", "work", "outputs", "gone", "info", "seconds")

#: Larger receipts (those of the sky, which name every task) are few, and read themselves.
_LARGEST = 1 << 16


@dataclass(frozen=True)
class Entry:
    """A receipt as the index tells it.

    Parameters
    ----------
    stage, name : str
        Its task.
    sha256 : str
        Hash of its bytes.
    inode : int
        Of its file.
    body : mapping
        What it says, without its provenance.
    """

    stage: str
    name: str
    sha256: str
    inode: int
    body: Mapping[str, Any]


@dataclass
class Index:
    """All lines of a folder.

    Parameters
    ----------
    entries : dict
        (stage, name) -> entries that no line withdraws; more than one where a receipt was replaced
        without a word.
    files : list of Path
        What was read.
    """

    entries: dict[tuple[str, str], list[Entry]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)

    def get(self, stage: str, name: str, inode: int) -> Mapping[str, Any] | None:
        """Return what the receipt of a task says, if the index is sure of it."""
        known = {e.sha256: e for e in self.entries.get((stage, name), ())}
        if len(known) != 1:
            return None
        (entry,) = known.values()
        return entry.body if entry.inode == inode else None


def text_sha256(text: bytes) -> str:
    """Return the sha256 (hex) of the bytes of a receipt."""
    return hashlib.sha256(text).hexdigest()


def note_published(root: Path, receipts: Iterable[tuple[int, bytes]]) -> None:
    """Add receipts to the index: the inode and the bytes of each. A full or read-only disk costs nothing."""
    lines = []
    for inode, text in receipts:
        if len(text) <= _LARGEST:
            body = json.loads(text)
            repeated = {name: body[name] for name in _REPEATED if name in body}
            lines.append({"sha256": text_sha256(text), "inode": inode, "receipt": repeated})
    _append(root, lines)


def note_withdrawn(root: Path, text: bytes) -> None:
    """Say that a receipt is about to go: call it before the receipt is deleted or replaced."""
    _append(root, [{"sha256": text_sha256(text), "withdrawn": True}])


def read_index(root: Path) -> Index:
    """Return what the index of a scan folder says; damaged lines say nothing."""
    found, dead = Index(), set()
    entries: list[Entry] = []
    with contextlib.suppress(OSError):
        found.files = sorted((root / "index").glob("*.lines"))
    for path in found.files:
        with contextlib.suppress(OSError):
            for line in path.read_bytes().splitlines():
                said = _parse(line)
                if said is None:
                    continue
                if said.get("withdrawn"):
                    dead.add(said["sha256"])
                    continue
                body = said["receipt"]
                entries.append(Entry(body["stage"], body["name"], said["sha256"], said["inode"], body))
    for entry in entries:
        if entry.sha256 not in dead:
            found.entries.setdefault((entry.stage, entry.name), []).append(entry)
    return found


def rebuild(root: Path, receipts: Iterable[tuple[int, bytes]], replaced: Iterable[Path]) -> None:
    """Write the index anew from receipts, in one file, and remove the files that it replaces.

    What another process adds meanwhile may get lost: then those receipts are read themselves.
    Withdrawals are forgotten with the receipts that they name.

    Parameters
    ----------
    root : Path
        The scan folder.
    receipts : iterable of (int, bytes)
        Inode and bytes of each receipt.
    replaced : iterable of Path
        Files of the old index.
    """
    old = list(replaced)
    with contextlib.suppress(OSError):
        for path in old:
            path.unlink(missing_ok=True)
        note_published(root, receipts)


def _append(root: Path, lines: list[dict[str, Any]]) -> None:
    """Append lines to this process's file, each with its checksum; a failure is not worth an error."""
    if not lines:
        return
    texts = [json.dumps(line, separators=(",", ":")).encode() for line in lines]
    # A line break comes first too: a line that a full disk cut takes no other with it.
    data = b"".join(b"\n%08x %s\n" % (zlib.crc32(text), text) for text in texts)
    path = _file(root, os.getpid())
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with path.open("ab", buffering=0) as handle:
            handle.write(data)


def _parse(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    if len(checksum) != 8 or b"%08x" % zlib.crc32(text) != checksum:
        return None
    said: dict[str, Any] = json.loads(text)
    return said


@cache
def _file(root: Path, pid: int) -> Path:
    """Return the file of this process; a fork has its own."""
    return root / "index" / f"{socket.gethostname()}~{pid}~{secrets.token_hex(4)}.lines"
