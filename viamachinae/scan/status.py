"""How far a scan is, from its receipts alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from viamachinae.errors import ConfigError
from viamachinae.scan.results import read_settings
from viamachinae.scan.standing import Standing, standings
from viamachinae.scan.store import Store

__all__ = ["StageStatus", "status"]


@dataclass(frozen=True)
class StageStatus:
    """Where a stage stands.

    Parameters
    ----------
    stage : str
        Its name.
    done : int
        Tasks whose receipt is valid for the folder's settings.
    total : int or None
        Tasks that the stage has; ``None`` while earlier stages have not said.
    seconds : float
        Time that the done tasks took, summed (s).
    rows, bytes : int or None
        What the done tasks downloaded; ``None`` for stages that do not.
    """

    stage: str
    done: int
    total: int | None
    seconds: float
    rows: int | None = None
    bytes: int | None = None


def status(out: Path) -> list[StageStatus]:
    """Return the state of every stage of a scan folder, in the order in which they run.

    A task counts when a receipt vouches for it under the settings in the
    folder's ``scan.toml``, its outputs have their sizes, and the same holds for
    all its inputs. Outside files are not looked at.

    Raises
    ------
    ConfigError
        The folder holds no scan, or its settings cannot be read.
    """
    settings, store = read_settings(out), Store(out)
    if not (out / "receipts").is_dir() and not (out / "log").is_dir():
        msg = f"{out}: a scan.toml, but no scan was run here; start it with `viamachinae run`"
        raise ConfigError(msg)
    return [_of(standing) for standing in standings(store, settings) if standing.names != set()]


def _of(standing: Standing) -> StageStatus:
    receipts = list(standing.receipts.values())
    downloads = standing.stage == "cells"
    return StageStatus(
        standing.stage,
        len(receipts),
        None if standing.names is None else len(standing.names),
        sum(float(receipt.body["seconds"]) for receipt in receipts),
        sum(int(receipt.info["rows"]) for receipt in receipts) if downloads else None,
        sum(int(receipt.info["bytes"]) for receipt in receipts) if downloads else None,
    )
