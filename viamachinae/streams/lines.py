"""The line finder: the most significant line among the best stars of a region of interest.

The significance is the binomial tail of the stars on the line against the
*largest* of four expectations: the line's share of the circle's area; the same
scaled by the smooth distribution of the other stars of the region of interest
(Galactic gradients, masks); and the density of the best stars themselves in
the strip on either side (gradients that only the scores have, edges, rings).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.spatial import cKDTree

from viamachinae.config.settings import LineSettings, Settings
from viamachinae.errors import DataError
from viamachinae.schema import ROIS
from viamachinae.streams.hough import GAP, SIDE, HoughGrid, distances, grid, strip_fraction
from viamachinae.streams.regions import Roi, SignalRegion, rois
from viamachinae.streams.significance import binomial_log_tail, log_tail_to_sigma

__all__ = ["Line", "best_line", "gnomonic", "search"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Lines of highest Hough score that are judged exactly.
N_JUDGED = 6
#: Smoothing of the background map, in widths of the line: the map must not resolve a line.
SMOOTHING = 2.0
#: A side strip speaks when it has at least this share of the line's own area.
MIN_SIDE = 0.5


@dataclass(frozen=True, eq=False)
class Line:
    """The most significant line of a region of interest.

    Parameters
    ----------
    theta, r : float
        ``x cos(theta) + y sin(theta) = r`` in the tangent plane (deg), 0 <= theta < 180.
    n : int
        Best stars on the line.
    expected : float
        Best stars expected there, the largest of the expectations.
    log10_p : float
        log10 of the tail probability, before look-elsewhere, of the count in
        which the fullest stretches are levelled (:attr:`LineSettings.stretch`).
    significance : float
        The same in Gaussian sigma.
    on_line : ndarray of bool, shape (n_top,)
        Which stars lie within half a width of the line, by angular distance.
    """

    theta: float
    r: float
    n: int
    expected: float
    log10_p: float
    significance: float
    on_line: Bools


def gnomonic(stars: pd.DataFrame) -> tuple[Floats, Floats]:
    """Return tangent-plane coordinates (deg) of a STARS table about its patch centre."""
    phi, lam = np.radians(stars["phi"].to_numpy()), np.radians(stars["lambda"].to_numpy())
    return np.degrees(np.tan(phi)), np.degrees(np.tan(lam) / np.cos(phi))


def best_line(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    radius: float,
    settings: LineSettings,
    background: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
) -> Line:
    """Return the most significant line among stars in a circle.

    Parameters
    ----------
    x, y : array_like, shape (n,)
        Gnomonic coordinates (deg) of the best stars about the circle's centre.
    radius : float
        Angular radius of the circle (deg).
    settings : LineSettings
        Width and steps; lines beyond ``rim`` are refused.
    background : pair of array_like, optional
        Gnomonic coordinates (deg) of the other stars of the region of interest,
        whose smooth distribution enters the expectation.

    Returns
    -------
    Line
        Always one; its significance says whether it means anything.

    Raises
    ------
    DataError
        Fewer than two stars, or a star outside the circle or not finite.
    """
    x, y = _inside_circle(x, y, radius, "the line finder")
    if x.size < 2:
        msg = f"a line needs at least two stars, got {x.size}; raise roi.n_top"
        raise DataError(msg)
    hough = grid(radius, settings)
    weights = _weights(x, y, radius, settings)
    density = _relative_density(hough, background, radius, settings)
    counts = hough.counts(hough.bins(x, y), weights)
    expected = _expectation(counts[1:], hough.area, density, x.size)
    score = _excess(counts[0], expected, x.size)
    found = [
        _judge(x, y, *_refine(x, y, hough, i, j, settings), radius, settings, weights, density[i, j])
        for i, j in _peaks(score, hough, settings)
    ]
    return min(found, key=lambda line: (line.log10_p, -line.n, line.theta, line.r))


def search(
    stars: pd.DataFrame,
    scores: pd.DataFrame,
    regions: Sequence[SignalRegion],
    settings: Settings,
    patch: str,
) -> pd.DataFrame:
    """Return every region of interest of a patch and scan coordinate with its best line.

    Parameters
    ----------
    stars, scores : DataFrame
        STARS of the patch, SCORES of one scan coordinate.
    regions : sequence of SignalRegion
        The regions that were scored, of that coordinate.
    settings : Settings
        Sections ``fiducial``, ``roi`` and ``lines`` are used.
    patch : str
        Name of the patch.

    Returns
    -------
    DataFrame
        ROIS, ordered by region and slice.
    """
    x, y = gnomonic(stars)
    rows = [_row(roi, x, y, settings, patch) for roi in rois(stars, scores, regions, settings.roi)]
    return ROIS.conform(pd.DataFrame(rows, columns=list(ROIS.names))) if rows else ROIS.empty()


def _row(roi: Roi, x: Floats, y: Floats, settings: Settings, patch: str) -> dict[str, object]:
    top = roi.top_rows
    rest = np.setdiff1d(roi.rows, top, assume_unique=True)
    line = best_line(x[top], y[top], settings.fiducial.radius, settings.lines, (x[rest], y[rest]))
    return {
        "patch": patch,
        "coordinate": roi.region.coordinate,
        "region": roi.region.index,
        "slice": roi.slice.index,
        "low": roi.region.low,
        "high": roi.region.high,
        "slice_low": roi.slice.low,
        "slice_high": roi.slice.high,
        "n_stars": len(roi.rows),
        "n_top": len(top),
        "theta": line.theta,
        "r": line.r,
        "n_line": line.n,
        "expected": line.expected,
        "log10_p": line.log10_p,
        "significance": line.significance,
        "top_rows": top.astype(np.int32),
        "on_line": line.on_line,
    }


def _inside_circle(x: npt.ArrayLike, y: npt.ArrayLike, radius: float, where: str) -> tuple[Floats, Floats]:
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    reach = np.degrees(np.tan(np.radians(radius)))
    if not (np.hypot(px, py) <= reach * (1 + 1e-6)).all():
        msg = f"{where}: a star lies outside the circle of {radius} deg, or is not finite; cut the stars first"
        raise DataError(msg)
    return px, py


def _weights(x: Floats, y: Floats, radius: float, settings: LineSettings) -> Floats:
    """Weigh down stars in clumps denser than twice what an even line of all stars would show."""
    position = np.column_stack([x, y])
    near = cKDTree(position).query_ball_point(position, settings.width / 2, return_length=True)
    most = max(2.0, 2 * x.size * settings.width / (2 * radius))
    return np.asarray(np.minimum(1.0, most / np.asarray(near, dtype=np.float64)))


def _relative_density(
    hough: HoughGrid,
    background: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    radius: float,
    settings: LineSettings,
) -> Floats:
    """Return the smooth density of other stars on each line, relative to the circle's mean."""
    shape = (len(hough.theta), len(hough.r))
    if background is None or np.size(background[0]) == 0:
        return np.ones(shape)
    bx, by = _inside_circle(*background, radius, "the background of the line finder")
    level = _smooth_map(hough.points, bx, by, SMOOTHING * settings.width, radius)
    strip = hough.counts(hough.point_bins, level)[0]
    plain = hough.counts(hough.point_bins, np.ones_like(level))[0]
    return np.asarray(strip / np.maximum(plain, 1.0) / level.mean())


