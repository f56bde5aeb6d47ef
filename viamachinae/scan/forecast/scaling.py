"""From a few loaded patches to all of them: which are loaded, and what the others are taken to ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.forecast.sample import Sample, load_sample, star_weights
from viamachinae.scan.forecast.workload import PatchWork, RegionWork

__all__ = ["Loaded", "Samples", "load_samples", "scale", "stand_for", "weigh", "workload"]

#: An unlike patch must not ask for windows of a handful of stars.
_LEAST, _MOST = 0.1, 10.0
#: Patches may come to have more or fewer stars than was thought, by this factor, and the sample still serves.
_MARGIN = 1.25


@dataclass(frozen=True)
class Loaded:
    """A loaded patch and what it can stand for.

    Parameters
    ----------
    sample : Sample
        Its numbers.
    ra, dec : float
        Its centre (deg).
    low, high : float
        Its windows serve patches with so many times its stars.
    """

    sample: Sample
    ra: float
    dec: float
    low: float
    high: float


@dataclass(frozen=True)
class Samples:
    """The loaded patches, and how the others compare with them.

    Parameters
    ----------
    loaded : tuple of Loaded
        In the order of the patches.
    weights : dict or None
        Patch -> a number in proportion to its stars; ``None``: not cheaply, or not needed.
    """

    loaded: tuple[Loaded, ...]
    weights: dict[str, float] | None


def workload(
    settings: Settings, patches: pd.DataFrame, sample: int, counts: Mapping[str, int] | None = None
) -> list[PatchWork]:
    """Return what every patch of a scan asks for, from patches that are loaded now.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : DataFrame
        PATCHES table.
    sample : int
        Most patches to load.
    counts : mapping, optional
        Patch -> its stars, where all are known.

    Raises
    ------
    DataError, ConfigError
        As :func:`load_samples`.
    """
    return scale(settings, patches, load_samples(settings, patches, sample, counts), counts)


def load_samples(
    settings: Settings, patches: pd.DataFrame, sample: int, counts: Mapping[str, int] | None = None
) -> Samples:
    """Load a few patches, spread evenly over the star counts.

    Parameters
    ----------
    settings, patches, sample, counts
        As for :func:`workload`.

    Raises
    ------
    DataError
        The stars cannot be used, as a run would say.
    ConfigError
        The mock sky cannot be drawn.
    """
    names = patches["patch"].tolist()
    known = weigh(settings, patches, sample, None, counts)
    weights = _in_order(known, names)
    order = np.arange(len(names)) if weights is None else np.argsort(weights, kind="stable")
    k = min(len(names), sample)
    middles = (min(len(names) - 1, math.floor((i + 0.5) * len(names) / k)) for i in range(k))
    chosen = sorted({int(order[middle]) for middle in middles})
    like = _likeness(weights, len(names), chosen)
    factors = _factors(weights, like)
    margin = 1.0 if len(chosen) == len(names) else _MARGIN
    loaded = []
    for i in chosen:
        around = np.clip(factors[like == i], _LEAST, _MOST)
        low, high = float(around.min()) / margin, float(around.max()) * margin
        place = patches.iloc[i]
        found = load_sample(settings, place, (low, high))
        loaded.append(Loaded(found, float(place["ra"]), float(place["dec"]), low, high))
    return Samples(tuple(loaded), known)


def weigh(
    settings: Settings,
    patches: pd.DataFrame,
    loaded: int,
    kept: Mapping[str, float] | None,
    counts: Mapping[str, int] | None,
) -> dict[str, float] | None:
    """Return numbers in proportion to the stars of the patches, by patch.

    Parameters
    ----------
    settings, patches, counts
        As for :func:`workload`.
    loaded : int
        Patches that are, or will be, loaded: where these are all, nothing has to be compared.
    kept : mapping, optional
        The numbers of an earlier call.
    """
    names = patches["patch"].tolist()
    if len(names) <= loaded:
        return None
    if counts:
        return {name: float(counts[name]) for name in names}
    if kept is not None and kept.keys() >= set(names):
        return {name: kept[name] for name in names}
    found = star_weights(settings, patches)
    return None if found is None else dict(zip(names, found.tolist(), strict=True))


def stand_for(patches: pd.DataFrame, samples: Samples) -> bool:
    """Say whether loaded patches can stand for these: each is one of them, and no other is too unlike.

    Parameters
    ----------
    patches : DataFrame
        PATCHES table.
    samples : Samples
        The loaded patches, with the weights of ``patches``.
    """
    names = patches["patch"].tolist()
    rows = {key: i for i, key in enumerate(zip(names, patches["ra"], patches["dec"], strict=True))}
    if not all((one.sample.patch, one.ra, one.dec) in rows for one in samples.loaded):
        return False
    chosen, like, factors = _likened(names, samples, samples.weights)
    for i, one in zip(chosen, samples.loaded, strict=True):
        around = np.clip(factors[like == i], _LEAST, _MOST)
        if around.min() < one.low or around.max() > one.high:
            return False
    return True


def scale(
    settings: Settings,
    patches: pd.DataFrame,
    samples: Samples,
    counts: Mapping[str, int] | None = None,
) -> list[PatchWork]:
    """Return what every patch of a scan asks for, in the order of the patches.

    Each is taken to be like the loaded one that is nearest in number of stars,
    with all its numbers scaled. Where nothing cheap tells the numbers of stars,
    they are taken to be like the loaded ones in turn: the mean of these.

    Parameters
    ----------
    settings, patches, counts
        As for :func:`workload`.
    samples : Samples
        The loaded patches, all of them in ``patches``.
    """
    names = patches["patch"].tolist()
    weights = weigh(settings, patches, len(samples.loaded), samples.weights, counts)
    chosen, like, factors = _likened(names, samples, weights)
    loaded = dict(zip(chosen, samples.loaded, strict=True))
    return [
        _scaled(settings, name, loaded[int(like[k])].sample, float(factors[k]))
        for k, name in enumerate(names)
    ]


def _likened(
    names: Sequence[str], samples: Samples, weights: Mapping[str, float] | None
) -> tuple[list[int], NDArray[np.int64], NDArray[np.float64]]:
    """Return which patches are loaded, and for each the loaded one that it is like and by which factor."""
    chosen = [names.index(one.sample.patch) for one in samples.loaded]
    in_order = _in_order(weights, names)
    like = _likeness(in_order, len(names), chosen)
    return chosen, like, _factors(in_order, like)


def _in_order(weights: Mapping[str, float] | None, names: Sequence[str]) -> NDArray[np.float64] | None:
    return None if weights is None else np.array([weights[name] for name in names], float)


def _likeness(weights: NDArray[np.float64] | None, n: int, chosen: list[int]) -> NDArray[np.int64]:
    """Return for every patch the loaded one that it is like."""
    if weights is None:
        like = np.array([chosen[i % len(chosen)] for i in range(n)])
    else:
        away = np.abs(np.log1p(weights)[:, None] - np.log1p(weights[chosen])[None])
        like = np.array(chosen)[np.argmin(away, axis=1)]
    like[chosen] = chosen
    return like


def _factors(weights: NDArray[np.float64] | None, like: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many times the stars of the loaded patch each patch has."""
    if weights is None:
        return np.ones(len(like))
    return weights / np.maximum(weights[like], 1e-9)


def _scaled(settings: Settings, name: str, sample: Sample, factor: float) -> PatchWork:
    """Return the work of a patch that has ``factor`` times the stars of a sample."""
    bounds, n_stars = settings.regions, round(factor * sample.n_stars)
    regions = []
    for region, n, n_fiducial, n_rois, n_sliced in sample.windows:
        n_sr = round(factor * n)
        if bounds.min_stars < n_sr < bounds.max_stars:
            group = plan.group_name(settings, name, {"coordinate": region.coordinate, "index": region.index})
            own = (round(factor * n_fiducial), n_rois, round(factor * n_sliced))
            regions.append(RegionWork(group, n_sr, n_stars - n_sr, *own))
    return PatchWork(name, sample, n_stars, tuple(regions))
