"""Counts in every strip across a circle at once (Hough transform by sliding sums)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from viamachinae.config.settings import LineSettings

__all__ = ["HoughGrid", "distances", "grid", "strip_fraction"]

Floats = npt.NDArray[np.float64]

#: Width of each side strip and its gap to the line, in widths of the line. The
#: gap keeps the wings of a broad stream out of its own expectation.
SIDE, GAP = 2.0, 0.5
#: Points that stand for the area of the circle when a background map is projected.
N_POINTS = 2500
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(12)


def distances(x: Floats, y: Floats, theta: npt.ArrayLike, r: npt.ArrayLike) -> Floats:
    """Return angular distances (deg) of stars from great circles drawn in a tangent plane.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Gnomonic coordinates (deg).
    theta, r : array_like, shape (m,) or scalar
        Lines ``x cos(theta) + y sin(theta) = r`` (deg).

    Returns
    -------
    ndarray, shape (m, n) or (n,)
        Signed, positive on the side of the normal.
    """
    angle = np.radians(np.asarray(theta, dtype=np.float64))[..., None]
    offset = np.radians(np.asarray(r, dtype=np.float64))[..., None]
    u, v = np.radians(x), np.radians(y)
    scale = np.sqrt((1 + u**2 + v**2) * (1 + offset**2))
    return np.asarray(np.degrees(np.arcsin((u * np.cos(angle) + v * np.sin(angle) - offset) / scale)))


def strip_fraction(delta: npt.ArrayLike, low: float, high: float, radius: float) -> Floats:
    """Return the fraction of a spherical cap's area in a strip along a great circle.

    Parameters
    ----------
    delta : array_like, shape (m,)
        Signed distance (deg) of the great circle from the centre of the cap.
    low, high : float
        Edges of the strip as signed distances from the circle (deg).
    radius : float
        Radius of the cap (deg).
    """
    d = np.radians(np.atleast_1d(np.asarray(delta, dtype=np.float64)))[:, None]
    reach = np.radians(radius)
    # Only the part of the strip that meets the cap is integrated: beyond, the
    # integrand is zero with a kink that quadrature would smear.
    a = np.clip(np.radians(low), -d - reach, reach - d)
    b = np.clip(np.radians(high), -d - reach, reach - d)
    # phi2 = a + (b - a) (1 - cos t) / 2 removes the square-root ends at the rim.
    t = (np.pi / 2) * (_NODES + 1)
    phi2 = a + (b - a) * (1 - np.cos(t)) / 2
    cosine = (np.cos(reach) + np.sin(phi2) * np.sin(d)) / (np.cos(phi2) * np.cos(d))
    half = np.arccos(np.clip(cosine, -1.0, 1.0))
    area = np.sum(_WEIGHTS * (np.pi / 2) * np.sin(t) / 2 * 2 * half * np.cos(phi2), axis=1) * (b - a)[:, 0]
    return np.asarray(area / (2 * np.pi * (1 - np.cos(reach))))


@dataclass(frozen=True, eq=False)
class HoughGrid:
    """Everything about the strips of a circle that does not depend on its stars.

    Parameters
    ----------
    theta, r : ndarray, shapes (n_theta,), (n_r,)
        Angles of the normals and distances of the centre lines (deg, tangent plane).
    edge, bin_width : float
        Lowest edge and width of the fine bins of the projection (deg).
    n_bins, first, half, side, gap : int
        Bins; bin edge at ``r[0]``; bins of half a width, a side strip, a gap.
    area : ndarray, shape (3, n_r)
        Fraction of the circle's area in the line, the side below, the side above.
    points : ndarray, shape (2, n_points)
        Evenly spread points (deg, tangent plane) of equal area.
    point_bins : ndarray of int, shape (n_theta, n_points)
        Flat bin of each point.
    """

    theta: Floats
    r: Floats
    edge: float
    bin_width: float
    n_bins: int
    first: int
    half: int
    side: int
    gap: int
    area: Floats
    points: Floats
    point_bins: npt.NDArray[np.int64]

    def bins(self, x: Floats, y: Floats) -> npt.NDArray[np.int64]:
        """Return the flat (angle, projection) bin of every star at every angle, ``(n_theta, n)``."""
        return _flat_bins(self.theta, x, y, (self.edge, self.bin_width, self.n_bins))

    def counts(self, flat: npt.NDArray[np.int64], weights: Floats) -> Floats:
        """Return weighted counts in line, side below, side above: ``(3, n_theta, n_r)``."""
        n_theta = len(self.theta)
        tiled = np.broadcast_to(weights, flat.shape).ravel()
        fine = np.bincount(flat.ravel(), weights=tiled, minlength=n_theta * self.n_bins)
        total = np.zeros((n_theta, self.n_bins + 1))
        np.cumsum(fine.reshape(n_theta, self.n_bins), axis=1, out=total[:, 1:])
        centre = self.first + np.arange(len(self.r))
        inner = self.half + self.gap
        outer = inner + self.side
        spans = ((-self.half, self.half), (-outer, -inner), (inner, outer))
        return np.stack([total[:, centre + b] - total[:, centre + a] for a, b in spans])


def _flat_bins(
    theta: Floats, x: Floats, y: Floats, binning: tuple[float, float, int]
) -> npt.NDArray[np.int64]:
    edge, width, n_bins = binning
    angle = np.radians(theta)
    projected = np.outer(np.cos(angle), x) + np.outer(np.sin(angle), y)
    index = np.floor((projected - edge) / width).astype(np.int64)
    return np.asarray(index + np.arange(len(theta))[:, None] * n_bins)


@lru_cache(maxsize=8)
def grid(radius: float, settings: LineSettings) -> HoughGrid:
    """Return the grid of strips inside a circle of ``radius`` (deg)."""
    half = max(1, int(np.ceil(settings.width / (2 * settings.step) - 1e-9)))
    width = settings.width / (2 * half)
    side, gap = round(SIDE * 2 * half), round(GAP * 2 * half)
    reach = np.degrees(np.tan(np.radians(radius)))
    rim = np.degrees(np.tan(np.radians(radius * settings.rim)))
    n_r = int(rim / width)
    r = np.asarray(np.arange(-n_r, n_r + 1) * width, dtype=np.float64)
    pad = half + gap + side
    n_side = max(n_r + pad, int(np.ceil(reach / width)) + 1)
    theta = np.asarray(np.arange(settings.n_angle) * (180.0 / settings.n_angle), dtype=np.float64)
    delta = np.degrees(np.arctan(np.radians(r)))
    w = settings.width
    spans = ((-w / 2, w / 2), (-w / 2 - (GAP + SIDE) * w, -w / 2 - GAP * w))
    line, below = (strip_fraction(delta, low, high, radius) for low, high in spans)
    points = _sunflower(radius)
    binning = (-n_side * width, width, 2 * n_side)
    return HoughGrid(
        theta=theta,
        r=r,
        edge=binning[0],
        bin_width=width,
        n_bins=binning[2],
        first=n_side - n_r,
        half=half,
        side=side,
        gap=gap,
        area=np.stack([line, below, below[::-1]]),
        points=points,
        point_bins=_flat_bins(theta, points[0], points[1], binning),
    )


def _sunflower(radius: float) -> Floats:
    """Return points of equal area in a cap, in tangent coordinates (deg), without lattice lines."""
    i = np.arange(N_POINTS) + 0.5
    cosine = 1 - i / N_POINTS * (1 - np.cos(np.radians(radius)))
    rho = np.degrees(np.sqrt(1 - cosine**2) / cosine)
    angle = i * np.pi * (3 - np.sqrt(5))
    return np.stack([rho * np.cos(angle), rho * np.sin(angle)])
