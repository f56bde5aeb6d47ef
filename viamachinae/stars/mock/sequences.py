"""Colour-magnitude sequences and luminosity functions of the mock sky's populations.

A population is a spread of metallicities and ages. Its ridge lines come from
:mod:`viamachinae.stars.mock.ridgelines`; a mass function turns steps in initial mass
into numbers of stars; sorting the steps by M_G gives the cumulative luminosity
function that both counts and samples the stars brighter than a limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from viamachinae.stars.mock.ridgelines import HB_START, OLD, OLD_AGE, OLD_FEH, YOUNG, YOUNG_AGE

__all__ = ["LuminosityFunction", "MassFunction", "Population", "luminosity_function", "ridge_line"]

FloatArray = NDArray[np.float64]

_SOLAR = 5  # index of the metallicity of YOUNG in OLD
_STEPS = 40  # steps between two points of a ridge line: about 0.02 mag on the main sequence
_LINES = 25  # ridge lines that stand for a spread; their turn-offs lie about 0.01 mag apart
_NEAR = 0.1  # dex to both sides over which the slope of colour with metallicity is taken
_GOLDEN = 0.5 * (5.0**0.5 - 1.0)  # its multiples spread evenly over a unit interval


@dataclass(frozen=True)
class MassFunction:
    """A broken power law of initial mass: dN/dm ~ m^-low below ``break_mass``, m^-high above.

    Parameters
    ----------
    low, high : float
        Slopes; neither may be 1.
    break_mass : float
        Mass (solar masses) at which the slope changes.
    """

    low: float
    high: float
    break_mass: float = 1.0

    def _integral(self, mass: FloatArray, power: int) -> FloatArray:
        a, b, m0 = power + 1 - self.low, power + 1 - self.high, self.break_mass
        below = np.minimum(mass, m0) ** a / a
        above = m0 ** (self.high - self.low) * (np.maximum(mass, m0) ** b - m0**b) / b
        return np.asarray(below + above)

    def number(self, mass: FloatArray) -> FloatArray:
        """Return the number of stars up to ``mass`` (solar masses), to a constant."""
        return self._integral(mass, 0)

    def mass(self, mass: FloatArray) -> FloatArray:
        """Return the mass in stars up to ``mass`` (solar masses), to a constant."""
        return self._integral(mass, 1)


@dataclass(frozen=True)
class Population:
    """Stars of a range of ages with a Gaussian spread of metallicity.

    Parameters
    ----------
    feh, feh_sigma : float
        Mean and standard deviation of [Fe/H] (dex).
    age : float
        Mean age (Gyr).
    mass_function : MassFunction
        Initial mass function.
    age_range : float
        Difference between the oldest and the youngest star (Gyr); all ages between are equally likely.
    """

    feh: float
    feh_sigma: float
    age: float
    mass_function: MassFunction
    age_range: float = 0.0


@dataclass(frozen=True)
class LuminosityFunction:
    """Cumulative numbers of stars along M_G, and the colour that goes with each step.

    Parameters
    ----------
    m_g : ndarray, (n,)
        Absolute magnitudes (mag), rising.
    colour : ndarray, (n,)
        BP-RP (mag) of each step, without errors.
    slope : ndarray, (n,)
        Change of that colour with [Fe/H] (mag/dex) at the same evolutionary point.
    cumulative : ndarray, (n + 1,)
        Stars per solar mass of the population brighter than each step.
    """

    m_g: FloatArray
    colour: FloatArray
    slope: FloatArray
    cumulative: FloatArray

    def count(self, m_g_limit: FloatArray) -> FloatArray:
        """Return the stars per solar mass brighter than ``m_g_limit`` (mag, any shape)."""
        return self.cumulative[np.searchsorted(self.m_g, m_g_limit, side="left")]

    def sample(
        self, m_g_limit: FloatArray, uniform: FloatArray, feh_offset: FloatArray | float = 0.0
    ) -> tuple[FloatArray, FloatArray]:
        """Return M_G and BP-RP (mag) of stars brighter than ``m_g_limit``.

        Parameters
        ----------
        m_g_limit : ndarray, (n,)
            Limits (mag), each with a count above zero.
        uniform : ndarray, (n,)
            Uniform draws in [0, 1) that choose the stars.
        feh_offset : ndarray, (n,), or float
            How much more [Fe/H] (dex) they have than the population; it moves the colour alone.
        """
        step = np.searchsorted(self.cumulative, uniform * self.count(m_g_limit), side="right") - 1
        return self.m_g[step], self.colour[step] + self.slope[step] * feh_offset


def ridge_line(feh: float, age: float = 12.0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mass (solar masses), M_G and BP-RP (mag), each ``(28,)``, of one ridge line.

    Interpolated point by point, linearly in [Fe/H] and in the logarithm of age.
    The young lines move with metallicity as the old ones of 7.94 Gyr do. Outside
    -2.18 to 0.30 and 1.6 to 12.59 Gyr the outermost line serves.

    Parameters
    ----------
    feh : float
        Metallicity [Fe/H] (dex).
    age : float
        Age (Gyr).
    """
    old = _interpolate(feh, OLD_FEH, OLD)
    young = YOUNG + (old[0] - OLD[_SOLAR, 0])
    young[:, 0] = YOUNG[:, 0] * old[0, 0] / OLD[_SOLAR, 0, 0]
    ages = np.log(np.append(YOUNG_AGE, OLD_AGE))
    line = _interpolate(float(np.log(age)), ages, np.concatenate([young, old]))
    return np.maximum.accumulate(line[0]), line[1], line[2]


