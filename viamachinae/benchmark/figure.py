"""The result of the benchmark as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["draw"]

_ENGINE = ("#d95f02", "#7570b3")
_OTHERS = "#999999"
_SHOWN = 0.2  # nat below the best: what is worse lies outside
_RIVALS = ("nflows", "zuko")


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw the rates, and the held-out likelihood against training time, into a PNG file.

    Parameters
    ----------
    result : dict
        As :func:`viamachinae.benchmark.engine.run` returns it.
    path : Path
        The file.

    Raises
    ------
    ModuleNotFoundError
        There is no matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _rates(left, result)
    _curve(right, result)
    figure.savefig(path, format="png", dpi=150)


def _rates(axes: Any, result: dict[str, Any]) -> None:
    rates = {key.removeprefix("rate_"): v for key, v in result.items() if key.startswith("rate_") and v}
    names = list(rates)[::-1]
    colours = [_OTHERS if name.startswith(_RIVALS) else _ENGINE[0] for name in names]
    axes.barh([name.replace("_", " ") for name in names], [rates[name] for name in names], color=colours)
    for i, name in enumerate(names):
        share = f" {100 * result[f'fraction_{name}']:.0f} %"
        axes.text(rates[name], i, share, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.set_xlabel("star presentations of training a second")
    axes.set_title(f"rates and share of the matrix peak ({result['device']})", fontsize=10)


def _curve(axes: Any, result: dict[str, Any]) -> None:
    if result["reference_log_likelihood"] is None:
        axes.text(0.5, 0.5, "no nflows here", ha="center", transform=axes.transAxes)
        return
    axes.plot(
        result["reference_curve_s"],
        result["reference_curve_nat"],
        "o-",
        color=_OTHERS,
        label="nflows, published settings",
    )
    axes.axhline(result["reference_log_likelihood"], color=_OTHERS, ls=":")
    for colour, k in zip(_ENGINE, dict.fromkeys((1, result["together"])), strict=False):
        label = f"{result['density']}, {k} model{'s together' * (k > 1)}: whole plans"
        axes.plot(result[f"plans_k{k}_s"], result[f"plans_k{k}_nat"], "s-", color=colour, label=label)
    best = max([result["reference_log_likelihood"], *result["plans_k1_nat"]])
    axes.set_ylim(best - _SHOWN, best + _SHOWN / 10)
    axes.set_xscale("log")
    axes.set_xlabel("training time a region (s)")
    axes.set_ylabel("held-out mean log-likelihood (nat)")
    if result["time_ratio_to_reference"] is not None:
        axes.set_title(f"{result['time_ratio_to_reference']:.0f} times sooner", fontsize=10)
    axes.legend(fontsize=8)
