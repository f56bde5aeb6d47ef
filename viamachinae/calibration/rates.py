"""Compare a scan with the same scan of a streamless sky.

Two skies are compared: the data, over the searched area A, and a null sky over
A0, searched in the same way. With r = A / A0 and n0 null candidates at least as
significant as a candidate, n0 * r false ones are expected above it. Areas are
unmasked searched areas in which the overlap of patches counts once, since
candidates are joined over overlaps and a star counts once a candidate; where
the two scans overlap differently, :func:`comparable_areas` takes the cautious
choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.calibration.limits import central_limits, upper_limit
from viamachinae.errors import DataError
from viamachinae.schema import CALIBRATION

__all__ = ["CONFIDENCE", "RateSummary", "apply", "comparable_areas", "compare", "summarise"]

#: Confidence level of every limit in the calibration tables, as in the papers.
CONFIDENCE = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RateSummary:
    """Counts of a scan and of its null scan above one significance.

    Parameters
    ----------
    threshold : float
        Least significance (Gaussian sigma) of a counted candidate; -inf: all.
    n_candidates, n_null : int
        Candidates in the data and on the null sky.
    area, null_area : float
        Unmasked searched areas (deg2).
    expected, expected_low, expected_high, expected_upper : float
        False candidates expected in the data: the estimate, its central 95 per
        cent limits, and the one-sided 95 per cent upper limit.
    rate, rate_low, rate_high, rate_upper : float
        The same divided by ``n_candidates``: the false-positive rate of the
        papers (candidates there / candidates in data). Above 1 the null sky
        gives more candidates than the data. NaN when the data have none.
    """

    threshold: float
    n_candidates: int
    n_null: int
    area: float
    null_area: float
    expected: float
    expected_low: float
    expected_high: float
    expected_upper: float
    rate: float
    rate_low: float
    rate_high: float
    rate_upper: float


def compare(streams: pd.DataFrame, null: pd.DataFrame, area: float, null_area: float) -> pd.DataFrame:
    """Return how many false candidates are expected at each candidate's significance.

    Parameters
    ----------
    streams, null : DataFrame
        STREAMS tables of the scan and of its null scan, shapes (n,) and (m,);
        zero rows are fine in both.
    area, null_area : float
        Unmasked searched areas (deg2), overlaps counted once.

    Returns
    -------
    DataFrame
        CALIBRATION table, shape (n,), in the order of ``streams``.

    Raises
    ------
    DataError
        An area is not positive and finite, a column is missing, or a
        significance is not finite.

    Notes
    -----
    With n0 null candidates at least as significant and r = area / null_area:

    ``expected`` = n0 r, with the limits of Garwood (1936) on n0, times r.

    ``p_value`` = 1 - (1 + r)**-(n0 + 1). On two streamless skies the candidates
    of both are exchangeable draws, one of the data with chance r / (1 + r); the
    p-value is the chance that the best candidate of the data has at most n0
    null candidates above it. It is exact without knowing the true rate, and
    for r << 1 it is 1 - exp(-(n0 + 1) r). It cannot fall below r / (1 + r),
    however significant the candidate: a larger null sky is what lowers it.

    ``q_value`` = min over the significances s at or below the candidate's of
    (n0(s) + 1) r / n(s), at most 1: the smallest expected share of false ones
    in a list that holds the candidate (the "+1" estimator of Barber and Candes
    2015, Ann. Stat. 43, 2055, theorem 2, for two skies of unequal area).
    """
    ratio = _ratio(area, null_area)
    significance = _significance(streams, "the scan")
    n_null = _at_least(_significance(null, "the null scan"), significance)
    n_data = _at_least(significance, significance)
    low, high = central_limits(n_null, CONFIDENCE)
    table = {
        "stream_id": streams["stream_id"].to_numpy(),
        "significance": significance,
        "n_data": n_data,
        "n_null": n_null,
        "expected": n_null * ratio,
        "expected_low": low * ratio,
        "expected_high": high * ratio,
        "expected_upper": upper_limit(n_null, CONFIDENCE) * ratio,
        "p_value": -np.expm1(-(n_null + 1) * np.log1p(ratio)),
        "q_value": _q_values(significance, (n_null + 1) * ratio / np.maximum(n_data, 1)),
    }
    return CALIBRATION.conform(pd.DataFrame(table))


def summarise(
    streams: pd.DataFrame, null: pd.DataFrame, area: float, null_area: float, threshold: float = -np.inf
) -> RateSummary:
    """Return the counts and the false-positive rate above one significance.

    Parameters
    ----------
    streams, null : DataFrame
        STREAMS tables of the scan and of its null scan.
    area, null_area : float
        Unmasked searched areas (deg2), overlaps counted once.
    threshold : float
        Least significance (Gaussian sigma) of a counted candidate; the default
        counts all.

    Raises
    ------
    DataError
        As :func:`compare`, or ``threshold`` is NaN.
    """
    ratio = _ratio(area, null_area)
    if np.isnan(threshold):
        msg = "the threshold in significance is NaN; give a number, or -inf for all candidates"
        raise DataError(msg)
    n = int((_significance(streams, "the scan") >= threshold).sum())
    n_null = int((_significance(null, "the null scan") >= threshold).sum())
    low, high = central_limits(n_null, CONFIDENCE)
    limits = np.array([n_null, float(low), float(high), float(upper_limit(n_null, CONFIDENCE))]) * ratio
    rates = limits / n if n else np.full(4, np.nan)
    return RateSummary(
        float(threshold), n, n_null, float(area), float(null_area), *limits.tolist(), *rates.tolist()
    )


def apply(streams: pd.DataFrame, calibration: pd.DataFrame) -> pd.DataFrame:
    """Return ``streams`` with the p-values of ``calibration``, matched by ``stream_id``.

    Parameters
    ----------
    streams : DataFrame
        STREAMS table, shape (n,).
    calibration : DataFrame
        CALIBRATION table of the same candidates.

    Raises
    ------
    DataError
        The two tables do not hold the same candidates.
    """
    p_values = calibration.set_index("stream_id")["p_value"]
    ids = streams["stream_id"]
    if sorted(ids) != sorted(p_values.index):
        strange = sorted(set(ids) ^ set(p_values.index))[:5]
        msg = (
            f"calibration and streams hold different candidates (for example {strange}): "
            "the scan has changed since; calibrate it again"
        )
        raise DataError(msg)
    return streams.assign(p_value=p_values.reindex(ids).to_numpy(dtype=np.float64))


def comparable_areas(areas: tuple[float, float], null_areas: tuple[float, float]) -> tuple[float, float]:
    """Return the pair of searched areas that expects more false candidates.

    Parameters
    ----------
    areas, null_areas : tuple of float
        (overlaps counted once, sum over patches) in deg2, of the scan and of
        its null scan.

    Returns
    -------
    area, null_area : float
        Both of the same kind. Scans with the same tiling give the same ratio
        either way; otherwise false candidates grow with something between the
        two kinds, since patches that overlap share stars but are searched
        separately, and the larger ratio is the cautious one.

    Raises
    ------
    DataError
        An area is not positive and finite.
    """
    pairs = list(zip(areas, null_areas, strict=True))
    return max(pairs, key=lambda pair: _ratio(*pair))


def _ratio(area: float, null_area: float) -> float:
    for name, value in (("the scan", area), ("the null scan", null_area)):
        if not (np.isfinite(value) and value > 0):
            msg = (
                f"the searched area of {name} is {value} deg2, so no rate can be formed; it must be "
                "positive: look at [patches] and fiducial.masks (masks that cover every patch?)"
            )
            raise DataError(msg)
    return area / null_area


def _significance(streams: pd.DataFrame, where: str) -> Array:
    missing = [name for name in ("stream_id", "significance") if name not in streams]
    if missing:
        msg = f"the candidates of {where} lack the columns {missing}; they have {list(streams.columns)}"
        raise DataError(msg)
    values: Array = np.asarray(streams["significance"], dtype=np.float64)
    if not np.isfinite(values).all():
        bad = streams["stream_id"].to_numpy()[~np.isfinite(values)][:5].tolist()
        msg = f"the significance of candidates {bad} of {where} is not finite; run the scan again"
        raise DataError(msg)
    return values


def _at_least(values: Array, thresholds: Array) -> NDArray[np.int64]:
    """Return how many of ``values`` reach each threshold; equal counts as reached."""
    ordered = np.sort(values)
    return np.asarray(len(ordered) - np.searchsorted(ordered, thresholds, side="left"), dtype=np.int64)


def _q_values(significance: Array, estimate: Array) -> Array:
    """Return the running minimum of ``estimate`` from the least significant upwards."""
    order = np.argsort(significance, kind="stable")
    q = np.empty_like(significance)
    # Ties have equal estimates, so their order within the running minimum does not matter.
    q[order] = np.minimum.accumulate(np.minimum(estimate[order], 1.0))
    return q
