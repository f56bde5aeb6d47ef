"""The patches of a search: a HEALPix tiling with the disk left out, or given fields."""

# ruff: noqa: PLC0415 - healpy, mocpy and astropy are slow to import: only where they are needed

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from viamachinae.config.settings import PatchSettings
from viamachinae.errors import ConfigError
from viamachinae.schema import PATCHES
from viamachinae.sky.masks import masked
from viamachinae.sky.vectors import FloatArray

if TYPE_CHECKING:
    from mocpy import MOC

__all__ = ["coverage", "make_patches"]

# Order 9 cells are 7 arcmin wide, a small part of any patch's radius.
_MOC_ORDER = 9


def make_patches(settings: PatchSettings) -> pd.DataFrame:
    """Return the patches (``schema.PATCHES``) of a scan.

    Without given centres they are the pixels of a RING-ordered HEALPix tiling in
    Galactic coordinates, without those at abs(b) <= ``b_min`` and those whose
    centre lies in an excluded circle (Shih et al. 2021, section 3.1). A tile
    is named after its pixel ("P0123"), a given field after its place
    ("J0954.4+2412"), so that names survive added and removed patches.

    Raises
    ------
    ConfigError
        No patch is left, or two given centres have the same name (they lie
        within about an arcminute and a half).
    """
    frame = _given(settings) if settings.centres else _tiling(settings)
    frame["radius"] = settings.radius
    return PATCHES.conform(frame)


def coverage(patches: pd.DataFrame) -> MOC:
    """Return the union of the discs of ``patches`` as a MOC of order 9 (cells of 7 arcmin)."""
    import astropy.units as u
    from mocpy import MOC

    if patches.empty:
        return MOC.new_empty(_MOC_ORDER)
    discs = [
        MOC.from_cone(lon=ra * u.deg, lat=dec * u.deg, radius=radius * u.deg, max_depth=_MOC_ORDER)
        for ra, dec, radius in patches[["ra", "dec", "radius"]].to_numpy(np.float64)
    ]
    return discs[0].union(*discs[1:]) if len(discs) > 1 else discs[0]


def _tiling(settings: PatchSettings) -> pd.DataFrame:
    import healpy

    pixel = np.arange(healpy.nside2npix(settings.nside))
    longitude, latitude = healpy.pix2ang(settings.nside, pixel, lonlat=True)
    ra, dec = _turn(longitude, latitude, "galactic", "icrs")
    kept = (np.abs(latitude) > settings.b_min) & ~masked(ra, dec, settings.exclude)
    if not kept.any():
        msg = (
            f"patches: no tile of nside {settings.nside} is left at |b| > b_min = {settings.b_min} deg and "
            f"outside {len(settings.exclude)} excluded circles; lower b_min or exclude less"
        )
        raise ConfigError(msg)
    columns = {
        "patch": [f"P{p:04d}" for p in pixel[kept]],
        "ra": ra[kept],
        "dec": dec[kept],
        "l": longitude[kept],
        "b": latitude[kept],
        "healpix": pixel[kept],
    }
    return pd.DataFrame(columns)


def _given(settings: PatchSettings) -> pd.DataFrame:
    ra, dec = np.array(settings.centres, dtype=np.float64).T
    names = [_name(*centre) for centre in settings.centres]
    for i, name in enumerate(names):
        if name in names[:i]:
            first = settings.centres[names.index(name)]
            msg = (
                f"patches.centres: {list(first)} and {list(settings.centres[i])} are the same field {name} "
                "(names resolve 0.1 min of right ascension and 1 arcmin); remove one of them"
            )
            raise ConfigError(msg)
    longitude, latitude = _turn(ra, dec, "icrs", "galactic")
    columns = {"patch": names, "ra": ra, "dec": dec, "l": longitude, "b": latitude, "healpix": -1}
    return pd.DataFrame(columns)


def _name(ra: float, dec: float) -> str:
    """Return the name of a field, truncated (not rounded) as the IAU asks; 1e-6 undoes binary fractions."""
    hours, tenths = divmod(int(ra * 40.0 + 1e-6), 600)
    degrees, minutes = divmod(int(abs(dec) * 60.0 + 1e-6), 60)
    sign = "-" if dec < 0.0 else "+"
    return f"J{hours % 24:02d}{tenths / 10.0:04.1f}{sign}{degrees:02d}{minutes:02d}"


def _turn(lon: FloatArray, lat: FloatArray, old: str, new: str) -> tuple[FloatArray, FloatArray]:
    """Return ``lon, lat`` (deg) of one astropy frame in another; a few hundred at most."""
    import astropy.units as u
    from astropy.coordinates import SkyCoord

    points = SkyCoord(lon * u.deg, lat * u.deg, frame=old).transform_to(new).spherical
    return points.lon.deg, points.lat.deg
