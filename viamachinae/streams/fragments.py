"""Fragments: lines of one patch on which independent trainings agree.

An independent training is a different (scan coordinate, signal region); the
slices of one region share its models and count once. Trainings share stars,
so their significances are not added up: a fragment has that of its best line.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from viamachinae.config.settings import FragmentSettings, Settings
from viamachinae.errors import DataError
from viamachinae.schema import FRAGMENTS
from viamachinae.sky.circles import GreatCircle
from viamachinae.streams.hough import distances
from viamachinae.streams.lines import gnomonic

__all__ = ["build"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: A star stays when it was on the line at least this often, relative to the star seen most often.
MIN_VOTES = 0.25
#: A line shares a fragment's stars, whatever its angle, when this part of its own stars are there.
MIN_SHARED = 0.5


@dataclass(frozen=True, eq=False)
class _Lines:
    """The lines above threshold, best first: parameters, middles (tangent deg), proper motions, stars."""

    rois: Ints
    theta: Floats
    r: Floats
    middle: Floats
    pm: Floats
    stars: list[Ints]


def build(
    stars: pd.DataFrame, rois: pd.DataFrame, patch_row: Mapping[Hashable, object], settings: Settings
) -> pd.DataFrame:
    """Group the lines of a patch into fragments.

    The best line opens a fragment and takes every line near it in angle,
    distance and proper motion, then every line that holds mostly the same
    stars; the best of the rest opens the next. Grouping around the best, rather
    than by chains of neighbours, keeps two streams apart that a few lines bridge.

    Parameters
    ----------
    stars : DataFrame
        STARS of the patch.
    rois : DataFrame
        ROIS of the patch, of all its scan coordinates.
    patch_row : mapping
        The patch's row of PATCHES (``patch``).
    settings : Settings
        Thresholds (section ``fragments``); ``min_trainings`` = 1 lets a single region stand alone.

    Returns
    -------
    DataFrame
        FRAGMENTS, best first.

    Raises
    ------
    DataError
        ROIs of another patch, or that name rows beyond the stars table.
    """
    patch = str(patch_row["patch"])
    _check(stars, rois, patch)
    limits = settings.fragments
    lines = _lines(stars, rois, limits)
    left = np.ones(len(lines.rois), dtype=bool)
    rows = []
    while left.any():
        group = _group(lines, int(np.argmax(left)), left, limits)
        left &= ~group
        chosen = rois.iloc[lines.rois[group]]
        trainings = set(zip(chosen["coordinate"], chosen["region"], strict=True))
        if len(trainings) >= limits.min_trainings:
            members = [lines.stars[i] for i in np.flatnonzero(group)]
            rows.append(_fragment(stars, chosen, lines.rois[group], members))
    for number, row in enumerate(rows, start=1):
        row.update(patch=patch, fragment=f"{patch}/{number}")
    return FRAGMENTS.conform(pd.DataFrame(rows, columns=list(FRAGMENTS.names))) if rows else FRAGMENTS.empty()


def _check(stars: pd.DataFrame, rois: pd.DataFrame, patch: str) -> None:
    others = sorted(set(rois["patch"]) - {patch})
    if others:
        msg = f"patch {patch}: got regions of interest of the patches {others}; give one patch at a time"
        raise DataError(msg)
    last = max((int(np.max(rows)) for rows in rois["top_rows"] if len(rows)), default=-1)
    if last >= len(stars):
        msg = f"patch {patch}: regions of interest name row {last} of {len(stars)} stars; search lines again"
        raise DataError(msg)


def _lines(stars: pd.DataFrame, rois: pd.DataFrame, settings: FragmentSettings) -> _Lines:
    significance = rois["significance"].to_numpy()
    order = np.lexsort((rois["slice"], rois["region"], rois["coordinate"].astype(str), -significance))
    order = order[significance[order] >= settings.min_significance]
    x, y = gnomonic(stars)
    pm = stars[["pm_phi_coslambda", "pm_lambda"]].to_numpy().astype(np.float64)
    on_line = [
        np.asarray(rois["top_rows"].iloc[i], dtype=np.int64)[np.asarray(rois["on_line"].iloc[i], dtype=bool)]
        for i in order
    ]
    theta, r = rois["theta"].to_numpy()[order], rois["r"].to_numpy()[order]
    middle = np.array([[np.median(x[s]), np.median(y[s])] for s in on_line]).reshape(-1, 2)
    # The foot of the median star on its own line, so that distances are between lines.
    normal = np.column_stack([np.cos(np.radians(theta)), np.sin(np.radians(theta))])
    middle -= ((middle * normal).sum(axis=1) - r)[:, None] * normal
    motion = np.array([np.median(pm[s], axis=0) for s in on_line]).reshape(-1, 2)
    return _Lines(order, theta, r, middle, motion, on_line)


def _group(
    lines: _Lines, best: int, left: npt.NDArray[np.bool_], settings: FragmentSettings
) -> npt.NDArray[np.bool_]:
    """Return the lines that belong with line ``best``, among those left."""
    angle = np.abs((lines.theta - lines.theta[best] + 90.0) % 180.0 - 90.0)
    mine = lines.middle[best : best + 1]
    away = np.maximum(
        np.abs(distances(mine[:, 0], mine[:, 1], lines.theta, lines.r)[:, 0]),
        np.abs(distances(lines.middle[:, 0], lines.middle[:, 1], lines.theta[best], lines.r[best])),
    )
    motion = np.hypot(*(lines.pm - lines.pm[best]).T)
    near = (
        (angle <= settings.max_angle) & (away <= settings.max_distance) & (motion <= settings.max_pm) & left
    )
    near[best] = True
    known = np.unique(np.concatenate([lines.stars[i] for i in np.flatnonzero(near)]))
    for i in np.flatnonzero(left & ~near):
        near[i] = np.isin(lines.stars[i], known).mean() >= MIN_SHARED
    return np.asarray(near)


def _fragment(
    stars: pd.DataFrame, chosen: pd.DataFrame, roi_rows: Ints, members: list[Ints]
) -> dict[str, object]:
    row, votes = np.unique(np.concatenate(members), return_counts=True)
    keep = votes >= MIN_VOTES * votes.max()
    row, votes = row[keep], votes[keep]
    picked = stars.iloc[row]
    ra, dec = picked["ra"].to_numpy(), picked["dec"].to_numpy()
    circle = GreatCircle.fit(ra, dec, votes)
    middle_ra, middle_dec = circle.to_sky(np.median(circle.phi1(ra, dec)), 0.0)
    return {
        "pole_ra": circle.pole_ra,
        "pole_dec": circle.pole_dec,
        "ra": float(middle_ra),
        "dec": float(middle_dec),
        "significance": float(chosen["significance"].max()),
        "n_rois": len(chosen),
        "n_trainings": len(set(zip(chosen["coordinate"], chosen["region"], strict=True))),
        "n_stars": len(row),
        "pmra": float(np.median(picked["pmra"])),
        "pmdec": float(np.median(picked["pmdec"])),
        "roi_rows": roi_rows.astype(np.int32),
        "star_rows": row.astype(np.int32),
        "source_ids": picked["source_id"].to_numpy(),
    }
