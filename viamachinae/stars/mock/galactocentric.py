"""Where the Sun is in the mock Milky Way, how it moves, and what that does to positions and motions.

Galactocentric axes: x away from the Sun's side, y with rotation, z north; the
Sun is at (-SUN_R, 0, SUN_Z). The axes are those of Galactic coordinates, without
the tilt by which Sagittarius A* lies off (l, b) = (0, 0).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CIRCULAR",
    "SUN_R",
    "SUN_VELOCITY",
    "SUN_Z",
    "Vector",
    "galactic_xyz",
    "proper_motions",
    "sky_position",
    "space_velocity",
]

FloatArray = NDArray[np.float64]
Vector = tuple[FloatArray, FloatArray, FloatArray]

SUN_R = 8.2  #: distance of the Sun from the Galactic centre (kpc)
SUN_Z = 0.02  #: height of the Sun above the plane (kpc)
CIRCULAR = 230.0  #: circular velocity (km/s)
#: Velocity of the Sun (km/s): circular, and its peculiar motion (Schoenrich et al. 2010, MNRAS 403, 1829).
SUN_VELOCITY = (11.1, CIRCULAR + 12.24, 7.25)
_KMS = 4.740470446  # km/s of 1 mas/yr at 1 kpc

# ICRS to Galactic, J2000 (The Hipparcos and Tycho Catalogues, ESA SP-1200, eq. 1.5.11).
_TO_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [0.4941094279, -0.4448296300, 0.7469822445],
        [-0.8676661490, -0.1980763734, 0.4559837762],
    ]
)


def galactic_xyz(ra: FloatArray, dec: FloatArray, distance: FloatArray) -> Vector:
    """Return Galactocentric positions (kpc).

    Parameters
    ----------
    ra, dec : ndarray
        Position (deg, ICRS).
    distance : ndarray
        Distance (kpc); broadcasts against the position.
    """
    ra, dec = np.radians(ra), np.radians(dec)
    u = (np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec))
    x, y, z = (m[0] * u[0] + m[1] * u[1] + m[2] * u[2] for m in _TO_GALACTIC)
    return distance * x - SUN_R, distance * y, distance * z + SUN_Z


def sky_position(xyz: Vector) -> Vector:
    """Return ra, dec (deg, ICRS) and distance (kpc): the inverse of :func:`galactic_xyz`.

    Parameters
    ----------
    xyz : tuple of ndarray, (n,)
        Galactocentric positions (kpc).
    """
    x, y, z = _TO_GALACTIC.T @ np.stack([xyz[0] + SUN_R, xyz[1], xyz[2] - SUN_Z])
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    return (
        np.where(ra == 360.0, 0.0, ra),
        np.degrees(np.arctan2(z, np.hypot(x, y))),
        np.sqrt(x**2 + y**2 + z**2),
    )


def proper_motions(
    ra: FloatArray, dec: FloatArray, distance: FloatArray, velocity: Vector
) -> tuple[FloatArray, FloatArray]:
    """Return pmra (times cos dec) and pmdec (mas/yr) seen from the moving Sun.

    Parameters
    ----------
    ra, dec : ndarray, (n,)
        Position (deg, ICRS).
    distance : ndarray, (n,)
        Distance (kpc).
    velocity : tuple of ndarray, (n,)
        Galactocentric velocity (km/s).
    """
    v = [a - b for a, b in zip(velocity, SUN_VELOCITY, strict=True)]
    x, y, z = (m[0] * v[0] + m[1] * v[1] + m[2] * v[2] for m in _TO_GALACTIC.T)
    ra, dec = np.radians(ra), np.radians(dec)
    east = -np.sin(ra) * x + np.cos(ra) * y
    north = -np.sin(dec) * (np.cos(ra) * x + np.sin(ra) * y) + np.cos(dec) * z
    return east / (_KMS * distance), north / (_KMS * distance)


def space_velocity(
    position: tuple[float, float, float], motion: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Return the Galactocentric velocity (km/s), shape ``(3,)``, of something that is seen to move.

    Parameters
    ----------
    position : tuple of float
        ra, dec (deg, ICRS), distance (kpc).
    motion : tuple of float
        pmra (times cos dec), pmdec (mas/yr), radial velocity from the Sun (km/s).
    """
    ra, dec = np.radians(position[:2])
    east, north = (_KMS * position[2] * pm for pm in motion[:2])
    triad = np.array(
        [
            [-np.sin(ra), np.cos(ra), 0.0],
            [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
            [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
        ]
    )
    return np.asarray(_TO_GALACTIC @ (np.array([east, north, motion[2]]) @ triad) + SUN_VELOCITY)
