"""Gaia's identifiers and the HEALPix cells in them, and the cells near a patch.

``source_id`` holds the HEALPix cell (order 12, NESTED) of the source in its bits from 35 up, so a cell
is a range of identifiers. It is the cell of the source's first position: whoever chooses stars by
cells takes those within :data:`MARGIN` of a patch.
"""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["ID_BITS", "ID_ORDER", "MARGIN", "cells_near", "id_shift"]

#: Identifiers and positions of a star agree within arcseconds; this is far more, and costs next to nothing.
MARGIN = 0.05  # deg
#: HEALPix order of the cell in an identifier, and the bits below it.
ID_ORDER, ID_BITS = 12, 35


def id_shift(order: int) -> int:
    """Return the bits of an identifier below its cell of an order: ``source_id >> id_shift(order)`` is it."""
    return ID_BITS + 2 * (ID_ORDER - order)


def cells_near(ra: float, dec: float, radius: float, order: int) -> NDArray[np.int64]:
    """Return the cells (NESTED, ascending) that hold the sources of a circle, ``(n,)``.

    Parameters
    ----------
    ra, dec : float
        Centre (deg, ICRS).
    radius : float
        Radius (deg).
    order : int
        HEALPix order of the cells.
    """
    import healpy

    centre = healpy.ang2vec(ra, dec, lonlat=True)
    reach = np.radians(min(radius + MARGIN, 180.0))
    return np.sort(healpy.query_disc(1 << order, centre, reach, inclusive=True, fact=4, nest=True))
