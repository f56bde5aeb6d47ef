"""Where the patches of a scan stand, on a map of the sky."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from viamachinae.report.skymap import LocalSky, circle, extent, whole_sky_place
from viamachinae.report.style import figure, figure_style

__all__ = ["COLOURS", "draw_progress"]

#: State -> colour (Okabe and Ito's palette), in the order of the legend.
COLOURS: Mapping[str, str] = {
    "DONE": "#009E73",
    "RUNNING": "#56B4E9",
    "PENDING": "#ccd0d6",
    "BLOCKED": "#E69F00",
    "FAILED": "#D55E00",
    "SUSPECT": "#CC79A7",
}
#: Radius (deg) of the largest field that is drawn by itself, not on the whole sky.
_FIELD = 60.0
#: Points of a circle: the map's projection takes its time for each.
_POINTS = 73


def draw_progress(patches: pd.DataFrame, states: Mapping[str, str], radius: float, path: Path) -> None:
    """Write a figure of the patches, coloured by their states.

    Parameters
    ----------
    patches : DataFrame
        PATCHES table.
    states : mapping
        Patch -> its state, one of :data:`COLOURS`.
    radius : float
        Radius of the searched inner circle (deg).
    path : Path
        File to write; its ending says the format (PNG, PDF, SVG).
    """
    ra, dec, reach = extent(patches)
    with figure_style():
        fig = figure(8.0, 5.0 if reach > _FIELD else 7.0)
        if reach > _FIELD:
            axes = fig.add_subplot(projection="mollweide")
            _whole_sky(axes, patches, states, radius)
        else:
            axes = fig.add_subplot()
            sky = LocalSky(axes, ra, dec, 1.05 * reach)
            shapes = [
                np.column_stack(sky.project(*circle(r.ra, r.dec, radius, _POINTS)))
                for r in patches.itertuples()
            ]
            _fill(axes, shapes, [states[name] for name in patches["patch"]])
        counts = pd.Series(dict(states)).reindex(patches["patch"]).value_counts()
        handles = [
            Patch(color=colour, label=f"{state.lower()} {counts[state]}")
            for state, colour in COLOURS.items()
            if state in counts
        ]
        fig.legend(handles=handles, loc="outside lower center", ncols=len(COLOURS))
        fig.savefig(path, dpi=130)


def _whole_sky(axes: Axes, patches: pd.DataFrame, states: Mapping[str, str], radius: float) -> None:
    shapes, colours = [], []
    for row in patches.itertuples():
        x, y = whole_sky_place(*circle(row.ra, row.dec, radius, _POINTS), 180.0)
        breaks = np.flatnonzero(np.isnan(x))
        for part in np.split(np.arange(len(x)), breaks):
            inside = part[~np.isnan(x[part])]
            if len(inside) > 2:
                shapes.append(np.column_stack([x[inside], y[inside]]))
                colours.append(states[row.patch])
    _fill(axes, shapes, colours)
    axes.set_xticks(np.radians([-120, -60, 0, 60, 120]))
    axes.set_xticklabels([f"{(180 - v) % 360:g}°" for v in (-120, -60, 0, 60, 120)])
    axes.grid(visible=True, lw=0.6)


def _fill(axes: Axes, shapes: list[np.ndarray], states: list[str]) -> None:
    colours = [COLOURS[state] for state in states]
    filled = PolyCollection(shapes, facecolors=colours, edgecolors="white", lw=0.5, alpha=0.9)
    # The limits stand: looking for them in the map's projection takes seconds and gigabytes.
    axes.add_collection(filled, autolim=False)
