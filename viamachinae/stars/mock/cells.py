"""Draw the mock Milky Way cell by cell, so that overlapping patches share their stars.

In each HEALPix cell and for each component, stars are drawn by rejection from
n(x) d^2 N(M_G < G_max - mu(d)): the proposal is constant in the cell and in
steps of ln d, at the largest value there, so that the accepted stars follow the
smooth model exactly and no seam shows between cells.
"""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.seeds import rng
from viamachinae.config.settings import MockSettings
from viamachinae.errors import ConfigError
from viamachinae.stars.healpix import ID_BITS, ID_ORDER
from viamachinae.stars.mock.galactocentric import SUN_R, galactic_xyz, proper_motions
from viamachinae.stars.mock.milkyway import COMPONENTS, Component, velocities
from viamachinae.stars.mock.noise import bp_rp_error, parallax_error, proper_motion_errors
from viamachinae.stars.mock.sequences import luminosity_function

__all__ = ["CELL_ORDER", "TrueStars", "cell_stars", "observe"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CELL_ORDER = 4  #: HEALPix order of the cells (nside 16, 3.7 deg)
_FINE_ORDER = 29  # the finest HEALPix grid: its pixels (0.4 mas) serve as positions
_PROBE_ORDER = 7  # grid on which the largest density of a cell is looked for
_LN_D = np.arange(np.log(0.01), np.log(300.0), 0.05)  # kpc
_MARGIN = 1.05  # the density may peak a little higher between the probes
_MOST = 5e6  # stars proposed in a cell for one component; half a gigabyte


@dataclass(frozen=True)
class TrueStars:
    """Stars before Gaia looks at them; every array is ``(n,)``.

    Parameters
    ----------
    ra, dec : ndarray
        Position (deg, ICRS).
    distance : ndarray
        Distance (kpc).
    pmra, pmdec : ndarray
        Proper motion (mas/yr), the first times cos(dec).
    g, bp_rp : ndarray
        Apparent G and BP-RP (mag).
    """

    ra: FloatArray
    dec: FloatArray
    distance: FloatArray
    pmra: FloatArray
    pmdec: FloatArray
    g: FloatArray
    bp_rp: FloatArray


def cell_stars(mock: MockSettings, scan_seed: int, cell: int) -> pd.DataFrame:
    """Return the Milky Way's stars of one cell.

    Parameters
    ----------
    mock : MockSettings
        Limit in G, release imitated, number of stars.
    scan_seed : int
        Seed of the scan.
    cell : int
        HEALPix cell (nside 16, NESTED, ICRS).

    Returns
    -------
    DataFrame
        The columns of :func:`viamachinae.stars.mock.sky.mock_sky`.

    Raises
    ------
    ConfigError
        The cell is so near the Galactic plane that its stars do not fit in memory.
    """
    generator = rng(scan_seed, "mock", int(cell))
    drawn = [_draw(component, mock, int(cell), generator) for component in COMPONENTS]
    pixels = np.concatenate([pixel for pixel, _ in drawn])
    stars = TrueStars(
        *(np.concatenate([getattr(s, f) for _, s in drawn]) for f in TrueStars.__dataclass_fields__)
    )
    ids = ((pixels >> 2 * (_FINE_ORDER - ID_ORDER)) << ID_BITS) + np.arange(1, len(pixels) + 1)
    return observe(stars, mock, generator).assign(source_id=ids, truth="")


def _draw(
    component: Component, mock: MockSettings, cell: int, generator: np.random.Generator
) -> tuple[IntArray, TrueStars]:
    """Return the finest HEALPix pixels and the stars of one component in one cell."""
    import healpy

    lf = luminosity_function(component.population)

    def weight(ra: FloatArray, dec: FloatArray, ln_d: FloatArray) -> FloatArray:
        x, y, z = galactic_xyz(ra, dec, np.exp(ln_d))
        return component.profile(np.hypot(x, y), z) * np.exp(3.0 * ln_d)

    shift = 2 * (_PROBE_ORDER - CELL_ORDER)
    probes = (cell << shift) + np.arange(1 << shift)
    corners = healpy.boundaries(1 << CELL_ORDER, cell, nest=True)
    ra, dec = healpy.pix2ang(1 << _PROBE_ORDER, probes, nest=True, lonlat=True)
    corner_ra, corner_dec = healpy.vec2ang(corners.T, lonlat=True)
    ra, dec = np.append(ra, corner_ra)[:, None], np.append(dec, corner_dec)[:, None]
    top = weight(ra, dec, _LN_D).max(axis=0)
    top = np.maximum(top[1:], top[:-1]) * lf.count(_limit(mock, _LN_D[:-1])) * _MARGIN

    area = np.pi / (3.0 * 4**CELL_ORDER)
    step = _LN_D[1] - _LN_D[0]
    expected = np.cumsum(top) * step * area * component.local_density * mock.density
    if expected[-1] > _MOST:
        msg = (
            f"the mock sky holds too many stars near (ra, dec) = ({ra[0, 0]:.1f}, {dec[0, 0]:.1f}) deg, "
            "where its dustless Milky Way is dense; choose fields further from the Galactic plane, or lower "
            f"mock.density (now {mock.density:g}) or mock.g_max (now {mock.g_max:g})"
        )
        raise ConfigError(msg)
    n = int(generator.poisson(expected[-1]))
    chosen = np.searchsorted(expected, generator.random(n) * expected[-1], side="right")
    ln_d = _LN_D[chosen] + step * generator.random(n)
    fine = 2 * (_FINE_ORDER - CELL_ORDER)
    pixels = (np.int64(cell) << fine) + generator.integers(0, 1 << fine, n, dtype=np.int64)
    ra, dec = healpy.pix2ang(1 << _FINE_ORDER, pixels, nest=True, lonlat=True)

    limit = _limit(mock, ln_d)
    keep = generator.random(n) * top[chosen] < weight(ra, dec, ln_d) * lf.count(limit)
    pixels, ra, dec, ln_d, limit = pixels[keep], ra[keep], dec[keep], ln_d[keep], limit[keep]
    distance = np.exp(ln_d)
    xyz = galactic_xyz(ra, dec, distance)
    feh = component.feh_gradient * (np.hypot(xyz[0], xyz[1]) - SUN_R)
    m_g, colour = lf.sample(limit, generator.random(len(limit)), feh)
    velocity = velocities(component, xyz, generator)
    pmra, pmdec = proper_motions(ra, dec, distance, velocity)
    return pixels, TrueStars(ra, dec, distance, pmra, pmdec, mock.g_max - limit + m_g, colour)


def _limit(mock: MockSettings, ln_d: FloatArray) -> FloatArray:
    """Return the faintest M_G (mag) seen at ln(distance / kpc)."""
    return np.asarray(mock.g_max - 10.0 - 5.0 / np.log(10.0) * ln_d)


def observe(stars: TrueStars, mock: MockSettings, generator: np.random.Generator) -> pd.DataFrame:
    """Return the stars as Gaia measures them, with standard errors by magnitude.

    The error of G, a few mmag even at the limit, is left out.

    Parameters
    ----------
    stars : TrueStars
        True positions, motions and magnitudes.
    mock : MockSettings
        Release imitated.
    generator : numpy.random.Generator
        Source of the errors.
    """
    n = len(stars.g)
    pmra_error, pmdec_error = proper_motion_errors(stars.g, mock.release)
    plx_error = parallax_error(stars.g, mock.release)
    draws = generator.standard_normal((4, n))
    return pd.DataFrame(
        {
            "ra": stars.ra,
            "dec": stars.dec,
            "pmra": stars.pmra + pmra_error * draws[0],
            "pmdec": stars.pmdec + pmdec_error * draws[1],
            "parallax": 1.0 / stars.distance + plx_error * draws[2],
            "phot_g_mean_mag": stars.g,
            "bp_rp": stars.bp_rp + bp_rp_error(stars.g, stars.bp_rp) * draws[3],
            "pmra_error": pmra_error.astype(np.float32),
            "pmdec_error": pmdec_error.astype(np.float32),
            "parallax_error": plx_error.astype(np.float32),
        }
    )
