"""What each stage does: read the inputs, call the room that knows the science, name the products.

Every function takes a task, the store and the settings, and returns
:class:`~viamachinae.scan.task.Products`; publishing them is the caller's work.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from viamachinae.config.settings import Coordinate, Settings
from viamachinae.scan.late import candidate_products, report_products
from viamachinae.scan.masking import masks_near
from viamachinae.scan.scratch import scratch
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.writers import arrow_writer, table_writer
from viamachinae.schema import FRAGMENTS, MASKS, PATCHES, REGIONS, ROIS, SCORES, STARS

if TYPE_CHECKING:
    from viamachinae.streams.regions import SignalRegion

__all__ = [
    "DEFAULT_STAGES",
    "StageFunction",
    "cell_path",
    "download_folder",
    "planned_regions",
    "planned_stars",
    "read_patches",
    "read_scores",
]

logger = logging.getLogger(__name__)

StageFunction = Callable[[Task, Store, Settings], Products]


def read_patches(store: Store, task: Task | TaskRef) -> pd.DataFrame:
    """Return the published PATCHES table."""
    return store.read(task, "patches.parquet", PATCHES)


def planned_regions(store: Store, task: Task) -> list[dict[str, Any]]:
    """Return the signal regions that the plan of a patch lists: coordinate, index, low, high."""
    path = store.verified(task, f"plan/{task.name}.json")
    regions: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return regions


def planned_stars(store: Store, task: Task) -> list[int]:
    """Return the stars of each signal region that the plan of a patch lists; none where it does not say."""
    receipt = store.receipt(task)
    return [] if receipt is None else [int(n) for n in receipt.info.get("n_stars", ())]


def _patches(_task: Task, _store: Store, settings: Settings) -> Products:
    from viamachinae.sky.patches import coverage, make_patches

    patches = make_patches(settings.patches)

    def moc(path: Path) -> None:
        coverage(patches).save(path, format="fits", overwrite=True)

    rows = patches.to_dict("records")
    masks = MASKS.stack(masks_near(settings, row) for row in rows).drop_duplicates(ignore_index=True)
    info = {"patches": list(patches["patch"]), "n_masks": len(masks)}
    tables = {"patches.parquet": table_writer(patches, PATCHES), "masks.parquet": table_writer(masks, MASKS)}
    return Products({**tables, "coverage.fits": moc}, info)


def _cells(
    task: Task,
    store: Store,
    settings: Settings,
    *,
    stop: threading.Event | None = None,
    heard: Callable[[int, int], None] | None = None,
    where: Callable[[Task], Path] | None = None,
) -> Products:
    """Download a cell; ``stop`` ends it early, ``heard`` is told the rows and bytes that arrive.

    ``where`` gives the folder in which it is put together, which no other process may use.
    """
    from viamachinae.stars.archive.cells import Cell
    from viamachinae.stars.archive.fetch import fetch_cell

    folder = where(task) if where else download_folder(store, task)
    folder.mkdir(parents=True, exist_ok=True)
    got = fetch_cell(settings, Cell.named(task.name), folder, stop=stop, heard=heard)
    if got.report.get("lacks"):
        logger.warning("cell %s: the archive lacks %s", task.name, ", ".join(got.report["lacks"]))
    writer = arrow_writer(got.table, {"release": str(got.report["release"])})
    return Products({cell_path(task): writer}, _plain(got.report))


def download_folder(store: Store, task: Task | TaskRef, run: str = "") -> Path:
    """Return where the parts of a cell and the journal of its server jobs lie until it is published.

    ``run`` tells runs apart that may download the same cell at once.
    """
    return store.root / "downloads" / (f"{task.name}.{run}" if run else task.name)


def cell_path(task: Task | TaskRef) -> str:
    """Return the path of a downloaded cell inside the scan folder."""
    return f"cells/{task.name}.parquet"


def _stars(task: Task, store: Store, settings: Settings) -> Products:
    from viamachinae.stars.load import load_patch

    patch = task.work["patch"]
    cells = [store.verified(ref, cell_path(ref)) for ref in task.of("cells")]
    loaded = load_patch(settings, patch, cells, masks_near(settings, patch))
    info = {"n_stars": len(loaded.table), "report": _plain(loaded.report)}
    return Products({f"stars/{task.name}.parquet": table_writer(loaded.table, STARS)}, info)


def _plan(task: Task, store: Store, settings: Settings) -> Products:
    from viamachinae.streams.regions import signal_regions

    (stars_ref,) = task.of("stars")
    relative = f"stars/{task.name}.parquet"
    stars = store.read(stars_ref, relative, STARS, columns=list(settings.regions.coordinates))
    windows = [
        region
        for coordinate in settings.regions.coordinates
        for region in signal_regions(stars, coordinate, settings.regions)
    ]
    regions = [
        {"coordinate": r.coordinate, "index": int(r.index), "low": float(r.low), "high": float(r.high)}
        for r in windows
    ]
    counts = [int(r.holds(stars[r.coordinate]).sum()) for r in windows]

    def write(path: Path) -> int:
        path.write_text(json.dumps(regions, indent=1) + "\n", encoding="utf-8")
        return len(regions)

    info = {"n_regions": len(regions), "n_stars": counts}
    return Products({f"plan/{task.name}.json": write}, info)


def _trunk(task: Task, _store: Store, settings: Settings) -> Products:
    from viamachinae.anomaly import engine_for, make_trunk

    density = make_trunk(settings, cast("Coordinate", task.name), engine_for(settings))

    def write(path: Path) -> None:
        density.save(path)

    return Products({_trunk_path(task): write}, {"held_out": float(np.nanmax(density.held_out))})


def _trunk_path(task: Task | TaskRef) -> str:
    return f"trunk/{task.name}.npz"


def _scores(task: Task, store: Store, settings: Settings) -> Products:
    from viamachinae.anomaly import score_regions
    from viamachinae.density import ConditionalDensity
    from viamachinae.streams.regions import SignalRegion

    patch = task.work["patch"]
    stars = store.read(task.of("stars")[0], f"stars/{patch}.parquet", STARS)
    windows = [SignalRegion(**region) for region in task.work["regions"]]
    writers: dict[str, Callable[[Path], int | None]] = {}
    trunks = [ConditionalDensity.load(store.verified(ref, _trunk_path(ref))) for ref in task.of("trunk")]
    start = trunks[0] if trunks else None
    if settings.scan.keep_models:
        with scratch() as folder:
            models = folder / "models"
            models.mkdir()
            scored = score_regions(stars, windows, settings, patch, start, models)
            writers.update(_models(models, f"models/{task.name}"))
    else:
        scored = score_regions(stars, windows, settings, patch, start)
    scores = SCORES.stack(SCORES.conform(table) for table, _ in scored)
    regions = pd.DataFrame([row for _, rows in scored for row in rows], columns=REGIONS.names)
    writers[f"scores/{task.name}.parquet"] = table_writer(scores, SCORES)
    writers[f"regions/{task.name}.parquet"] = table_writer(regions, REGIONS)
    return Products(writers, {"n_regions": len(scored)})


def _models(folder: Path, relative: str) -> dict[str, Callable[[Path], None]]:
    """Return writers of the checkpoints in ``folder``, which is gone when they write."""

    def copy(content: bytes) -> Callable[[Path], None]:
        def write(path: Path) -> None:
            path.write_bytes(content)

        return write

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{relative}/{path.relative_to(folder).as_posix()}": copy(path.read_bytes()) for path in files}


def _lines(task: Task, store: Store, settings: Settings) -> Products:
    from viamachinae.streams.lines import search

    stars = store.read(task.of("stars")[0], f"stars/{task.name}.parquet", STARS)
    found = []
    for coordinate in settings.regions.coordinates:
        # A task's scores at a time: overlapping slices hold a star several times.
        parts = []
        for ref in task.of("scores"):
            if ref.name.split("/")[1] == coordinate:
                scores, fits, regions = read_scores(store, ref)
                parts.append(search(stars, scores, regions, settings, task.name, fits))
        found.append(ROIS.stack(parts).sort_values(["region", "slice"]))
    rois = ROIS.stack(found)
    return Products({f"rois/{task.name}.parquet": table_writer(rois, ROIS)}, {"n_rois": len(rois)})


def read_scores(store: Store, ref: TaskRef) -> tuple[pd.DataFrame, pd.DataFrame, list[SignalRegion]]:
    """Return the scores of one task, the fits that gave them (REGIONS), and their regions, each once."""
    from viamachinae.streams.regions import SignalRegion

    columns = ["row", "region", "slice", "log_r"]
    scores = store.read(ref, f"scores/{ref.name}.parquet", SCORES, columns)
    fits = store.read(ref, f"regions/{ref.name}.parquet", REGIONS)
    windows = fits[["coordinate", "region", "low", "high"]].drop_duplicates()
    regions = [SignalRegion(*values) for values in windows.itertuples(index=False, name=None)]
    return scores, fits, sorted(regions, key=lambda region: region.index)


def _fragments(task: Task, store: Store, settings: Settings) -> Products:
    from viamachinae.streams.fragments import build

    stars = store.read(task.of("stars")[0], f"stars/{task.name}.parquet", STARS)
    rois = store.read(task.of("lines")[0], f"rois/{task.name}.parquet", ROIS)
    fragments = build(stars, rois, task.work["patch"], settings)
    writers = {f"fragments/{task.name}.parquet": table_writer(fragments, FRAGMENTS)}
    return Products(writers, {"n_fragments": len(fragments)})


def _plain(value: Any) -> Any:
    """Return a report as JSON-like values (NumPy numbers become Python's)."""
    return json.loads(json.dumps(value, default=lambda v: v.item() if hasattr(v, "item") else str(v)))


#: The work of every stage, by name.
DEFAULT_STAGES: Mapping[str, StageFunction] = {
    "patches": _patches,
    "cells": _cells,
    "stars": _stars,
    "plan": _plan,
    "trunk": _trunk,
    "scores": _scores,
    "lines": _lines,
    "fragments": _fragments,
    "streams": candidate_products,
    "report": report_products,
}
