"""The comparison as a figure: distributions and the ratio of colour-magnitude diagrams, a row a band."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["draw"]

_DRAWN = (
    ("phot_g_mean_mag", "G (mag)", np.arange(11.0, 21.01, 0.2), True),
    ("bp_rp", "BP-RP (mag)", np.arange(-0.3, 4.01, 0.05), False),
    ("pmra", "pmra (mas/yr)", np.arange(-30.0, 20.1, 0.5), True),
    ("pmdec", "pmdec (mas/yr)", np.arange(-40.0, 15.1, 0.5), True),
    ("parallax", "parallax (mas)", np.arange(-2.0, 1.001, 0.05), True),
)
_FILE, _MOCK = "#999999", "#d95f02"
_LEAST = 25  # stars of a step below which no ratio is drawn


def draw(skies: Any, path: Path) -> None:
    """Draw every band's distributions of both skies, and the ratio of their CMDs, into a PNG file.

    Parameters
    ----------
    skies : Skies
        As :func:`viamachinae.benchmark.mock.run.skies` returns them.
    path : Path
        The file.
    """
    columns = len(_DRAWN) + 1
    figure = Figure(figsize=(3.0 * columns, 2.7 * len(skies)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(skies), columns, squeeze=False)
    for line, ((low, high), (mock, _, other)) in zip(panels, skies, strict=True):
        for axes, (name, label, edges, log) in zip(line[1:], _DRAWN, strict=True):
            _distribution(axes, (mock[name], other[name]), edges)
            axes.set_xlabel(label, fontsize=8)
            if log:
                axes.set_yscale("log")
        _ratio(line[0], mock, other, figure)
        line[0].set_ylabel(f"|b| = {low:g} to {high:g} deg\nG (mag)", fontsize=8)
        for axes in line:
            axes.tick_params(labelsize=7)
    panels[0][1].legend(fontsize=7)
    figure.savefig(path, format="png", dpi=110)


def _distribution(axes: Any, pair: tuple[pd.Series, pd.Series], edges: np.ndarray) -> None:
    axes.hist(pair[1], edges, color=_FILE, histtype="stepfilled", alpha=0.6, label="the other sky")
    axes.hist(pair[0], edges, color=_MOCK, histtype="step", label="mock sky")


def _ratio(axes: Any, mock: pd.DataFrame, other: pd.DataFrame, figure: Any) -> None:
    edges = (np.arange(-0.5, 4.01, 0.1), np.arange(11.0, 20.61, 0.2))
    ours, theirs = (np.histogram2d(t["bp_rp"], t["phot_g_mean_mag"], bins=edges)[0] for t in (mock, other))
    ratio = np.full(ours.shape, np.nan)
    some = (ours >= _LEAST) & (theirs >= _LEAST)
    ratio[some] = ours[some] / theirs[some]
    drawn = axes.pcolormesh(*edges, ratio.T, cmap=colormaps["RdBu_r"], vmin=0.5, vmax=1.5)
    axes.invert_yaxis()
    axes.set_xlabel("BP-RP (mag)", fontsize=8)
    bar = figure.colorbar(drawn, ax=axes, pad=0.01)
    bar.set_label("mock / other", fontsize=7)
    bar.ax.tick_params(labelsize=6)
