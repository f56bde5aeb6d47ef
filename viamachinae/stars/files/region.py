"""Which rows can be stars of a patch: by position, and by what statistics say of rows not yet read."""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.files.columns import numbers
from viamachinae.stars.healpix import ID_BITS, ID_ORDER, MARGIN, cells_near

__all__ = ["Near", "Region", "Span", "agreement"]

Span = tuple[float, float]

_ORDER = 10  # of the cells that a patch is made of here


@dataclass(frozen=True)
class Region:
    """A patch on the sky.

    Parameters
    ----------
    ra, dec : float
        Centre (deg, ICRS).
    radius : float
        Radius (deg).
    """

    ra: float
    dec: float
    radius: float

    def holds(self, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which positions (deg, ``(n,)``) lie in the patch; none without a value does."""
        inside: NDArray[np.bool_] = np.abs(dec - self.dec) <= self.radius + 1e-6
        rows = np.flatnonzero(inside & np.isfinite(ra))
        inside[:] = False
        inside[rows] = PatchFrame(self.ra, self.dec).separation(ra[rows], dec[rows]) <= self.radius
        return inside

    def reaches_cells(self, order: int, first: int, last: int) -> bool:
        """Return whether HEALPix cells (NESTED) ``first`` to ``last`` of an order come near the patch."""
        shift = 2 * (order - _ORDER)
        low, high = (
            (first >> shift, last >> shift) if shift >= 0 else (first << -shift, (last + 1 << -shift) - 1)
        )
        starts, ends = self._cells
        at = int(np.searchsorted(ends, low))
        return at < len(starts) and int(starts[at]) <= high

    def reaches_box(self, ra: Span, dec: Span) -> bool:
        """Return whether a box in right ascension and declination (deg) comes near the patch."""
        reach = self.radius + MARGIN
        if dec[0] > self.dec + reach or dec[1] < self.dec - reach:
            return False
        if abs(self.dec) + reach >= 90.0:
            return True
        half = np.degrees(np.arcsin(np.sin(np.radians(reach)) / np.cos(np.radians(self.dec))))
        return any(
            ra[0] <= self.ra + turn + half and ra[1] >= self.ra + turn - half for turn in (-360, 0, 360)
        )

    @cached_property
    def _cells(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last cell of every run of cells near the patch, ascending."""
        cells = cells_near(self.ra, self.dec, self.radius, _ORDER)
        gaps = np.flatnonzero(np.diff(cells) > 1)
        return cells[np.r_[0, gaps + 1]], cells[np.r_[gaps, len(cells) - 1]]


@dataclass(frozen=True)
class Near:
    """A patch in the terms of one table.

    Parameters
    ----------
    region : Region
        The patch.
    ra, dec, source_id : str
        The table's own names of these columns.
    factors : (float, float)
        What ``ra`` and ``dec`` are multiplied with to be degrees.
    healpix : (str, int)
        Column with the HEALPix cell (NESTED) of every row, where there is one, and its order.
    """

    region: Region
    ra: str
    dec: str
    source_id: str
    factors: tuple[float, float] = (1.0, 1.0)
    healpix: tuple[str, int] = ("_healpix_29", 29)

    @property
    def telling(self) -> tuple[str, ...]:
        """Columns whose range can tell that no row is near."""
        return (self.healpix[0], self.source_id, self.ra, self.dec)

    def holds(self, place: str, values: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return which rows of a table (its columns by its own names) lie in the patch."""
        ra, dec = (
            numbers(place, name, values[name]) * factor
            for name, factor in zip((self.ra, self.dec), self.factors, strict=True)
        )
        return self.region.holds(ra, dec)

    def excludes(self, spans: Mapping[str, Span], gaia_ids: Callable[[], bool]) -> bool:
        """Return whether no row of a part of the table can be near.

        Parameters
        ----------
        spans : mapping
            Least and largest value of the columns :attr:`telling`, where known. Positions that no
            star can have exclude nothing: the rows are read, and refused.
        gaia_ids : callable
            Says whether the identifiers hold HEALPix cells as Gaia's do; asked only when it matters.
        """
        ra, dec = (
            (spans[name][0] * factor, spans[name][1] * factor) if name in spans else limits
            for name, factor, limits in zip(
                (self.ra, self.dec), self.factors, ((0.0, 360.0), (-90.0, 90.0)), strict=True
            )
        )
        if ra[0] < 0.0 or ra[1] > 360.0 or abs(dec[0]) > 90.0 or abs(dec[1]) > 90.0:
            return False
        name, order = self.healpix
        cells = _cell_range(spans.get(name), 12 << 2 * order)
        if cells is not None and not self.region.reaches_cells(order, *cells):
            return True
        if not self.region.reaches_box(ra, dec):
            return True
        ids = _cell_range(spans.get(self.source_id), 12 << 2 * ID_ORDER + ID_BITS)
        if ids is None:
            return False
        cells = (ids[0] >> ID_BITS, ids[1] >> ID_BITS)
        return not self.region.reaches_cells(ID_ORDER, *cells) and gaia_ids()


def agreement(ids: NDArray[np.int64], ra: NDArray[np.float64], dec: NDArray[np.float64]) -> float:
    """Return the part of stars ``(n,)`` whose identifier holds the cell at their position (deg)."""
    import healpy

    cells = ids >> ID_BITS
    known = np.isfinite(ra) & (np.abs(dec) <= 90.0) & (cells >= 0) & (cells < 12 << 2 * ID_ORDER)
    if not known.any():
        return 0.0
    nside = 1 << ID_ORDER
    centres = healpy.pix2ang(nside, cells[known], nest=True, lonlat=True)
    there, here = (healpy.ang2vec(*at, lonlat=True) for at in (centres, (ra[known], dec[known])))
    apart = np.linalg.norm(there - here, axis=1)  # chords: as good as angles where they are small
    reach = healpy.max_pixrad(nside) + np.radians(MARGIN)
    return float((apart <= reach).sum() / len(ids))


def _cell_range(span: Span | None, end: int) -> tuple[int, int] | None:
    """Return a range of whole numbers from 0 to below ``end``, None where it is none."""
    if span is None or not 0 <= span[0] <= span[1] < end:
        return None
    return int(span[0]), int(span[1])
