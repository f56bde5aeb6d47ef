"""What is asked of the mock sky, and whether it keeps it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["BANDS", "COUNTS", "KS", "bin_name", "kept", "misses", "worst"]

#: Counts within so much of the other sky's, Kolmogorov-Smirnov distances below so much, in so many bands.
COUNTS, KS, BANDS = 0.2, 0.1, 3


def misses(row: dict[str, Any]) -> Iterator[str]:
    """Yield in words what misses the target in a band or a bin."""
    if abs(row["counts"] - 1.0) > COUNTS:
        yield f"counts {row['counts']:.2f}"
    yield from (f"{name} {value:.3f}" for name, value in row["ks"].items() if value >= KS)


def kept(band: dict[str, Any]) -> bool:
    """Return whether a band and all its bins keep the target."""
    return not any(any(misses(row)) for row in (band, *band["bins"]))


def worst(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return the row whose counts are furthest off, and the row and column of the largest distance."""
    by_counts = max(rows, key=lambda row: abs(row["counts"] - 1.0))
    by_ks = max(rows, key=lambda row: max(row["ks"].values()))
    return by_counts, by_ks, max(by_ks["ks"], key=by_ks["ks"].__getitem__)


def bin_name(row: dict[str, Any]) -> str:
    """Return a bin in words, as in "G 14 to 15, BP-RP 0.75 to 1"."""
    return ", ".join(
        f"{what} {_range(row[key])}"
        for what, key in (("G", "g"), ("BP-RP", "bp_rp"))
        if row[key] != [None, None]
    )


def _range(edges: list[float | None]) -> str:
    low, high = edges
    if low is None:
        return f"below {high:g}"
    return f"from {low:g}" if high is None else f"{low:g} to {high:g}"
