"""A patch of stars made with numpy alone: as many as a real one, with structure that a density must learn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from viamachinae.density import Kind, Preprocessor, Sample

if TYPE_CHECKING:
    from viamachinae.config.settings import RegionSettings

__all__ = ["COORDINATES", "KINDS", "RADIUS", "STARS", "Patch", "Window", "make_patch"]

Array = NDArray[np.float64]
Coordinate = Literal["pm_phi_coslambda", "pm_lambda"]

#: Both scan coordinates, as ``viamachinae.config.COORDINATES``.
COORDINATES: tuple[Coordinate, Coordinate] = ("pm_phi_coslambda", "pm_lambda")
#: How the features are transformed: phi, lambda, the orthogonal proper motion, BP-RP, G.
KINDS: tuple[Kind, ...] = ("disc", "disc", "asinh", "linear", "magnitude")
#: Of the patch (deg).
RADIUS = 15.0
#: Of a patch, as many as the search meets away from the disk.
STARS = 700_000

_G_LIMIT = 20.5  # mag
_G_BRIGHT = 12.0  # mag


@dataclass(frozen=True)
class _Population:
    """One kind of stars.

    Parameters
    ----------
    share : float
        Of all stars.
    gradient : float
        Density falls by e over this much lambda (deg).
    g_scale : float
        Counts rise by e over this much G (mag).
    mean, shift : tuple of float
        Mean proper motion (mas/yr), and its change with phi and lambda (mas/yr a deg).
    sigma : tuple of float
        Of the proper motion at G = 19 (mas/yr); a tenth smaller a magnitude fainter.
    correlation : float
        Between the two proper motions.
    colours : tuple of (share, BP-RP at G = 19, slope a magnitude, sigma)
        Sequences in the colour-magnitude plane (mag).
    """

    share: float
    gradient: float
    g_scale: float
    mean: tuple[float, float]
    shift: tuple[float, float]
    sigma: tuple[float, float]
    correlation: float
    colours: tuple[tuple[float, float, float, float], ...]


_HALO = _Population(
    share=0.42,
    gradient=60.0,
    g_scale=1.1,
    mean=(-1.0, -2.5),
    shift=(0.05, -0.04),
    sigma=(4.3, 4.1),
    correlation=-0.3,
    colours=((0.60, 0.62, 0.06, 0.07), (0.15, 1.02, -0.05, 0.05), (0.25, 1.1, 0.1, 0.3)),
)
_DISK = _Population(
    share=0.58,
    gradient=18.0,
    g_scale=1.9,
    mean=(-2.0, -3.5),
    shift=(-0.10, 0.06),
    sigma=(6.3, 6.5),
    correlation=0.35,
    colours=((0.30, 0.85, 0.03, 0.12), (0.45, 2.2, 0.15, 0.35), (0.25, 1.4, 0.10, 0.35)),
)


@dataclass(frozen=True)
class Window:
    """A signal region: ``low <= coordinate < high`` (mas/yr)."""

    coordinate: Coordinate
    low: float
    high: float


@dataclass(frozen=True)
class Patch:
    """Stars of a cap of the sky in its own frame.

    Parameters
    ----------
    columns : dict of ndarray, shape (n,)
        ``phi``, ``lambda`` (deg), ``pm_phi_coslambda``, ``pm_lambda`` (mas/yr), ``bp_rp``,
        ``phot_g_mean_mag`` (mag).
    """

    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.columns["phi"])

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        return {}

    def sample(self, coordinate: Coordinate) -> Sample:
        """Return the stars with their features given one proper motion, transformed once."""
        if coordinate not in self._samples:
            (partner,) = set(COORDINATES) - {coordinate}
            names = ("phi", "lambda", partner, "bp_rp", "phot_g_mean_mag")
            x = np.column_stack([self.columns[name] for name in names])
            transform = Preprocessor.ranged(x, KINDS, RADIUS)
            self._samples[coordinate] = Sample.of(x, self.columns[coordinate], transform)
        return self._samples[coordinate]

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Return which stars lie in a signal region, shape (n,)."""
        m = self.columns[window.coordinate]
        return (m >= window.low) & (m < window.high)

    def windows(self, regions: RegionSettings) -> list[Window]:
        """Return the signal regions that the search would make here.

        Parameters
        ----------
        regions : RegionSettings
            Width, stride (mas/yr) and the bounds on the number of stars, which
            hold for :data:`STARS` stars and are lowered for a smaller patch.
        """
        lowered = min(1.0, len(self) / STARS)
        out = []
        for coordinate in COORDINATES:
            m = np.sort(self.columns[coordinate])
            first, last = np.floor((m[[0, -1]] - [regions.width, 0]) / regions.stride).astype(int)
            for index in range(first, last + 1):
                low = index * regions.stride
                n = np.diff(np.searchsorted(m, [low, low + regions.width]))[0]
                if lowered * regions.min_stars < n < regions.max_stars:
                    out.append(Window(coordinate, low, low + regions.width))
        return out


