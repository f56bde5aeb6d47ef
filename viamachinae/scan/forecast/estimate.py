"""What a scan will take before it starts: hours, memory and disk, from rates measured on this machine."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.forecast.done import Done, done_tasks
from viamachinae.scan.forecast.footprint import Disk, Memory, cell_sources, disk, folder_size, memory
from viamachinae.scan.forecast.machine import Machine, measure_machine
from viamachinae.scan.forecast.workload import (
    TRAININGS,
    PatchWork,
    RegionWork,
    trunk_work,
    workload,
)
from viamachinae.scan.outside import files_fingerprint
from viamachinae.scan.sections import SKY, STAGES, TRAINING
from viamachinae.scan.store import Store

__all__ = ["Estimate", "StageEstimate", "Work", "estimate", "makespan", "region_work"]

#: Times of the small stages, measured once (s): they matter only where there is little else to do.
_PATCHES = 2.0  # the tiling and its coverage map
_PLAN = 3e-7  # a star
_TRUNK = 5.0  # the stars of a trunk
_FRAGMENTS = 0.4  # a patch
_DOWNLOAD = 2e-4  # a star of one job of an archive: nothing here can measure it
_WIRE_ROW = 190.0  # bytes of a star of 29 columns on its way from an archive
_STREAMS = 1.5  # a patch
_REPORT = 2.5  # a patch
_START = 15.0  # Ray, and the libraries of its workers


@dataclass(frozen=True)
class Work:
    """How much there is to do in all, done or not.

    Parameters
    ----------
    patches, stars, regions, tasks, trainings, rois : int
        Counted: patches, their stars, signal regions, score tasks, trainings, regions of interest.
    presentations, evaluations : int
        Star presentations of all trainings, and likelihoods of one star under one model.
    """

    patches: int
    stars: int
    regions: int
    tasks: int
    trainings: int
    rois: int
    presentations: int
    evaluations: int


@dataclass(frozen=True)
class StageEstimate:
    """What is left of one stage.

    Parameters
    ----------
    stage : str
        Its name.
    tasks, done : int
        Its tasks, and those that are done.
    core : float
        Time of the tasks left, summed (s).
    wall : float
        Time that they take with the workers of the settings (s).
    longest : float
        The longest task left (s).
    """

    stage: str
    tasks: int
    done: int
    core: float
    wall: float
    longest: float


@dataclass(frozen=True)
class Estimate:
    """What a scan will take.

    Parameters
    ----------
    name : str
        The scan.
    sampled : tuple of str
        Patches that were loaded; the others are scaled from them.
    work : Work
        All that there is to do.
    stages : tuple of StageEstimate
        What is left of each stage.
    start : float
        Time to start the workers (s).
    machine : Machine
        The measured rates.
    roi : float
        Time of a region of interest (s); 0 where none was searched.
    load : float
        Mean time to load the stars of a patch (s).
    memory : Memory
        Peak memory.
    disk : Disk
        Size of the folder.
    notes : tuple of str
        What the user should know beside the numbers.
    """

    name: str
    sampled: tuple[str, ...]
    work: Work
    stages: tuple[StageEstimate, ...]
    start: float
    machine: Machine
    roi: float
    load: float
    memory: Memory
    disk: Disk
    notes: tuple[str, ...] = field(default=())

    @property
    def core(self) -> float:
        """Time of one core that is left (s)."""
        return sum(stage.core for stage in self.stages)

    @property
    def wall(self) -> float:
        """Wall-clock time that is left (s)."""
        return self.start + sum(stage.wall for stage in self.stages)

    @property
    def longest(self) -> float:
        """The longest single task left (s): a batch job must last longer."""
        return max(stage.longest for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-like values; times in s, memory and disk in bytes."""
        body = asdict(self)
        body["disk"]["total"] = self.disk.total
        return body | {"core_seconds": self.core, "wall_seconds": self.wall, "longest_task": self.longest}


