"""One sky against another, band by band of Galactic latitude and bin by bin of colour and magnitude."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from viamachinae.benchmark.mock.distances import (
    chance_counts,
    chance_ks,
    classifier_auc,
    divergence,
    ks,
)
from viamachinae.benchmark.mock.skies import COLUMNS, latitude

__all__ = ["ENOUGH", "band", "bands", "bins"]

Row = dict[str, Any]

#: Stars of a bin below which it is left out.
ENOUGH = 2000
_BAND = 10.0  # deg
_OFFSET = 5.0  # deg: bands from 35 to 45 deg and so on
_CMD, _MOTION = ("phot_g_mean_mag", "bp_rp"), ("pmra", "pmdec")
_G_EDGES = (-np.inf, 14.0, 15.0, 16.0, 17.0, 18.0, 19.0, 19.5, np.inf)  # mag
_COLOUR_EDGES = (-np.inf, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, np.inf)  # mag


def bands(stars: pd.DataFrame) -> list[tuple[float, float]]:
    """Return the bands of |b| (deg) with at least five bins' worth of stars."""
    b = np.abs(latitude(stars))
    low, counts = np.unique(np.floor((b - _OFFSET) / _BAND) * _BAND + _OFFSET, return_counts=True)
    return [
        (max(float(v), 0.0), float(v) + _BAND) for v, n in zip(low, counts, strict=True) if n >= 5 * ENOUGH
    ]


def band(a: pd.DataFrame, other: pd.DataFrame, b: pd.DataFrame, generator: np.random.Generator) -> Row:
    """Return how far a mock sky is from another sky in one band, and from a second mock sky.

    Parameters
    ----------
    a, other : DataFrame
        The mock sky twice, from two seeds: their distance is what chance makes.
    b : DataFrame
        The other sky.
    generator : numpy.random.Generator
        Chooses the stars that the classifier sees.
    """
    return {
        "stars": len(b),
        "mock": len(a),
        "counts": len(a) / len(b),
        "counts_chance": chance_counts(len(a), len(b)),
        "ks": ks(a, b, COLUMNS),
        "ks_chance": chance_ks(len(a), len(b)),
        "cmd_bits": divergence(a, b, _CMD),
        "cmd_bits_chance": divergence(a, other, _CMD),
        "motion_bits": divergence(a, b, _MOTION),
        "motion_bits_chance": divergence(a, other, _MOTION),
        "auc": classifier_auc(a, b, COLUMNS, generator),
        "auc_chance": classifier_auc(a, other, COLUMNS, generator),
        "bins": list(bins(a, b)),
    }


def bins(a: pd.DataFrame, b: pd.DataFrame) -> Iterator[Row]:
    """Yield counts and distances in bins of G, of BP-RP, and of both, that hold enough stars.

    Parameters
    ----------
    a : DataFrame
        The mock sky.
    b : DataFrame
        The other sky, whose stars are counted.
    """
    whole = (-np.inf, np.inf)
    g_bins, colour_bins = [whole, *pairwise(_G_EDGES)], [whole, *pairwise(_COLOUR_EDGES)]
    for g in g_bins:
        for colour in colour_bins:
            theirs = _inside(b, g, colour)
            if (g, colour) != (whole, whole) and len(theirs) >= ENOUGH:
                ours = _inside(a, g, colour)
                yield {
                    "g": _finite(g),
                    "bp_rp": _finite(colour),
                    "stars": len(theirs),
                    "counts": len(ours) / len(theirs),
                    "counts_chance": chance_counts(len(ours), len(theirs)),
                    "ks": ks(ours, theirs, COLUMNS),
                    "ks_chance": chance_ks(len(ours), len(theirs)),
                }


def _inside(stars: pd.DataFrame, g: tuple[float, float], colour: tuple[float, float]) -> pd.DataFrame:
    return stars[
        stars["phot_g_mean_mag"].between(*g, inclusive="left")
        & stars["bp_rp"].between(*colour, inclusive="left")
    ]


def _finite(edges: tuple[float, float]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in edges]
