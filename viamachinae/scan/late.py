"""The last stages, whose unit of work is the sky: candidates and the report."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of, read_calibration
from viamachinae.scan.ondemand import OnDemand
from viamachinae.scan.provenance import whole_hash
from viamachinae.scan.results import finished, release_of
from viamachinae.scan.scratch import scratch
from viamachinae.scan.sections import STAGES
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.writers import table_writer, text_writer
from viamachinae.schema import (
    FRAGMENTS,
    MASKS,
    MEMBERS,
    PATCHES,
    REGIONS,
    ROIS,
    SCORES,
    STARS,
    STREAMS,
    TRACKS,
    TableSchema,
)
from viamachinae.schema.publish import Writer

__all__ = ["candidate_products", "redraw", "report_products"]

#: Fiducial stars of a patch that the figures of the report may show.
_BACKGROUND = 50_000


def candidate_products(task: Task, store: Store, settings: Settings) -> Products:
    """Join the fragments of all patches, and list the members and tracks of every candidate."""
    from viamachinae.streams.candidates import join
    from viamachinae.streams.members import best_log_r, members

    patches = store.read(task.of("patches")[0], "patches.parquet", PATCHES)
    fragments = _tables(store, task.of("fragments"), "fragments", FRAGMENTS)
    refs = {ref.name: ref for ref in task.of("stars")}
    with_lines = sorted(set(fragments["patch"]) & refs.keys())
    of_patch: dict[str, list[TaskRef]] = {}
    for ref in task.of("scores"):
        of_patch.setdefault(ref.name.split("/")[0], []).append(ref)

    def stars_of(patch: str) -> pd.DataFrame:
        return store.read(refs[patch], f"stars/{patch}.parquet", STARS)

    def log_r_of(patch: str) -> NDArray[np.float32]:
        columns = ["row", "log_r"]
        refs = of_patch.get(patch, ())
        scores = (store.read(ref, f"scores/{ref.name}.parquet", SCORES, columns) for ref in refs)
        return best_log_r(len(stars[patch]), scores)

    stars, log_r = OnDemand(with_lines, stars_of), OnDemand(with_lines, log_r_of)
    found = members(join(fragments, patches, stars, settings), stars, log_r, settings)
    writers: dict[str, Writer] = {
        "members.parquet": table_writer(found.members, MEMBERS),
        "tracks.parquet": table_writer(found.tracks, TRACKS),
        "streams.parquet": table_writer(found.streams, STREAMS),
    }
    return Products(writers, {"n_streams": len(found.streams)})


def report_products(task: Task, store: Store, settings: Settings) -> Products:
    """Write ``streams.ecsv`` and the HTML page, with the calibration where there is one."""
    from viamachinae.calibration.rates import apply
    from viamachinae.report.data import ReportData
    from viamachinae.report.page import render

    streams_ref = task.of("streams")[0]
    streams = store.read(streams_ref, "streams.parquet", STREAMS)
    calibration, rates = None, None
    for ref in task.of("calibration"):
        calibration, rates = read_calibration(store, ref)
        streams = apply(streams, calibration)
    data = ReportData(
        settings=settings,
        patches=store.read(task.of("patches")[0], "patches.parquet", PATCHES),
        streams=streams,
        members=store.read(streams_ref, "members.parquet", MEMBERS),
        tracks=store.read(streams_ref, "tracks.parquet", TRACKS),
        rois=_tables(store, task.of("lines"), "rois", ROIS),
        regions=_tables(store, task.of("scores"), "regions", REGIONS),
        star_counts={ref.name: _counts(store, ref) for ref in task.of("stars")},
        seconds=_seconds(store, task.inputs),
        fragments=_tables(store, task.of("fragments"), "fragments", FRAGMENTS),
        calibration=calibration,
        rates=rates,
        stars={ref.name: _background(store, ref, settings) for ref in task.of("stars")},
        masks=store.read(task.of("patches")[0], "masks.parquet", MASKS),
        masked=_masked(store, task.of("stars")),
    )
    meta = {
        "settings_hash": streams_ref.key,
        "release": release_of(store, task),
        "scan_settings_hash": whole_hash(settings),
        "seed": str(settings.scan.seed),
    }
    catalogue = _ecsv(streams, meta)
    page = text_writer(render(data))
    return Products({"streams.ecsv": catalogue, "report/index.html": page}, {"n_streams": len(streams)})


def redraw(out: Path) -> Path:
    """Make the report of a finished scan anew, with its calibration where there is one; return the page.

    Raises
    ------
    ConfigError
        The folder holds no scan.
    DataError
        The scan is not finished, or a result of it is damaged.
    """
    scan, started = finished(out), time.time()
    reference = calibration_of(scan.store, scan.streams_task)
    task = plan.report_task(scan.settings, scan.streams_task, reference)
    products = report_products(task, scan.store, scan.settings)
    scan.store.publish(task, products, started=started, settings=scan.settings)
    return out / "report" / "index.html"


def _ecsv(streams: pd.DataFrame, meta: dict[str, str]) -> Writer:
    """Return a writer of the candidates as ECSV that tells when it was cut (row count and hash)."""
    from viamachinae.catalog import write

    def copy(path: Path) -> int:
        with scratch() as folder:
            write(streams, MEMBERS.empty(), TRACKS.empty(), folder, meta, ["ecsv"])
            path.write_bytes((folder / "streams.ecsv").read_bytes())
        return len(streams)

    return copy


def _tables(store: Store, refs: Sequence[TaskRef], folder: str, schema: TableSchema) -> pd.DataFrame:
    """Return the tables of several tasks below each other."""
    return schema.stack(store.read(ref, f"{folder}/{ref.name}.parquet", schema) for ref in refs)


def _counts(store: Store, ref: TaskRef) -> dict[str, int]:
    receipt = store.receipt(ref)
    report = receipt.info["report"] if receipt else {}
    return {str(step): n for step, n in report.items() if type(n) is int}


def _masked(store: Store, refs: Sequence[TaskRef]) -> dict[str, int]:
    """Return the stars that each mask left out, summed over the patches."""
    total: Counter[str] = Counter()
    for ref in refs:
        receipt = store.receipt(ref)
        total.update(receipt.info["report"].get("masked", {}) if receipt else {})
    return dict(total)


def _seconds(store: Store, refs: Sequence[TaskRef]) -> dict[str, float]:
    """Return the time of the tasks of each stage, summed, in the order of the stages."""
    seconds = dict.fromkeys(STAGES, 0.0)
    for ref in refs:
        receipt = store.receipt(ref)
        if receipt is not None and ref.stage in seconds:
            seconds[ref.stage] += float(receipt.body["seconds"])
    return {stage: s for stage, s in seconds.items() if s}


def _background(store: Store, ref: TaskRef, settings: Settings) -> pd.DataFrame:
    """Return fiducial stars of a patch for the figures, thinned evenly."""
    from viamachinae.report.data import STAR_COLUMNS
    from viamachinae.stars.extinction import CORRECTED

    corrected = () if settings.extinction.map == "none" else CORRECTED
    columns = ["source_id", *STAR_COLUMNS, *corrected, "fiducial"]
    stars = store.read(ref, f"stars/{ref.name}.parquet", STARS, columns=columns)
    stars = stars.loc[stars["fiducial"].to_numpy(), columns[:-1]]
    return stars.iloc[:: max(1, -(-len(stars) // _BACKGROUND))].reset_index(drop=True)