def _smooth_map(points: Floats, bx: Floats, by: Floats, sigma: float, radius: float) -> Floats:
    """Return the density of stars at each point, smoothed and corrected for the rim's missing outside.

    A mean of one star in the whole circle is added, so that empty corners of a
    sparse map keep an expectation.
    """
    reach = np.degrees(np.tan(np.radians(radius)))
    cell = sigma / 2
    n = int(np.ceil(2 * reach / cell))
    edges = (np.arange(n + 1) - n / 2) * cell
    stars = np.histogram2d(bx, by, bins=(edges, edges))[0]
    area = np.histogram2d(*points, bins=(edges, edges))[0]
    middle = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((middle[:, None] - middle) / sigma) ** 2)
    level = (kernel @ stars @ kernel + stars.mean()) / np.maximum(kernel @ area @ kernel, 1e-9)
    index = np.clip(np.digitize(points, edges) - 1, 0, n - 1)
    return np.asarray(level[index[0], index[1]])


def _expectation(sides: Floats, area: Floats, density: Floats, n: int) -> Floats:
    """Return the largest expectation on every line, shape ``(n_theta, n_r)``."""
    expected = n * area[0] * np.maximum(density, 1.0)
    both = sides.sum(axis=0) / np.maximum(area[1:].sum(axis=0), 1e-12)
    expected = np.maximum(expected, both * area[0])
    for count, share in zip(sides, area[1:], strict=True):
        # One side alone is noisy: it speaks only for what it shows beyond one sigma.
        local = (count - np.sqrt(count)) * area[0] / np.maximum(share, 1e-12)
        expected = np.where(share >= MIN_SIDE * area[0], np.maximum(expected, local), expected)
    return np.asarray(np.clip(expected, 1e-3, n - 1e-3))


