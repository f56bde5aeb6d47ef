"""The log of a scan, in its folder."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from viamachinae.scan.groups import Group

__all__ = ["log_file", "log_path"]


def log_path(out: Path, group: Group | None = None) -> Path:
    """Return where a run on a scan folder keeps its log: runs of groups, side by side, each their own."""
    return out / "log" / (f"run-{group.label}.log" if group else "run.log")


@contextmanager
def log_file(out: Path, group: Group | None = None) -> Iterator[None]:
    """Keep the log of this run in the scan folder, behind those of earlier runs."""
    root = logging.getLogger("viamachinae")
    handler = logging.FileHandler(log_path(out, group), encoding="utf-8")
    who = f"{socket.gethostname()}[{os.getpid()}]".replace("%", "")
    handler.setFormatter(logging.Formatter(f"%(asctime)s {who} %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
