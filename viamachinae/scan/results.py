"""What a finished scan holds, read back through its receipts."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.config.toml import parse
from viamachinae.errors import ConfigError, DataError
from viamachinae.scan import plan
from viamachinae.scan.sections import SKY, STAGES
from viamachinae.scan.standing import standings
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task, TaskRef
from viamachinae.schema import MASKS, MEMBERS, PATCHES, STREAMS, TRACKS

__all__ = ["FinishedScan", "finished", "read_settings", "release_of", "run_again"]


@dataclass(frozen=True)
class FinishedScan:
    """A scan folder whose candidates are published.

    Parameters
    ----------
    store : Store
        The folder.
    settings : Settings
        Settings that the candidates were made with.
    streams_task : Task
        The task that made them.
    """

    store: Store
    settings: Settings
    streams_task: Task

    def patches(self) -> pd.DataFrame:
        """Return the PATCHES table."""
        return self.store.read(self.streams_task.of("patches")[0], "patches.parquet", PATCHES)

    def masks(self) -> pd.DataFrame:
        """Return the MASKS table: the known objects that touch the searched sky."""
        return self.store.read(self.streams_task.of("patches")[0], "masks.parquet", MASKS)

    def streams(self) -> pd.DataFrame:
        """Return the STREAMS table, not calibrated."""
        return self.store.read(self.streams_task, "streams.parquet", STREAMS)

    def members(self) -> pd.DataFrame:
        """Return the MEMBERS table."""
        return self.store.read(self.streams_task, "members.parquet", MEMBERS)

    def tracks(self) -> pd.DataFrame:
        """Return the TRACKS table."""
        return self.store.read(self.streams_task, "tracks.parquet", TRACKS)

    def release(self) -> str:
        """Return the Gaia release that the stars are of or imitate, as their loading found it."""
        return release_of(self.store, self.streams_task)


def release_of(store: Store, task: Task) -> str:
    """Return the Gaia release of the stars that a task was made from."""
    receipts = (store.receipt(ref) for ref in task.of("stars"))
    found = {str(r.info["report"].get("release", "unknown")) for r in receipts if r is not None}
    return "+".join(sorted(found)) or "unknown"


def read_settings(out: Path) -> Settings:
    """Return the settings of a scan folder, as it was last run.

    Raises
    ------
    ConfigError
        The folder holds no scan.
    """
    path = out / "scan.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = (
            f"{out}: no scan folder, it has no readable scan.toml ({error.strerror}); "
            "name the folder that `viamachinae run SCAN.toml --out FOLDER` made"
        )
        raise ConfigError(msg) from error
    # The tables of stars may have moved since: their paths are not looked at.
    return parse(text, source=str(path), folder=None)


def run_again(out: Path) -> str:
    """Return the command that goes on with the scan in a folder, as it is typed."""
    return shlex.join(["viamachinae", "run", str(out / "scan.toml"), "--out", str(out)])


def finished(out: Path) -> FinishedScan:
    """Return a scan folder whose candidates are there, made with the settings that lie beside them.

    Raises
    ------
    ConfigError
        The folder holds no scan.
    DataError
        The candidates are not published, or they or what they were made of are not those of the settings.
    """
    settings, store = read_settings(out), Store(out)
    receipt = store.receipt(TaskRef("streams", SKY, ""))
    if receipt is None:
        msg = f"{out}: the scan has no candidates yet; finish it: {run_again(out)}"
        raise DataError(msg)
    task = plan.task(settings, "streams", SKY, receipt.inputs, receipt.body["work"])
    earlier = standings(store, settings)[: STAGES.index("report")]
    behind = [standing.stage for standing in earlier if not standing.complete]
    if behind or not store.done(task):
        msg = (
            f"{out}: the candidates do not belong to the settings in scan.toml and this version of "
            "viamachinae, or one of their files is missing (stages to bring up to date: "
            f"{', '.join(behind or ['streams'])}); "
            f"bring the scan up to date: {run_again(out)}"
        )
        raise DataError(msg)
    return FinishedScan(store, settings, task)