def estimate(settings: Settings, out: Path | None = None, sample: int = 2) -> Estimate:
    """Predict what a scan takes.

    A few patches are loaded as a run would load them, the rates of training and
    evaluation are measured with as many processes as there will be workers, and
    the rest is arithmetic. Trainings are counted at their full length: the time
    is an upper bound as far as they stop gaining earlier. Times hold for a
    machine that does nothing else; :attr:`Machine.share` says how busy it is.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path, optional
        Its folder, to leave out what is done there; nothing is written.
    sample : int
        Most patches to load.

    Raises
    ------
    ConfigError
        The patches, the mock sky or the device that the settings ask for do not exist.
    DataError
        The stars cannot be used.
    """
    from viamachinae.sky.patches import make_patches
    from viamachinae.stars.load import check_inputs

    patches = make_patches(settings.patches)
    files = settings.stars.paths if settings.stars.source == "files" else ()
    fingerprints = files_fingerprint(files)
    check_inputs(settings, patches)
    done = Done.nothing() if out is None else done_tasks(settings, Store(out), patches, fingerprints)
    known = done.stars if len(done.stars) == len(patches) else None
    works = workload(settings, patches, sample, known)
    machine = measure_machine(settings)
    there = 0.0 if out is None else folder_size(out)
    cells = [task.name for task in plan.cell_tasks(settings, patches)]
    return _estimate(settings, works, machine, done, there, cells)


def _estimate(
    settings: Settings,
    works: Sequence[PatchWork],
    machine: Machine,
    done: Done,
    there: float,
    cells: Sequence[str] = (),
) -> Estimate:
    """Return the estimate of a counted scan on a measured machine."""
    seconds = _score_seconds(settings, works, machine, done)
    trunks = _trunk_seconds(settings, seconds, machine)
    measured = {
        "cells": _download_seconds(settings, works, cells),
        "trunk": trunks,
        "scores": seconds,
    }
    stages = _stages(settings, works, measured, machine, done)
    samples = list({work.sample.patch: work.sample for work in works}.values())
    busy = any(stage.core for stage in stages if stage.stage in ("stars", "scores"))
    tasks = sum(stage.tasks for stage in stages)
    return Estimate(
        name=settings.scan.name,
        sampled=tuple(s.patch for s in samples),
        work=_work(settings, works, len(seconds), len(trunks)),
        stages=stages,
        start=_START if busy and not settings.runner.inline else 0.0,
        machine=machine,
        roi=_mean([s.line for s in samples if math.isfinite(s.line)]),
        load=_mean([s.load for s in samples]),
        memory=memory(settings, works, machine),
        disk=disk(settings, works, tasks, len(cells), there),
        notes=_notes(settings, works, done, len(cells)),
    )


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


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time (s) in which workers do tasks that are started in the given order."""
    ends = [0.0] * workers
    for task in seconds:
        heapq.heapreplace(ends, ends[0] + task)
    return max(ends)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _score_seconds(
    settings: Settings, works: Sequence[PatchWork], machine: Machine, done: Done
) -> dict[str, float]:
    """Return the time (s) of every score task, by name."""
    seconds: dict[str, float] = {}
    for work in works:
        own: dict[str, float] = {}
        prepare = work.sample.prepare * work.n_stars / work.sample.n_stars
        for region in work.regions:
            presentations, evaluations = region_work(region, settings)
            spent = presentations / machine.training + evaluations / machine.evaluation
            spent += work.sample.fit.seconds(region, settings)
            own[region.group] = own.get(region.group, prepare) + spent
        if work.patch in done.scores:  # its plan stands: the names are known, whatever the sample says
            own = {name: own.get(name, _mean(list(own.values()))) for name in done.scores[work.patch]}
        seconds |= dict(sorted(own.items()))
    return seconds


def _trunk_seconds(settings: Settings, groups: Iterable[str], machine: Machine) -> dict[str, float]:
    """Return the time (s) of the trunks that the score tasks of the given names start from."""
    work = trunk_work(settings)
    spent = _TRUNK + work.presentations / machine.training + work.judged / machine.evaluation
    return {task.name: spent for task in plan.trunk_tasks(settings, {g.split("/")[1] for g in groups})}


def _download_seconds(
    settings: Settings, works: Sequence[PatchWork], cells: Sequence[str]
) -> dict[str, float]:
    """Return the time (s) of every cell that is downloaded, by name: equal parts of the patches' stars."""
    return dict.fromkeys(cells, _DOWNLOAD * cell_sources(settings, works))


