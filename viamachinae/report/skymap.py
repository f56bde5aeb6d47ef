"""Panels of the sky: a local equal-area projection with its graticule, and the whole sky."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from numpy.typing import ArrayLike, NDArray

from viamachinae.report.style import ACCENT, BLUE, GREY, INK, PALE
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.known import near

__all__ = ["LocalSky", "circle", "draw_whole_sky", "extent", "whole_sky_place"]

Array = NDArray[np.float64]
#: Masked objects: filled, so that one of a few arcminutes is still a dot.
_HOLE: dict[str, Any] = {"facecolor": GREY, "edgecolor": GREY, "lw": 0.6, "alpha": 0.45, "zorder": 0.7}
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 45, 90)


def circle(ra: float, dec: float, radius: float, n: int = 181) -> tuple[Array, Array]:
    """Return ``n`` points (ra, dec in deg, ICRS) on the circle of ``radius`` (deg) about a position."""
    angle, r = np.linspace(0, 2 * np.pi, n), np.radians(radius)
    latitude = np.degrees(np.arcsin(np.sin(r) * np.cos(angle)))
    longitude = np.degrees(np.arctan2(np.sin(r) * np.sin(angle), np.cos(r)))
    return PatchFrame(ra, dec).from_frame(longitude, latitude)


def extent(patches: pd.DataFrame) -> tuple[float, float, float]:
    """Return the middle (ra, dec) of patches and the radius (deg) of the circle that holds them all."""
    ra, dec = np.radians(patches["ra"].to_numpy()), np.radians(patches["dec"].to_numpy())
    x, y, z = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
    mean = np.array([x.mean(), y.mean(), z.mean()])
    if np.linalg.norm(mean) < 1e-6:
        return 0.0, 0.0, 180.0
    middle_ra = float(np.degrees(np.arctan2(mean[1], mean[0])) % 360) % 360
    middle_dec = float(np.degrees(np.arctan2(mean[2], np.hypot(mean[0], mean[1]))))
    separation = PatchFrame(middle_ra, middle_dec).separation(patches["ra"], patches["dec"])
    return middle_ra, middle_dec, float(np.max(separation + patches["radius"].to_numpy()))


class LocalSky:
    """Lambert's azimuthal equal-area projection about a point, drawn with ra increasing to the left.

    Parameters
    ----------
    axes : Axes
        Panel to draw in.
    ra, dec : float
        Centre of the projection (deg, ICRS).
    radius : float
        Half the side of the panel (deg).
    """

    def __init__(self, axes: Axes, ra: float, dec: float, radius: float) -> None:
        self.axes, self.radius = axes, float(radius)
        self.frame = PatchFrame(ra, dec)
        half = self.radius * 1.03
        axes.set_xlim(half, -half)
        axes.set_ylim(-half, half)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("right ascension (deg)", labelpad=16)
        axes.set_ylabel("declination (deg)", labelpad=26)
        self._graticule(half)

    def project(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Array, Array]:
        """Return the place (deg, x to the east) of ``ra, dec`` (deg) in the panel."""
        rho = np.degrees(2 * np.sin(np.radians(self.frame.separation(ra, dec)) / 2))
        angle = np.radians(self.frame.position_angle(ra, dec))
        return rho * np.sin(angle), rho * np.cos(angle)

    def outline(self, patches: pd.DataFrame, radius: float) -> None:
        """Draw every patch (dashed) and its searched inner circle of ``radius`` deg (full line)."""
        for row in patches.itertuples():
            for r, style in ((row.radius, "--"), (radius, "-")):
                x, y = self.project(*circle(row.ra, row.dec, r))
                self.axes.plot(x, y, style, color=BLUE, lw=0.9, alpha=0.8)

    def holes(self, masks: pd.DataFrame) -> None:
        """Fill the circle of every masked object (``schema.MASKS``) that the panel can show."""
        shown = near(masks, self.frame.ra, self.frame.dec, 1.5 * self.radius)
        rims = [circle(row.ra, row.dec, row.radius, n=49) for row in shown.itertuples()]
        shapes = [np.column_stack(self.project(*rim)) for rim in rims]
        self.axes.add_collection(PolyCollection(shapes, **_HOLE), autolim=False)

    def _graticule(self, half: float) -> None:
        step = next((s for s in _STEPS if s >= half / 2.6), _STEPS[-1])
        dec0 = self.frame.dec
        pole = abs(dec0) + 1.5 * half > 88
        stretch = max(np.cos(np.radians(min(abs(dec0) + (half if pole else 0), 89.0))), 0.05)
        ra_step = next((s for s in _STEPS if s >= step / stretch), _STEPS[-1])
        reach = 180.0 if pole else min(180.0, 1.6 * half / stretch)
        low, high = max(dec0 - 1.6 * half, -90.0), min(dec0 + 1.6 * half, 90.0)
        decs, ras = np.linspace(low, high, 400), self.frame.ra + np.linspace(-reach, reach, 720)
        for dec in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step:
            x, y = self.project(ras % 360, np.full(ras.shape, dec))
            self._line(x, y, f"{dec:g}°", half, "left")
        first, last = np.ceil((self.frame.ra - reach) / ra_step), np.floor((self.frame.ra + reach) / ra_step)
        for ra in np.unique((np.arange(first, last + 1) * ra_step) % 360):
            x, y = self.project(np.full(decs.shape, ra), decs)
            self._line(x, y, f"{ra:g}°", half, "bottom")

    def _line(self, x: Array, y: Array, label: str, half: float, side: str) -> None:
        """Draw a line of the graticule and label it where it leaves the panel."""
        self.axes.plot(x, y, color=PALE, lw=0.6, zorder=0.5)
        edge, along = (x - half, y) if side == "left" else (y + half, x)
        at = np.flatnonzero(np.diff(np.sign(edge)) != 0)
        places = along[at][np.abs(along[at]) <= half]
        if len(places) == 0:
            return
        place = float(places[np.argmin(np.abs(places))])
        xy, offset = ((half, place), (-4, 0)) if side == "left" else ((place, -half), (0, -4))
        ha, va = ("right", "center") if side == "left" else ("center", "top")
        self.axes.annotate(
            label, xy, xytext=offset, textcoords="offset points", ha=ha, va=va, fontsize=8, color=INK
        )


def draw_whole_sky(
    axes: Axes,
    patches: pd.DataFrame,
    radius: float,
    tracks: pd.DataFrame,
    masks: pd.DataFrame,
    centre: float = 180.0,
) -> None:
    """Draw patches (searched circles of ``radius`` deg), tracks and masks on a Mollweide map (ICRS)."""
    for row in masks.itertuples():
        x, y = whole_sky_place(*circle(row.ra, row.dec, row.radius, n=49), centre)
        axes.plot(x, y, color=GREY, lw=0.7, zorder=0.7)
    for row in patches.itertuples():
        x, y = whole_sky_place(*circle(row.ra, row.dec, radius), centre)
        axes.plot(x, y, color=BLUE, lw=0.7, alpha=0.7)
    for _, track in tracks.groupby("stream_id", sort=False):
        x, y = whole_sky_place(track["ra"].to_numpy(), track["dec"].to_numpy(), centre)
        axes.plot(x, y, color=ACCENT, lw=2)
    axes.set_xticks(np.radians([-120, -60, 0, 60, 120]))
    axes.set_xticklabels([f"{(centre - v) % 360:g}°" for v in (-120, -60, 0, 60, 120)])
    axes.grid(color=PALE, lw=0.6)


def whole_sky_place(ra: Array, dec: Array, centre: float) -> tuple[Array, Array]:
    """Return Mollweide longitude (rad, ra to the left) and latitude, broken at the seam."""
    x = -np.radians((np.asarray(ra) - centre + 180) % 360 - 180)
    y = np.radians(np.asarray(dec, dtype=np.float64))
    seam = np.flatnonzero(np.abs(np.diff(x)) > np.pi) + 1
    return np.insert(x, seam, np.nan), np.insert(y, seam, np.nan)
