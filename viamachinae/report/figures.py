"""Figures of the stars of a candidate: on the sky, along its track, in proper motion, in colour-magnitude."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from viamachinae.report.data import ReportData
from viamachinae.report.skymap import LocalSky, draw_whole_sky, extent
from viamachinae.report.style import ACCENT, GREY, MEMBER_MAP, PALE, figure, figure_style, to_data_uri
from viamachinae.sky.circles import GreatCircle
from viamachinae.stars.extinction import CORRECTED, photometry

__all__ = ["SHOWN_MEMBERSHIP", "candidate_figure", "patches_figure"]

#: Stars of lower membership are drawn in grey, as judged and not taken.
SHOWN_MEMBERSHIP = 0.1

_BACKGROUND = 12_000
Array = NDArray[np.float64]


def candidate_figure(data: ReportData, stream: pd.Series) -> str:
    """Return four panels of a candidate's stars as a ``data:`` address.

    Parameters
    ----------
    data : ReportData
        Results of the scan.
    stream : Series
        Row of the STREAMS table.
    """
    mine = data.members["stream_id"] == stream["stream_id"]
    members = data.members[mine].sort_values("membership", kind="stable")
    track = data.tracks[data.tracks["stream_id"] == stream["stream_id"]]
    patches = data.candidate_patches(stream)
    stars = data.background(patches, _BACKGROUND)
    with figure_style():
        fig = figure(11, 9.2)
        sky, along, motion, colour = fig.subplots(2, 2).ravel()
        _sky(sky, data, stream, (stars, members, track))
        _along(along, stream, (stars, members, track))
        _motion(motion, stars, members, track)
        _colour(colour, data, stars, members)
        scale = ScalarMappable(Normalize(0, 1), MEMBER_MAP)
        fig.colorbar(
            scale, ax=[sky, along, motion, colour], label="membership", shrink=0.5, aspect=40, pad=0.01
        )
        return to_data_uri(fig)


def patches_figure(data: ReportData) -> str:
    """Return the map of all patches and tracks as a ``data:`` address."""
    with figure_style():
        ra, dec, radius = extent(data.patches)
        searched = data.settings.fiducial.radius
        if radius > 75:
            fig = figure(9, 4.8)
            axes = fig.add_subplot(projection="mollweide")
            draw_whole_sky(axes, data.patches, searched, data.tracks, data.masks)
            return to_data_uri(fig)
        fig = figure(6, 5.8)
        local = LocalSky(fig.add_subplot(), ra, dec, radius)
        stars = data.background(list(data.patches["patch"]), _BACKGROUND)
        local.axes.scatter(*local.project(stars["ra"], stars["dec"]), s=0.6, c=PALE, lw=0, rasterized=True)
        local.holes(data.masks)
        local.outline(data.patches, searched)
        for row in data.patches.itertuples():
            local.axes.annotate(
                str(row.patch),
                _point(local, row.ra, row.dec),
                ha="center",
                va="center",
                fontsize=7,
                color=GREY,
            )
        for name, track in data.tracks.groupby("stream_id", sort=False):
            x, y = local.project(track["ra"], track["dec"])
            local.axes.plot(x, y, color=ACCENT, lw=2)
            local.axes.annotate(
                str(name), (x[-1], y[-1]), xytext=(4, 4), textcoords="offset points", fontsize=7, color=ACCENT
            )
        return to_data_uri(fig)


def _point(local: LocalSky, ra: float, dec: float) -> tuple[float, float]:
    x, y = local.project([ra], [dec])
    return float(x[0]), float(y[0])


def _layers(
    axes: Axes, background: tuple[Array, Array], members: pd.DataFrame, place: tuple[Array, Array]
) -> None:
    """Draw background stars, judged stars and members, the surest on top."""
    axes.scatter(*background, s=1.2, c=PALE, lw=0, rasterized=True)
    membership = members["membership"].to_numpy(dtype=np.float64)
    shown = membership >= SHOWN_MEMBERSHIP
    x, y = (np.asarray(v, dtype=np.float64) for v in place)
    axes.scatter(x[~shown], y[~shown], s=5, c=GREY, lw=0, alpha=0.6)
    axes.scatter(
        x[shown],
        y[shown],
        s=7 + 13 * membership[shown],
        c=membership[shown],
        cmap=MEMBER_MAP,
        vmin=0,
        vmax=1,
        lw=0.2,
        edgecolors="white",
    )


def _sky(
    axes: Axes, data: ReportData, stream: pd.Series, tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]
) -> None:
    stars, members, track = tables
    patches = data.patches[data.patches["patch"].isin(data.candidate_patches(stream))]
    ra, dec, radius = extent(patches)
    local = LocalSky(axes, ra, dec, min(radius, 80.0))
    place = local.project(members["ra"], members["dec"])
    _layers(axes, local.project(stars["ra"], stars["dec"]), members, place)
    local.holes(data.masks)
    local.outline(patches, data.settings.fiducial.radius)
    if len(track):
        axes.plot(*local.project(track["ra"], track["dec"]), color=ACCENT, lw=1.2, ls=(0, (6, 3)))
    axes.set_title("On the sky")


def _along(axes: Axes, stream: pd.Series, tables: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]) -> None:
    stars, members, track = tables
    background = _stream_frame(stream, stars, track if len(track) else members)
    _layers(axes, background, members, (members["phi1"], members["phi2"]))
    if len(track):
        axes.plot(track["phi1"], track["phi2"], color=ACCENT, lw=1.2, ls=(0, (6, 3)))
    x, y = _span([members["phi1"], track["phi1"]], 1.0), _span([members["phi2"], track["phi2"]], 1.0)
    axes.set(xlim=x, ylim=y, xlabel=r"$\phi_1$, along the track (deg)", ylabel=r"$\phi_2$, across (deg)")
    axes.set_title("Along its great circle")


def _stream_frame(stream: pd.Series, stars: pd.DataFrame, anchor: pd.DataFrame) -> tuple[Array, Array]:
    """Return phi1, phi2 of ``stars``, phi1 counted from where the candidate's own tables count it."""
    pole = GreatCircle(*(float(stream[name]) for name in ("pole_ra", "pole_dec", "ra", "dec")))
    phi1, phi2 = pole.phi1(stars["ra"], stars["dec"]), pole.phi2(stars["ra"], stars["dec"])
    if len(anchor) == 0:
        return phi1, phi2
    turn = np.radians(pole.phi1(anchor["ra"], anchor["dec"]) - anchor["phi1"].to_numpy())
    zero = np.degrees(np.arctan2(np.sin(turn).mean(), np.cos(turn).mean()))
    return (phi1 - zero + 180) % 360 - 180, phi2


