"""The look of every figure: one palette that colour-blind readers can tell apart, one way to embed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

__all__ = [
    "ACCENT",
    "BLUE",
    "GREY",
    "INK",
    "MEMBER_MAP",
    "PALE",
    "figure",
    "figure_style",
    "note",
    "to_data_uri",
]

#: Okabe and Ito's vermilion and blue, and greys that stay apart in print.
ACCENT, BLUE = "#D55E00", "#0072B2"
INK, GREY, PALE = "#2b2f36", "#7b818b", "#ccd0d6"
#: Colour map of membership: pale for doubtful, dark for sure.
MEMBER_MAP = "viridis_r"

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "image.cmap": "cividis",
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the report's style to the figures made inside; nothing outside changes."""
    with style.context(["default", _STYLE]):
        yield


def figure(width: float, height: float) -> Figure:
    """Return an empty figure (inches) that owns no window and no global state."""
    return Figure(figsize=(width, height), layout="constrained")


def to_data_uri(fig: Figure, dpi: int = 130) -> str:
    """Return the figure as a PNG in a ``data:`` address, the same bytes for the same figure.

    A palette of 256 colours is a third of the size, which a page of a hundred candidates needs.
    """
    drawn, buffer = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", dpi=dpi, metadata={"Software": None})
    with Image.open(drawn) as image:
        small = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        small.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def note(axes: Axes, text: str) -> None:
    """Say in the middle of a panel why it shows nothing."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY)