def _interpolate(x: float, nodes: FloatArray, lines: FloatArray) -> FloatArray:
    x = float(np.clip(x, nodes[0], nodes[-1]))
    k = min(int(np.searchsorted(nodes, x, side="right")) - 1, len(nodes) - 2)
    w = (x - nodes[k]) / (nodes[k + 1] - nodes[k])
    return np.asarray((1.0 - w) * lines[k] + w * lines[k + 1])


@lru_cache(maxsize=64)
def luminosity_function(population: Population) -> LuminosityFunction:
    """Return the luminosity function of a population, per solar mass of its stars.

    Parameters
    ----------
    population : Population
        Ages, metallicities and mass function. Equally likely pairs of a metallicity,
        each a quantile of its Gaussian, and an age represent their spread.
    """
    n = _LINES if population.feh_sigma > 0.0 or population.age_range > 0.0 else 1
    steps = np.arange(n) + 0.5
    fehs = population.feh + population.feh_sigma * ndtri(steps / n)
    ages = population.age + population.age_range * ((_GOLDEN * steps) % 1.0 - 0.5)
    parts = [_steps(float(feh), float(age), population) for feh, age in zip(fehs, ages, strict=True)]
    m_g, colour, slope, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(m_g, kind="stable")
    cumulative = np.append(0.0, np.cumsum(number[order])) / n
    return LuminosityFunction(m_g[order], colour[order], slope[order], cumulative)


def _steps(feh: float, age: float, population: Population) -> tuple[FloatArray, ...]:
    """Return M_G, BP-RP, its slope and stars per solar mass of the fine steps of one ridge line."""
    mass, m_g, colour = ridge_line(feh, age)
    slope = (ridge_line(feh + _NEAR, age)[2] - ridge_line(feh - _NEAR, age)[2]) / (2.0 * _NEAR)
    points = np.arange(len(mass))
    edges = np.linspace(0, len(mass) - 1, (len(mass) - 1) * _STEPS + 1)
    middles = 0.5 * (edges[1:] + edges[:-1])
    middles = middles[(middles < HB_START - 1) | (middles > HB_START)]
    half = 0.5 / _STEPS
    imf = population.mass_function
    number = imf.number(np.interp(middles + half, points, mass)) - imf.number(
        np.interp(middles - half, points, mass)
    )
    total = imf.mass(mass[-1:]) - imf.mass(mass[:1])
    return (*(np.interp(middles, points, values) for values in (m_g, colour, slope)), number / total)
