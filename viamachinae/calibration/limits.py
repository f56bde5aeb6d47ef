"""Exact confidence limits on a Poisson mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2

from viamachinae.errors import DataError

__all__ = ["central_limits", "upper_limit"]

Array = NDArray[np.float64]


def central_limits(count: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Return the central confidence interval of a Poisson mean.

    Parameters
    ----------
    count : array_like of int, shape (n,)
        Observed counts, >= 0.
    confidence : float
        Confidence level, between 0 and 1; half of the rest lies on each side.

    Returns
    -------
    low, high : ndarray of float64, shape (n,)
        Limits on the mean (counts). ``low`` is 0 for a count of 0.

    Raises
    ------
    DataError
        A count is negative or not whole, or ``confidence`` is not between 0 and 1.

    Notes
    -----
    The limits of Garwood (1936, Biometrika 28, 437), written with the quantiles
    of chi-squared; they cover at least at the stated level for every mean.
    """
    n = _counts(count, confidence)
    tail = (1 - confidence) / 2
    low = np.where(n > 0, chi2.ppf(tail, 2 * np.maximum(n, 1)) / 2, 0.0)
    high = chi2.ppf(1 - tail, 2 * (n + 1)) / 2
    return low, np.asarray(high, dtype=np.float64)


def upper_limit(count: ArrayLike, confidence: float = 0.95) -> Array:
    """Return the one-sided upper confidence limit of a Poisson mean.

    Parameters
    ----------
    count : array_like of int, shape (n,)
        Observed counts, >= 0.
    confidence : float
        Confidence level, between 0 and 1, all of the rest above the limit.

    Returns
    -------
    ndarray of float64, shape (n,)
        Upper limit on the mean (counts); 3.00 for a count of 0 at 95 per cent.

    Raises
    ------
    DataError
        A count is negative or not whole, or ``confidence`` is not between 0 and 1.
    """
    n = _counts(count, confidence)
    return np.asarray(chi2.ppf(confidence, 2 * (n + 1)) / 2, dtype=np.float64)


def _counts(count: ArrayLike, confidence: float) -> Array:
    if not 0 < confidence < 1:
        msg = f"confidence must lie between 0 and 1, got {confidence}; 0.95 is the usual choice"
        raise DataError(msg)
    n = np.asarray(count, dtype=np.float64)
    bad = ~(np.isfinite(n) & (n >= 0) & (n == np.floor(n)))
    if bad.any():
        msg = f"Poisson limits need counts, got {n[bad].ravel()[:5].tolist()}; valid: 0, 1, 2, ..."
        raise DataError(msg)
    return n
