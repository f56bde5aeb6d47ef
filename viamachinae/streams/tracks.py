"""Tracks: position and proper motion of a candidate as polynomials along its great circle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from viamachinae.schema import TRACKS
from viamachinae.sky.circles import GreatCircle

__all__ = ["Track", "fit_robust", "fit_weighted"]

Floats = npt.NDArray[np.float64]

#: Length of track (deg) and number of stars that each degree of the polynomials asks for.
LENGTH_PER_DEGREE, STARS_PER_DEGREE = 5.0, 8
#: Step of the tabulated track (deg).
STEP = 0.5


@dataclass(frozen=True, eq=False)
class Track:
    """phi2 (deg), pm_phi1 and pm_phi2 (mas/yr) of a stream as polynomials of phi1.

    Parameters
    ----------
    low, high : float
        Ends of the track in phi1 (deg).
    coefficients : ndarray, shape (3, degree + 1)
        Of ``phi2``, ``pm_phi1_cosphi2``, ``pm_phi2``; ascending powers of
        ``u = (phi1 - middle) / half length``.
    """

    low: float
    high: float
    coefficients: Floats

    @property
    def middle(self) -> float:
        """Return the phi1 (deg) of the middle of the track."""
        return 0.5 * (self.low + self.high)

    def at(self, phi1: npt.ArrayLike) -> Floats:
        """Return phi2, pm_phi1, pm_phi2 at ``phi1`` (deg), shape ``(3, n)``."""
        return np.asarray(self.coefficients @ _powers(self, phi1, self.coefficients.shape[1] - 1))

    def with_coefficients(self, coefficients: Floats) -> Track:
        """Return the same stretch with other polynomials."""
        return Track(self.low, self.high, coefficients)

    def sample(self, circle: GreatCircle, stream_id: str) -> pd.DataFrame:
        """Return the track as TRACKS rows, every half degree between its ends."""
        phi1 = np.linspace(self.low, self.high, max(2, int(np.ceil((self.high - self.low) / STEP)) + 1))
        phi2, pm1, pm2 = self.at(phi1)
        ra, dec = circle.to_sky(phi1, phi2)
        pmra, pmdec = circle.unrotate_pm(phi1, phi2, pm1, pm2)
        columns = {"phi1": phi1, "phi2": phi2, "ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
        return TRACKS.conform(pd.DataFrame({"stream_id": stream_id, **columns}))


def fit_robust(phi1: Floats, values: Floats, degree: int, ends: tuple[float, float]) -> Track:
    """Fit a track to line stars, of which some are not of the stream.

    The degree rises from 0 to the one asked for, stars beyond 2.5 robust sigma
    of any of the three being left out at each step: contaminants spread over the
    whole strip and window would bend a quadratic that saw them all.

    Parameters
    ----------
    phi1 : ndarray, shape (n,)
        Positions of the line stars (deg).
    values : ndarray, shape (3, n)
        Their phi2 (deg), pm_phi1, pm_phi2 (mas/yr).
    degree : int
        Highest degree; lowered for short tracks and few stars.
    ends : tuple of float
        Ends of the track in phi1 (deg).
    """
    top = min(degree, int((ends[1] - ends[0]) / LENGTH_PER_DEGREE), phi1.size // STARS_PER_DEGREE)
    track = Track(*ends, np.median(values, axis=1)[:, None])
    keep: npt.NDArray[np.bool_] = np.ones(phi1.size, dtype=bool)
    for stage in range(top + 1):
        for _ in range(3):
            residual = values - track.at(phi1)
            inner = residual[:, keep]
            scatter = 1.4826 * np.median(np.abs(inner - np.median(inner, axis=1)[:, None]), axis=1)
            near = np.all(np.abs(residual) <= 2.5 * np.maximum(scatter, 0.05)[:, None], axis=0)
            if np.count_nonzero(near) >= STARS_PER_DEGREE * (stage + 1):
                keep = near
            weights = np.broadcast_to(keep.astype(np.float64), values.shape)
            track = fit_weighted(track, phi1, values, weights, stage)
    return track


def fit_weighted(track: Track, phi1: Floats, values: Floats, weights: Floats, degree: int) -> Track:
    """Return the least-squares track of weighted stars.

    Parameters
    ----------
    track : Track
        Gives the ends.
    phi1 : ndarray, shape (n,)
        Positions (deg).
    values, weights : ndarray, shape (3, n)
        phi2 (deg), pm_phi1, pm_phi2 (mas/yr) and the weight of each.
    degree : int
        Degree of the polynomials.
    """
    design = _powers(track, phi1, degree)
    rows = []
    for value, weight in zip(values, weights, strict=True):
        # A weak pull of the higher powers to zero keeps bare stretches from swinging.
        ridge = np.diag([1e-9] + [1e-3] * degree) * max(float(weight.sum()), 1e-12)
        rows.append(np.linalg.solve((design * weight) @ design.T + ridge, (design * weight) @ value))
    return track.with_coefficients(np.array(rows))


def _powers(track: Track, phi1: npt.ArrayLike, degree: int) -> Floats:
    half = max(0.5 * (track.high - track.low), 1e-6)
    u = (np.asarray(phi1, dtype=np.float64) - track.middle) / half
    return np.asarray(u[None, :] ** np.arange(degree + 1)[:, None])
