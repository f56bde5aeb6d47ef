"""What a run of a scan left, and the words with which it ends when tasks failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from viamachinae.errors import DataError, TaskError
from viamachinae.scan.groups import Group
from viamachinae.scan.log import log_path
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.sections import SKY
from viamachinae.schema import STREAMS

__all__ = ["ScanResult", "raise_failures"]

#: Failures that the closing message names one by one.
_NAMED = 5


@dataclass
class ScanResult:
    """What a scan left.

    Parameters
    ----------
    out : Path
        The scan folder.
    done_before, done_now : dict
        Stage -> tasks that were done already, and that this run did.
    failed : list of Outcome
        Tasks that failed in this run.
    blocked : list of str
        Patches, or ``sky``, whose later stages wait for a failed task.
    seconds : dict
        Stage -> wall-clock time (s).
    group : Group, optional
        The patches that were asked for, when not all.
    """

    out: Path
    done_before: dict[str, int] = field(default_factory=dict)
    done_now: dict[str, int] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    group: Group | None = None

    @property
    def complete(self) -> bool:
        """Whether every task of the scan is done."""
        return not self.failed and not self.blocked

    def streams(self) -> pd.DataFrame:
        """Return the STREAMS table of a complete scan, best candidate first."""
        from viamachinae.schema.io import read_table

        return read_table(self.out / "streams.parquet", STREAMS)


def raise_failures(result: ScanResult) -> None:
    """Name the tasks that failed.

    Raises
    ------
    DataError
        Unusable stars are all that is wrong.
    TaskError
        Some tasks failed; the others are done.
    """
    if result.complete:
        return
    shown = [f"  {o.task.id}: {o.error}" for o in result.failed[:_NAMED]]
    if len(result.failed) > _NAMED:
        shown.append(f"  and {len(result.failed) - _NAMED} more")
    many = "s" * (len(result.failed) != 1)
    msg = (
        f"{len(result.failed)} task{many} failed; the others are done and kept:\n"
        + "\n".join(shown)
        + _waiting(result.blocked)
        + f"\nmend the cause and run the same command again; details in {log_path(result.out, result.group)}"
    )
    if all(o.unusable and o.task.stage in ("cells", "stars") for o in result.failed):
        raise DataError(msg)
    raise TaskError(msg)


def _waiting(blocked: Sequence[str]) -> str:
    """Say what does not go on: a sky with a hole would give other candidates once the hole is filled."""
    patches = [name for name in blocked if name != SKY]
    if not patches:
        return ""
    shown = ", ".join(patches[:_NAMED]) + (", ..." if len(patches) > _NAMED else "")
    candidates = "; the candidates of the whole sky wait for them" if SKY in blocked else ""
    return (
        f"\nno further: {len(patches)} patch{'es' * (len(patches) != 1)} ({shown}){candidates}. "
        "A patch that cannot be mended can be left out: patches.exclude, or patches.centres without it"
    )
