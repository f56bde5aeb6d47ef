"""The memory that a scan needs at its peak, and the disk that its folder takes."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.scan.forecast.fits import FITS, scored
from viamachinae.scan.forecast.machine import Machine
from viamachinae.scan.forecast.workload import TRAININGS, PatchWork, RegionWork
from viamachinae.scan.ondemand import KEPT

__all__ = ["Disk", "Memory", "cell_sources", "disk", "folder_size", "memory"]

#: Memory, from the peaks of workers and drivers on patches of 700,000 stars (bytes).
_SCORED_STAR = 550.0  # of a star, beside its row: its copy while it is read, features, rows of the regions
_READ_STAR = 400.0  # of a star that the driver reads, beside its row
_DRIVER = 0.25e9  # the driver before it reads a star: it loads no torch
_RAY = 0.4e9  # Ray's own processes
_SEARCH = 0.1e9  # a search for compact signals: what it holds of its trials is bounded
_SEARCH_STAR = 500.0  # of a star of a search: its moments
_TREE_STAR = 140.0  # of a star that trees train on

#: Sizes of published files (bytes).
_CELL_ROW = 150.0  # of a source with 29 columns, as DR3 gives them; the mocks' 25 take 136
_SCORE_ROW, _SLICE_ROW, _SCORE_FILE = 10.3, 5.5, 5_000.0  # far from a signal the stars of a slice score alike
_REGION_ROW, _REGION_FILE = 100.0, 6_700.0
_ROI_ROW, _ROI_STAR, _ROI_FILE = 20.0, 2.2, 9_000.0
_PLAN_ROW, _FRAGMENT_FILE, _RECEIPT = 85.0, 9_500.0, 1_350.0
_SKY_FILES = 0.6e6  # candidates, members, report, coverage, log
_PAGE_OF_PATCH = 0.15e6  # what a patch adds to the report
_MODEL_FILE = 4_000.0
_FLOAT = 4


@dataclass(frozen=True)
class Memory:
    """Peak memory (bytes).

    Parameters
    ----------
    process, stars, models : float
        Of a worker: the process, the stars of the largest patch, the models that train together.
    worker : float
        One worker: the sum of these.
    driver : float
        The process of the command, in its last stages.
    total : float
        All workers, driver and Ray.
    """

    process: float
    stars: float
    models: float
    worker: float
    driver: float
    total: float


@dataclass(frozen=True)
class Disk:
    """Size of the finished folder (bytes), and of what is in it already.

    Parameters
    ----------
    cells : float
        Downloaded cells, which stay beside the stars of the patches.
    stars, scores, lines, models, rest : float
        The other products.
    there : float
        What is in the folder now.
    """

    cells: float
    stars: float
    scores: float
    lines: float
    models: float
    rest: float
    there: float

    @property
    def total(self) -> float:
        """The finished folder."""
        return self.cells + self.stars + self.scores + self.lines + self.models + self.rest

    def of_folder(self, tasks: int, there: float) -> Disk:
        """Return it with the receipts of so many tasks, and what is in the folder (bytes)."""
        return replace(self, rest=self.rest + tasks * _RECEIPT, there=there)


def memory(settings: Settings, works: Sequence[PatchWork], machine: Machine) -> Memory:
    """Return the peak memory: the largest patch sets it."""
    from viamachinae.anomaly.base import FEATURES
    from viamachinae.density.engine import model_bytes
    from viamachinae.density.families import family_of

    family = family_of(len(FEATURES), settings.density)
    bound = settings.runner.memory_gb * 1e9
    models = 0.0
    for work in works:
        # The models of a wave train together, of all regions of a group.
        together: dict[tuple[str, int], list[float]] = {}
        for region in work.regions:
            for training in TRAININGS[settings.scorer.name](region, settings):
                needed = model_bytes(family, training.n, training.density)
                together.setdefault((region.group, training.wave), []).append(needed)
        for needs in together.values():
            # A single model may pass the bound.
            models = max(models, min(max(bound, *needs), sum(needs)))
        models = max([models, *(_fits(region, settings) for region in work.regions)])
    stars = max(w.n_stars * (_SCORED_STAR + w.sample.row_memory) for w in works)
    read = max(w.n_stars * (_READ_STAR + min(KEPT, len(works)) * w.sample.row_memory) for w in works)
    worker, driver = machine.process + stars + models, _DRIVER + read
    # Without Ray the command itself is the only worker.
    alone = max(worker, machine.process + read)
    total = alone if settings.runner.inline else machine.workers * worker + driver + _RAY
    return Memory(machine.process, stars, models, worker, driver, total)


def _fits(region: RegionWork, settings: Settings) -> float:
    """Return the memory (bytes) of a region's fits: one by one, or flows together as the memory allows."""
    trees, stars = FITS[settings.scorer.name](region, settings)
    of_scorer = {
        "anode": 0.0,
        "residual": _SEARCH + _SEARCH_STAR * region.n_fiducial,
        "r-anode": settings.runner.memory_gb * 1e9,
    }
    return of_scorer.get(settings.scorer.name, _TREE_STAR * stars / max(trees, 1.0))


