"""What a scan has to do and needs in all, done or not: arithmetic on loaded patches and measured rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from viamachinae.config.settings import Settings
from viamachinae.scan.forecast.footprint import Disk, Memory, cell_sources, disk, memory
from viamachinae.scan.forecast.machine import Machine
from viamachinae.scan.forecast.workload import TRAININGS, PatchWork, region_work, trunk_work
from viamachinae.scan.sections import SKY

__all__ = ["DOWNLOAD", "Counted", "Counts", "Trunk", "count"]

#: Times of the small stages, measured once (s): they matter only where there is little else to do.
_PATCHES = 2.0  # the tiling and its coverage map
_PLAN = 3e-7  # a star
_TRUNK = 5.0  # the stars of a trunk
_FRAGMENTS = 0.4  # a patch
_STREAMS = 1.5  # a patch
_REPORT = 2.5  # a patch
DOWNLOAD = 2e-4  #: Time (s) of a star of one job of an archive: nothing here can measure it.


@dataclass(frozen=True)
class Counts:
    """How much there is to do, trunks left out.

    Parameters
    ----------
    stars, regions, trainings, rois : int
        Stars of all patches, signal regions, their trainings, regions of interest.
    presentations, evaluations : int
        Star presentations of these trainings, and likelihoods of one star under one model.
    """

    stars: int
    regions: int
    trainings: int
    rois: int
    presentations: int
    evaluations: int


@dataclass(frozen=True)
class Trunk:
    """One trunk: how long it takes (s), its star presentations and evaluations."""

    seconds: float
    presentations: int
    evaluations: int


@dataclass(frozen=True)
class Counted:
    """What a scan asks for on a measured machine.

    Parameters
    ----------
    sampled : tuple of str
        Patches that were loaded; the others are scaled from them.
    counts : Counts
        How much there is to do.
    trunk : Trunk
        Each of the trunks.
    scores : dict
        Patch -> score task -> its time (s).
    seconds : dict
        Stage -> task -> its time (s), of the stages whose tasks are patches or the sky.
    cell : float
        Stars of a downloaded cell.
    roi : float
        Time of a region of interest (s); 0 where none was searched.
    load : float
        Mean time to load the stars of a patch (s).
    memory : Memory
        Peak memory.
    disk : Disk
        Size of the folder, without its receipts.
    empty : tuple of str
        Patches without a signal region.
    """

    sampled: tuple[str, ...]
    counts: Counts
    trunk: Trunk
    scores: dict[str, dict[str, float]]
    seconds: dict[str, dict[str, float]]
    cell: float
    roi: float
    load: float
    memory: Memory
    disk: Disk
    empty: tuple[str, ...]


def count(settings: Settings, works: Sequence[PatchWork], machine: Machine, cells: int) -> Counted:
    """Return what a scan asks for.

    Parameters
    ----------
    settings : Settings
        The scan.
    works : sequence of PatchWork
        What each patch asks for.
    machine : Machine
        The measured rates.
    cells : int
        Cells that are downloaded.
    """
    samples = list({work.sample.patch: work.sample for work in works}.values())
    each = {work.patch: [region_work(region, settings) for region in work.regions] for work in works}
    return Counted(
        sampled=tuple(s.patch for s in samples),
        counts=_counts(settings, works, each),
        trunk=_trunk(settings, machine),
        scores={work.patch: _score_seconds(settings, work, each[work.patch], machine) for work in works},
        seconds=_seconds(works),
        cell=cell_sources(settings, works),
        roi=_mean([s.line for s in samples if math.isfinite(s.line)]),
        load=_mean([s.load for s in samples]),
        memory=memory(settings, works, machine),
        disk=disk(settings, works, cells),
        empty=tuple(work.patch for work in works if not work.regions),
    )


def _counts(
    settings: Settings, works: Sequence[PatchWork], each: Mapping[str, Sequence[tuple[int, int]]]
) -> Counts:
    regions = [region for work in works for region in work.regions]
    trainings = TRAININGS[settings.scorer.name]
    return Counts(
        stars=sum(work.n_stars for work in works),
        regions=len(regions),
        trainings=sum(len(trainings(region, settings)) for region in regions),
        rois=sum(region.n_rois for region in regions),
        presentations=sum(p for pairs in each.values() for p, _ in pairs),
        evaluations=sum(e for pairs in each.values() for _, e in pairs),
    )


def _trunk(settings: Settings, machine: Machine) -> Trunk:
    work = trunk_work(settings)
    spent = _TRUNK + work.presentations / machine.training + work.judged / machine.evaluation
    return Trunk(spent, work.presentations, work.judged)


def _score_seconds(
    settings: Settings, work: PatchWork, each: Sequence[tuple[int, int]], machine: Machine
) -> dict[str, float]:
    """Return the time (s) of every score task of a patch, by name."""
    own: dict[str, float] = {}
    prepare = work.sample.prepare * work.n_stars / work.sample.n_stars
    for region, (presentations, evaluations) in zip(work.regions, each, strict=True):
        spent = presentations / machine.training + evaluations / machine.evaluation
        spent += work.sample.fit.seconds(region, settings)
        own[region.group] = own.get(region.group, prepare) + spent
    return own


def _seconds(works: Sequence[PatchWork]) -> dict[str, dict[str, float]]:
    """Return the time (s) of every task of a patch but its scores, and of the sky, by stage and name."""
    n = len(works)
    rois = {w.patch: sum(r.n_rois for r in w.regions) for w in works}
    lines = {w.patch: (w.sample.line if math.isfinite(w.sample.line) else 0.0) for w in works}
    size = {w.patch: w.n_stars / w.sample.n_stars for w in works}
    return {
        "patches": {SKY: _PATCHES},
        "stars": {w.patch: w.sample.load * size[w.patch] for w in works},
        "plan": {w.patch: _PLAN * w.n_stars for w in works},
        "lines": {w.patch: rois[w.patch] * lines[w.patch] + w.sample.prepare * size[w.patch] for w in works},
        "fragments": {w.patch: _FRAGMENTS for w in works},
        "streams": {SKY: _STREAMS * n},
        "report": {SKY: _REPORT * n},
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
