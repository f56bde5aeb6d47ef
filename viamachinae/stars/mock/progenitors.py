"""Streams from the orbit of a progenitor: particles sprayed from it and followed to today.

The progenitor is taken back along its orbit in a model of the Milky Way's mass,
and loses stars, as many in any Gyr, through both Lagrange points on its way
forward: the particle spray of Chen et al. (2025, ApJS 276, 32) or of Fardal et
al. (2015, MNRAS 452, 301), as gala has them. Position and motion of the Sun are those of the
mock Milky Way, see :mod:`viamachinae.stars.mock.galactocentric`.

The progenitor itself, a star cluster, is not drawn.
"""

# ruff: noqa: PLC0415 - gala is an extra, and astropy slow to import: only where they are needed
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viamachinae.config.mocksky import MockProgenitor
from viamachinae.errors import ConfigError
from viamachinae.stars.mock.cells import TrueStars
from viamachinae.stars.mock.galactocentric import (
    Vector,
    galactic_xyz,
    proper_motions,
    sky_position,
    space_velocity,
)
from viamachinae.stars.mock.sequences import MassFunction, Population, luminosity_function

__all__ = ["Spray", "orbit", "progenitor_stars", "spray"]

FloatArray = NDArray[np.float64]

_MASS_FUNCTION = MassFunction(1.3, 2.3, 0.5)  # Kroupa 2001, MNRAS 322, 231
_STEP = 1e-3  # Gyr between two releases
_SPARE = 1.5  # particles sprayed at a time for every star that is still wanted
_LEAST = 100  # particles sprayed at a time
_BATCHES = 12


@dataclass(frozen=True)
class Spray:
    """Particles of a stream today; every array is ``(n,)``.

    Parameters
    ----------
    xyz : tuple of ndarray
        Galactocentric position (kpc).
    velocity : tuple of ndarray
        Galactocentric velocity (km/s).
    leading : ndarray of bool
        Particle runs ahead of the progenitor.
    released : ndarray
        Time of its release (Gyr; today is 0).
    """

    xyz: Vector
    velocity: Vector
    leading: NDArray[np.bool_]
    released: FloatArray


@lru_cache(maxsize=16)
def progenitor_stars(progenitor: MockProgenitor, g_max: float, seed: int) -> TrueStars:
    """Return the ``n_stars`` stars of a stream that are brighter than ``g_max``.

    A particle becomes such a star with a probability proportional to the number of
    stars brighter than ``g_max`` at its distance, so the far parts of a stream are
    thinner. The result is kept: a process integrates a stream once.

    Parameters
    ----------
    progenitor : MockProgenitor
        The stream.
    g_max : float
        Faint limit (mag).
    seed : int
        Of its random numbers.

    Raises
    ------
    ConfigError
        gala is not installed, the progenitor is not bound to the Milky Way, or the
        stream is too distant to have so many stars brighter than ``g_max``.
    """
    generator = np.random.default_rng(seed)
    population = Population(progenitor.feh, 0.0, progenitor.stellar_age, _MASS_FUNCTION)
    lf = luminosity_function(population)
    parts: list[FloatArray] = []
    wanted, top = progenitor.n_stars, 0.0
    for _ in range(_BATCHES):
        sprayed = spray(progenitor, max(int(_SPARE * wanted), _LEAST), int(generator.integers(1 << 32)))
        ra, dec, distance = sky_position(sprayed.xyz)
        rows = np.stack([ra, dec, distance, *proper_motions(ra, dec, distance, sprayed.velocity)])
        count = lf.count(g_max - _modulus(distance))
        top = top or float(count.max())
        if top == 0.0:
            break
        kept = rows[:, generator.random(rows.shape[1]) * top < count]
        parts.append(kept[:, generator.permutation(kept.shape[1])[:wanted]])
        wanted -= parts[-1].shape[1]
        if wanted == 0:
            ra, dec, distance, pmra, pmdec = np.concatenate(parts, axis=1)
            limit = g_max - _modulus(distance)
            m_g, colour = lf.sample(limit, generator.random(len(limit)))
            return TrueStars(ra, dec, distance, pmra, pmdec, m_g + _modulus(distance), colour)
    msg = (
        f"mock.progenitors: {progenitor.name!r} has {progenitor.n_stars - wanted} of "
        f"{progenitor.n_stars} stars brighter than g_max = {g_max:g}: its stream lies at "
        f"{distance.min():.0f} to {distance.max():.0f} kpc; lower n_stars or the distance, or raise g_max"
    )
    raise ConfigError(msg)


def _modulus(distance: FloatArray) -> FloatArray:
    return np.asarray(10.0 + 5.0 * np.log10(distance))


