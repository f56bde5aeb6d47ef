"""Measurement noise for the Galaxia catalogues, whose stars are given as they are.

GDR2mock and GeDR3mock (Rybizki et al. 2018, PASP 130, 074101; 2020, PASP 132, 074501) list true values and,
beside them, the errors that Gaia would state. Drawn from those errors: proper motions and parallax, with
their correlations where the table has them. BP-RP gets the rough noise of the embedded mock sky
(``stars.mock.noise.bp_rp_error``), all of it in BP, the noisier band of faint stars. Positions stay: their
errors, below 2 mas, move no star of a search in degrees; so does G, whose errors are below 0.02 mag.

The noise of a star follows from a seed and its identifier alone, whatever else was downloaded or read.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from viamachinae.stars.mock.noise import bp_rp_error

__all__ = ["CORRELATIONS", "deviates", "observed"]

Array = NDArray[np.float64]
_Words = NDArray[np.uint64]

#: Used where a table has them; elsewhere the errors are independent.
CORRELATIONS = ("pmra_pmdec_corr", "parallax_pmra_corr", "parallax_pmdec_corr")
_MEASURED = ("pmra", "pmdec", "parallax")
#: A correlation of one would leave nothing to draw.
_LARGEST = 0.999

#: Increment of SplitMix64: the odd number next to 2**64 over the golden ratio.
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = 1 << 64
_MANTISSA = 52  # bits of a draw: the middle of each of so many intervals is a float64 below one


def observed(stars: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Return stars as Gaia would measure them.

    Parameters
    ----------
    stars : DataFrame
        With ``source_id``, ``pmra``, ``pmdec`` (mas/yr), ``parallax`` (mas), their ``_error``,
        ``phot_g_mean_mag``, ``bp_rp`` (mag); perhaps ``phot_bp_mean_mag`` (mag) and :data:`CORRELATIONS`.
    seed : int
        Of this measurement of the sky, 0 to 2**64 - 1.

    Returns
    -------
    DataFrame
        A copy with noise. A value without an error becomes missing.
    """
    draws = deviates(stars["source_id"].to_numpy(np.int64), seed, 4)
    measured = _correlated(draws[:3], [_correlation(stars, name) for name in CORRELATIONS])
    out = stars.copy()
    for name, deviate in zip(_MEASURED, measured, strict=True):
        error = stars[f"{name}_error"].to_numpy(np.float64)
        out[name] = stars[name].to_numpy(np.float64) + error * deviate
    g, bp_rp = (stars[name].to_numpy(np.float64) for name in ("phot_g_mean_mag", "bp_rp"))
    colour = bp_rp_error(g, bp_rp) * draws[3]
    for name in ("bp_rp", "phot_bp_mean_mag"):
        if name in stars:
            out[name] = stars[name].to_numpy(np.float64) + colour
    return out


def deviates(source_id: NDArray[np.int64], seed: int, n: int) -> Array:
    """Return independent standard normal numbers ``(n, stars)``, each a function of seed, star and row.

    Every star has a SplitMix64 generator of its own (Steele, Lea & Flood 2014, OOPSLA, section 5), which
    starts from its mixed identifier and seed; uniform numbers become normal by the inverse
    of the normal distribution.

    Parameters
    ----------
    source_id : ndarray of int64, (stars,)
        Identifiers.
    seed : int
        0 to 2**64 - 1.
    n : int
        Numbers a star.
    """
    starts = _mixed(source_id.astype(np.uint64) + np.uint64(seed))
    steps = np.array([(k + 1) * _GOLDEN % _WORD for k in range(n)], dtype=np.uint64)
    words = _mixed(starts + steps[:, np.newaxis])
    uniform = ((words >> np.uint64(64 - _MANTISSA)).astype(np.float64) + 0.5) / 2.0**_MANTISSA
    return np.asarray(ndtri(uniform), dtype=np.float64)


def _mixed(words: _Words) -> _Words:
    """Return 64-bit words with their bits spread over all others: the output function of SplitMix64."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


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
