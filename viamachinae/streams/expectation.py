"""What the line finder expects on a line, and what it refuses to count there."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from viamachinae.config.settings import LineSettings
from viamachinae.errors import DataError
from viamachinae.streams.hough import HoughGrid

__all__ = [
    "clump_weights",
    "inside_circle",
    "largest_expectation",
    "levelled_count",
    "relative_density",
]

Floats = npt.NDArray[np.float64]

#: Smoothing of the background map, in widths of the line: the map must not resolve a line.
SMOOTHING = 2.0
#: A side strip speaks when it has at least this share of the line's own area.
MIN_SIDE = 0.5


def inside_circle(x: npt.ArrayLike, y: npt.ArrayLike, radius: float, where: str) -> tuple[Floats, Floats]:
    """Return gnomonic coordinates ``(n,)`` (deg) as arrays, all of them inside the circle.

    Raises
    ------
    DataError
        A star lies outside ``radius`` (deg), or is not finite.
    """
    px, py = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    reach = np.degrees(np.tan(np.radians(radius)))
    if not (np.hypot(px, py) <= reach * (1 + 1e-6)).all():
        msg = (
            f"{where}: a star lies outside the circle of {radius} deg, or is not finite; cut the stars first"
        )
        raise DataError(msg)
    return px, py


def clump_weights(x: Floats, y: Floats, radius: float, settings: LineSettings) -> Floats:
    """Weigh down stars in clumps denser than twice what an even line of all stars would show.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Gnomonic coordinates (deg).
    radius : float
        Radius of the circle (deg).
    settings : LineSettings
        A clump is as large as a line is wide.

    Returns
    -------
    ndarray, shape (n,)
        Weights up to one, with which lines are looked for, not judged.
    """
    position = np.column_stack([x, y])
    near = cKDTree(position).query_ball_point(position, settings.width / 2, return_length=True)
    most = max(2.0, 2 * x.size * settings.width / (2 * radius))
    return np.asarray(np.minimum(1.0, most / np.asarray(near, dtype=np.float64)))


def relative_density(
    hough: HoughGrid,
    background: tuple[npt.ArrayLike, npt.ArrayLike] | None,
    radius: float,
    settings: LineSettings,
) -> Floats:
    """Return the smooth density of other stars on each line, relative to the circle's mean.

    Parameters
    ----------
    hough : HoughGrid
        The lines.
    background : pair of array_like, shape (m,), or None
        Gnomonic coordinates (deg) of the other stars; ones come back without any.
    radius : float
        Radius of the circle (deg).
    settings : LineSettings
        The smoothing length is twice the line's width.

    Returns
    -------
    ndarray, shape (n_theta, n_r)
    """
    shape = (len(hough.theta), len(hough.r))
    if background is None or np.size(background[0]) == 0:
        return np.ones(shape)
    bx, by = inside_circle(*background, radius, "the background of the line finder")
    level = _smooth_map(hough.points, bx, by, SMOOTHING * settings.width, radius)
    strip = hough.counts(hough.point_bins, level)[0]
    plain = hough.counts(hough.point_bins, np.ones_like(level))[0]
    return np.asarray(strip / np.maximum(plain, 1.0) / level.mean())


def _smooth_map(points: Floats, bx: Floats, by: Floats, sigma: float, radius: float) -> Floats:
    """Return the density of stars at each point, smoothed and corrected for the rim's missing outside.

    A little of the mean is added, so that empty corners of a sparse map keep an expectation.
    """
    reach = float(np.degrees(np.tan(np.radians(radius))))
    cell = sigma / 2
    n = int(np.ceil(2 * reach / cell))
    edges = np.asarray((np.arange(n + 1) - n / 2) * cell, dtype=np.float64)
    stars = np.histogram2d(bx, by, bins=(edges, edges))[0]
    area = np.histogram2d(points[0], points[1], bins=(edges, edges))[0]
    middle = (edges[1:] + edges[:-1]) / 2
    kernel = np.exp(-0.5 * ((middle[:, None] - middle) / sigma) ** 2)
    level = (kernel @ stars @ kernel + stars.mean()) / np.maximum(kernel @ area @ kernel, 1e-9)
    index = np.clip(np.digitize(points, edges) - 1, 0, n - 1)
    return np.asarray(level[index[0], index[1]])


def largest_expectation(sides: Floats, area: Floats, density: Floats, n: int) -> Floats:
    """Return the largest of the expectations on every line.

    Parameters
    ----------
    sides : ndarray, shape (2, ...)
        Weighted counts of the side strips.
    area : ndarray, shape (3, ...)
        Fractions of the circle's area in line and side strips.
    density : ndarray, shape (...)
        Background density on the line, relative to the mean.
    n : int
        Stars in the circle.

    Returns
    -------
    ndarray, shape (...)
        Expected stars, above 0 and below ``n``.
    """
    expected = n * area[0] * np.maximum(density, 1.0)
    both = sides.sum(axis=0) / np.maximum(area[1:].sum(axis=0), 1e-12)
    expected = np.maximum(expected, both * area[0])
    for count, share in zip(sides, area[1:], strict=True):
        # One side alone is noisy: it speaks only for what it shows beyond one sigma.
        local = (count - np.sqrt(count)) * area[0] / np.maximum(share, 1e-12)
        expected = np.where(share >= MIN_SIDE * area[0], np.maximum(expected, local), expected)
    return np.asarray(np.clip(expected, 1e-3, n - 1e-3))


def levelled_count(x: Floats, y: Floats, theta: float, stretch: float) -> int:
    """Count stars of a line, its two fullest stretches cut to one star more than the third.

    Three placements of the stretches are tried and the least count taken, so
    that no clump escapes by lying across a boundary.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Gnomonic coordinates (deg) of the stars on the line.
    theta : float
        Angle of the line's normal (deg).
    stretch : float
        Length of a stretch (deg).
    """
    if x.size == 0:
        return 0
    along = (y * np.cos(np.radians(theta)) - x * np.sin(np.radians(theta))) / stretch
    least = x.size
    for phase in (0.0, 1 / 3, 2 / 3):
        filled = np.sort(np.bincount(np.floor(along - along.min() + phase).astype(np.int64), minlength=3))
        least = min(least, int(filled[:-2].sum() + np.minimum(filled[-2:], filled[-3] + 1).sum()))
    return least
