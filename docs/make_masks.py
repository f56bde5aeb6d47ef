"""Map the masks of known objects and measure how much of the sky they take.

    python docs/make_masks.py [--out docs/figures/masks.png] [--members MEMBERS.parquet]

Prints the tables of docs/masks.md and draws its figure: the default masks at their true size, with the
default tiling. MEMBERS are stars of known streams (``ra``, ``dec``, ``stream``): how many of them the
masks hide. A minute on one core.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import healpy
import numpy as np
import pandas as pd
from astropy.coordinates import SkyCoord
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from PIL import Image

from viamachinae.config import Settings
from viamachinae.report.skymap import circle
from viamachinae.sky.known import KINDS, known_masks, near
from viamachinae.sky.masks import circles_of, masked, masked_by, searched_area
from viamachinae.sky.patches import make_patches

#: Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = dict(zip(KINDS, ("#D55E00", "#0072B2", "#CC79A7", "#009E73"), strict=True))
LATITUDES = (20.0, 30.0)
NSIDE = 1024


def main(out: Path, members: Path | None) -> None:
    """Print how much is masked, and draw it."""
    settings = Settings()
    masks = known_masks(settings.masks)
    patches = make_patches(settings.patches)
    say(f"{len(masks):,} masks, {len(patches)} patches")
    searched(settings, masks, patches)
    whole_sky(masks)
    if members is not None:
        hidden(masks, pd.read_parquet(members, columns=["ra", "dec", "stream"]))
    draw(settings, masks, patches, out)


def searched(settings: Settings, masks: pd.DataFrame, patches: pd.DataFrame) -> None:
    """Print the masked share of the sky that the default tiling searches, by kind."""
    radius = settings.fiducial.radius
    touching = [near(masks, ra, dec, radius) for ra, dec in patches[["ra", "dec"]].to_numpy()]
    reached = pd.concat(touching).drop_duplicates("name")
    for kind in (*KINDS, "all"):
        chosen = reached if kind == "all" else reached[reached["kind"] == kind]
        area = searched_area(patches, radius, circles_of(chosen))
        share = area.masked / (area.union + area.masked)
        whole = area.union + area.masked
        say(f"tiling | {kind} | {len(chosen)} | {area.masked:.1f} of {whole:.0f} deg2 | {100 * share:.2f} %")


def whole_sky(masks: pd.DataFrame) -> None:
    """Print the masked share of the sky above some latitudes, by kind."""
    ra, dec = healpy.pix2ang(NSIDE, np.arange(healpy.nside2npix(NSIDE)), lonlat=True)
    b = SkyCoord(ra, dec, unit="deg").galactic.b.deg
    kept = np.abs(b) > min(LATITUDES)
    ra, dec, b = ra[kept], dec[kept], b[kept]
    for kind in (*KINDS, "all"):
        chosen = masks if kind == "all" else masks[masks["kind"] == kind]
        hit = masked(ra, dec, circles_of(chosen))
        shares = (100 * hit[np.abs(b) > latitude].mean() for latitude in LATITUDES)
        words = [f"|b| > {b:g}: {share:.2f} %" for b, share in zip(LATITUDES, shares, strict=True)]
        say(" | ".join(["sky", kind, *words]))


def hidden(masks: pd.DataFrame, members: pd.DataFrame) -> None:
    """Print how many stars of known streams the masks hide, and of which streams most."""
    by = masked_by(members["ra"], members["dec"], circles_of(masks))
    kind = masks["kind"].to_numpy()[by[by >= 0]]
    say(f"members hidden: {(by >= 0).sum()} of {len(members)}; {pd.Series(kind).value_counts().to_dict()}")
    found = members[by >= 0].assign(name=masks["name"].to_numpy()[by[by >= 0]])
    say(found.groupby(["name", "stream"]).size().sort_values(ascending=False).head(12).to_string())
    total = members.groupby("stream").size()
    share = (found.groupby("stream").size() / total).sort_values(ascending=False)
    say(share.head(8).round(3).to_string())


def draw(settings: Settings, masks: pd.DataFrame, patches: pd.DataFrame, out: Path) -> None:
    """Draw the masks and the searched circles on a Mollweide map in Galactic coordinates."""
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(projection="mollweide")
    for ra, dec in patches[["ra", "dec"]].to_numpy():
        x, y = turned(*circle(ra, dec, settings.fiducial.radius))
        axes.plot(x, y, color="#dfe2e7", lw=0.6, zorder=0)
    for kind in reversed(KINDS):
        fill(axes, masks[masks["kind"] == kind], kind)
    for latitude in (*LATITUDES, *(-b for b in LATITUDES)):
        x = np.radians(np.linspace(-180, 180, 361))
        axes.plot(x, np.full(x.shape, np.radians(latitude)), color="#2b2f36", lw=0.6, ls=":", zorder=1)
    axes.set_xticks([])
    for longitude in (120, 60, 0, 300, 240):
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.0}
        x = -np.radians((longitude + 180) % 360 - 180)
        axes.text(x, np.radians(10), f"l = {longitude}°", ha="center", fontsize=8, bbox=box, zorder=3)
    shown = (-60, -30, -20, 20, 30, 60)
    axes.set_yticks(np.radians(shown), [f"{b}°".replace("-", "\u2212") for b in shown], fontsize=8)
    axes.grid(visible=False)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=140, metadata={"Software": None})
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    say(f"drew {out}")


def fill(axes: Axes, masks: pd.DataFrame, kind: str) -> None:
    """Fill the circles of one kind; those that the edge of the map cuts are drawn as their two halves."""
    shapes = []
    for row in masks.itertuples():
        x, y = turned(*circle(row.ra, row.dec, row.radius, n=61), broken=False)
        if np.ptp(x) > np.pi:
            shapes += [np.column_stack([np.where(x * s > 0, x, s * np.pi), y]) for s in (-1, 1)]
        else:
            shapes.append(np.column_stack([x, y]))
    colour = COLOURS[kind]
    label = f"{kind} ({len(masks):,})"
    # a rim of half a point keeps circles of a quarter of a degree visible
    axes.add_collection(
        PolyCollection(shapes, facecolor=colour, edgecolor=colour, lw=0.5, alpha=0.75, label=label, zorder=2),
        autolim=False,
    )


def turned(ra: np.ndarray, dec: np.ndarray, *, broken: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return the place (rad) on a Galactic map, longitude to the left, broken at its edge."""
    sky = SkyCoord(ra, dec, unit="deg").galactic
    x, y = -sky.l.wrap_at("180d").rad, sky.b.rad
    if broken:
        seam = np.flatnonzero(np.abs(np.diff(x)) > np.pi) + 1
        x, y = np.insert(x, seam, np.nan), np.insert(y, seam, np.nan)
    return x, y


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/figures/masks.png"))
    parser.add_argument("--members", type=Path)
    arguments = parser.parse_args()
    main(arguments.out, arguments.members)
