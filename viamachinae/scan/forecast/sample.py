"""Patches that are loaded to measure a scan by, and star counts that say which patches they stand for."""

from __future__ import annotations

import logging
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import MockSettings, Settings
from viamachinae.scan.forecast.fits import FitCost, fit_cost
from viamachinae.scan.masking import masks_near
from viamachinae.streams.regions import SignalRegion

__all__ = ["Sample", "load_sample", "star_weights"]

logger = logging.getLogger(__name__)

_Window = tuple[SignalRegion, int, int, int, int]

#: Rows of the star tables up to which all positions are read to count the stars of the patches.
_MOST_POSITIONS = 50_000_000
_COUNT_NSIDE = 64
#: Part of the mock sky's stars that is drawn to compare its patches.
_THINNED = 0.05
#: Faint limit in G (mag) of the archives without a cut, near enough, and of any mock sky.
_DEEPEST = 21.0


@dataclass(frozen=True)
class Sample:
    """A patch that was loaded, and what that took on this machine.

    Parameters
    ----------
    patch : str
        Its name.
    n_stars, n_fiducial : int
        Stars after the selection, and those of them that pass the fiducial cuts.
    windows : tuple of (SignalRegion, int, int, int, int)
        Windows that hold enough stars here or in a patch that is like this one, with their
        stars, their fiducial stars, their regions of interest, and the fiducial stars of these, summed.
    load, prepare : float
        Time to load and publish the stars, files waited for, and processor time to read them
        back for one score task (s).
    line : float
        Processor time to search one region of interest (s); not a number where there is none.
    row_disk, row_memory : float
        Bytes of one star in the published table and in memory.
    fit : FitCost
        Time of what the scorer fits beside densities.
    """

    patch: str
    n_stars: int
    n_fiducial: int
    windows: tuple[_Window, ...]
    load: float
    prepare: float
    line: float
    row_disk: float
    row_memory: float
    fit: FitCost


def load_sample(settings: Settings, patch: pd.Series, factors: tuple[float, float]) -> Sample:
    """Load a patch and take its numbers; ``factors``: by which its stars are scaled at least and at most."""
    from viamachinae.anomaly.base import PatchStars
    from viamachinae.schema import STARS
    from viamachinae.schema.io import read_table, write_table
    from viamachinae.sky.windows import slices
    from viamachinae.stars.load import load_patch
    from viamachinae.streams.regions import orthogonal, signal_regions

    logger.info("loading patch %s", patch["patch"])
    with tempfile.TemporaryDirectory(prefix="vm-") as folder:
        path = Path(folder) / "stars.parquet"
        began = time.perf_counter()
        loaded = load_patch(_stand_in(settings), patch, masks=masks_near(settings, patch))
        write_table(loaded.table, STARS, path)
        load = time.perf_counter() - began
        stars, read = _timed(lambda: read_table(path, STARS))
        row_disk = path.stat().st_size / len(stars)
    bounds = {
        "min_stars": math.floor(settings.regions.min_stars / factors[1]),
        "max_stars": math.ceil(settings.regions.max_stars / factors[0]),
    }
    fiducial = stars["fiducial"].to_numpy()
    windows = []
    for coordinate in settings.regions.coordinates:
        m, other = (stars[c].to_numpy(np.float64) for c in (coordinate, orthogonal(coordinate)))
        for region in signal_regions(stars, coordinate, settings.regions.model_copy(update=bounds)):
            inside = region.holds(m)
            ranked = inside & fiducial
            parts = slices(other[ranked], settings.roi)
            n_sliced = sum(int(part.holds(other[ranked]).sum()) for part in parts)
            windows.append((region, int(inside.sum()), int(ranked.sum()), len(parts), n_sliced))
    middling = _middling(windows)
    _, transform = _timed(lambda: PatchStars.of(stars, settings.regions.coordinates[0], settings))
    return Sample(
        patch=str(patch["patch"]),
        n_stars=len(stars),
        n_fiducial=int(fiducial.sum()),
        windows=tuple(windows),
        load=load,
        prepare=read + transform,
        line=math.nan if middling is None else _line_seconds(settings, stars, middling),
        row_disk=row_disk,
        row_memory=float(stars.memory_usage(deep=False).sum()) / len(stars),
        fit=FitCost() if middling is None else fit_cost(settings, stars, middling[0]),
    )


