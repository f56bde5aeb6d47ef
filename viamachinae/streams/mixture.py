"""Who belongs to a candidate: a mixture of stream and local background, fitted by EM.

The formula and what was measured are in docs/members.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from viamachinae.config.settings import MemberSettings
from viamachinae.streams.densities import GridDensity
from viamachinae.streams.tracks import Track, fit_weighted

__all__ = ["Band", "Mixture", "fit_mixture"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Stars further from the track than this part of the half width are background.
OFF_TRACK = 0.5
#: Smoothing: proper motion of the background (mas/yr); G and colour of both (mag); phi1 (deg).
SMOOTH_PM, SMOOTH_CMD, SMOOTH_PHI1 = 0.8, (0.4, 0.03), 2.0
#: Part of the stream's colour-magnitude density that is the background's: no colour is impossible.
CMD_FLOOR = 0.05
#: Bounds of the fitted width (deg) and proper-motion dispersion (mas/yr).
WIDTH, DISPERSION = (0.03, 1.0), (0.05, 2.0)
ROUNDS, STEPS, TOLERANCE = 3, 40, 1e-3


@dataclass(frozen=True, eq=False)
class Band:
    """Stars around a candidate, in the coordinates of its great circle.

    Parameters
    ----------
    phi1, phi2 : ndarray, shape (n,)
        Position (deg).
    pm : ndarray, shape (2, n)
        pm_phi1_cosphi2 and pm_phi2 (mas/yr).
    pm_error : ndarray, shape (2, n)
        Their standard errors (mas/yr); zero where unknown.
    cmd : ndarray, shape (2, n)
        G and BP-RP (mag).
    """

    phi1: Floats
    phi2: Floats
    pm: Floats
    pm_error: Floats
    cmd: Floats

    def __getitem__(self, keep: Bools) -> Band:
        return Band(
            self.phi1[keep], self.phi2[keep], self.pm[:, keep], self.pm_error[:, keep], self.cmd[:, keep]
        )

    def residuals(self, track: Track) -> Floats:
        """Return distances from the track in phi2 (deg), pm_phi1, pm_phi2 (mas/yr), shape (3, n)."""
        return np.asarray(np.vstack([self.phi2, self.pm]) - track.at(self.phi1))

    def judged(self, track: Track, settings: MemberSettings) -> Bools:
        """Return the stars that the track could hold: inside its ends, band and window."""
        away, pm1, pm2 = self.residuals(track)
        return np.asarray(
            (self.phi1 >= track.low)
            & (self.phi1 <= track.high)
            & (np.abs(away) <= settings.half_width)
            & (np.hypot(pm1, pm2) <= settings.pm_window)
        )


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture.

    Parameters
    ----------
    track : Track
        Polynomials, refitted with the memberships.
    judged : ndarray of bool, shape (n,)
        Stars of the band that the track could hold.
    membership : ndarray, shape (n,)
        Posterior probability to belong to the stream; zero where not judged.
    width : float
        Gaussian sigma across the track (deg).
    dispersion : float
        Intrinsic sigma of each proper motion about the track (mas/yr).
    fraction : float
        Share of the judged stars that belong to the stream.
    """

    track: Track
    judged: Bools
    membership: Floats
    width: float
    dispersion: float
    fraction: float


def fit_mixture(band: Band, track: Track, on_line: Bools, settings: MemberSettings) -> Mixture:
    """Fit stream and background to the stars around a track.

    Parameters
    ----------
    band : Band
        Stars, each once.
    track : Track
        First guess, from the line stars.
    on_line : ndarray of bool, shape (n,)
        The line stars: they start with the stream's colour-magnitude density.
    settings : MemberSettings
        Band, window.

    Returns
    -------
    Mixture
    """
    member = np.where(on_line, 0.9, 0.0)
    width, dispersion, fraction = 0.3, 0.5, 0.0
    judged = band.judged(track, settings)
    for _ in range(ROUNDS):
        judged = band.judged(track, settings)
        if np.count_nonzero(judged & (member > 0)) < 3:
            member = np.where(judged, member, 0.0)
            break
        part = band[judged]
        start = np.maximum(member[judged], 1e-6)
        inner = _em(part, track, start, (width, dispersion), settings)
        track, width, dispersion, fraction = inner.track, inner.width, inner.dispersion, inner.fraction
        member = np.zeros(member.size)
        member[judged] = inner.membership
    return Mixture(track, judged, member, width, dispersion, fraction)


