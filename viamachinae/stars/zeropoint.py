"""Parallaxes corrected for the zero-point of Gaia DR3 (Lindegren et al. 2021, A&A 649, A4)."""

# ruff: noqa: PLC0415 - an extra of the installation: imported only where it is asked for

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["corrected_parallax", "zero_point"]

Array = NDArray[np.float64]

#: Solutions with a parallax: five parameters, and six (with a colour from the astrometry).
_SOLVED = (31, 95)


def zero_point(stars: pd.DataFrame) -> Array:
    """Return the zero-point of parallax (mas); NaN where the published function does not hold.

    It holds for solutions of five or six parameters, 6 < G < 21, and effective wavenumbers from 1.1
    to 1.9 (five parameters) or pseudocolours from 1.24 to 1.72 per um (six).

    Parameters
    ----------
    stars : DataFrame
        Of Gaia DR3: ``phot_g_mean_mag`` (mag), ``nu_eff_used_in_astrometry``, ``pseudocolour``
        (1/um), ``ecl_lat`` (deg), ``astrometric_params_solved``.
    """
    from zero_point import zpt

    columns = ("phot_g_mean_mag", "nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat")
    solved = stars["astrometric_params_solved"].to_numpy(np.float64)
    rows = np.isin(solved, _SOLVED)
    found = np.full(len(stars), np.nan)
    if rows.any():
        zpt.load_tables()
        inputs = [stars[name].to_numpy(np.float64)[rows] for name in columns]
        found[rows] = zpt.get_zpt(*inputs, solved[rows], _warnings=False)
    return found


def corrected_parallax(stars: pd.DataFrame) -> tuple[Array, int]:
    """Return the parallaxes minus their zero-point, and how many had to stay as they are.

    Parameters
    ----------
    stars : DataFrame
        With ``parallax`` (mas) and the columns of :func:`zero_point`.

    Returns
    -------
    parallax : ndarray, (n,)
        Corrected where the zero-point is known, as measured elsewhere (mas).
    uncorrected : int
        Stars with a parallax and no zero-point.
    """
    parallax = stars["parallax"].to_numpy(np.float64)
    offset = zero_point(stars)
    without = np.isnan(offset)
    return parallax - np.where(without, 0.0, offset), int(np.count_nonzero(without & ~np.isnan(parallax)))
