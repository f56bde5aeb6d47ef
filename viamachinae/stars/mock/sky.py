"""The embedded mock sky: a seeded Milky Way with injected streams."""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed
from __future__ import annotations

import numpy as np
import pandas as pd

from viamachinae.config.settings import MockSettings
from viamachinae.errors import ConfigError
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.mock.cells import CELL_ORDER, cell_stars
from viamachinae.stars.mock.streams import stream_stars

__all__ = ["MOCK_COLUMNS", "mock_sky"]

#: Columns of the mock sky, in order.
MOCK_COLUMNS = (
    "source_id",
    "ra",
    "dec",
    "pmra",
    "pmdec",
    "parallax",
    "phot_g_mean_mag",
    "bp_rp",
    "pmra_error",
    "pmdec_error",
    "parallax_error",
    "truth",
)


def mock_sky(mock: MockSettings, scan_seed: int, ra: float, dec: float, radius: float) -> pd.DataFrame:
    """Return the mock sky's stars in a circle.

    The sky depends on ``mock`` and ``scan_seed`` alone: circles that overlap
    hold the same stars with the same ``source_id``. Stars of every parallax are
    there; selection cuts come later.

    Parameters
    ----------
    mock : MockSettings
        Limit in G, release imitated, number of stars, injected streams.
    scan_seed : int
        Seed of the scan.
    ra, dec : float
        Centre of the circle (deg, ICRS).
    radius : float
        Radius of the circle (deg), by angular separation.

    Returns
    -------
    DataFrame
        Sorted by ``source_id`` (int64; HEALPix level 12 NESTED in the bits from
        35 up, as Gaia's): ``ra``, ``dec`` (deg), ``pmra``, ``pmdec`` (mas/yr,
        the first times cos dec), ``parallax`` (mas), ``phot_g_mean_mag``,
        ``bp_rp`` (mag), ``pmra_error``, ``pmdec_error`` (mas/yr, float32),
        ``parallax_error`` (mas, float32), ``truth`` (str: the stream's name, ""
        for the Milky Way).

    Raises
    ------
    ConfigError
        The radius is not in 0 to 180 deg, a stream cannot be drawn, or the field
        lies too near the Galactic plane.
    DataError
        The centre is no place on the sky.
    """
    import healpy

    if not 0.0 < radius <= 180.0:
        msg = f"the radius of a mock sky must lie above 0 and up to 180 deg, got {radius}"
        raise ConfigError(msg)
    frame = PatchFrame(ra, dec)
    centre = healpy.ang2vec(ra, dec, lonlat=True)
    cells = healpy.query_disc(1 << CELL_ORDER, centre, np.radians(radius), inclusive=True, fact=4, nest=True)
    tables = [cell_stars(mock, scan_seed, int(cell)) for cell in np.sort(cells)]
    if mock.streams or mock.progenitors:
        tables.append(stream_stars(mock, scan_seed))
    cut = [t[frame.separation(t["ra"].to_numpy(), t["dec"].to_numpy()) <= radius] for t in tables]
    sky = pd.concat(cut, ignore_index=True).sort_values("source_id", ignore_index=True)
    return sky[list(MOCK_COLUMNS)]