def _em(
    band: Band, track: Track, member: Floats, scale: tuple[float, float], settings: MemberSettings
) -> Mixture:
    width, dispersion = scale
    log_background, cmd_background = _background(band, track, settings)
    degree = track.coefficients.shape[1] - 1
    box = _cmd_box(band)
    fraction = float(np.clip(member.mean(), 1e-4, 0.9))
    variance = dispersion**2 + band.pm_error**2
    for _ in range(STEPS):
        residual = band.residuals(track)
        cmd = GridDensity.fit(band.cmd, member, box, SMOOTH_CMD).at(band.cmd, own=member)
        cmd = (1 - CMD_FLOOR) * cmd + CMD_FLOOR * cmd_background
        along = _along(band.phi1, member, track).at(band.phi1[None], own=member)
        log_signal = (
            _log_gauss(residual[0], width**2)
            + _log_gauss(residual[1:], variance).sum(axis=0)
            + np.log(cmd * along)
        )
        odds = np.log(fraction) - np.log1p(-fraction) + log_signal - log_background
        new = 1.0 / (1.0 + np.exp(-np.clip(odds, -60.0, 60.0)))
        change = float(np.abs(new - member).max())
        member = new
        fraction = float(np.clip(member.mean(), 1e-4, 0.9))
        width = float(np.clip(np.sqrt(_mean(residual[0] ** 2, member)), *WIDTH))
        precision = member / variance**2
        excess = _mean(residual[1:] ** 2 - band.pm_error**2, precision)
        dispersion = float(np.clip(np.sqrt(max(excess, 0.0)), *DISPERSION))
        variance = dispersion**2 + band.pm_error**2
        weights = np.vstack([member, member / variance])
        track = fit_weighted(track, band.phi1, np.vstack([band.phi2, band.pm]), weights, degree)
        if change < TOLERANCE:
            break
    return Mixture(track, np.ones(member.size, dtype=bool), member, width, dispersion, fraction)


def _background(band: Band, track: Track, settings: MemberSettings) -> tuple[Floats, Floats]:
    """Return the log density of the background at every star, and its colour-magnitude factor."""
    away, *pm = band.residuals(track)
    off = np.abs(away) >= OFF_TRACK * settings.half_width
    ones = off.astype(np.float64)
    window, half = settings.pm_window, settings.half_width
    motion = np.array(pm)
    pm_box = ((-window, window), (-window, window))
    pm_density = GridDensity.fit(motion, ones, pm_box, (SMOOTH_PM, SMOOTH_PM), np.zeros(2)).at(motion)
    cmd_density = GridDensity.fit(band.cmd, ones, _cmd_box(band), SMOOTH_CMD).at(band.cmd)
    along = _along(band.phi1, ones, track).at(band.phi1[None])
    # Linear in phi2: its slope is the mean over the mean square, both off the track.
    square = float(np.mean(away[off] ** 2)) if off.any() else 1.0
    slope = float(np.mean(away[off])) / square if off.any() else 0.0
    slope = float(np.clip(slope, -0.9 / half, 0.9 / half))
    across = (1.0 + slope * away) / (2.0 * half)
    return np.log(pm_density * cmd_density * along * across), cmd_density


def _along(phi1: Floats, weights: Floats, track: Track) -> GridDensity:
    return GridDensity.fit(phi1[None], weights, ((track.low, track.high),), (SMOOTH_PHI1,))


def _cmd_box(band: Band) -> tuple[tuple[float, float], tuple[float, float]]:
    g, colour = band.cmd
    return (float(g.min()), float(g.max()) + 1e-3), (float(colour.min()), float(colour.max()) + 1e-3)


def _log_gauss(residual: Floats, variance: Floats | float) -> Floats:
    return np.asarray(-0.5 * residual**2 / variance - 0.5 * np.log(2 * np.pi * variance))


def _mean(values: Floats, weights: Floats) -> float:
    """Return the weighted mean over stars (and over rows, where there are some)."""
    full = np.broadcast_to(weights, values.shape)
    return float((values * full).sum() / max(float(full.sum()), 1e-300))
