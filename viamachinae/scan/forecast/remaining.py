"""What is left of a counted scan: the time of every stage, memory and disk."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.forecast.counting import DOWNLOAD, Counted
from viamachinae.scan.forecast.done import Done
from viamachinae.scan.forecast.footprint import Disk, Memory
from viamachinae.scan.forecast.machine import Machine
from viamachinae.scan.sections import STAGES, TRAINING

__all__ = ["Estimate", "Seen", "StageEstimate", "Work", "makespan", "remaining"]

_WIRE_ROW = 190.0  # bytes of a star of 29 columns on its way from an archive
_START = 15.0  # Ray, and the libraries of its workers
#: Score tasks from which on their times say more than the forecast.
_ENOUGH = 20


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
class Seen:
    """How long the score tasks that are done took where they ran, beside what is forecast of them here.

    Parameters
    ----------
    tasks : int
        How many are done.
    seconds, forecast : float
        Mean time of one, by their receipts and by the forecast (s).
    scale : float
        By which the times of the score tasks left are scaled; 1 while too few are done, or none is left.
    """

    tasks: int
    seconds: float
    forecast: float
    scale: float


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
    seen : Seen or None
        How long score tasks really took, ``None`` where none is done.
    notes : tuple of str
        What the user should know beside the numbers.
    measured_at : str
        When rates and patches were measured (ISO 8601, UTC).
    kept : bool
        Whether that was at an earlier call.
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
    seen: Seen | None = None
    notes: tuple[str, ...] = field(default=())
    measured_at: str = ""
    kept: bool = False

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


def remaining(
    settings: Settings, counted: Counted, machine: Machine, done: Done, cells: Sequence[str] = ()
) -> Estimate:
    """Return what is left of a counted scan.

    Parameters
    ----------
    settings : Settings
        The scan.
    counted : Counted
        What it asks for.
    machine : Machine
        The measured rates.
    done : Done
        What is done already.
    cells : sequence of str
        The cells that it downloads.
    """
    scores = _score_seconds(counted, done)
    trunks = [task.name for task in plan.trunk_tasks(settings, {name.split("/")[1] for name in scores})]
    seconds: dict[str, Mapping[str, float]] = {
        **counted.seconds,
        "cells": dict.fromkeys(cells, DOWNLOAD * counted.cell),
        "trunk": dict.fromkeys(trunks, counted.trunk.seconds),
        "scores": scores,
    }
    seen = _seen(scores, done)
    stages = _stages(settings, seconds, machine, done, 1.0 if seen is None else seen.scale)
    busy = any(stage.core for stage in stages if stage.stage in ("stars", "scores"))
    return Estimate(
        name=settings.scan.name,
        sampled=counted.sampled,
        work=_work(counted, len(scores), len(trunks)),
        stages=stages,
        start=_START if busy and not settings.runner.inline else 0.0,
        machine=machine,
        roi=counted.roi,
        load=counted.load,
        memory=counted.memory,
        disk=counted.disk,
        seen=seen,
        notes=_notes(settings, counted, done, len(cells)),
    )


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the time (s) in which workers do tasks that are started in the given order."""
    ends = [0.0] * workers
    for task in seconds:
        heapq.heapreplace(ends, ends[0] + task)
    return max(ends)


def _score_seconds(counted: Counted, done: Done) -> dict[str, float]:
    """Return the time (s) of every score task, by name."""
    seconds: dict[str, float] = {}
    for patch, forecast in counted.scores.items():
        own = forecast
        if patch in done.scores:  # its plan stands: the names are known, whatever the sample says
            mean = sum(forecast.values()) / max(1, len(forecast))
            own = {name: forecast.get(name, mean) for name in done.scores[patch]}
        seconds |= dict(sorted(own.items()))
    return seconds


def _seen(forecast: Mapping[str, float], done: Done) -> Seen | None:
    """Compare the score tasks that are done with what is forecast of the same tasks."""
    names = [name for name in done.seconds if name in forecast]
    if not names:
        return None
    took, said = (sum(times[name] for name in names) for times in (done.seconds, forecast))
    enough = _ENOUGH <= len(names) < len(forecast) and took > 0.0 < said
    return Seen(len(names), took / len(names), said / len(names), took / said if enough else 1.0)


def _stages(
    settings: Settings,
    seconds: Mapping[str, Mapping[str, float]],
    machine: Machine,
    done: Done,
    of_scores: float,
) -> tuple[StageEstimate, ...]:
    stages = []
    for stage in STAGES:
        if stage == "cells" and not settings.stars.downloads:
            continue
        tasks, workers = seconds[stage], machine.trainers if stage in TRAINING else machine.workers
        workers = settings.archive.parallel if stage == "cells" else workers
        factor = of_scores if stage == "scores" else 1.0
        left = [spent for name, spent in tasks.items() if name not in done.tasks[stage]]
        stages.append(
            StageEstimate(
                stage,
                len(tasks),
                len(tasks) - len(left),
                factor * sum(left),
                factor * makespan(left, workers),
                # The mean says nothing of the longest: a batch job that is too short for it is lost.
                max(1.0, factor) * max(left, default=0.0),
            )
        )
    return tuple(stages)


def _work(counted: Counted, tasks: int, trunks: int) -> Work:
    counts, trunk = counted.counts, counted.trunk
    return Work(
        patches=len(counted.scores),
        stars=counts.stars,
        regions=counts.regions,
        tasks=tasks,
        trainings=trunks + counts.trainings,
        rois=counts.rois,
        presentations=trunks * trunk.presentations + counts.presentations,
        evaluations=trunks * trunk.evaluations + counts.evaluations,
    )


def _notes(settings: Settings, counted: Counted, done: Done, cells: int) -> tuple[str, ...]:
    """Return what the user should know beside the numbers."""
    notes = []
    empty, patches = counted.empty, len(counted.scores)
    if empty:
        bounds = settings.regions
        whole = "nothing will be searched: " if len(empty) == patches else ""
        notes.append(
            f"{whole}{len(empty)} of {patches} patches have no signal region with {bounds.min_stars} to "
            f"{bounds.max_stars} stars ({', '.join(empty[:5])}{', ...' if len(empty) > 5 else ''}); "
            "see min_stars, max_stars and limits of [regions]"
        )
    if settings.stars.downloads:
        left = (cells - len(done.tasks["cells"])) * counted.cell * _WIRE_ROW
        notes.append(
            "the mock sky stood in for the stars of the archive, and cells are counted at "
            f"{1.0 / DOWNLOAD:,.0f} stars/s a job: how fast they come is the archive's affair; "
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
