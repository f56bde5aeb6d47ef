"""The log of a scan, in its folder."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from viamachinae.scan.groups import Group

__all__ = ["log_file", "log_path", "tell_of"]

logger = logging.getLogger(__name__)

#: Names that a line on the screen has.
_NAMED = 3


def log_path(out: Path, group: Group | None = None) -> Path:
    """Return where a run on a scan folder keeps its log: runs of groups, side by side, each their own."""
    return out / "log" / (f"run-{group.label}.log" if group else "run.log")


@contextmanager
def log_file(out: Path, group: Group | None = None) -> Iterator[None]:
    """Keep the log of this run in the scan folder, behind those of earlier runs; it has the details too."""
    root = logging.getLogger("viamachinae")
    handler = logging.FileHandler(log_path(out, group), encoding="utf-8")
    who = f"{socket.gethostname()}[{os.getpid()}]".replace("%", "")
    handler.setFormatter(logging.Formatter(f"%(asctime)s {who} %(levelname)s %(name)s: %(message)s"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def tell_of(names: Sequence[str], what: str) -> None:
    """Warn of something that many tasks have in common, in one line; the log of the folder names them all.

    Parameters
    ----------
    names : sequence of str
        The tasks, with what there is to say of each.
    what : str
        What they have in common, behind their number.
    """
    more = ", ..." if len(names) > _NAMED else ""
    logger.warning("%d %s (%s%s)", len(names), what, ", ".join(names[:_NAMED]), more)
    if more:
        for name in names:
            logger.debug("%s: %s", what, name)
