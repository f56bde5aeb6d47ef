"""Vector algebra on the unit sphere: positions and proper motions as Cartesian vectors.

Own algebra rather than astropy's coordinate classes, which take seconds on a
million stars; every formula avoids arcsin and arccos, which lose half of the
digits near the poles and at small angles.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FloatArray", "Vector", "as_float", "rotate", "rotate_motion", "to_angles", "unit", "wrap_ra"]

FloatArray: TypeAlias = NDArray[np.float64]
Vector: TypeAlias = tuple[FloatArray, FloatArray, FloatArray]


def as_float(values: ArrayLike) -> FloatArray:
    """Return ``values`` as a float64 array, so that float32 columns do not limit the angles."""
    return np.asarray(values, dtype=np.float64)


def unit(lon: ArrayLike, lat: ArrayLike) -> Vector:
    """Return the Cartesian components, each ``(n,)``, of directions ``lon, lat`` (deg)."""
    lon, lat = np.radians(as_float(lon)), np.radians(as_float(lat))
    cos_lat = np.cos(lat)
    return cos_lat * np.cos(lon), cos_lat * np.sin(lon), np.sin(lat)


def to_angles(vector: Vector) -> tuple[FloatArray, FloatArray]:
    """Return longitude (-180 to 180 deg) and latitude (deg) of vectors of any length."""
    x, y, z = vector
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def wrap_ra(lon: FloatArray) -> FloatArray:
    """Return angles (deg) in 0 <= ra < 360."""
    ra = np.mod(lon, 360.0)
    return np.where(ra >= 360.0, 0.0, ra)  # the remainder of -1e-17 rounds up to 360


def rotate(matrix: FloatArray, vector: Vector) -> Vector:
    """Return ``matrix @ vector`` for ``(3, 3)`` and components of any shape.

    Written out, since a matrix product may round a star differently according
    to how many others stand beside it.
    """
    x, y, z = vector
    rows = [m[0] * x + m[1] * y + m[2] * z for m in matrix]
    return rows[0], rows[1], rows[2]


def rotate_motion(
    matrix: FloatArray, lon: ArrayLike, lat: ArrayLike, pm_lon: ArrayLike, pm_lat: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return proper motions seen in the frame that ``matrix`` turns into.

    The motion is a tangent vector; it is rotated exactly and projected on the
    east and north directions of the new frame at the star's place.

    Parameters
    ----------
    matrix : ndarray, (3, 3)
        Rotation from the old frame to the new one.
    lon, lat : array_like, (n,)
        Position in the old frame (deg).
    pm_lon, pm_lat : array_like, (n,)
        Proper motion in the old frame (mas/yr), the first times cos(lat).
    """
    lon, lat = np.radians(as_float(lon)), np.radians(as_float(lat))
    sin_lon, cos_lon, sin_lat, cos_lat = np.sin(lon), np.cos(lon), np.sin(lat), np.cos(lat)
    east, north = as_float(pm_lon), as_float(pm_lat)
    motion = (
        -sin_lon * east - sin_lat * cos_lon * north,
        cos_lon * east - sin_lat * sin_lon * north,
        cos_lat * north,
    )
    x, y, z = rotate(matrix, (cos_lat * cos_lon, cos_lat * sin_lon, np.sin(lat)))
    new_lon, new_lat = np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))
    sin_lon, cos_lon, sin_lat = np.sin(new_lon), np.cos(new_lon), np.sin(new_lat)
    a, b, c = rotate(matrix, motion)
    outwards = cos_lon * a + sin_lon * b
    return -sin_lon * a + cos_lon * b, np.cos(new_lat) * c - sin_lat * outwards
