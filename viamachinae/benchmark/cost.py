"""What a patch and the sky cost: extrapolated from measured rates, and on a GPU trained in earnest."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from viamachinae.benchmark.defaults import changed
from viamachinae.benchmark.sky import COORDINATES, Patch
from viamachinae.density import ConditionalDensity, Engine, Job
from viamachinae.density.schedule import Schedule

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings, Settings

__all__ = ["PATCHES_OF_SKY", "PatchTime", "Work", "patch_work", "train_patch", "training_work"]

logger = logging.getLogger(__name__)

#: Patches of the sky outside the disk (Shih et al. 2023 search 163; the default tiling makes about 200).
PATCHES_OF_SKY = 200


@dataclass(frozen=True)
class Work:
    """What the search computes, if no training stops before its plan ends and every star is scored.

    Parameters
    ----------
    regions, models : int
        Signal regions, and models trained for them.
    presentations : float
        Of stars in training.
    evaluations : float
        Likelihoods of single stars under single models: held-out stars of every round, and scores.
    """

    regions: int = 0
    models: int = 0
    presentations: float = 0.0
    evaluations: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.regions + other.regions,
            self.models + other.models,
            self.presentations + other.presentations,
            self.evaluations + other.evaluations,
        )

    def seconds(self, training: float, evaluation: float) -> float:
        """Return the time (s) it takes with rates in stars/s."""
        return self.presentations / training + self.evaluations / evaluation


def training_work(n: int, settings: DensitySettings) -> Work:
    """Return the work of one training on ``n`` stars, some of which it holds out."""
    schedule = Schedule.of(n, settings)
    return Work(0, 1, schedule.presentations, schedule.judged)


def started(start: str, settings: Settings, density: DensitySettings) -> DensitySettings:
    """Return how a density is trained that starts there: one that starts from the trunk takes fewer steps."""
    if start != "trunk":
        return density
    return changed(density, max_star_steps=min(density.max_star_steps, settings.trunk.tuning_star_steps))


def patch_work(patch: Patch, settings: Settings, density: DensitySettings) -> Work:
    """Return the work of all signal regions of a patch: a sideband, its folds, and the scores of each."""
    scorer = settings.scorer
    sideband, region = (started(start, settings, density) for start in (scorer.sideband_start, scorer.start))
    total = Work()
    for window in patch.windows(settings.regions):
        n = int(patch.inside(window).sum())
        total += Work(regions=1, evaluations=2 * density.best_epochs * n)
        total += training_work(len(patch) - n, sideband)
        for _ in range(scorer.folds):
            total += training_work(n - n // scorer.folds, region)
    return total


@dataclass(frozen=True)
class PatchTime:
    """A patch's trainings, timed.

    Parameters
    ----------
    sideband_seconds, region_seconds : float
        Of all sideband models, and of all signal-region models (s).
    models : int
        How many of both.
    presentations : int
        Of stars, until each training ended.
    """

    sideband_seconds: float
    region_seconds: float
    models: int
    presentations: int

    @property
    def seconds(self) -> float:
        """Of all trainings (s)."""
        return self.sideband_seconds + self.region_seconds


def train_patch(patch: Patch, settings: Settings, density: DensitySettings, engine: Engine) -> PatchTime:
    """Train every model of a patch, all regions of a scan coordinate together, and time it.

    All start from random weights, for as many steps as the settings give them from
    where they start: that changes no step's cost.

    Parameters
    ----------
    patch : Patch
        The stars.
    settings : Settings
        Uses ``regions``, ``scorer`` and ``trunk``.
    density : DensitySettings
        Family and training.
    engine : Engine
        Trains them.
    """
    rng = np.random.default_rng(0)
    scorer = settings.scorer
    folds = scorer.folds
    sideband, region = (started(start, settings, density) for start in (scorer.sideband_start, scorer.start))
    times, presented, models = [0.0, 0.0], 0, 0
    for coordinate in COORDINATES:
        sample = patch.sample(coordinate)
        insides = [patch.inside(w) for w in patch.windows(settings.regions) if w.coordinate == coordinate]
        jobs = [Job(np.flatnonzero(~inside), int(rng.integers(2**62))) for inside in insides]
        begin = time.perf_counter()
        sidebands = engine.fit(sample, jobs, sideband)
        times[0] += time.perf_counter() - begin
        region_jobs = [
            Job(np.flatnonzero(inside)[fold != k], int(rng.integers(2**62)))
            for inside in insides
            for fold in [rng.permutation(int(inside.sum())) % folds]
            for k in range(folds)
        ]
        begin = time.perf_counter()
        densities = engine.fit(sample, region_jobs, region)
        times[1] += time.perf_counter() - begin
        for trained, job in zip([*sidebands, *densities], [*jobs, *region_jobs], strict=True):
            presented += _presented(trained, len(job.rows))
        models += len(jobs) + len(region_jobs)
        logger.info("  %s: %d models trained in %.1f s", coordinate, models, sum(times))
    return PatchTime(times[0], times[1], models, presented)


def _presented(density: ConditionalDensity, n: int) -> int:
    """Return the star presentations of a training on ``n`` stars until it ended."""
    schedule = Schedule.of(n, density.settings)
    return min(schedule.steps, len(density.held_out) * schedule.round) * schedule.batch
