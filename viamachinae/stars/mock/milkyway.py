"""The smooth Milky Way of the mock sky: density and motion of its components.

Four ages of thin disk, a thick disk and a halo, after the Besancon model (Robin
et al. 2003, A&A 409, 523): Einasto disks that are exponential above the plane,
a thick disk of scale height 0.8 kpc, a flattened power-law halo, velocity
ellipsoids and asymmetric drifts by component. No bulge, dust, warp or flare.

Local densities, metallicities of the thin disk (by up to 0.03 dex), and its
dispersions and drifts depart from the published ones, mostly by less than a
third: they were set so that counts, colours and proper motions agree with a
Galaxia realisation of that model towards (l, b) = (200, 50), densities at b = 45
to 55 deg, since mass functions and ridge lines are coarser here. docs/mock.md
compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from viamachinae.stars.mock.galactocentric import CIRCULAR, SUN_R, SUN_Z, Vector
from viamachinae.stars.mock.sequences import MassFunction, Population

__all__ = ["COMPONENTS", "Component", "velocities"]

FloatArray = NDArray[np.float64]


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
        Ages, metallicities near the Sun and mass function.
    sigma : tuple of float
        Velocity dispersions (km/s): outward, along rotation, and upward; for a
        spherical ellipsoid the third is along the polar angle.
    lag : float
        Lag behind circular rotation (km/s).
    spherical : bool
        The velocity ellipsoid points to the centre rather than to the axis.
    feh_gradient : float
        Change of [Fe/H] with distance from the axis (dex/kpc). It moves colours alone.
    """

    name: str
    local_density: float
    profile: Callable[[FloatArray, FloatArray], FloatArray]
    population: Population
    sigma: tuple[float, float, float]
    lag: float
    spherical: bool = False
    feh_gradient: float = 0.0


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
_GRADIENT = -0.07  # dex/kpc, of the thin disk; Robin et al. 2003, table 1
_OLD_IMF = MassFunction(0.5, 0.5)

COMPONENTS = (
    Component(
        "thin disk, 1-3 Gyr", 5.3e6, _einasto(0.052), Population(-0.02, 0.11, 2.0, _DISK_IMF, 2.0),
        (28.0, 18.0, 11.5), 5.0, feh_gradient=_GRADIENT,
    ),
    Component(
        "thin disk, 3-5 Gyr", 4.3e6, _einasto(0.0696), Population(-0.09, 0.18, 4.0, _DISK_IMF, 2.0),
        (35.0, 22.5, 15.0), 8.0, feh_gradient=_GRADIENT,
    ),
    Component(
        "thin disk, 5-7 Gyr", 4.2e6, _einasto(0.0785), Population(-0.16, 0.17, 6.0, _DISK_IMF, 2.0),
        (39.0, 25.5, 16.0), 10.5, feh_gradient=_GRADIENT,
    ),
    Component(
        "thin disk, 7-10 Gyr", 4.6e6, _einasto(0.0791), Population(-0.37, 0.20, 8.5, _DISK_IMF, 3.0),
        (39.0, 25.5, 16.0), 10.5, feh_gradient=_GRADIENT,
    ),
    Component(
        "thick disk", 1.21e6, _thick, Population(-0.78, 0.30, 11.0, _OLD_IMF), (67.0, 51.0, 42.0), 53.0
    ),
    Component(
        "halo", 9.32e3, _halo, Population(-1.78, 0.50, 13.0, _OLD_IMF), (131.0, 106.0, 85.0), 230.0,
        spherical=True,
    ),
)  # fmt: skip


def velocities(component: Component, xyz: Vector, generator: np.random.Generator) -> Vector:
    """Draw Galactocentric velocities (km/s) of a component's stars.

    Parameters
    ----------
    component : Component
        Dispersions, lag and the direction of the ellipsoid.
    xyz : tuple of ndarray, (n,)
        Galactocentric positions (kpc).
    generator : numpy.random.Generator
        Source of the draws.
    """
    x, y, z = xyz
    r = np.hypot(x, y)
    cos, sin = x / r, y / r
    first, along, third = (s * generator.standard_normal(len(x)) for s in component.sigma)
    along += CIRCULAR - component.lag
    if component.spherical:
        radius = np.hypot(r, z)
        outward = first * r / radius + third * z / radius
        up = first * z / radius - third * r / radius
    else:
        outward, up = first, third
    # Rotation is clockwise seen from the north pole: along +y at the Sun, x = -SUN_R.
    return outward * cos + along * sin, outward * sin - along * cos, up
