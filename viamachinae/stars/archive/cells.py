"""The HEALPix cells that are downloaded once and shared by overlapping patches.

A cell is a range of identifiers (``stars.healpix``), which every archive has an index on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from viamachinae.errors import DataError
from viamachinae.stars.healpix import cells_near, id_shift

__all__ = ["Cell", "cells_of_patch"]


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
        shift = id_shift(self.order)
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
    return [Cell(order, int(pixel)) for pixel in cells_near(ra, dec, radius, order)]