def cell_sources(settings: Settings, works: Sequence[PatchWork]) -> float:
    """Return the mean number of sources of a downloaded cell, as dense on the sky as the patches' stars."""
    stars = sum(work.n_stars for work in works) / len(works)
    patch = 2.0 * math.pi * (1.0 - math.cos(math.radians(settings.patches.radius)))
    return stars * math.pi / (3.0 * 4.0**settings.archive.cell_order) / patch


def disk(settings: Settings, works: Sequence[PatchWork], cells: int) -> Disk:
    """Return the sizes of the published files, without receipts and what is there already.

    Parameters
    ----------
    settings : Settings
        The scan.
    works : sequence of PatchWork
        Its patches.
    cells : int
        Its tasks that download a cell.
    """
    regions = [region for work in works for region in work.regions]
    groups = len({region.group for region in regions})
    n_rois = sum(region.n_rois for region in regions)
    fits, scores = (sum(n) for n in zip((0, 0), *(scored(r, settings) for r in regions), strict=True))
    models = 0.0
    if settings.scan.keep_models:
        from viamachinae.anomaly.base import FEATURES
        from viamachinae.density.families import family_of

        family = family_of(len(FEATURES), settings.density)
        rounds = min(settings.density.best_epochs, settings.density.rounds)
        constants = sum(value.numel() for value in family.constants.values())
        numbers = rounds * family.size + constants
        trainings = TRAININGS[settings.scorer.name]
        kept = sum(training.kept for region in regions for training in trainings(region, settings))
        models = kept * (_FLOAT * numbers + _MODEL_FILE)
    return Disk(
        cells=cells * cell_sources(settings, works) * _CELL_ROW if cells else 0.0,
        stars=sum(work.n_stars * work.sample.row_disk for work in works),
        scores=scores * (_SCORE_ROW if fits == len(regions) else _SLICE_ROW)
        + groups * (_SCORE_FILE + _REGION_FILE)
        + fits * _REGION_ROW
        + len(regions) * _PLAN_ROW,
        lines=n_rois * (_ROI_ROW + _ROI_STAR * settings.roi.n_top)
        + len(works) * (_ROI_FILE + _FRAGMENT_FILE),
        models=models,
        rest=_SKY_FILES + len(works) * _PAGE_OF_PATCH,
        there=0.0,
    )


def folder_size(folder: Path) -> float:
    """Return the bytes of all files in a folder; 0 where there is none."""
    total, waiting = 0, [str(folder)]
    while waiting:
        # What a run deletes or moves meanwhile is not counted.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                with contextlib.suppress(FileNotFoundError):
                    total += entry.stat().st_size if entry.is_file() else 0
    return float(total)
