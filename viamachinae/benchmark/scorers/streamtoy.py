"""A patch of stars with a stream, from densities that are known: the likelihood ratio is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from viamachinae.anomaly.base import FEATURES
from viamachinae.anomaly.space import SignalSpace
from viamachinae.benchmark.scorers.sky import Truth
from viamachinae.benchmark.scorers.toys import Generator
from viamachinae.config.settings import FiducialSettings
from viamachinae.density import Kind
from viamachinae.sky.circles import GreatCircle
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.mock.noise import bp_rp_error, proper_motion_errors

__all__ = ["StreamToy"]

Array = NDArray[np.float64]

_RADIUS = 15.0  # deg
_G = (12.0, 20.2)  # mag
_CENTRE = PatchFrame(0.0, 0.0)
_MIDDLE = -8.0  # mas/yr: m at which the background of both variants is the same
_AREA = 2 * np.pi * (1 - np.cos(np.radians(_RADIUS))) * np.degrees(1.0) ** 2  # deg2


@dataclass(frozen=True)
class _Population:
    """One kind of background stars.

    Parameters
    ----------
    motion : tuple of float
        Mean and sigma of the orthogonal proper motion (mas/yr).
    g_scale : float
        Counts rise by e over this much G (mag).
    colours : tuple of (share, BP-RP at G = 19, slope a magnitude, sigma)
        Sequences in the colour-magnitude plane (mag).
    """

    motion: tuple[float, float]
    g_scale: float
    colours: tuple[tuple[float, float, float, float], ...]


_HALO = _Population(
    (-1.0, 4.2), 1.1, ((0.6, 0.62, 0.06, 0.07), (0.15, 1.02, -0.05, 0.05), (0.25, 1.1, 0.1, 0.3))
)
_DISK = _Population(
    (-2.0, 6.4), 1.9, ((0.3, 0.85, 0.03, 0.12), (0.45, 2.2, 0.15, 0.35), (0.25, 1.4, 0.1, 0.35))
)


@dataclass(frozen=True)
class StreamToy:
    """A stream like GD-1 on halo and disk stars; m is the proper motion pm_lambda (mas/yr).

    The stream is a great circle, narrow in place, in both proper motions up to
    the errors of Gaia DR2 at the star's magnitude, and in the colour-magnitude
    plane.

    Parameters
    ----------
    correlated : bool
        In the background, the orthogonal proper motion, the colour, the place and
        the share of halo stars change with m; otherwise no feature depends on it.
    """

    correlated: bool = False

    low = -16.0
    high = -10.0
    radius = _RADIUS
    mass = stats.norm(_MIDDLE, 6.0)
    kinds: ClassVar[tuple[Kind, ...]] = tuple(kind["physical"] for _, kind in FEATURES)

    _TRACK = GreatCircle.from_points(349.0, -8.0, 9.5, 10.0)
    _LENGTH = float(_TRACK.phi1(9.5, 10.0))  # deg
    _WIDTH = 0.25  # deg, sigma
    _MOTION = ((-13.0, 0.06), (-5.0, -0.05))  # mas/yr, and its change a deg: m, then the orthogonal
    _DISPERSION = 0.1  # mas/yr
    _FAINTER = 1.8  # mag over which the stream's counts rise by e

    def _halo(self, m: Array) -> Array:
        """Return the share of halo stars, shape (n,)."""
        return np.asarray(special.expit(0.12 * self._away(m)))

    def _tilt(self, m: Array) -> Array:
        """Return the gradient in lambda, -1 to 1, shape (n,)."""
        return np.asarray(-0.3 + 0.4 * np.tanh(self._away(m) / 10))

    def _away(self, m: Array) -> Array:
        """Return m - middle where the background depends on it (mas/yr), shape (n,)."""
        return (m - _MIDDLE) * self.correlated

    def background(self, m: Array, rng: Generator) -> Array:
        """Draw background features (n, 5) given ``m`` (n,)."""
        halo = rng.uniform(size=len(m)) < self._halo(m)
        x = np.empty((len(m), 5))
        x[:, :2] = _places(self._tilt(m), rng)
        for kind, own in ((_HALO, halo), (_DISK, ~halo)):
            n, away = int(own.sum()), self._away(m[own])
            g = _magnitudes(kind.g_scale, n, rng)
            share, base, slope, sigma = np.array(kind.colours).T
            k = rng.choice(len(share), n, p=share)
            x[own, 2] = kind.motion[0] + 0.3 * away + kind.motion[1] * rng.normal(size=n)
            x[own, 3] = base[k] + slope[k] * (g - 19) + 0.01 * away + sigma[k] * rng.normal(size=n)
            x[own, 4] = g
        return x

    def signal(self, n: int, rng: Generator) -> tuple[Array, Array]:
        """Draw features (n, 5) and m (n,) of the stream."""
        phi1, phi2 = self._LENGTH * rng.uniform(size=n), self._WIDTH * rng.normal(size=n)
        ra, lam = self._TRACK.to_sky(phi1, phi2)
        g = _magnitudes(self._FAINTER, n, rng)
        m, q = (mean + sigma * rng.normal(size=n) for mean, sigma in self._motions(phi1, g))
        colour, sigma = _sequence(g)
        x = np.column_stack([(ra + 180) % 360 - 180, lam, q, colour + sigma * rng.normal(size=n), g])
        near = _CENTRE.separation(ra, lam) < _RADIUS
        return x[near], m[near]

    def _motions(self, phi1: Array, g: Array) -> list[tuple[Array, Array]]:
        """Return mean and sigma of m, then of the orthogonal proper motion (mas/yr), each shape (n,)."""
        middle = phi1 - self._LENGTH / 2
        return [
            (at + change * middle, np.hypot(self._DISPERSION, error))
            for (at, change), error in zip(
                self._MOTION, proper_motion_errors(g, "gaia-dr2")[::-1], strict=True
            )
        ]

    def log_ratio(self, x: Array, m: Array) -> Array:
        """Return the natural log of p(x, m | stream) / p(x, m | background), shape (n,)."""
        return self.log_signal(x, m) - self.log_background(x, m)

    def log_signal(self, x: Array, m: Array) -> Array:
        """Return log p(x, m) of the stream, shape (n,), per deg2 of sky, (mas/yr)2 and mag2."""
        g = x[:, 4]
        phi1, phi2 = self._TRACK.to_frame(x[:, 0] % 360, x[:, 1])
        colour, sigma = _sequence(g)
        on = (phi1 >= 0) & (phi1 <= self._LENGTH)
        place = (
            stats.norm.logpdf(phi2, 0, self._WIDTH) - np.log(self._LENGTH) - np.log(np.cos(np.radians(phi2)))
        )
        (m_mean, m_sigma), (q_mean, q_sigma) = self._motions(phi1, g)
        motion = stats.norm.logpdf(m, m_mean, m_sigma) + stats.norm.logpdf(x[:, 2], q_mean, q_sigma)
        cmd = stats.norm.logpdf(x[:, 3], colour, sigma) + _log_counts(self._FAINTER, g)
        return np.asarray(np.where(on, place + motion + cmd, -np.inf))

    def log_background(self, x: Array, m: Array) -> Array:
        """Return log p(x, m) of the background, shape (n,), in the same units."""
        north = np.sin(np.radians(x[:, 1])) / np.sin(np.radians(_RADIUS))
        place = np.log1p(self._tilt(m) * north) - np.log(_AREA)
        halo, away = self._halo(m), self._away(m)
        kinds = []
        for kind, part in ((_HALO, halo), (_DISK, 1 - halo)):
            share, base, slope, sigma = np.array(kind.colours).T
            mean = base + slope * (x[:, 4, None] - 19) + 0.01 * away[:, None]
            colour = special.logsumexp(stats.norm.logpdf(x[:, 3, None], mean, sigma), axis=1, b=share)
            motion = stats.norm.logpdf(x[:, 2], kind.motion[0] + 0.3 * away, kind.motion[1])
            kinds.append(np.log(part) + motion + colour + _log_counts(kind.g_scale, x[:, 4]))
        return np.asarray(self.mass.logpdf(m) + place + np.logaddexp(*kinds))

    def orthogonal(self, x: Array) -> Array:
        """Return the other proper motion (mas/yr), shape (n,)."""
        return x[:, 2]

    def fiducial(self, x: Array, m: Array) -> Truth:
        """Return which stars pass the default fiducial cuts, shape (n,)."""
        cuts = FiducialSettings()
        near = _CENTRE.separation(x[:, 0] % 360, x[:, 1]) <= cuts.radius
        coloured = (x[:, 3] >= cuts.colour[0]) & (x[:, 3] <= cuts.colour[1])
        moving = (np.abs(x[:, 2]) > cuts.pm_min) | (np.abs(m) > cuts.pm_min)
        return np.asarray(near & coloured & moving & (x[:, 4] < cuts.g_max))

    def space(self, x: Array, m: Array) -> SignalSpace:
        """Return the stars in the tangent plane, with the errors that drew their proper motions."""
        pmra_error, pmdec_error = proper_motion_errors(x[:, 4], "gaia-dr2")
        columns = dict(
            zip(("phi", "lambda", "pm_phi_coslambda", "bp_rp", "phot_g_mean_mag"), x.T, strict=True)
        )
        errors = {"pmra_error": pmra_error, "pmdec_error": pmdec_error}
        stars = pd.DataFrame(columns | {"pm_lambda": m} | errors)
        return SignalSpace.of_stars(stars, "pm_lambda", "pm_phi_coslambda")


def _places(tilt: Array, rng: Generator) -> Array:
    """Draw longitudes and latitudes (deg) in the cap, density 1 + tilt sin(lambda) / sin(radius): (n, 2)."""
    places = np.empty((len(tilt), 2))
    left = np.arange(len(tilt))
    while len(left):
        along = 1 - rng.uniform(0, 1 - np.cos(np.radians(_RADIUS)), len(left))
        angle = rng.uniform(0, 2 * np.pi, len(left))
        across = np.sqrt(1 - along**2)
        east, north = across * np.cos(angle), across * np.sin(angle)
        wanted = 1 + tilt[left] * north / np.sin(np.radians(_RADIUS))
        kept = rng.uniform(0, 2, len(left)) < wanted
        places[left[kept]] = np.degrees(np.column_stack([np.arctan2(east, along), np.arcsin(north)]))[kept]
        left = left[~kept]
    return places


def _magnitudes(scale: float, n: int, rng: Generator) -> Array:
    bright = np.exp((_G[0] - _G[1]) / scale)
    return np.asarray(_G[1] + scale * np.log(rng.uniform(bright, 1, n)))


def _log_counts(scale: float, g: Array) -> Array:
    return np.asarray((g - _G[1]) / scale - np.log(scale * -np.expm1((_G[0] - _G[1]) / scale)))


def _sequence(g: Array) -> tuple[Array, Array]:
    """Return the stream's BP-RP and its sigma (mag) at magnitude ``g``, each shape (n,)."""
    return 0.62 + 0.035 * (19.5 - g) ** 2, np.hypot(0.03, bp_rp_error(g))
