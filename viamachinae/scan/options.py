"""How a scan is run: what the command line says beside the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from viamachinae.scan.changes import Changes
from viamachinae.scan.groups import Group
from viamachinae.scan.progress import Progress

__all__ = ["RunOptions", "accept"]


def accept(_changes: Changes) -> bool:
    """Agree to every change of the settings; what is redone is logged."""
    return True


@dataclass(frozen=True)
class RunOptions:
    """How a scan is run.

    Parameters
    ----------
    progress : Progress, optional
        How progress is shown; by default log lines.
    agree : callable
        Asked before changed settings redo finished tasks: whether to go on.
    offline : bool
        There is no network: end at once when something is missing that only a network brings.
    stop_file : Path, optional
        The run ends, to be resumed, when this file appears.
    end : float, optional
        Unix time (s) at which the process will be killed.
    group : Group, optional
        Only these patches, up to their fragments.
    """

    progress: Progress | None = None
    agree: Callable[[Changes], bool] = accept
    offline: bool = False
    stop_file: Path | None = None
    end: float | None = None
    group: Group | None = None
