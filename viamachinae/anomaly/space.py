"""Coordinates in which a signal is compact: where a residual fit looks for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import Coordinate, ResidualSettings
from viamachinae.density import Sample
from viamachinae.stars.extinction import photometry

__all__ = ["SignalSpace"]

Array = NDArray[np.float64]

#: Expected sigma of a signal where nothing is known of it, in standard deviations of the stars.
_TYPICAL = 0.15


@dataclass(frozen=True)
class SignalSpace:
    """The stars as points where a signal is close to a Gaussian.

    Parameters
    ----------
    points : ndarray, shape (n, D)
        Of stars: gnomonic coordinates about the patch centre (deg), in which great
        circles are straight; both proper motions (mas/yr); BP-RP and G (mag), corrected for
        extinction where the stars have that.
    log_volume : ndarray, shape (n,)
        What turns the logarithm of a density of features and scan coordinate into that of the points.
    sky : bool
        Whether the first two are a position, where a stream is long and thin.
    errors : ndarray, shape (n, D), optional
        Standard errors of measurement; zero where they are not known.
    """

    points: Array
    log_volume: Array
    sky: bool
    errors: Array | None = None

    @classmethod
    def of_stars(cls, stars: pd.DataFrame, coordinate: Coordinate, orthogonal: Coordinate) -> Self:
        """Return the points of a patch's stars (schema STARS)."""
        phi, lam = (np.radians(stars[name].to_numpy(np.float64)) for name in ("phi", "lambda"))
        toward = np.cos(phi) * np.cos(lam)  # cosine of the separation from the centre
        light = photometry(stars)
        names = (orthogonal, coordinate, light.bp_rp, light.g)
        others = [stars[name].to_numpy(np.float64) for name in names]
        plane = [np.degrees(np.tan(phi)), np.degrees(np.tan(lam) / np.cos(phi))]
        points = np.column_stack([*plane, *others])
        # dxi deta = cos(lambda) dphi dlambda / cos^3(separation)
        log_volume = 3 * np.log(toward) - np.log(np.cos(lam))
        errors = None
        if {"pmra_error", "pmdec_error"} <= set(stars.columns):
            squares = [stars[name].to_numpy(np.float64) ** 2 for name in ("pmra_error", "pmdec_error")]
            errors = np.zeros_like(points)
            # The frame turns from star to star: the mean of both is as good as either.
            errors[:, 2:4] = np.sqrt(np.nan_to_num(np.mean(squares, axis=0), posinf=0.0))[:, None]
        return cls(points, log_volume, sky=True, errors=errors)

    @classmethod
    def of_sample(cls, sample: Sample, m: Array) -> Self:
        """Return the transformed features and scan coordinate themselves, of which nothing more is known."""
        _, log_jacobian = sample.condition.forward(m[:, None])
        return cls(sample.table.astype(np.float64), -(sample.log_jacobian + log_jacobian), sky=False)

    def take(self, rows: NDArray[np.integer]) -> Self:
        """Return some of the stars."""
        errors = None if self.errors is None else self.errors[rows]
        return replace(self, points=self.points[rows], log_volume=self.log_volume[rows], errors=errors)

    def scale(self) -> Array:
        """Return the standard deviation of every coordinate, shape (D,); alike for both of a position."""
        scale: Array = self.points.std(0)
        if self.sky:
            scale[:2] = np.sqrt(np.mean(scale[:2] ** 2))
        return np.maximum(scale, np.finfo(np.float32).tiny)

    def sizes(self, settings: ResidualSettings) -> Array:
        """Return the expected sigma of a signal in every coordinate, shape (D,).

        Those of a position are along and across the stream.
        """
        if not self.sky:
            return _TYPICAL * self.scale()
        motions = [settings.proper_motion, settings.proper_motion]
        return np.array([settings.length, settings.width, *motions, settings.colour, settings.magnitude])
