"""Photometry corrected for Galactic dust, and which photometry a table is used with.

The reddening E(B-V) of the map gives the extinction at 550 nm, A_0 = 3.1 x 0.86 x E(B-V): the map of
Schlegel, Finkbeiner & Davis (1998, ApJ 500, 525) reads too high by 14 % (Schlafly & Finkbeiner 2011, ApJ
737, 103). Extinction in Gaia's broad bands depends on the colour of the star:

- Gaia DR2: A_m = k_m A_0, k_m of Gaia Collaboration, Babusiaux et al. (2018, A&A 616, A10), eq. 1, table 1;
- Gaia DR3: the same with one more order in A_0, for the passbands of Riello et al. (2021) and the extinction
  curve of Fitzpatrick et al. (2019, ApJ 886, 108): the main-sequence table that ESA publishes as
  "Gaia (E)DR3 extinction law" (www.cosmos.esa.int/web/gaia/edr3-extinction-law).

The correction takes all of the dust of the map to lie in front of the star, as it does for the halo.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from viamachinae.errors import DataError

__all__ = ["CORRECTED", "RAW", "Photometry", "a_0", "coefficients", "corrected", "deredden", "photometry"]

Array = NDArray[np.float64]


class Photometry(NamedTuple):
    """The columns that hold magnitude and colour (mag)."""

    g: str
    bp_rp: str


#: As measured, and as corrected for extinction.
RAW = Photometry("phot_g_mean_mag", "bp_rp")
CORRECTED = Photometry("g_0", "bp_rp_0")

_R_V = 3.1
_RECALIBRATION = 0.86
#: Intrinsic colours for which the laws were fitted; redder and bluer stars get the law of the end.
_COLOURS = (-0.06, 2.5)
#: Each leaves at most 0.17 A_0 of the error of the intrinsic colour.
_ITERATIONS = 12

#: Powers of (colour, A_0) that the columns of the tables below multiply.
_POWERS = ((0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (1, 2))
#: k of G, BP, RP, one row a band.
_LAWS: dict[str, Array] = {
    "gaia-dr2": np.array(
        [
            [0.9761, -0.1704, 0.0086, 0.0011, -0.0438, 0.0013, 0.0, 0.0099, 0.0, 0.0],
            [1.1517, -0.0871, -0.0333, 0.0173, -0.0230, 0.0006, 0.0, 0.0043, 0.0, 0.0],
            [0.6104, -0.0170, -0.0026, -0.0017, -0.0078, 0.00005, 0.0, 0.0006, 0.0, 0.0],
        ]
    ),
    "gaia-dr3": np.array(
        [
            [
                *(0.995969721536602, -0.159726460302015, 0.0122380738156057, 0.00090726555099859),
                *(-0.0377160263914123, 0.00151347495244888, -2.52364537395142e-05),
                *(0.0114522658102451, -0.000936914989014318, -0.000260296774134201),
            ],
            [
                *(1.15363197483424, -0.0814012991657388, -0.036013023976704, 0.0192143585568966),
                *(-0.022397548243016, 0.000840562680547171, -1.31018008013549e-05),
                *(0.00660124080271006, -0.000882247501989453, -0.000111215755291684),
            ],
            [
                *(0.66320787941067, -0.0179847164933981, 0.000493769449961458, -0.00267994405695751),
                *(-0.00651422146709376, 3.30179903473159e-05, 1.57894227641527e-06),
                *(-7.9800898337247e-05, 0.000255679812110045, 1.10476584967393e-05),
            ],
        ]
    ),
}


def photometry(columns: Iterable[object]) -> Photometry:
    """Return which photometry a table is used with: the corrected where it has it, else the measured.

    Parameters
    ----------
    columns : iterable of str
        Columns of the table (``schema.STARS`` or ``schema.MEMBERS``), or the table itself.
    """
    return CORRECTED if set(CORRECTED) <= set(columns) else RAW


def a_0(ebv: ArrayLike) -> Array:
    """Return the extinction at 550 nm (mag) for E(B-V) as the map tabulates it (mag)."""
    return _R_V * _RECALIBRATION * np.asarray(ebv, np.float64)


def coefficients(colour: ArrayLike, extinction: ArrayLike, release: str) -> Array:
    """Return A_m / A_0 of G, BP and RP, shape (3, n).

    Parameters
    ----------
    colour : array_like, (n,)
        Intrinsic BP-RP (mag).
    extinction : array_like, (n,)
        A_0 (mag).
    release : {"gaia-dr2", "gaia-dr3"}
        Whose passbands.

    Raises
    ------
    DataError
        There is no law for the release.
    """
    if release not in _LAWS:
        msg = (
            f"no extinction law for the passbands of release {release!r}; there are laws for "
            f'{", ".join(_LAWS)}: set stars.release, or extinction.map = "none"'
        )
        raise DataError(msg)
    x = np.clip(np.asarray(colour, np.float64), *_COLOURS)
    a = np.asarray(extinction, np.float64)
    terms = np.stack([x**i * a**j for i, j in _POWERS])
    return np.asarray(_LAWS[release] @ terms)


def deredden(g: ArrayLike, bp_rp: ArrayLike, ebv: ArrayLike, release: str) -> tuple[Array, Array]:
    """Return G and BP-RP before the dust.

    The coefficients depend on the colour that is sought, so it is found by iteration.

    Parameters
    ----------
    g, bp_rp : array_like, (n,)
        G and BP-RP as measured (mag).
    ebv : array_like, (n,)
        E(B-V) as the map of Schlegel et al. tabulates it (mag).
    release : {"gaia-dr2", "gaia-dr3"}
        Whose passbands.

    Returns
    -------
    g_0, bp_rp_0 : ndarray, (n,)
        Corrected (mag).
    """
    observed, extinction = np.asarray(bp_rp, np.float64), a_0(ebv)
    colour = observed
    for _ in range(_ITERATIONS):
        k = coefficients(colour, extinction, release)
        colour = observed - (k[1] - k[2]) * extinction
    k = coefficients(colour, extinction, release)
    return np.asarray(g, np.float64) - k[0] * extinction, colour


def corrected(stars: pd.DataFrame, ebv: ArrayLike, release: str) -> pd.DataFrame:
    """Return stars with ``g_0``, ``bp_rp_0`` and ``ebv`` (mag) beside what was measured.

    Parameters
    ----------
    stars : DataFrame
        With ``phot_g_mean_mag`` and ``bp_rp`` (mag).
    ebv : array_like, (n,)
        E(B-V) of the map towards the stars (mag).
    release : {"gaia-dr2", "gaia-dr3"}
        Whose passbands.
    """
    g, bp_rp = deredden(stars[RAW.g].to_numpy(), stars[RAW.bp_rp].to_numpy(), ebv, release)
    return stars.assign(**{CORRECTED.g: g, CORRECTED.bp_rp: bp_rp, "ebv": np.asarray(ebv, np.float64)})
