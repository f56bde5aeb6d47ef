"""The mock sky compared with other skies: distances, speed, and whether the target is kept.

The result is one dictionary: ``stars``, ``mock``, ``area`` (deg^2) and the cuts;
``bands``, a row for each band of Galactic latitude with ``counts`` (mock / other),
``ks`` by column, ``cmd_bits`` and ``motion_bits`` (Jensen-Shannon), ``auc`` of a
classifier of all five columns, the same with ``_chance`` behind it for what
chance alone makes, and ``bins`` of colour and magnitude; ``real``, the
comparison with real stars; ``speed``; ``kept``, the bands that keep the target.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from viamachinae.benchmark.mock.compare import band, bands
from viamachinae.benchmark.mock.figure import draw
from viamachinae.benchmark.mock.options import Options
from viamachinae.benchmark.mock.real import beside_real
from viamachinae.benchmark.mock.skies import COLUMNS, Footprint, latitude, mock_stars, read_stars
from viamachinae.benchmark.mock.table import show
from viamachinae.benchmark.mock.verdict import BANDS, kept
from viamachinae.benchmark.options import check_writable
from viamachinae.config.mocksky import MockSettings
from viamachinae.config.seeds import rng
from viamachinae.errors import DataError, TaskError
from viamachinae.stars.mock.sky import mock_sky

__all__ = ["Result", "Skies", "benchmark", "run", "skies"]

logger = logging.getLogger(__name__)

Result = dict[str, Any]
#: The mock sky, the same from another seed, and the other sky, each a table by band.
Skies = list[tuple[tuple[float, float], tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]]

_RADIUS = 15.0  # deg, of the patch that is timed


def run(options: Options) -> Result:
    """Compare; return the names and values that the module describes.

    Raises
    ------
    DataError
        A file cannot be used.
    """
    return _measured(options, *skies(options))


def skies(options: Options) -> tuple[Footprint, Skies]:
    """Return the footprint of the file, and the skies by band.

    Raises
    ------
    DataError
        The file cannot be used, or is not as deep as asked.
    """
    theirs = read_stars(options.galaxia, COLUMNS)
    deepest = float(theirs["phot_g_mean_mag"].max()) if len(theirs) else 0.0
    if deepest < options.g_max - 0.1:
        msg = f"{options.galaxia}: its stars end at G = {deepest:.2f}; give --g-max {deepest:.2f}"
        raise DataError(msg)
    cut = [_within(theirs, options)]
    footprint = Footprint.of(cut[0], options.galaxia)
    mock = MockSettings(g_max=options.g_max, release=options.release)
    logger.info("drawing the mock sky in %.0f square degrees", footprint.area)
    drawn = [_within(mock_stars(mock, options.seed + k, footprint), options) for k in (0, 1)]
    tables = [*drawn, footprint.cut(cut[0])]
    heights = [np.abs(latitude(t)) for t in tables]
    split = [
        (edges, tuple(t[(b >= edges[0]) & (b < edges[1])] for t, b in zip(tables, heights, strict=True)))
        for edges in bands(tables[2])
    ]
    return footprint, [(edges, (a, other, b)) for edges, (a, other, b) in split]


def _within(stars: pd.DataFrame, options: Options) -> pd.DataFrame:
    return stars[(stars["phot_g_mean_mag"] < options.g_max) & (stars["parallax"] < options.parallax_max)]


def _measured(options: Options, footprint: Footprint, split: Skies) -> Result:
    rows = []
    for edges, (a, other, b) in split:
        logger.info("comparing |b| = %g to %g deg, %d stars", *edges, len(b))
        generator = rng(options.seed, "benchmark-mock", int(edges[0]))
        rows.append({"b": list(edges)} | band(a, other, b, generator))
    return {
        "area": footprint.area,
        "g_max": options.g_max,
        "parallax_max": options.parallax_max,
        "release": options.release,
        "seed": options.seed,
        "stars": sum(row["stars"] for row in rows),
        "mock": sum(row["mock"] for row in rows),
        "bands": rows,
        "kept": [row["b"] for row in rows if kept(row)],
        "real": beside_real(options),
        "speed": _speed(footprint, options),
    }


def _speed(footprint: Footprint, options: Options) -> Result:
    """Return how fast one thread draws a whole patch around the middle of the footprint."""
    import healpy

    where = np.mean(healpy.pix2vec(1 << footprint.order, footprint.cells, nest=True), axis=1)
    ra, dec = (float(np.ravel(v)[0]) for v in healpy.vec2ang(where, lonlat=True))
    mock = MockSettings(release=options.release)
    begin = time.process_time()
    stars = len(mock_sky(mock, options.seed + 2, ra, dec, _RADIUS))
    seconds = time.process_time() - begin
    return {
        "ra": ra,
        "dec": dec,
        "radius": _RADIUS,
        "stars": stars,
        "seconds": seconds,
        "stars_per_second": stars / seconds,
        "seconds_per_million": 1e6 * seconds / max(stars, 1),
    }


def benchmark(options: Options, json_file: Path | None = None, figure: Path | None = None) -> Result:
    """Compare, print the table, and write what was asked for.

    Parameters
    ----------
    options : Options
        What is compared.
    json_file, figure : Path, optional
        Where the result and its drawing (PNG) go.

    Raises
    ------
    ConfigError
        A file's folder does not exist.
    DataError
        A file cannot be used.
    TaskError
        The mock sky misses the target, after everything was written.
    """
    check_writable(json_file, figure)
    footprint, split = skies(options)
    result = _measured(options, footprint, split)
    show(result)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        logger.info("wrote %s", json_file)
    if figure is not None and split:
        draw(split, figure)
        logger.info("wrote %s", figure)
    if len(result["kept"]) < BANDS:
        msg = (
            f"the mock sky keeps the target in {len(result['kept'])} of {len(result['bands'])} bands of "
            f"Galactic latitude, asked: {BANDS}; the lines above say what misses it"
        )
        raise TaskError(msg)
    return result
