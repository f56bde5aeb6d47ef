"""What a calibration says and does not say, in words for the user."""

from __future__ import annotations

import math

from viamachinae.calibration.rates import RateSummary

__all__ = ["CAVEATS", "explain"]

#: What a reader must know before using a calibrated number.
CAVEATS = (
    (
        "Significance only ranks candidates: neighbouring signal regions share most of their stars, and so "
        "do overlapping patches, so trainings that agree are not independent and their sigmas are not those "
        "of one clean measurement. Only the comparison with a streamless sky says how often chance does as "
        "well."
    ),
    (
        "A null scan of a Galaxia (or any smooth mock) sky gives a lower limit on false candidates: that sky "
        "has no scanning-law pattern, no clusters, no dwarf galaxies, no debris, and no extinction or that "
        "of a model, and each of these makes structure that a search can take for a stream."
    ),
    (
        "The limits are exact for the counting noise of the null scan alone; they do not cover how far the "
        "null sky differs from the real one."
    ),
)


def explain(summary: RateSummary) -> str:
    """Return a paragraph that states the rates of ``summary`` and their meaning.

    Parameters
    ----------
    summary : RateSummary
        Counts above one significance.
    """
    s = summary
    above = "in all" if math.isinf(s.threshold) else f"of significance {s.threshold:.2f} or more"
    parts = [
        (
            f"The scan has {_count(s.n_candidates, 'candidate')} {above} over {s.area:.1f} deg2; "
            f"the null scan has {s.n_null} over {s.null_area:.1f} deg2 (unmasked searched areas)."
        ),
        (
            f"Scaled by area, {s.expected:.2f} false candidates are expected in the scan "
            f"(95 % limits {s.expected_low:.2f} to {s.expected_high:.2f}; below {s.expected_upper:.2f} "
            "at 95 % confidence)."
        ),
    ]
    if s.n_candidates:
        parts.append(
            f"The false-positive rate is {_percent(s.rate)} "
            f"(95 % limits {_percent(s.rate_low)} to {_percent(s.rate_high)}; {_bound(s.rate_upper)})."
        )
    else:
        parts.append("With no candidate there is no false-positive rate.")
    floor = s.area / (s.area + s.null_area)
    parts.append(
        f"With this null area no p-value can be smaller than {floor:.2g}, however significant the candidate; "
        f"0.05 needs {19 * s.area:.0f} deg2 of null sky."
    )
    return " ".join(parts)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _bound(upper: float) -> str:
    return f"below {_percent(upper)} at 95 % confidence" if upper <= 1 else "not bounded below 100 %"


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %" if rate <= 1 else "above 100 %"
