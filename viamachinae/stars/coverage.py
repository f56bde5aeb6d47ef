"""How much of a patch a set of stars covers."""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from viamachinae.sky.vectors import as_float

__all__ = ["covered_fraction"]

# Stars a cell should hold on average, so that a cell without any is a hole and no chance.
_STARS_PER_CELL = 20
_MAX_CELLS = 300


def covered_fraction(ra: ArrayLike, dec: ArrayLike, centre: tuple[float, float], radius: float) -> float:
    """Return the part of a patch's HEALPix cells that hold at least one star.

    Cells have about a fifteenth of the patch's radius (nside 32 at 15 deg), and are larger
    where there are few stars: a sparse table that covers the patch has no
    empty cells by chance alone. Cells that the table's edge crosses count as covered.

    Parameters
    ----------
    ra, dec : array_like, (n,)
        Stars inside the patch (deg, ICRS).
    centre : (float, float)
        Centre of the patch (ra, dec; deg).
    radius : float
        Radius of the patch (deg).
    """
    import healpy

    ra, dec = as_float(ra), as_float(dec)
    area = 2.0 * np.pi * (1.0 - np.cos(np.radians(radius)))
    wanted = min(ra.size / _STARS_PER_CELL, _MAX_CELLS)
    nside = 1
    while nside < 2**13 and healpy.nside2pixarea(2 * nside) * wanted >= area:
        nside *= 2
    cells = healpy.query_disc(nside, healpy.ang2vec(*centre, lonlat=True), np.radians(radius))
    if cells.size == 0:  # one cell is larger than the patch
        return 1.0 if ra.size else 0.0
    return float(np.isin(cells, healpy.ang2pix(nside, ra, dec, lonlat=True)).mean())
