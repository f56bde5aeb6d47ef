"""Tasks that failed, or whose results cannot be trusted, made ready for another run."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from viamachinae.errors import ConfigError
from viamachinae.scan.failures import clear_failure, failures
from viamachinae.scan.results import read_settings
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import drop_suspects, suspects
from viamachinae.scan.task import TaskRef

__all__ = ["RETRIED", "retry"]

#: States that can be cleared.
RETRIED = ("FAILED", "SUSPECT")


def retry(out: Path, state: str = "FAILED", patterns: Sequence[str] = ()) -> list[str]:
    """Clear the tasks of a state, so that the next run does them again; return their ids.

    Of a task that FAILED the note goes. Of one that is SUSPECT the receipt goes too, and what was kept
    aside: its result is made a further time.

    Parameters
    ----------
    out : Path
        The scan folder.
    state : str
        One of :data:`RETRIED`.
    patterns : sequence of str
        Only tasks whose id (``scores/P0042/pm_lambda/+003``) matches one of these; ``*`` stands for any
        letters, slashes too. None: all.

    Raises
    ------
    ConfigError
        The folder holds no scan, or there is no such state.
    """
    if state not in RETRIED:
        msg = f"{state}: not a state to clear; valid: {', '.join(RETRIED)}"
        raise ConfigError(msg)
    read_settings(out)
    store = Store(out)
    ids = failures(out) if state == "FAILED" else {suspect.id for suspect in suspects(out)}
    chosen = sorted(i for i in ids if not patterns or any(fnmatchcase(i, p) for p in patterns))
    for name in chosen:
        stage, _, rest = name.partition("/")
        ref = TaskRef(stage, rest, "")
        if state == "FAILED":
            clear_failure(out, ref)
        else:
            store.withdraw(ref)
            drop_suspects(out, ref)
    return chosen
