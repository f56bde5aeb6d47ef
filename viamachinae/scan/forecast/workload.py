"""How much a scan has to do: patches, regions, trainings, counted on a few patches and scaled to all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import DensitySettings, Settings
from viamachinae.scan import plan
from viamachinae.scan.forecast.sample import Sample, load_sample, star_weights

if TYPE_CHECKING:
    from viamachinae.density.schedule import Schedule

__all__ = ["TRAININGS", "PatchWork", "RegionWork", "trunk_work", "workload"]

#: Stars of a trunk, if that many fill its batches and hold out as many as may be.
_MANY = 100_000


@dataclass(frozen=True)
class RegionWork:
    """One signal region.

    Parameters
    ----------
    group : str
        The score task that it belongs to.
    n_sr, n_sb, n_fiducial : int
        Stars of the region and of its sideband, and fiducial stars of the region.
    n_rois : int
        Its regions of interest.
    """

    group: str
    n_sr: int
    n_sb: int
    n_fiducial: int
    n_rois: int


@dataclass(frozen=True)
class PatchWork:
    """What one patch asks for.

    Parameters
    ----------
    patch : str
        Its name.
    sample : Sample
        Itself, or the loaded patch that it is taken to resemble.
    n_stars : int
        Its stars: counted, or scaled from those of the sample.
    regions : tuple of RegionWork
        Its signal regions.
    """

    patch: str
    sample: Sample
    n_stars: int
    regions: tuple[RegionWork, ...]


def workload(
    settings: Settings, patches: pd.DataFrame, sample: int, counts: Mapping[str, int] | None = None
) -> list[PatchWork]:
    """Return what every patch of a scan asks for, in the order of the patches.

    A few patches, spread evenly over the star counts, are loaded. The others are
    taken to be like the loaded one that is nearest in number of stars, with all
    its numbers scaled. Where nothing cheap tells the numbers of stars, they are
    taken to be like the loaded ones in turn: the mean of these.

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
    DataError
        The stars cannot be used, as a run would say.
    ConfigError
        The mock sky cannot be drawn.
    """
    names = patches["patch"].tolist()
    weights = None
    if len(names) > sample:
        weights = np.array([counts[n] for n in names], float) if counts else star_weights(settings, patches)
    chosen, like = _likeness(weights, len(names), sample)
    factors = np.ones(len(names)) if weights is None else weights / np.maximum(weights[like], 1e-9)
    samples = {}
    for i in chosen:
        # An unlike patch must not ask for windows of a handful of stars.
        around = np.clip(factors[like == i], 0.1, 10.0)
        samples[i] = load_sample(settings, patches.iloc[i], (float(around.min()), float(around.max())))
    return [_scaled(settings, name, samples[int(like[k])], float(factors[k])) for k, name in enumerate(names)]


def trunk_work(settings: Settings) -> Schedule:
    """Return what the training of a trunk takes at most, whatever the number of its stars."""
    from viamachinae.anomaly.trunk import trunk_settings
    from viamachinae.density.schedule import Schedule

    density = trunk_settings(settings)
    return Schedule.of(max(_MANY, math.ceil(density.max_validation / density.validation_fraction)), density)


def _anode(region: RegionWork, settings: Settings) -> list[tuple[int, DensitySettings]]:
    """Return the trainings of ANODE: the sideband, and the region without each of its folds."""
    from viamachinae.anomaly.anode import training_settings

    folds, n = settings.scorer.folds, region.n_sr
    of_sideband, of_region = (
        training_settings(settings, start)
        for start in (settings.scorer.sideband_start, settings.scorer.start)
    )
    return [
        (region.n_sb, of_sideband),
        *((n - len(range(k, n, folds)), of_region) for k in range(folds)),
    ]


#: Trainings of a region, the sideband's first, by the name that ``scorer.name`` takes: stars and settings.
TRAININGS: Mapping[str, Callable[[RegionWork, Settings], list[tuple[int, DensitySettings]]]] = {
    "anode": _anode
}


def _likeness(
    weights: NDArray[np.float64] | None, n: int, sample: int
) -> tuple[list[int], NDArray[np.int64]]:
    """Return which patches to load, and for every patch the loaded one that it is like."""
    order = np.arange(n) if weights is None else np.argsort(weights, kind="stable")
    k = min(n, sample)
    chosen = sorted({int(order[min(n - 1, math.floor((i + 0.5) * n / k))]) for i in range(k)})
    if weights is None:
        like = np.array([chosen[i % len(chosen)] for i in range(n)])
    else:
        away = np.abs(np.log1p(weights)[:, None] - np.log1p(weights[chosen])[None])
        like = np.array(chosen)[np.argmin(away, axis=1)]
    like[chosen] = chosen
    return chosen, like


def _scaled(settings: Settings, name: str, sample: Sample, factor: float) -> PatchWork:
    """Return the work of a patch that has ``factor`` times the stars of a sample."""
    bounds, n_stars = settings.regions, round(factor * sample.n_stars)
    regions = []
    for region, n, n_fiducial, n_rois in sample.windows:
        n_sr = round(factor * n)
        if bounds.min_stars < n_sr < bounds.max_stars:
            group = plan.group_name(settings, name, {"coordinate": region.coordinate, "index": region.index})
            regions.append(RegionWork(group, n_sr, n_stars - n_sr, round(factor * n_fiducial), n_rois))
    return PatchWork(name, sample, n_stars, tuple(regions))