def spray(progenitor: MockProgenitor, n: int, seed: int) -> Spray:
    """Return ``n`` particles, rounded up to an even number, half of them in each arm.

    Parameters
    ----------
    progenitor : MockProgenitor
        Its orbit, mass and age.
    n : int
        Particles.
    seed : int
        Of the times and velocities of their release; below 2^32.

    Raises
    ------
    ConfigError
        gala is not installed, or the progenitor is not bound to the Milky Way.
    """
    gala = _gala()
    u, galactic = gala.units, gala.galactic
    today, hamiltonian = _today(progenitor, gala)
    random = np.random.RandomState(seed)  # what gala takes
    if progenitor.spray == "chen":
        escape = gala.mockstream.ChenStreamDF(random_state=random)
    else:
        escape = gala.mockstream.FardalStreamDF(gala_modified=False, random_state=random)
    mass = progenitor.mass * u.Msun
    cluster = gala.potential.PlummerPotential(m=mass, b=progenitor.scale_radius * u.kpc, units=galactic)
    steps = _steps(progenitor)
    releases = random.multinomial((n + 1) // 2, np.full(steps + 1, 1.0 / (steps + 1)))
    stream, _ = gala.mockstream.MockStreamGenerator(escape, hamiltonian, progenitor_potential=cluster).run(
        today, mass, n_particles=releases, dt=-progenitor.age / steps * u.Gyr, n_steps=steps
    )
    x, y, z = stream.xyz.to_value(u.kpc)
    vx, vy, vz = stream.v_xyz.to_value(u.km / u.s)
    released = stream.release_time.to_value(u.Gyr)
    return Spray((x, y, z), (vx, vy, vz), np.asarray(stream.lead_trail) == "l", released)


def orbit(progenitor: MockProgenitor, times: FloatArray) -> tuple[Vector, Vector]:
    """Return the progenitor's Galactocentric positions (kpc) and velocities (km/s).

    Parameters
    ----------
    progenitor : MockProgenitor
        Where it is today.
    times : ndarray, (n,)
        Times (Gyr) from 0, today, on: rising, or falling into the past.

    Raises
    ------
    ConfigError
        gala is not installed, or the progenitor is not bound to the Milky Way.
    """
    gala = _gala()
    u = gala.units
    today, hamiltonian = _today(progenitor, gala)
    path = hamiltonian.integrate_orbit(today, t=times * u.Gyr, Integrator="dop853")
    x, y, z = path.xyz.to_value(u.kpc)
    vx, vy, vz = path.v_xyz.to_value(u.km / u.s)
    return (x, y, z), (vx, vy, vz)


def _steps(progenitor: MockProgenitor) -> int:
    return int(np.ceil(progenitor.age / _STEP))


@dataclass(frozen=True)
class _Gala:
    """The parts of gala and astropy that are used."""

    units: Any
    galactic: Any
    dynamics: Any
    mockstream: Any
    potential: Any


def _gala() -> _Gala:
    try:
        import gala.dynamics
        import gala.dynamics.mockstream
        import gala.potential
        import gala.units
    except ModuleNotFoundError as missing:
        msg = (
            "mock.progenitors: streams from a progenitor's orbit need the package gala, which is not "
            "installed; pip install 'viamachinae[orbits]'"
        )
        raise ConfigError(msg) from missing
    from astropy import units

    return _Gala(units, gala.units.galactic, gala.dynamics, gala.dynamics.mockstream, gala.potential)


def _today(progenitor: MockProgenitor, gala: _Gala) -> tuple[Any, Any]:
    """Return the progenitor's place in phase space, and the Milky Way as a Hamiltonian."""
    version = {"MilkyWayPotential": "v1", "MilkyWayPotential2022": "v2"}[progenitor.potential]
    potential = gala.potential.MilkyWayPotential(version=version)
    u = gala.units
    place = (progenitor.ra, progenitor.dec, progenitor.distance)
    motion = (progenitor.pmra, progenitor.pmdec, progenitor.radial_velocity)
    ra, dec, distance = np.array(place)[:, None]
    xyz = np.concatenate(galactic_xyz(ra, dec, distance))
    velocity = space_velocity(place, motion)
    today = gala.dynamics.PhaseSpacePosition(pos=xyz * u.kpc, vel=velocity * u.km / u.s)
    hamiltonian = gala.potential.Hamiltonian(potential)
    if today.energy(hamiltonian)[0] >= 0.0:
        escape = np.sqrt(-2.0 * potential.energy(xyz * u.kpc)[0]).to_value(u.km / u.s)
        msg = (
            f"mock.progenitors: {progenitor.name!r} is not bound to the Milky Way: "
            f"{np.linalg.norm(velocity):.0f} km/s at {np.linalg.norm(xyz):.1f} kpc from its centre, where "
            f"{escape:.0f} km/s escape; check distance, proper motion and radial_velocity"
        )
        raise ConfigError(msg)
    return today, hamiltonian
