"""Measurement noise for the Galaxia catalogues, whose stars are given as they are.

GDR2mock and GeDR3mock (Rybizki et al. 2018, PASP 130, 074101; 2020, PASP 132, 074501) list true values and,
beside them, the errors that Gaia would state. Drawn from those errors: proper motions and parallax, with
their correlations where the table has them. BP-RP gets the rough noise of the embedded mock sky
(``stars.mock.noise.bp_rp_error``), all of it in BP, the noisier band of faint stars. Positions stay: their
errors, below 2 mas, move no star of a search in degrees; so does G, whose errors are below 0.02 mag.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.stars.mock.noise import bp_rp_error

__all__ = ["CORRELATIONS", "observed"]

Array = NDArray[np.float64]

#: Used where a table has them; elsewhere the errors are independent.
CORRELATIONS = ("pmra_pmdec_corr", "parallax_pmra_corr", "parallax_pmdec_corr")
_MEASURED = ("pmra", "pmdec", "parallax")
#: A correlation of one would leave nothing to draw.
_LARGEST = 0.999


def observed(stars: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return stars as Gaia would measure them.

    Parameters
    ----------
    stars : DataFrame
        All stars of a cell in the order of ``source_id``: a star's noise follows from its row. With
        ``pmra``, ``pmdec`` (mas/yr), ``parallax`` (mas), their ``_error``, ``phot_g_mean_mag``,
        ``bp_rp`` (mag); perhaps ``phot_bp_mean_mag`` (mag) and :data:`CORRELATIONS`.
    rng : numpy.random.Generator
        Four normal numbers a star are drawn.

    Returns
    -------
    DataFrame
        A copy with noise. A value without an error becomes missing.
    """
    draws = rng.standard_normal((len(stars), 4)).T
    deviates = _correlated(draws[:3], [_correlation(stars, name) for name in CORRELATIONS])
    out = stars.copy()
    for name, deviate in zip(_MEASURED, deviates, strict=True):
        error = stars[f"{name}_error"].to_numpy(np.float64)
        out[name] = stars[name].to_numpy(np.float64) + error * deviate
    colour = bp_rp_error(stars["phot_g_mean_mag"].to_numpy(np.float64)) * draws[3]
    for name in ("bp_rp", "phot_bp_mean_mag"):
        if name in stars:
            out[name] = stars[name].to_numpy(np.float64) + colour
    return out


def _correlation(stars: pd.DataFrame, name: str) -> Array:
    if name not in stars:
        return np.zeros(len(stars))
    return np.asarray(np.clip(np.nan_to_num(stars[name].to_numpy(np.float64)), -_LARGEST, _LARGEST))


def _correlated(draws: Array, correlations: list[Array]) -> list[Array]:
    """Return unit deviates of pmra, pmdec and parallax, by the Cholesky factors of their correlations."""
    motions, first, second = correlations
    across = np.sqrt(1.0 - motions**2)
    rest = (second - motions * first) / across
    rest = np.clip(rest, -np.sqrt(1.0 - first**2), np.sqrt(1.0 - first**2))
    alone = np.sqrt(np.maximum(1.0 - first**2 - rest**2, 0.0))
    return [
        draws[0],
        motions * draws[0] + across * draws[1],
        first * draws[0] + rest * draws[1] + alone * draws[2],
    ]
