"""The result of the benchmark as a table on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["lines", "rows", "show"]

_HEADINGS = ("training", "models", "stars/s", "of matrix peak")


def show(result: dict[str, Any]) -> None:
    """Print the rates as a table, then the rest line by line."""
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
    except ModuleNotFoundError:
        for row in (_HEADINGS, *rows(result)):
            sys.stdout.write("{:<16}{:>8}{:>14}{:>16}\n".format(*row))
    else:
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in _HEADINGS:
            table.add_column(heading, justify="left" if heading == _HEADINGS[0] else "right")
        for row in rows(result):
            table.add_row(*row)
        Console().print(table)
    sys.stdout.write("".join(f"{line}\n" for line in lines(result)))


def rows(result: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, number of models, stars/s and fraction of the peak of everything that was timed."""
    for key, rate in result.items():
        if key.startswith("rate_"):
            name, models = key.removeprefix("rate_").rsplit("_k", 1)
            if rate is None:
                yield name, models, "not installed", ""
            else:
                share = result[key.replace("rate_", "fraction_")]
                yield name, models, f"{rate:,.0f}", f"{100 * share:.0f} %"


def lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield the rest in words."""
    yield (
        f"{result['device']}, {result['threads']} thread: "
        f"matrix peak {result['peak_flops'] / 1e9:.0f} GFLOP/s; load {result['load']:.1f} before"
    )
    if result["reference_log_likelihood"] is None:
        yield "no nflows here: the time to the published flow's likelihood was not measured"
    else:
        yield (
            f"nflows as published, {result['reference_seconds']:.1f} s, "
            f"{result['reference_presentations'] / 1e6:.2f} million stars presented: "
            f"{result['reference_log_likelihood']:.4f} nat a held-out star"
        )
        for k in dict.fromkeys((1, result["together"])):
            yield _reached(result, k)
    yield (
        f"a patch of {result['stars']:,} stars ({result['patch_regions']} regions, {result['patch_models']} "
        f"models): {result['patch_seconds']:,.0f} s of one worker, extrapolated"
    )
    hours = {"core": result["sky_core_hours"], "GPU": result["sky_gpu_hours"]}
    yield from (f"the sky: {n:,.1f} {unit} hours, extrapolated" for unit, n in hours.items() if n is not None)
    if "patch_training_s" in result:
        yield (
            f"the patch, measured: {result['patch_training_s']:.1f} s of training (asked: at most 60), "
            f"{result['patch_training_rate']:,.0f} stars/s, "
            f"{result['patch_trained_presentations'] / 1e6:.0f} of {result['patch_presentations'] / 1e6:.0f} "
            "million presentations planned"
        )


def _reached(result: dict[str, Any], k: int) -> str:
    who = f"{result['density']}, {k} model{'s together' * (k > 1)}"
    if not result[f"plans_k{k}"]:
        return f"{who}: not tried"
    plan = result[f"plans_k{k}"][-1] / 1e6
    if result[f"time_ratio_k{k}"] is None:
        return f"{who}: not reached with {plan:.3g} million presentations"
    return (
        f"{who}: reached in {result[f'seconds_per_region_k{k}']:.2f} s a region "
        f"(whole plan of {plan:.3g} million presentations), {result[f'time_ratio_k{k}']:.0f} times sooner"
    )
