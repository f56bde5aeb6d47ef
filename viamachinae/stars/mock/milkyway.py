"""The smooth Milky Way of the mock sky: density and motion of its components.

Four ages of thin disk, a thick disk and a halo, after the Besancon model (Robin
et al. 2003, A&A 409, 523): Einasto disks that are exponential above the plane,
a thick disk of scale height 0.8 kpc, a flattened power-law halo, velocity
ellipsoids and asymmetric drifts by component. No bulge, dust, warp or flare.

Local densities, and the dispersions and drifts of the thin disk, depart from
the published ones by up to a third: they were set so that counts and proper
motions agree with a Galaxia realisation of that model at b = 40 to 60 deg,
since the mass functions and ridge lines used here are coarser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viamachinae.stars.mock.sequences import MassFunction, Population

__all__ = ["COMPONENTS", "SUN_R", "SUN_Z", "Component", "galactic_xyz", "proper_motions", "velocities"]

FloatArray = NDArray[np.float64]
Vector = tuple[FloatArray, FloatArray, FloatArray]

SUN_R = 8.2  #: distance of the Sun from the Galactic centre (kpc)
SUN_Z = 0.02  #: height of the Sun above the plane (kpc)
_CIRCULAR = 230.0  # km/s
_SUN_PECULIAR = (11.1, 12.24, 7.25)  # km/s, towards centre, rotation, north pole; Schoenrich et al. 2010
_KMS = 4.740470446  # km/s of 1 mas/yr at 1 kpc

# ICRS to Galactic, J2000 (The Hipparcos and Tycho Catalogues, ESA SP-1200, eq. 1.5.11).
_TO_GALACTIC = np.array(
    [
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [0.4941094279, -0.4448296300, 0.7469822445],
        [-0.8676661490, -0.1980763734, 0.4559837762],
    ]
)


@dataclass(frozen=True)
class Component:
    """One component of the Milky Way.

    Parameters
    ----------
    name : str
        What it is.
    local_density : float
        Mass density of its stars at the Sun (solar masses per cubic kpc).
    profile : callable
        Density relative to the Sun's, of cylindrical radius and height (kpc).
    population : Population
        Age, metallicities and mass function.
    sigma : tuple of float
        Velocity dispersions (km/s): outward, along rotation, and upward; for a
        spherical ellipsoid the third is along the polar angle.
    lag : float
        Lag behind circular rotation (km/s).
    spherical : bool
        The velocity ellipsoid points to the centre rather than to the axis.
    """

    name: str
    local_density: float
    profile: Callable[[FloatArray, FloatArray], FloatArray]
    population: Population
    sigma: tuple[float, float, float]
    lag: float
    spherical: bool = False


def _einasto(flattening: float) -> Callable[[FloatArray, FloatArray], FloatArray]:
    """Return the profile of an old thin disk with an inner hole (Robin et al. 2003, table 3)."""

    def raw(r: FloatArray, z: FloatArray) -> FloatArray:
        a2 = r**2 + (z / flattening) ** 2
        return np.asarray(np.exp(-np.sqrt(0.25 + a2 / 2.53**2)) - np.exp(-np.sqrt(0.25 + a2 / 1.32**2)))

    local = raw(np.array(SUN_R), np.array(SUN_Z))
    return lambda r, z: raw(r, z) / local


def _thick(r: FloatArray, z: FloatArray) -> FloatArray:
    """Exponential with a parabola below 0.4 kpc, continuous in value and slope (ibid.)."""
    height, knee, length = 0.8, 0.4, 2.5
    z = np.abs(z)
    low = 1.0 - z**2 / (height * knee * (2.0 + knee / height))
    high = np.exp((knee - z) / height) / (1.0 + knee / (2.0 * height))
    return np.asarray(np.where(z < knee, low, high) * np.exp(-(r - SUN_R) / length))


def _halo(r: FloatArray, z: FloatArray) -> FloatArray:
    a = np.maximum(np.sqrt(r**2 + (z / 0.76) ** 2), 0.5)
    return np.asarray((a / SUN_R) ** -2.44)


_DISK_IMF = MassFunction(1.6, 3.0)
_OLD_IMF = MassFunction(0.5, 0.5)

COMPONENTS = (
    Component(
        "thin disk, 1-3 Gyr", 1.18e7, _einasto(0.045), Population(0.0, 0.11, 2.0, _DISK_IMF),
        (28.0, 18.0, 11.5), 5.0,
    ),
    Component(
        "thin disk, 3-5 Gyr", 4.3e6, _einasto(0.0696), Population(-0.07, 0.18, 4.0, _DISK_IMF),
        (35.0, 22.5, 15.0), 8.0,
    ),
    Component(
        "thin disk, 5-7 Gyr", 4.2e6, _einasto(0.0785), Population(-0.14, 0.17, 6.0, _DISK_IMF),
        (39.0, 25.5, 16.0), 10.5,
    ),
    Component(
        "thin disk, 7-10 Gyr", 4.8e6, _einasto(0.0791), Population(-0.37, 0.20, 8.5, _DISK_IMF),
        (39.0, 25.5, 16.0), 10.5,
    ),
    Component(
        "thick disk", 1.21e6, _thick, Population(-0.78, 0.30, 11.0, _OLD_IMF), (67.0, 51.0, 42.0), 53.0
    ),
    Component(
        "halo", 9.32e3, _halo, Population(-1.78, 0.50, 13.0, _OLD_IMF), (131.0, 106.0, 85.0), 230.0,
        spherical=True,
    ),
)  # fmt: skip


def galactic_xyz(ra: FloatArray, dec: FloatArray, distance: FloatArray) -> Vector:
    """Return Galactocentric positions (kpc): x away from the Sun's side, y with rotation, z north.

    The Sun is at (-SUN_R, 0, SUN_Z).

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


def velocities(component: Component, xyz: Vector, generator: np.random.Generator) -> Vector:
    """Draw Galactocentric velocities (km/s) of a component's stars.

    Parameters
    ----------
    component : Component
        Dispersions, lag and the direction of the ellipsoid.
    xyz : tuple of ndarray, (n,)
        Galactocentric positions (kpc), see :func:`galactic_xyz`.
    generator : numpy.random.Generator
        Source of the draws.
    """
    x, y, z = xyz
    r = np.hypot(x, y)
    cos, sin = x / r, y / r
    first, along, third = (s * generator.standard_normal(len(x)) for s in component.sigma)
    along += _CIRCULAR - component.lag
    if component.spherical:
        radius = np.hypot(r, z)
        outward = first * r / radius + third * z / radius
        up = first * z / radius - third * r / radius
    else:
        outward, up = first, third
    # Rotation is clockwise seen from the north pole: along +y at the Sun, x = -SUN_R.
    return outward * cos + along * sin, outward * sin - along * cos, up


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
    sun = (_SUN_PECULIAR[0], _CIRCULAR + _SUN_PECULIAR[1], _SUN_PECULIAR[2])
    v = [a - b for a, b in zip(velocity, sun, strict=True)]
    x, y, z = (m[0] * v[0] + m[1] * v[1] + m[2] * v[2] for m in _TO_GALACTIC.T)
    ra, dec = np.radians(ra), np.radians(dec)
    east = -np.sin(ra) * x + np.cos(ra) * y
    north = -np.sin(dec) * (np.cos(ra) * x + np.sin(ra) * y) + np.cos(dec) * z
    return east / (_KMS * distance), north / (_KMS * distance)
