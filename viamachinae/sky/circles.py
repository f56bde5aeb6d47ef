"""Great circles: the coordinates of a stream along and across its track."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from viamachinae.errors import DataError
from viamachinae.sky.frame import PatchFrame, SkyFrame, check_position
from viamachinae.sky.vectors import FloatArray, as_float, to_angles, unit, wrap_ra

__all__ = ["GreatCircle"]

# Below this length (1e-9 rad is 0.2 mas) a cross product says nothing about its direction.
_DEGENERATE = 1e-9


@dataclass(frozen=True)
class GreatCircle(SkyFrame):
    """A great circle with its own longitude ``phi1`` and latitude ``phi2``.

    ``phi2`` is the signed distance from the circle, positive towards the pole;
    ``phi1`` = 0 is the point of the circle nearest to the origin, and ``phi1``
    increases counter-clockwise as seen from the pole's side (along pole x origin).

    Parameters
    ----------
    pole_ra, pole_dec : float
        Pole of the circle (deg, ICRS).
    origin_ra, origin_dec : float
        Position (deg, ICRS) that fixes where ``phi1`` starts.

    Raises
    ------
    DataError
        A position is no place on the sky, or the origin lies at a pole.
    """

    pole_ra: float
    pole_dec: float
    origin_ra: float
    origin_dec: float
    matrix: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_position("the pole of a great circle", self.pole_ra, self.pole_dec)
        check_position("the origin of a great circle", self.origin_ra, self.origin_dec)
        pole = np.array(unit(self.pole_ra, self.pole_dec))
        along = np.cross(pole, np.array(unit(self.origin_ra, self.origin_dec)))
        length = float(np.linalg.norm(along))
        if length < _DEGENERATE:
            msg = (
                f"the origin ({self.origin_ra}, {self.origin_dec}) deg of a great circle lies at its pole "
                f"({self.pole_ra}, {self.pole_dec}) deg; choose an origin near the circle"
            )
            raise DataError(msg)
        along /= length
        start = np.cross(along, pole)
        start /= np.linalg.norm(start)
        object.__setattr__(self, "matrix", np.array([start, along, np.cross(start, along)]))

    def phi1(self, ra: ArrayLike, dec: ArrayLike) -> FloatArray:
        """Return the longitude (-180 to 180 deg) of ``ra, dec`` (deg, ``(n,)``) along the circle."""
        return self.to_frame(ra, dec)[0]

    def phi2(self, ra: ArrayLike, dec: ArrayLike) -> FloatArray:
        """Return the signed distance (deg) of ``ra, dec`` (deg, ``(n,)``) from the circle."""
        return self.to_frame(ra, dec)[1]

    def to_sky(self, phi1: ArrayLike, phi2: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return ``ra`` (0 <= ra < 360 deg) and ``dec`` (deg) of ``phi1, phi2`` (deg, ``(n,)``)."""
        return self.from_frame(phi1, phi2)

    def angle_to(self, other: GreatCircle) -> float:
        """Return the angle (deg, 0 to 90) between two circles, whichever pole each is named by."""
        a, b = self.matrix[2], other.matrix[2]
        return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), abs(a @ b))))

    @classmethod
    def from_points(cls, ra1: float, dec1: float, ra2: float, dec2: float) -> Self:
        """Return the circle through two positions (deg); ``phi1`` runs from 0 at the first to the second.

        Raises
        ------
        DataError
            The two are the same or opposite points: many circles hold both.
        """
        check_position("the first point of a great circle", ra1, dec1)
        check_position("the second point of a great circle", ra2, dec2)
        pole = np.cross(np.array(unit(ra1, dec1)), np.array(unit(ra2, dec2)))
        if np.linalg.norm(pole) < _DEGENERATE:
            msg = (
                f"({ra1}, {dec1}) and ({ra2}, {dec2}) deg are the same or opposite points and fix no "
                "great circle; give two points that are neither"
            )
            raise DataError(msg)
        return cls(*_angles(pole), ra1, dec1)

    @classmethod
    def from_tangent_line(cls, frame: PatchFrame, theta_deg: float, r_deg: float) -> Self:
        """Return the circle that is the line ``x cos(theta) + y sin(theta) = r`` of a tangent plane.

        The gnomonic projection makes this exact at any distance. ``phi1`` = 0 is
        the point of the line nearest to the centre of the patch.

        Parameters
        ----------
        frame : PatchFrame
            Patch on whose tangent plane (:meth:`PatchFrame.tangent`) the line lies.
        theta_deg : float
            Angle of the line's normal (deg), from +x to +y.
        r_deg : float
            Signed distance of the line from the centre (deg of the plane).
        """
        theta = np.radians(theta_deg)
        normal = np.array([-np.radians(r_deg), np.cos(theta), np.sin(theta)])
        return cls(*_angles(frame.matrix.T @ normal), frame.ra, frame.dec)

    @classmethod
    def fit(cls, ra: ArrayLike, dec: ArrayLike, weights: ArrayLike | None = None) -> Self:
        """Return the circle that minimises the weighted sum of sin(phi2) squared.

        The pole is the eigenvector of least eigenvalue of the positions' scatter
        matrix; of its two signs the northern one is taken. ``phi1`` = 0 lies at
        the mean direction of the positions.

        Parameters
        ----------
        ra, dec : array_like, (n,)
            Positions (deg, ICRS), n >= 2.
        weights : array_like, (n,), optional
            Weights, not negative; equal when left out.

        Raises
        ------
        DataError
            The positions (or those of positive weight) fix no circle, or a
            value is not finite, or a weight is negative.
        """
        points = np.array(unit(np.atleast_1d(as_float(ra)), np.atleast_1d(as_float(dec))))
        w = np.ones(points.shape[1]) if weights is None else np.atleast_1d(as_float(weights))
        if w.shape != points.shape[1:] or not np.isfinite(points).all() or not (w >= 0.0).all():
            msg = (
                f"a great circle is fitted to finite positions with one weight >= 0 each; got "
                f"{points.shape[1]} positions and {w.size} weights, some of them negative or not finite"
            )
            raise DataError(msg)
        values, vectors = np.linalg.eigh((points * w) @ points.T)
        if not values[1] > 1e-14 * values[2]:  # eigenvalues are no truer than this
            msg = (
                f"{points.shape[1]} positions fix no great circle: they are the same or opposite points; "
                "give at least two different ones"
            )
            raise DataError(msg)
        pole = vectors[:, 0] * (1.0 if vectors[2, 0] >= 0.0 else -1.0)
        middle = points @ w
        if np.linalg.norm(np.cross(pole, middle)) < _DEGENERATE * w.sum():
            middle = vectors[:, 2]  # positions all around the sky have no mean direction
        return cls(*_angles(pole), *_angles(middle))


def _angles(vector: FloatArray) -> tuple[float, float]:
    lon, lat = to_angles((vector[0], vector[1], vector[2]))
    return float(wrap_ra(lon)), float(lat)
