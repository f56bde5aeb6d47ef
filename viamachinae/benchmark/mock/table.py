"""The comparison as tables on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.benchmark.mock.verdict import BANDS, COUNTS, KS, bin_name, kept, misses, worst

__all__ = ["lines", "rows", "show"]

_HEADINGS = ("|b|", "counts", "G", "BP-RP", "pmra", "pmdec", "plx", "CMD", "pm", "AUC")


def show(result: dict[str, Any]) -> None:
    """Print a table of the bands, then the rest line by line."""
    console = Console()
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    sys.stdout.write("".join(f"{line}\n" for line in lines(result)))


def rows(result: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield two rows a band: its distances, and what chance alone makes of them."""
    for band in result["bands"]:
        low, high = band["b"]
        yield (
            f"{low:g}-{high:g}",
            f"{band['counts']:.3f}",
            *(f"{value:.3f}" for value in band["ks"].values()),
            f"{band['cmd_bits']:.4f}",
            f"{band['motion_bits']:.4f}",
            _auc(band["auc"]),
        )
        yield (
            "chance",
            f"±{band['counts_chance']:.3f}",
            *(f"{band['ks_chance']:.3f}" for _ in band["ks"]),
            f"{band['cmd_bits_chance']:.4f}",
            f"{band['motion_bits_chance']:.4f}",
            _auc(band["auc_chance"]),
        )


def _auc(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield in words what the columns are, the verdicts, the real stars and the speed."""
    yield (
        "counts: mock / other; G to plx: Kolmogorov-Smirnov distances; CMD, pm: Jensen-Shannon divergence "
        "(bits) of the colour-magnitude diagram and of both proper motions; AUC: of boosted trees that see "
        "all five"
    )
    yield (
        "the mock sky's parameters were set on a Galaxia sky towards (l, b) = (200, 50): there this is the "
        "quality of a fit, elsewhere a test"
    )
    for band in result["bands"]:
        yield from _verdict(band)
    yield (
        f"target (counts within {100 * COUNTS:.0f} %, distances below {KS:g}, bins as well): "
        f"{len(result['kept'])} of {len(result['bands'])} bands, asked {BANDS}"
    )
    if result["real"] is not None:
        yield from _real(result["real"])
    speed = result["speed"]
    yield (
        f"a patch of {speed['stars']:,} stars of the mock sky: {speed['seconds']:.1f} s of one thread, "
        f"{speed['stars_per_second']:,.0f} stars/s"
    )


def _verdict(band: dict[str, Any]) -> Iterator[str]:
    low, high = band["b"]
    verdict = "pass" if kept(band) else "MISS"
    yield f"|b| = {low:g} to {high:g} deg: {verdict}; {band['stars']:,} stars, {len(band['bins'])} bins"
    if band["bins"]:
        by_counts, by_ks, column = worst(band["bins"])
        yield (
            f"  furthest bins: counts {by_counts['counts']:.2f} ({bin_name(by_counts)}), "
            f"{column} {by_ks['ks'][column]:.3f} ({bin_name(by_ks)})"
        )
    for row in (band, *band["bins"]):
        found = ", ".join(misses(row))
        if found:
            where = bin_name(row) if "g" in row else "the whole band"
            yield f"  misses: {found} ({where}, {row['stars']:,} stars)"


def _real(real: dict[str, Any]) -> Iterator[str]:
    yield (
        f"real stars, {real['area']:.1f} deg^2: {real['stars']:,}, the mock sky to G = {real['g_max']:g}: "
        f"{real['mock']:,}; by fifths of the real ones in parallax error:"
    )
    for fifth in real["fifths"]:
        far = ", ".join(f"{name} {value:.3f}" for name, value in fifth["ks"].items())
        yield (
            f"  parallax error {fifth['parallax_error']:.2f} mas (mock {fifth['mock_parallax_error']:.2f}): "
            f"{far}; chance {fifth['ks_chance']:.3f}"
        )