def make_patch(n: int = STARS, seed: int = 1) -> Patch:
    """Return a patch of ``n`` stars, the same for the same seed.

    Halo and disk stars differ in where they lie, how they move, how bright and
    how red they are; means and widths of the proper motions depend on position
    and magnitude, as they do on the sky.

    Examples
    --------
    >>> patch = make_patch(1000)
    >>> len(patch), sorted(patch.columns)[:2]
    (1000, ['bp_rp', 'lambda'])
    """
    rng = np.random.default_rng(seed)
    n_halo = round(_HALO.share * n)
    parts = [_stars(rng, _HALO, n_halo), _stars(rng, _DISK, n - n_halo)]
    order = rng.permutation(n)
    return Patch({name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]})


def _stars(rng: np.random.Generator, kind: _Population, n: int) -> dict[str, Array]:
    phi, lam = _places(rng, kind.gradient, n)
    bright = np.exp((_G_BRIGHT - _G_LIMIT) / kind.g_scale)
    g = _G_LIMIT + kind.g_scale * np.log(rng.uniform(bright, 1, n))
    narrower = 0.9 ** (g - 19)
    one, other = rng.normal(size=(2, n)) * narrower
    other = kind.correlation * one + np.sqrt(1 - kind.correlation**2) * other
    shares, base, slope, sigma = np.array(kind.colours).T
    sequence = rng.choice(len(shares), n, p=shares)
    return {
        "phi": phi,
        "lambda": lam,
        "pm_phi_coslambda": kind.mean[0] + kind.shift[0] * phi + kind.sigma[0] * one,
        "pm_lambda": kind.mean[1] + kind.shift[1] * lam + kind.sigma[1] * other,
        "bp_rp": base[sequence] + slope[sequence] * (g - 19) + sigma[sequence] * rng.normal(size=n),
        "phot_g_mean_mag": g,
    }


def _places(rng: np.random.Generator, gradient: float, n: int) -> tuple[Array, Array]:
    """Return phi and lambda (deg) of stars in the cap, fewer towards large lambda."""
    phi, lam = np.empty(0), np.empty(0)
    while len(phi) < n:
        along = 1 - rng.uniform(0, 1 - np.cos(np.radians(RADIUS)), 2 * n)
        across, angle = np.sqrt(1 - along**2), rng.uniform(0, 2 * np.pi, 2 * n)
        north = np.degrees(np.arcsin(across * np.sin(angle)))
        east = np.degrees(np.arctan2(across * np.cos(angle), along))
        kept = rng.uniform(size=2 * n) < np.exp(-(north + RADIUS) / gradient)
        phi, lam = np.concatenate([phi, east[kept]]), np.concatenate([lam, north[kept]])
    return phi[:n], lam[:n]