def _stand_in(settings: Settings) -> Settings:
    """Return settings whose patches can be loaded now: the mock sky stands in for an archive.

    It goes as deep as the archive, and what the settings say of a mock sky is not said of it.
    """
    if not settings.stars.downloads:
        return settings
    g_max = min(settings.selection.g_max or _DEEPEST, _DEEPEST)
    changes = {
        "stars": settings.stars.model_copy(update={"source": "mock", "carry": (), "release": "unknown"}),
        "mock": MockSettings().model_copy(update={"release": settings.stars.gaia_release, "g_max": g_max}),
        "selection": settings.selection.model_copy(
            update={"ruwe_max": None, "flux_excess_sigma": None, "zero_point": False}
        ),
        "extinction": settings.extinction.model_copy(update={"map": "none"}),
    }
    return settings.model_copy(update=changes)


def _middling(windows: Sequence[_Window]) -> _Window | None:
    """Return the window with regions of interest that has a median number of fiducial stars."""
    searched = sorted((w for w in windows if w[3]), key=lambda w: w[2])
    return searched[len(searched) // 2] if searched else None


def _line_seconds(settings: Settings, stars: pd.DataFrame, window: _Window) -> float:
    """Return the time (s) of one region of interest of a region, with random scores."""
    from viamachinae.sky.windows import WHOLE_REGION
    from viamachinae.streams.lines import search

    region, n_rois = window[0], window[3]
    ranked = region.holds(stars[region.coordinate].to_numpy(np.float64)) & stars["fiducial"].to_numpy()
    rows = np.flatnonzero(ranked).astype(np.int32)
    log_r = np.random.default_rng(0).standard_normal(len(rows)).astype(np.float32)
    scores = pd.DataFrame({"row": rows, "region": region.index, "slice": WHOLE_REGION, "log_r": log_r})
    return min(_timed(lambda: search(stars, scores, [region], settings, ""))[1] for _ in range(2)) / n_rois


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what the work gives and the processor time (s) that it takes, busy neighbours not counted."""
    began = time.process_time()
    value = work()
    return value, time.process_time() - began


def star_weights(settings: Settings, patches: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return numbers in proportion to the stars of the patches, before any cut; ``None``: not cheaply."""
    if settings.stars.source == "mock" or settings.stars.downloads:
        return _mock_weights(settings, patches)
    if settings.stars.source == "files":
        return _file_weights(settings, patches)
    return None


def _mock_weights(settings: Settings, patches: pd.DataFrame) -> NDArray[np.float64]:
    """Return the stars of a thinned mock sky in the cells of the patches' centres."""
    import healpy

    from viamachinae.stars.mock.cells import CELL_ORDER, cell_stars

    mock = _stand_in(settings).mock
    thin = mock.model_copy(update={"density": _THINNED * mock.density})
    ra, dec = (patches[n].to_numpy(np.float64) for n in ("ra", "dec"))
    cells = healpy.ang2pix(1 << CELL_ORDER, ra, dec, nest=True, lonlat=True)
    return np.array([len(cell_stars(thin, settings.scan.seed, int(cell))) for cell in cells], float)


def _file_weights(settings: Settings, patches: pd.DataFrame) -> NDArray[np.float64] | None:
    """Return the rows of the files within each patch, from the positions alone, unless they are too many."""
    import healpy

    from viamachinae.config.paths import is_url
    from viamachinae.stars.files.columns import numbers
    from viamachinae.stars.files.formats import read_columns
    from viamachinae.stars.files.tables import examine

    sources = examine(settings.stars)
    if any(is_url(source.head.path) for source in sources):
        return None
    if sum(_MOST_POSITIONS + 1 if s.head.rows is None else s.head.rows for s in sources) > _MOST_POSITIONS:
        return None
    sky = np.zeros(healpy.nside2npix(_COUNT_NSIDE))
    for source in sources:
        names = {name: source.names[name] for name in ("ra", "dec")}
        for chunk in (c for file in source.files() for c in read_columns(file, names)):
            ra, dec = (
                numbers(source.head.path, own, chunk.values[own]) * source.factors.get(name, 1.0)
                for name, own in names.items()
            )
            usable = np.isfinite(ra) & (np.abs(dec) <= 90.0)
            pixels = healpy.ang2pix(_COUNT_NSIDE, ra[usable], dec[usable], lonlat=True)
            sky += np.bincount(pixels, minlength=len(sky))
    centres = healpy.ang2vec(patches["ra"].to_numpy(), patches["dec"].to_numpy(), lonlat=True)
    return np.array(
        [
            sky[healpy.query_disc(_COUNT_NSIDE, centre, np.radians(radius))].sum()
            for centre, radius in zip(centres, patches["radius"], strict=True)
        ]
    )