def _excess(counts: Floats, expected: Floats, n: int) -> Floats:
    """Return the binomial log-likelihood ratio of an excess, zero where there is none."""
    k = np.clip(counts, expected, n - 1e-9)
    return np.asarray(k * np.log(k / expected) + (n - k) * np.log((n - k) / (n - expected)))


def _peaks(score: Floats, hough: HoughGrid, settings: LineSettings) -> list[tuple[int, int]]:
    """Return the cells of the highest scores, none within a width or so of a better one."""
    left = score.copy()
    n_theta = len(hough.theta)
    around = max(1, round(n_theta * 5.0 / 180.0))
    across = max(1, round(settings.width / hough.bin_width))
    cells = []
    for _ in range(N_JUDGED):
        i, j = np.unravel_index(int(np.argmax(left)), left.shape)
        cells.append((int(i), int(j)))
        for k in range(int(i) - around, int(i) + around + 1):
            # Past 180 deg the same line carries the opposite sign of r.
            centre = int(j) if 0 <= k < n_theta else left.shape[1] - 1 - int(j)
            left[k % n_theta, max(0, centre - across) : centre + across + 1] = -1.0
    return cells


def _refine(
    x: Floats, y: Floats, hough: HoughGrid, i: int, j: int, settings: LineSettings
) -> tuple[float, float]:
    """Return the line near a cell that holds most stars, and those closest to it."""
    step = 180.0 / len(hough.theta)
    limit = hough.r[-1]
    turn, shift = np.meshgrid(np.linspace(-1, 1, 9) * step, np.linspace(-1, 1, 9) * hough.bin_width)
    theta = hough.theta[i] + turn.ravel()
    r = np.clip(hough.r[j] + shift.ravel(), -limit, limit)
    away = np.abs(distances(x, y, theta, r))
    on = away < settings.width / 2
    n = on.sum(axis=1)
    spread = (away * on).sum(axis=1) / np.maximum(n, 1)
    best = int(np.lexsort((spread, -n))[0])
    angle, offset = float(theta[best]), float(r[best])
    if angle < 0.0:
        return angle + 180.0, -offset
    return (angle - 180.0, -offset) if angle >= 180.0 else (angle, offset)


def _judge(
    x: Floats,
    y: Floats,
    theta: float,
    r: float,
    radius: float,
    settings: LineSettings,
    weights: Floats,
    density: float,
) -> Line:
    away = distances(x, y, theta, r)
    half = settings.width / 2
    on_line = np.abs(away) < half
    delta = float(np.degrees(np.arctan(np.radians(r))))
    inner, outer = half + GAP * settings.width, half + (GAP + SIDE) * settings.width
    spans = ((-half, half), (-outer, -inner), (inner, outer))
    area = np.stack([strip_fraction(delta, low, high, radius) for low, high in spans])
    sides = np.array([[weights[(away >= low) & (away < high)].sum()] for low, high in spans[1:]])
    expected = float(_expectation(sides, area, np.array([density]), x.size)[0])
    n_even = _levelled(x[on_line], y[on_line], theta, settings.stretch)
    log_p = binomial_log_tail(n_even, x.size, expected / x.size)
    return Line(
        theta,
        r,
        int(on_line.sum()),
        expected,
        log_p / np.log(10.0),
        log_tail_to_sigma(log_p),
        on_line,
    )


def _levelled(x: Floats, y: Floats, theta: float, stretch: float) -> int:
    """Count stars of a line, its two fullest stretches cut down to the third.

    Three placements of the stretches are tried and the least count taken, so
    that no clump escapes by lying across a boundary.
    """
    if x.size == 0:
        return 0
    along = (y * np.cos(np.radians(theta)) - x * np.sin(np.radians(theta))) / stretch
    least = x.size
    for phase in (0.0, 1 / 3, 2 / 3):
        filled = np.sort(np.bincount(np.floor(along - along.min() + phase).astype(np.int64), minlength=3))
        least = min(least, int(filled[:-2].sum() + np.minimum(filled[-2:], filled[-3] + 1).sum()))
    return least
