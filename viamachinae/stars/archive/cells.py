"""The HEALPix cells that are downloaded once and shared by overlapping patches.

Gaia's ``source_id`` holds the HEALPix cell (level 12, NESTED) of the source in its bits from 35 up, so a
cell is a range of identifiers, which every archive has an index on. The cell in the identifier is
that of the source's first position: patches ask for the cells within a margin of them.
"""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from viamachinae.errors import DataError

__all__ = ["Cell", "cells_of_patch"]

# Identifiers and positions agree within arcseconds; this is far more, and costs next to nothing.
_MARGIN = 0.05  # deg
_ID_BITS = 59  # source_id >> (59 - 2 order) is the cell of that order


@dataclass(frozen=True, order=True)
class Cell:
    """A HEALPix cell (NESTED, ICRS), and the source identifiers in it.

    Parameters
    ----------
    order : int
        HEALPix order; nside is 2**order.
    pixel : int
        Number of the cell in NESTED order.
    """

    order: int
    pixel: int

    @property
    def name(self) -> str:
        """The cell as it names its table, for example ``o4-00217``."""
        return f"o{self.order}-{self.pixel:05d}"

    @property
    def id_range(self) -> tuple[int, int]:
        """Lowest identifier of the cell, and the lowest one behind it."""
        shift = _ID_BITS - 2 * self.order
        return self.pixel << shift, (self.pixel + 1) << shift

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the cell of a :attr:`name`.

        Raises
        ------
        DataError
            It is no such name.
        """
        found = re.fullmatch(r"o(\d+)-(\d+)", name)
        if found is None:
            msg = f"{name!r} names no HEALPix cell; expected its order and number, as in o4-00217"
            raise DataError(msg)
        return cls(int(found[1]), int(found[2]))


def cells_of_patch(ra: float, dec: float, radius: float, order: int) -> list[Cell]:
    """Return the cells that hold the sources of a circle, sorted.

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
    reach = np.radians(min(radius + _MARGIN, 180.0))
    pixels = healpy.query_disc(1 << order, centre, reach, inclusive=True, fact=4, nest=True)
    return [Cell(order, int(pixel)) for pixel in np.sort(pixels)]
