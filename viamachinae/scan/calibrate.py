"""A scan compared with its null scan, and what the comparison leaves in the folder."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from viamachinae.scan import plan
from viamachinae.scan.results import FinishedScan, finished
from viamachinae.scan.sections import SKY
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.writers import table_writer, text_writer
from viamachinae.schema import CALIBRATION

if TYPE_CHECKING:
    from viamachinae.calibration import RateSummary

__all__ = ["Calibrated", "calibrate_scan", "calibration_of", "read_calibration"]

logger = logging.getLogger(__name__)

_TABLE = "calibration.parquet"


@dataclass(frozen=True)
class Calibrated:
    """The outcome of a calibration.

    Parameters
    ----------
    table : DataFrame
        CALIBRATION table, one row a candidate.
    words : tuple of str
        What it says and does not say, in paragraphs.
    """

    table: pd.DataFrame
    words: tuple[str, ...]


def calibrate_scan(out: Path, null: Path) -> Calibrated:
    """Compare a scan with the same scan of a streamless sky, publish the result, and redraw the report.

    Parameters
    ----------
    out, null : Path
        Folders of the scan and of its null scan, both finished.

    Raises
    ------
    ConfigError
        A folder holds no scan, or settings that shape candidates differ.
    DataError
        A scan is not finished.
    """
    from viamachinae.calibration import CAVEATS, check_comparable, compare, explain, summarise
    from viamachinae.calibration.rates import comparable_areas
    from viamachinae.scan.late import redraw

    started = time.time()
    ours, theirs = finished(out), finished(null)
    check_comparable(ours.settings, theirs.settings)
    area, null_area = comparable_areas(_areas(ours), _areas(theirs))
    streams, null_streams = ours.streams(), theirs.streams()
    table = compare(streams, null_streams, area, null_area)
    summary = summarise(streams, null_streams, area, null_area)
    words = (explain(summary), *CAVEATS)
    work = {"null": theirs.streams_task.key, "area": area, "null_area": null_area}
    task = plan.task(ours.settings, "calibration", SKY, (ours.streams_task.ref,), work)
    rates = {k: v if math.isfinite(v) else None for k, v in asdict(summary).items()}
    text = text_writer("\n\n".join(words) + "\n")
    products = Products({_TABLE: table_writer(table, CALIBRATION), "calibration.txt": text}, {"rates": rates})
    ours.store.publish(task, products, started=started, settings=ours.settings)
    logger.info("calibrated %s with %s", out, null)
    redraw(out)
    return Calibrated(table, words)


def _areas(scan: FinishedScan) -> tuple[float, float]:
    """Return the searched area, overlaps counted once, and the sum over the patches (deg2)."""
    from viamachinae.sky.masks import circles_of, searched_area

    area = searched_area(scan.patches(), scan.settings.fiducial.radius, circles_of(scan.masks()))
    return area.union, area.total


def calibration_of(store: Store, streams: Task | TaskRef) -> TaskRef | None:
    """Return the calibration of the given candidates, ``None`` when there is none that belongs to them."""
    receipt = store.receipt(TaskRef("calibration", SKY, ""))
    if receipt is None or [ref.key for ref in receipt.inputs] != [streams.key]:
        return None
    ref = TaskRef("calibration", SKY, receipt.key)
    return ref if store.done(ref) else None


def read_calibration(store: Store, ref: TaskRef) -> tuple[pd.DataFrame, RateSummary]:
    """Return the CALIBRATION table and the counts of the whole scan."""
    from viamachinae.calibration import RateSummary

    table = store.read(ref, _TABLE, CALIBRATION)
    receipt = store.receipt(ref)
    rates: dict[str, Any] = dict(receipt.info["rates"]) if receipt else {}
    filled: dict[str, Any] = {k: math.nan if v is None else v for k, v in rates.items()}
    filled["threshold"] = -math.inf if rates.get("threshold") is None else rates["threshold"]
    return table, RateSummary(**filled)