def _stages(
    settings: Settings,
    works: Sequence[PatchWork],
    measured: Mapping[str, Mapping[str, float]],
    machine: Machine,
    done: Done,
) -> tuple[StageEstimate, ...]:
    n = len(works)
    rois = {w.patch: sum(r.n_rois for r in w.regions) for w in works}
    lines = {w.patch: (w.sample.line if math.isfinite(w.sample.line) else 0.0) for w in works}
    size = {w.patch: w.n_stars / w.sample.n_stars for w in works}
    seconds: dict[str, Mapping[str, float]] = {
        "patches": {SKY: _PATCHES},
        "stars": {w.patch: w.sample.load * size[w.patch] for w in works},
        "plan": {w.patch: _PLAN * w.n_stars for w in works},
        **measured,
        "lines": {w.patch: rois[w.patch] * lines[w.patch] + w.sample.prepare * size[w.patch] for w in works},
        "fragments": {w.patch: _FRAGMENTS for w in works},
        "streams": {SKY: _STREAMS * n},
        "report": {SKY: _REPORT * n},
    }
    stages = []
    for stage in STAGES:
        if stage == "cells" and not settings.stars.downloads:
            continue
        tasks, workers = seconds[stage], machine.trainers if stage in TRAINING else machine.workers
        workers = settings.archive.parallel if stage == "cells" else workers
        left = [spent for name, spent in tasks.items() if name not in done.tasks[stage]]
        stages.append(
            StageEstimate(
                stage,
                len(tasks),
                len(tasks) - len(left),
                sum(left),
                makespan(left, workers),
                max(left, default=0.0),
            )
        )
    return tuple(stages)


def _work(settings: Settings, works: Sequence[PatchWork], tasks: int, trunks: int) -> Work:
    regions = [region for work in works for region in work.regions]
    each = [region_work(region, settings) for region in regions]
    trunk, scorer = trunk_work(settings), settings.scorer.name
    return Work(
        patches=len(works),
        stars=sum(work.n_stars for work in works),
        regions=len(regions),
        tasks=tasks,
        trainings=trunks + sum(len(TRAININGS[scorer](region, settings)) for region in regions),
        rois=sum(region.n_rois for region in regions),
        presentations=trunks * trunk.presentations + sum(p for p, _ in each),
        evaluations=trunks * trunk.judged + sum(e for _, e in each),
    )


def _notes(settings: Settings, works: Sequence[PatchWork], done: Done, cells: int) -> tuple[str, ...]:
    """Return what the user should know beside the numbers."""
    notes = []
    empty = [work.patch for work in works if not work.regions]
    if empty:
        bounds = settings.regions
        whole = "nothing will be searched: " if len(empty) == len(works) else ""
        notes.append(
            f"{whole}{len(empty)} of {len(works)} patches have no signal region with {bounds.min_stars} to "
            f"{bounds.max_stars} stars ({', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}); "
            "see min_stars, max_stars and limits of [regions]"
        )
    if settings.stars.downloads:
        left = (cells - len(done.tasks["cells"])) * cell_sources(settings, works) * _WIRE_ROW
        notes.append(
            "the mock sky stood in for the stars of the archive, and cells are counted at "
            f"{1.0 / _DOWNLOAD:,.0f} stars/s a job: how fast they come is the archive's affair; "
            f"{left / 1e9:,.1f} GB are to be downloaded"
        )
    if settings.runner.address:
        notes.append(
            f"the rates are this machine's: the workers at {settings.runner.address!r} were not timed"
        )
    if settings.scorer.name == "residual" and settings.residual.rounds > 1 and not done.tasks["report"]:
        notes.append(
            "regions are counted with one round of fits; those with a signal beyond doubt (residual.sure) "
            f"take up to {settings.residual.rounds}"
        )
    if not done.tasks["report"] and settings.density.patience < settings.density.rounds:
        notes.append(
            "trainings are counted at full length; those that stop gaining for "
            f"{settings.density.patience} of {settings.density.rounds} rounds end earlier"
        )
    return tuple(notes)
