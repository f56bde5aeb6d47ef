"""Small notes beside the receipts: one JSON file a fact, published whole, named after its task."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from viamachinae.schema.publish import atomic_text

__all__ = ["read_note", "read_notes", "stamp", "when", "write_note"]

#: Layout of a note.
FORMAT = 1


def when(unix: float) -> str:
    """Return a Unix time (s) as ISO 8601 in UTC; of a clock that is far off, its nearest end."""
    last = 253_402_300_799  # the year 9999, the last that the form can tell
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(min(max(unix, 0.0), last)))


def stamp() -> dict[str, Any]:
    """Return who writes, and when by its own clock."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "at": when(time.time())}


def write_note(path: Path, body: Mapping[str, Any], *, durable: bool = True) -> None:
    """Publish a note.

    Parameters
    ----------
    path : Path
        Its file.
    body : mapping
        What it says, JSON-like.
    durable : bool
        Whether it must survive a power cut.
    """
    text = json.dumps({"format": FORMAT, **body}, indent=1, sort_keys=True, default=str) + "\n"
    atomic_text(path, text, durable=durable)


def read_note(path: Path) -> dict[str, Any] | None:
    """Return what a note says; ``None`` when it is absent, damaged or of another layout."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) and body.get("format") == FORMAT else None


def read_notes(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every readable note below a folder, sorted by path; folders ``*.files`` hold no notes."""
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(".files"))
        for name in sorted(names):
            body = read_note(Path(here, name)) if name.endswith(".json") else None
            if body is not None:
                yield Path(here, name), body
