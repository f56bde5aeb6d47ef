"""Rotated frames on the sky, and the frame of a patch."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from viamachinae.errors import DataError
from viamachinae.sky.vectors import FloatArray, as_float, rotate, rotate_motion, to_angles, unit, wrap_ra

__all__ = ["PatchFrame", "SkyFrame", "check_position"]


def check_position(what: str, ra: float, dec: float) -> None:
    """Refuse a single position that is no place on the sky.

    Raises
    ------
    DataError
        ``ra`` or ``dec`` (deg) is not finite, or ``dec`` is outside -90 to 90.
    """
    if not (np.isfinite(ra) and np.isfinite(dec) and abs(dec) <= 90.0):
        msg = f"{what} (ra, dec) = ({ra}, {dec}) deg is no place on the sky; dec runs from -90 to 90 deg"
        raise DataError(msg)


@dataclass(frozen=True, eq=False)
class SkyFrame:
    """A spherical frame, rotated against ICRS.

    Proper motions turn with their tangent vectors, so they are exact at any
    distance from the origin. At a pole the longitude that is given with the
    position says which way east is.

    Parameters
    ----------
    matrix : ndarray, (3, 3)
        Proper rotation that takes ICRS unit vectors into the frame.

    Raises
    ------
    DataError
        ``matrix`` is no proper rotation.
    """

    matrix: FloatArray

    def __post_init__(self) -> None:
        matrix = as_float(self.matrix)
        shape_fits = matrix.shape == (3, 3)
        if not (shape_fits and np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-12, rtol=0.0)) or (
            np.linalg.det(matrix) < 0.0
        ):
            msg = f"a sky frame needs a 3 x 3 rotation matrix of determinant +1, got {matrix.tolist()}"
            raise DataError(msg)
        object.__setattr__(self, "matrix", matrix)

    def to_frame(self, ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return longitude (-180 to 180 deg) and latitude (deg) of ``ra, dec`` (deg, ``(n,)``)."""
        return to_angles(rotate(self.matrix, unit(ra, dec)))

    def from_frame(self, lon: ArrayLike, lat: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return ``ra`` (0 <= ra < 360 deg) and ``dec`` (deg) of ``lon, lat`` (deg, ``(n,)``)."""
        ra, dec = to_angles(rotate(self.matrix.T, unit(lon, lat)))
        return wrap_ra(ra), dec

    def rotate_pm(
        self, ra: ArrayLike, dec: ArrayLike, pmra: ArrayLike, pmdec: ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return proper motions in the frame (mas/yr), the first times cos(lat).

        Parameters
        ----------
        ra, dec : array_like, (n,)
            Position (deg, ICRS).
        pmra, pmdec : array_like, (n,)
            Proper motion (mas/yr, ICRS), ``pmra`` times cos(dec) as in Gaia.
        """
        return rotate_motion(self.matrix, ra, dec, pmra, pmdec)

    def unrotate_pm(
        self, lon: ArrayLike, lat: ArrayLike, pm_lon_coslat: ArrayLike, pm_lat: ArrayLike
    ) -> tuple[FloatArray, FloatArray]:
        """Return ``pmra`` (times cos(dec)) and ``pmdec`` (mas/yr, ICRS); the inverse of :meth:`rotate_pm`.

        Parameters
        ----------
        lon, lat : array_like, (n,)
            Position in the frame (deg).
        pm_lon_coslat, pm_lat : array_like, (n,)
            Proper motion in the frame (mas/yr), the first times cos(lat).
        """
        return rotate_motion(self.matrix.T, lon, lat, pm_lon_coslat, pm_lat)


@dataclass(frozen=True)
class PatchFrame(SkyFrame):
    """The frame of a patch: phi along increasing ra, lambda along dec at the centre.

    Equal to astropy's ``SkyOffsetFrame`` with rotation 0. Away from the centre
    ``hypot(phi, lambda)`` is no distance: use :meth:`separation` for circles and
    :meth:`tangent` for lines.

    Parameters
    ----------
    ra, dec : float
        Centre of the patch (deg, ICRS).

    Raises
    ------
    DataError
        The centre is no place on the sky.
    """

    ra: float
    dec: float
    matrix: FloatArray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_position("the centre of a patch", self.ra, self.dec)
        ra, dec = np.radians(float(self.ra)), np.radians(float(self.dec))
        east = (-np.sin(ra), np.cos(ra), 0.0)
        outwards = (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
        north = (-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec))
        object.__setattr__(self, "matrix", np.array([outwards, east, north]))

    def separation(self, ra: ArrayLike, dec: ArrayLike) -> FloatArray:
        """Return the angular distance (deg, 0 to 180) of ``ra, dec`` (deg, ``(n,)``) from the centre."""
        x, y, z = rotate(self.matrix, unit(ra, dec))
        return np.degrees(np.arctan2(np.hypot(y, z), x))

    def position_angle(self, ra: ArrayLike, dec: ArrayLike) -> FloatArray:
        """Return the direction (0 <= deg < 360, north through east) from the centre to ``ra, dec`` (deg)."""
        _, y, z = rotate(self.matrix, unit(ra, dec))
        return wrap_ra(np.degrees(np.arctan2(y, z)))

    def tangent(self, ra: ArrayLike, dec: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the gnomonic projection on the plane that touches the sky at the centre.

        Great circles are straight lines there. The plane's degree is the angular
        degree at the centre; at separation s the distance is tan(s).

        Parameters
        ----------
        ra, dec : array_like, (n,)
            Position (deg, ICRS).

        Returns
        -------
        x, y : ndarray, (n,)
            Plane coordinates (deg), x along +phi, y along +lambda; NaN for a
            point 90 deg or more from the centre, which has no image.
        """
        outwards, east, north = rotate(self.matrix, unit(ra, dec))
        scale = np.full(outwards.shape, np.nan)
        np.divide(np.degrees(1.0), outwards, out=scale, where=outwards > 0.0)
        return east * scale, north * scale

    def from_tangent(self, x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return ``ra`` (0 <= ra < 360 deg) and ``dec`` (deg) of plane ``x, y`` (deg, ``(n,)``)."""
        x, y = np.radians(as_float(x)), np.radians(as_float(y))
        x, y = np.broadcast_arrays(x, y)
        ra, dec = to_angles(rotate(self.matrix.T, (np.ones(x.shape), x, y)))
        return wrap_ra(ra), dec
