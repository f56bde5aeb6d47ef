"""How much there is to do: patches, their signal regions, and the trainings that a region asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from viamachinae.config.residual import Background
from viamachinae.config.settings import DensitySettings, Settings
from viamachinae.scan.forecast.sample import Sample

if TYPE_CHECKING:
    from viamachinae.density.schedule import Schedule

__all__ = ["TRAININGS", "PatchWork", "RegionWork", "Training", "region_work", "trunk_work"]

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
    n_rois, n_sliced : int
        Its regions of interest, and their fiducial stars, summed: they overlap.
    """

    group: str
    n_sr: int
    n_sb: int
    n_fiducial: int
    n_rois: int
    n_sliced: int


@dataclass(frozen=True)
class Training:
    """One training of a density.

    Parameters
    ----------
    n : int
        Its stars.
    density : DensitySettings
        How it goes.
    wave : int
        Those of one wave train together.
    scored : float
        Stars whose likelihood its density gives.
    drawn : float
        Stars drawn from it.
    kept : bool
        Whether its density is published with ``scan.keep_models``.
    """

    n: int
    density: DensitySettings
    wave: int = 0
    scored: float = 0.0
    drawn: float = 0.0
    kept: bool = True


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


def trunk_work(settings: Settings) -> Schedule:
    """Return what the training of a trunk takes at most, whatever the number of its stars."""
    from viamachinae.anomaly.trunk import trunk_settings
    from viamachinae.density.schedule import Schedule

    density = trunk_settings(settings)
    return Schedule.of(max(_MANY, math.ceil(density.max_validation / density.validation_fraction)), density)


def _anode(region: RegionWork, settings: Settings) -> list[Training]:
    """Return the trainings of ANODE: the sideband, and the region without each of its folds."""
    from viamachinae.anomaly.anode import training_settings

    folds, n = settings.scorer.folds, region.n_sr
    of_region = training_settings(settings, settings.scorer.start)
    # Every ranked star is scored by the sideband model and by that of the fold that did not see it.
    scored = region.n_fiducial / folds
    return [
        _sideband(region, settings, scored=region.n_fiducial),
        *(Training(n - len(range(k, n, folds)), of_region, wave=1, scored=scored) for k in range(folds)),
    ]


def _sideband(region: RegionWork, settings: Settings, **changes: Any) -> Training:
    from viamachinae.anomaly.anode import training_settings

    return Training(region.n_sb, training_settings(settings, settings.scorer.sideband_start), **changes)


def _cwola(_region: RegionWork, _settings: Settings) -> list[Training]:
    return []


def _cathode(region: RegionWork, settings: Settings) -> list[Training]:
    return [_sideband(region, settings, drawn=settings.trees.oversampling * region.n_sr)]


def _residual(region: RegionWork, settings: Settings) -> list[Training]:
    return _background(region, settings, settings.residual.background, region.n_fiducial)


def _r_anode(region: RegionWork, settings: Settings) -> list[Training]:
    chosen = settings.r_anode
    scored = region.n_sr if chosen.domain == "region" else region.n_fiducial
    return _background(region, settings, chosen.background, scored)


def _background(region: RegionWork, settings: Settings, kind: Background, scored: int) -> list[Training]:
    """Return the trainings of a frozen background, which gives the likelihood of some stars."""
    from viamachinae.anomaly.background import correction_training, region_training

    if kind == "sideband":
        return [_sideband(region, settings, scored=scored)]
    if kind == "corrected":
        first = _sideband(region, settings, kept=False)
        return [first, Training(region.n_sr, correction_training(settings), wave=1, scored=scored)]
    density = region_training(settings)
    if kind == "region":
        return [Training(region.n_sr, density, scored=scored)]
    return [Training((region.n_sr + k) // 2, density, scored=scored / 2) for k in range(2)]


#: Trainings of densities for a region, by the name that ``scorer.name`` takes.
TRAININGS: Mapping[str, Callable[[RegionWork, Settings], list[Training]]] = {
    "anode": _anode,
    "cwola": _cwola,
    "cathode": _cathode,
    "residual": _residual,
    "r-anode": _r_anode,
}


def region_work(region: RegionWork, settings: Settings) -> tuple[int, int]:
    """Return star presentations and evaluations of one signal region: training, judging and scoring."""
    from viamachinae.anomaly.base import FEATURES
    from viamachinae.density.schedule import Schedule

    presented, evaluated = 0, 0.0
    for training in TRAININGS[settings.scorer.name](region, settings):
        schedule = Schedule.of(training.n, training.density)
        models = min(training.density.best_epochs, schedule.rounds)
        presented += schedule.presentations
        # A star is drawn feature after feature, from one of the models.
        evaluated += schedule.judged + models * training.scored + len(FEATURES) * training.drawn
    return presented, round(evaluated)
