"""Distances between two tables of stars, and what chance alone would make of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["chance_counts", "chance_ks", "classifier_auc", "divergence", "ks"]

_CMD_STEP = (0.2, 0.1)  # mag in G, mag in BP-RP
_MOTION_STEP = (1.0, 1.0)  # mas/yr
_STEPS = {("phot_g_mean_mag", "bp_rp"): _CMD_STEP, ("pmra", "pmdec"): _MOTION_STEP}
_MOST = 60_000  # stars of each table that the classifier sees
_LEAST = 100  # stars of each table below which it is not asked


def ks(a: pd.DataFrame, b: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, float]:
    """Return the two-sample Kolmogorov-Smirnov distance of every column; empty tables are 1 apart."""
    from scipy.stats import ks_2samp

    if not len(a) or not len(b):
        return dict.fromkeys(columns, 1.0)
    return {name: float(ks_2samp(a[name], b[name], method="asymp").statistic) for name in columns}


def chance_ks(n: int, m: int) -> float:
    """Return the mean distance of two samples of one distribution: sqrt(pi / 2) ln 2 sqrt(1/n + 1/m)."""
    return float(np.sqrt(np.pi / 2.0) * np.log(2.0) * np.sqrt(1.0 / n + 1.0 / m)) if n and m else 1.0


def chance_counts(n: int, m: int) -> float:
    """Return the standard deviation of the ratio of two Poisson counts of one mean."""
    return float(np.sqrt(1.0 / n + 1.0 / m)) if n and m else 1.0


def divergence(a: pd.DataFrame, b: pd.DataFrame, columns: tuple[str, str]) -> float:
    """Return the Jensen-Shannon divergence (bits, 0 to 1) of two planes of stars.

    In steps of 0.2 mag of G and 0.1 mag of BP-RP, or of 1 mas/yr. Samples of one
    distribution are apart by chance, too, by about a bit for every filled step per 5.5 stars.

    Parameters
    ----------
    a, b : DataFrame
        The stars.
    columns : tuple of str
        The plane: G and BP-RP, or pmra and pmdec.
    """
    edges = []
    for name, step in zip(columns, _STEPS[columns], strict=True):
        low, high = np.percentile(np.concatenate([a[name], b[name]]), [0.05, 99.95])
        edges.append(np.arange(np.floor(low / step), np.ceil(high / step) + 1) * step)
    p, q = (_shares(t, columns, edges) for t in (a, b))
    return float(0.5 * (_relative(p, 0.5 * (p + q)) + _relative(q, 0.5 * (p + q))))


def _shares(
    t: pd.DataFrame, columns: tuple[str, str], edges: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    counts = np.histogram2d(t[columns[0]], t[columns[1]], bins=(edges[0], edges[1]))[0]
    return np.asarray(counts / max(counts.sum(), 1.0))


def _relative(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    some = p > 0.0
    return float((p[some] * np.log2(p[some] / q[some])).sum())


def classifier_auc(
    a: pd.DataFrame, b: pd.DataFrame, columns: tuple[str, ...], generator: np.random.Generator
) -> float | None:
    """Return how well boosted trees tell two tables apart: the area under the ROC curve, 0.5 if not at all.

    Half of up to 60,000 stars of each train the trees, the others judge them; None where
    there are fewer than 100.

    Parameters
    ----------
    a, b : DataFrame
        The stars.
    columns : tuple of str
        What the trees see.
    generator : numpy.random.Generator
        Chooses the stars.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    n = min(len(a), len(b), _MOST)
    if n < _LEAST:
        return None
    x = [t[list(columns)].to_numpy()[generator.permutation(len(t))[:n]] for t in (a, b)]
    half = n // 2
    label = np.repeat([0, 1], half)
    trees = HistGradientBoostingClassifier(max_iter=150, early_stopping=False, random_state=0)
    trees.fit(np.concatenate([v[:half] for v in x]), label)
    judged = trees.predict_proba(np.concatenate([v[half : 2 * half] for v in x]))[:, 1]
    return float(roc_auc_score(label, judged))
