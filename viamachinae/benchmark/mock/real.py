"""The mock sky beside real stars without photometry: counts and motions, in steps of parallax error.

Without G, the parallax error stands for it: both skies are sorted by it, and stars of
the same ranks are compared, so that neither the limit in G nor the scale of the errors, which differs from
field to field, enters. What the real stars have and the mock sky has not: quasars, streams, blends, errors
larger than stated.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from viamachinae.benchmark.mock.distances import chance_ks, ks
from viamachinae.benchmark.mock.options import Options
from viamachinae.benchmark.mock.skies import MOTIONS, Footprint, mock_stars, read_stars
from viamachinae.config.mocksky import MockSettings

__all__ = ["beside_real"]

_DEEPEST = 21.0  # mag: where Gaia's catalogue ends
_FIFTHS = 5
_COMPARED = ("pmra", "pmdec", "parallax")


def beside_real(options: Options) -> dict[str, Any] | None:
    """Return counts and distances to real stars; None where no file is given.

    Raises
    ------
    DataError
        The file cannot be used.
    """
    if options.real is None:
        return None
    theirs = read_stars(options.real, MOTIONS)
    theirs = theirs[theirs["parallax"] < options.parallax_max]
    footprint = Footprint.of(theirs, options.real)
    theirs = footprint.cut(theirs)
    mock = MockSettings(g_max=_DEEPEST, release=options.release)
    ours = mock_stars(mock, options.seed, footprint)
    ours = ours[ours["parallax"] < options.parallax_max]
    return {
        "area": footprint.area,
        "stars": len(theirs),
        "mock": len(ours),
        "g_max": _DEEPEST,
        "ks": ks(ours, theirs, _COMPARED),
        "ks_chance": chance_ks(len(ours), len(theirs)),
        "fifths": _fifths(*(t.sort_values("parallax_error") for t in (ours, theirs))),
    }


def _fifths(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[dict[str, Any]]:
    """Compare stars of the same ranks, a fifth of the real ones at a time."""
    edges = np.linspace(0, len(theirs), _FIFTHS + 1).astype(int)
    return [_fifth(ours[low:high], theirs[low:high]) for low, high in pairwise(edges)]


def _fifth(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, Any]:
    return {
        "stars": len(b),
        "parallax_error": float(b["parallax_error"].median()),
        "mock_parallax_error": float(a["parallax_error"].median()),
        "ks": ks(a, b, _COMPARED),
        "ks_chance": chance_ks(len(a), len(b)),
        "median_pmra": [float(t["pmra"].median()) for t in (a, b)],
        "median_pmdec": [float(t["pmdec"].median()) for t in (a, b)],
    }