def _motion(axes: Axes, stars: pd.DataFrame, members: pd.DataFrame, track: pd.DataFrame) -> None:
    place = (members["pmra"], members["pmdec"])
    _layers(axes, (stars["pmra"], stars["pmdec"]), members, place)
    if len(track):
        axes.plot(track["pmra"], track["pmdec"], color=ACCENT, lw=1.2, ls=(0, (6, 3)))
    taken = members[members["membership"] >= SHOWN_MEMBERSHIP]
    centre = taken if len(taken) else members
    axes.set(
        xlim=_span([centre["pmra"], track["pmra"]], 5.0),
        ylim=_span([centre["pmdec"], track["pmdec"]], 5.0),
        xlabel=r"$\mu_\alpha\cos\delta$ (mas/yr)",
        ylabel=r"$\mu_\delta$ (mas/yr)",
    )
    axes.set_title("Proper motion")


def _colour(axes: Axes, data: ReportData, stars: pd.DataFrame, members: pd.DataFrame) -> None:
    used = photometry(stars.columns.intersection(members.columns))
    _layers(axes, (stars[used.bp_rp], stars[used.g]), members, (members[used.bp_rp], members[used.g]))
    unreddened = "_0" if used == CORRECTED else ""
    fiducial = data.settings.fiducial
    bright = pd.concat([stars[used.g], members[used.g]])
    top = float(np.nanquantile(bright, 0.001)) - 0.3 if len(bright) else fiducial.g_max - 8
    axes.set(
        xlim=(fiducial.colour[0] - 0.05, fiducial.colour[1] + 0.05),
        ylim=(fiducial.g_max + 0.2, min(top, fiducial.g_max - 1)),
        xlabel=rf"$(G_{{\rm BP}}-G_{{\rm RP}}){unreddened}$ (mag)",
        ylabel=rf"$G{unreddened}$ (mag)",
    )
    axes.set_title("Colour and magnitude")


def _span(values: list[pd.Series], margin: float) -> tuple[float, float]:
    """Return limits around everything finite in ``values``, ``margin`` on either side."""
    every = np.concatenate([np.asarray(v, dtype=np.float64) for v in values])
    every = every[np.isfinite(every)]
    if len(every) == 0:
        return -margin, margin
    return float(every.min() - margin), float(every.max() + margin)
