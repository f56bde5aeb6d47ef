"""The named places at which a process is killed: between any two significant steps of what it does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["AFTERWARDS", "DAMAGED", "TASK", "TURN", "Place", "Trap"]

_FOLDER = Path(__file__).parent / "crash"


class Place(NamedTuple):
    """One passage of a function: the process ends before or after it.

    Parameters
    ----------
    module, attribute : str
        The function.
    when : str
        ``before`` or ``after``.
    words : str
        Passages count that have them among their arguments.
    n : int
        Which of them.
    """

    module: str
    attribute: str
    when: str
    words: str = ""
    n: int = 1


_RENAME = ("pathlib", "Path.replace")
_CLAIM = "viamachinae.scan.claims"
_STORE = "viamachinae.scan.store"

#: In the life of a task, when its patch's lines or the candidates are left to do.
TASK: Mapping[str, Place] = {
    "before the claim": Place(_CLAIM, "_Process.begin", "before"),
    "claim staged": Place(*_RENAME, "before", "/claims/"),
    "claim written": Place(_CLAIM, "_Process.begin", "after"),
    "first product staged": Place("viamachinae.schema.publish", "_flush", "before", "rois/"),
    "products staged": Place(_STORE, "Store.withdraw", "before", "stage='lines'"),
    "first of several files renamed": Place(*_RENAME, "after", "streams.parquet"),
    "second of several files renamed": Place(*_RENAME, "after", "members.parquet"),
    "all files renamed": Place("viamachinae.schema.publish", "commit", "after", "tracks.parquet"),
    "receipt staged": Place(*_RENAME, "before", "receipts/lines"),
    "receipt renamed": Place(*_RENAME, "after", "receipts/lines"),
    "index line appended": Place("viamachinae.scan.index", "note_published", "after", "rois"),
    "failure cleared": Place("viamachinae.scan.failures", "clear_failure", "after", "lines"),
    "claim removed": Place(_CLAIM, "_Process.end", "after", "lines", 2),
    "catalogue renamed, page not": Place(*_RENAME, "after", "streams.ecsv"),
    "settings linked, temporary left": Place("os", "link", "after", "scan.toml"),
    "settings written": Place("viamachinae.scan.prepare", "_claimed", "after"),
    "asked to end": Place("viamachinae.scan.interrupt", "Stop.ask", "after"),
}
#: When a result that the next task reads is damaged.
DAMAGED: Mapping[str, Place] = {
    "withdrawal noted": Place("viamachinae.scan.index", "note_withdrawn", "after", "J09"),
    "receipt unlinked": Place("pathlib", "Path.unlink", "after", "receipts/stars"),
    "receipt withdrawn": Place(_STORE, "Store.withdraw", "after", "stage='stars'"),
}
#: Command -> places in what comes after a scan.
AFTERWARDS: Mapping[str, Mapping[str, Place]] = {
    "pack": {
        "archive staged": Place(*_RENAME, "before", ".tar.zst"),
        "archive renamed": Place(*_RENAME, "after", ".tar.zst"),
    },
    "export": {
        "first file renamed": Place(*_RENAME, "after", "catalogue/", 1),
        "last file staged": Place(*_RENAME, "before", "catalogue/", 9),
    },
    "merge": {
        "merged settings written": Place("viamachinae.scan.merge", "_begin", "after"),
        "files taken, receipt not": Place(_STORE, "Store.put_receipt", "before", "scores"),
        "receipt taken": Place(_STORE, "Store.put_receipt", "after", "scores"),
    },
    "calibrate": {
        "calibration renamed, receipt not": Place(*_RENAME, "before", "receipts/calibration"),
        "calibration done, report not": Place("viamachinae.scan.late", "redraw", "before"),
        "calibrated report renamed, receipt not": Place(*_RENAME, "before", "receipts/report"),
    },
}
#: The driver is lost, and then the process above it, just before it starts another one.
TURN = (
    Place("viamachinae.scan.drive", "_rounds", "before"),
    Place("viamachinae.cli.supervise", "_Signals.run", "after"),
)


class Trap:
    """The places of one case, as the environment of a command tells them.

    Parameters
    ----------
    folder : Path
        Where a flag is put for each place that was reached.
    places : Place
        What ends a process, each of them once.
    """

    def __init__(self, folder: Path, *places: Place) -> None:
        self._flag, self._n = folder / "reached", len(places)
        inherited = os.environ.get("PYTHONPATH")
        self.environment = {
            "PYTHONPATH": os.pathsep.join([str(_FOLDER), *([inherited] if inherited else [])]),
            "VIAMACHINAE_CRASH_PLACES": json.dumps(places),
            "VIAMACHINAE_CRASH_FLAG": str(self._flag),
        }

    def reached(self) -> list[int]:
        """Return the numbers of the processes that ended, place by place.

        Raises
        ------
        AssertionError
            A place was not reached: the function has another name, or is not called.
        """
        flags = [self._flag.with_name(f"{self._flag.name}.{i}") for i in range(self._n)]
        assert all(flag.is_file() for flag in flags), "no process came by: is it called so still?"
        return [int(flag.read_text()) for flag in flags]
