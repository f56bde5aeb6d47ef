"""Tail probabilities of counts, in logarithms, and the Gaussian sigma they stand for."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, logsumexp, ndtri_exp

__all__ = ["binomial_log_tail", "log_tail_to_sigma"]


def binomial_log_tail(k: int, n: int, p: float) -> float:
    """Return the natural log of P(X >= k) for X ~ Binomial(n, p).

    Summed in logarithms, so that it stays right far below the smallest double.

    Parameters
    ----------
    k : int
        Count; 0 or less has probability one.
    n : int
        Trials.
    p : float
        Probability of one, 0 < p < 1.
    """
    if k <= 0:
        return 0.0
    if k > n:
        return -np.inf
    i = np.arange(k, n + 1, dtype=np.float64)
    terms = gammaln(n + 1) - gammaln(i + 1) - gammaln(n - i + 1) + i * np.log(p) + (n - i) * np.log1p(-p)
    return min(float(logsumexp(terms)), 0.0)


def log_tail_to_sigma(log_p: float) -> float:
    """Return z such that a standard Gaussian exceeds z with natural log probability ``log_p``.

    A tail of one half is 0 sigma; likelier tails are negative and -inf at
    probability one.
    """
    return float(-ndtri_exp(log_p))
