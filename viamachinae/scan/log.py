"""The log of a scan, in its folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["log_file"]


@contextmanager
def log_file(out: Path) -> Iterator[None]:
    """Keep the log of this run in the scan folder, behind those of earlier runs."""
    root = logging.getLogger("viamachinae")
    handler = logging.FileHandler(out / "log" / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()
