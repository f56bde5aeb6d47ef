"""Smooth densities of stars on small grids, corrected for the edges of what was observed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

__all__ = ["GridDensity"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GridDensity:
    """A Gaussian-smoothed histogram as a probability density.

    Smoothing loses stars over the edges; dividing by the smoothed footprint
    gives them back. ``floor`` stars are spread evenly, so that no place inside
    the footprint is impossible.

    Parameters
    ----------
    low, cell : ndarray, shape (d,)
        Lower corner and size of the cells.
    values : ndarray
        Smoothed stars (sum of weights) per cell volume, floor included.
    total : float
        Sum of weights, floor included.
    peak : ndarray
        What a star of weight one adds at its own place.
    """

    low: Floats
    cell: Floats
    values: Floats
    total: float
    peak: Floats

    @classmethod
    def fit(
        cls,
        points: Floats,
        weights: Floats,
        box: tuple[tuple[float, float], ...],
        sigma: tuple[float, ...],
        inside: Floats | None = None,
    ) -> Self:
        """Smooth weighted points.

        Parameters
        ----------
        points : ndarray, shape (d, n)
            Positions.
        weights : ndarray, shape (n,)
            Weights, not negative.
        box : tuple of (low, high), length d
            Extent of the grid.
        sigma : tuple of float, length d
            Smoothing length along each axis.
        inside : ndarray, shape (2,), optional
            Centre of a circle (two dimensions) of the box's first half width
            that alone is observed.
        """
        low = np.array([b[0] for b in box])
        size = np.array([b[1] for b in box]) - low
        shape = np.maximum(np.ceil(3.0 * size / np.array(sigma)).astype(int), 3)
        cell = size / shape
        widths = np.array(sigma) / cell
        index = cls._index(points, low, cell, shape)
        counts = np.bincount(np.ravel_multi_index(tuple(index), shape), weights, int(shape.prod())).reshape(
            shape
        )
        seen = np.ones(shape)
        if inside is not None:
            axes = [low[k] + (np.arange(shape[k]) + 0.5) * cell[k] for k in range(2)]
            away = np.hypot(axes[0][:, None] - inside[0], axes[1] - inside[1])
            seen = (away <= 0.5 * size[0] + 0.5 * cell.max()).astype(np.float64)
        smooth = gaussian_filter(counts, widths, mode="constant", truncate=4.0)
        edge = np.maximum(gaussian_filter(seen, widths, mode="constant", truncate=4.0), 0.05)
        volume = cell.prod()
        floor = 1.0 / (seen.sum() * volume)
        kernel = 1.0 / np.prod(np.sqrt(2 * np.pi) * np.array(sigma))
        level = smooth / edge / volume
        # Edge correction shifts the sum a little: bring it back to the weights.
        mass = float((level * seen).sum() * volume)
        scale = float(weights.sum()) / mass if mass > 0.0 else 1.0
        return cls(low, cell, scale * level + floor, float(weights.sum()) + 1.0, scale * kernel / edge)

    @staticmethod
    def _index(
        points: Floats, low: Floats, cell: Floats, shape: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        raw = np.floor((points - low[:, None]) / cell[:, None]).astype(np.int64)
        return np.clip(raw, 0, shape[:, None] - 1)

    def at(self, points: Floats, own: Floats | None = None) -> Floats:
        """Return the density at points ``(d, n)``.

        Parameters
        ----------
        points : ndarray, shape (d, n)
            Positions; outside the grid the nearest cell answers.
        own : ndarray, shape (n,), optional
            Weights with which these very points entered: each one's own share is
            taken out, so that no star vouches for itself.
        """
        shape = np.array(self.values.shape)
        index = tuple(self._index(points, self.low, self.cell, shape))
        level, total = self.values[index], np.full(points.shape[1], self.total)
        if own is not None:
            floor = 0.1 * self.values.min()
            level, total = np.maximum(level - own * self.peak[index], floor), total - own
        return np.asarray(level / total)
