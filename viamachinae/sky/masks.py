"""Circles of known objects on the sky, and the area that is searched outside them."""

# ruff: noqa: PLC0415 - healpy, mocpy and astropy are slow to import: only where they are needed

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.vectors import as_float

__all__ = ["SearchedArea", "circles_of", "masked", "masked_by", "searched_area"]

# Pixels this many times smaller than the radius: a disc holds about 80,000, and counting their
# centres gives its area, less three hundred small circles, to better than 0.1 per cent.
_PIXELS_PER_RADIUS = 160.0
_NSIDES = tuple(2**k for k in range(6, 15))


@dataclass(frozen=True)
class SearchedArea:
    """The area (deg2) that a scan searches, known objects left out.

    Parameters
    ----------
    union : float
        Area on the sky, overlaps counted once.
    total : float
        Sum over the patches, overlaps counted as often as they are searched.
    nside : int
        Resolution of the HEALPix counting.
    masked : float
        Area of the searched discs that lies inside known objects, overlaps counted once.
    """

    union: float
    total: float
    nside: int
    masked: float


def masked(ra: ArrayLike, dec: ArrayLike, circles: Iterable[tuple[float, float, float]]) -> NDArray[np.bool_]:
    """Return which of ``ra, dec`` (deg, ``(n,)``) lie in one of ``circles`` (ra, dec, radius; deg)."""
    return masked_by(ra, dec, circles) >= 0


def masked_by(
    ra: ArrayLike, dec: ArrayLike, circles: Iterable[tuple[float, float, float]]
) -> NDArray[np.int32]:
    """Return the first of ``circles`` that each of ``ra, dec`` (deg, ``(n,)``) lies in, -1 for none."""
    ra, dec = np.atleast_1d(as_float(ra)), np.atleast_1d(as_float(dec))
    found = np.full(ra.shape, -1, dtype=np.int32)
    order = np.argsort(dec)
    sorted_dec = dec[order]
    for i, (centre_ra, centre_dec, radius) in enumerate(circles):
        # a circle reaches no further in declination than its radius: judge only that band
        low, high = np.searchsorted(sorted_dec, [centre_dec - radius - 1e-9, centre_dec + radius + 1e-9])
        band = order[low:high]
        near = PatchFrame(centre_ra, centre_dec).separation(ra[band], dec[band]) <= radius
        inside = band[near]
        found[inside[found[inside] < 0]] = i
    return found


def circles_of(masks: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Return the circles (ra, dec, radius; deg) of a table of masks (``schema.MASKS``)."""
    return list(masks[["ra", "dec", "radius"]].itertuples(index=False, name=None))


def searched_area(
    patches: pd.DataFrame, radius: float, circles: Iterable[tuple[float, float, float]] = ()
) -> SearchedArea:
    """Return the area within ``radius`` of the patch centres and outside ``circles``.

    HEALPix pixel centres are counted, at pixels of at most radius / 160: the area of
    a disc is right to 0.05 per cent, also where hundreds of small circles are taken
    out of it. A circle smaller than a pixel is right on average only.

    Parameters
    ----------
    patches : DataFrame
        ``schema.PATCHES``; its own ``radius`` column is not used.
    radius : float
        Radius that is searched (deg), ``fiducial.radius`` of the settings.
    circles : iterable of (ra, dec, radius)
        Masked circles (deg, ICRS).
    """
    import healpy

    fine = [n for n in _NSIDES if np.degrees(healpy.nside2resol(n)) <= radius / _PIXELS_PER_RADIUS]
    nside = fine[0] if fine else _NSIDES[-1]
    discs = [_disc(nside, ra, dec, radius) for ra, dec in patches[["ra", "dec"]].to_numpy(np.float64)]
    if not discs:
        return SearchedArea(0.0, 0.0, nside, 0.0)
    pixels, times = np.unique(np.concatenate(discs), return_counts=True)
    free = np.ones(len(pixels), dtype=np.bool_)
    for circle in circles:
        inside = _disc(nside, *circle)
        place = np.searchsorted(pixels, inside)
        place[place == len(pixels)] = 0
        free[place[pixels[place] == inside]] = False
    pixel_area = float(healpy.nside2pixarea(nside, degrees=True))
    union, total, held = int(free.sum()), int(times[free].sum()), int((~free).sum())
    return SearchedArea(union * pixel_area, total * pixel_area, nside, held * pixel_area)


def _disc(nside: int, ra: float, dec: float, radius: float) -> NDArray[np.int64]:
    """Return the HEALPix pixels (RING) whose centre is within ``radius`` (deg) of ``ra, dec`` (deg)."""
    import healpy

    pixels: NDArray[np.int64] = healpy.query_disc(
        nside, healpy.ang2vec(ra, dec, lonlat=True), np.radians(radius)
    )
    return pixels
