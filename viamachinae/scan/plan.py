"""Which tasks a scan has, and the keys that name their results.

A key covers the settings that its stage reads, the stage's version, the task's
own work and the keys of its inputs: nothing about when, where or in which order
tasks run. So a change of a late stage's settings leaves the early results valid.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.scan.masking import all_masks_key, masks_key
from viamachinae.scan.sections import SKY, VERSIONS, settings_hash
from viamachinae.scan.task import Task, TaskRef, fingerprint

__all__ = [
    "candidate_task",
    "cell_names",
    "cell_tasks",
    "group_name",
    "key_of",
    "line_tasks",
    "patch_task",
    "patch_tasks",
    "region_tasks",
    "report_task",
    "score_tasks",
    "star_tasks",
    "task",
    "trunk_tasks",
]


def task(
    settings: Settings, stage: str, name: str, inputs: Sequence[TaskRef], work: Mapping[str, Any]
) -> Task:
    """Return a task with the key that its settings, inputs and work give it.

    Parameters
    ----------
    settings : Settings
        The scan.
    stage, name : str
        One of :data:`STAGES`, and the task's name in it.
    inputs : sequence of TaskRef
        Tasks whose results it reads.
    work : mapping
        What to do, JSON-like.
    """
    made = Task(stage, name, "", tuple(inputs), work)
    return replace(made, key=key_of(made, VERSIONS[stage], settings_hash(settings, stage)))


def key_of(task: Task, version: int, settings: str) -> str:
    """Return the key of a task, made by a version of its stage with settings of some hash."""
    return fingerprint(
        {
            "stage": task.stage,
            "name": task.name,
            "version": version,
            "settings": settings,
            "work": task.work,
            "inputs": sorted([ref.id, ref.key] for ref in task.inputs),
        }
    )


def patch_task(settings: Settings) -> Task:
    """Return the task that lays out the patches."""
    return task(settings, "patches", SKY, (), {"masks": all_masks_key(settings)})


def cell_names(settings: Settings, patch: Mapping[Hashable, Any]) -> list[str]:
    """Return the names of the cells that a patch (a row of PATCHES) needs, for sources that download."""
    if not settings.stars.downloads:
        return []
    from viamachinae.stars.archive.cells import cells_of_patch

    order = settings.archive.cell_order
    cells = cells_of_patch(float(patch["ra"]), float(patch["dec"]), float(patch["radius"]), order)
    return [cell.name for cell in cells]


def cell_tasks(settings: Settings, patches: pd.DataFrame) -> list[Task]:
    """Return one task for each cell that the patches need, each once."""
    names = {name for patch in patches.to_dict("records") for name in cell_names(settings, patch)}
    return [task(settings, "cells", name, (), {}) for name in sorted(names)]


def star_tasks(
    settings: Settings,
    patches: pd.DataFrame,
    files: Sequence[str] = (),
    cells: Mapping[str, Task] | None = None,
) -> list[Task]:
    """Return one task a patch that loads its stars; none for a patch that lacks a cell.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : DataFrame
        PATCHES table.
    files : sequence of str
        Fingerprints of the outside files; their order and places do not matter.
    cells : mapping, optional
        Name -> task of the cells that are downloaded.
    """
    tasks, cells = [], cells or {}
    for row in patches.to_dict("records"):
        needed = cell_names(settings, row)
        if cells.keys() >= set(needed):
            work = {
                "patch": {str(k): v for k, v in row.items()},
                "files": sorted(files),
                "masks": masks_key(settings, row),
            }
            inputs = [cells[name].ref for name in needed]
            tasks.append(task(settings, "stars", str(row["patch"]), inputs, work))
    return tasks


def region_tasks(settings: Settings, stars: Iterable[Task]) -> list[Task]:
    """Return one task a patch that lists its signal regions."""
    return [task(settings, "plan", t.name, (t.ref,), {}) for t in stars]


def trunk_tasks(settings: Settings, coordinates: Iterable[str]) -> list[Task]:
    """Return one task that trains the trunk for each of the coordinates, if models start from it."""
    if not settings.scorer.uses_trunk:
        return []
    return [task(settings, "trunk", name, (), {}) for name in sorted(coordinates)]


def group_name(settings: Settings, patch: str, region: Mapping[str, Any]) -> str:
    """Return the name of the score task that a signal region belongs to."""
    group = math.floor(region["index"] / settings.regions.group_size)
    return f"{patch}/{region['coordinate']}/{group:+04d}"


def score_tasks(
    settings: Settings, stars: Task, regions: Sequence[Mapping[str, Any]], counts: Sequence[int] = ()
) -> list[Task]:
    """Return the tasks that score one patch: a group of neighbouring regions each.

    Parameters
    ----------
    settings : Settings
        The scan.
    stars : Task
        The task of the patch's stars.
    regions : sequence of mapping
        ``coordinate``, ``index``, ``low``, ``high`` (mas/yr) of every signal region.
    counts : sequence of int
        Stars of each, by which the tasks are weighed; left out: all weigh the same.
    """
    trunks = {trunk.name: trunk.ref for trunk in trunk_tasks(settings, settings.regions.coordinates)}
    groups: dict[str, list[dict[str, Any]]] = {}
    weights: Counter[str] = Counter()
    for i, region in enumerate(regions):
        name = group_name(settings, stars.name, region)
        groups.setdefault(name, []).append(dict(region))
        weights[name] += counts[i] if counts else 0
    tasks = []
    for name, members in sorted(groups.items()):
        members.sort(key=lambda region: int(region["index"]))
        work = {"patch": stars.name, "regions": members}
        inputs = (stars.ref, *(ref for coordinate, ref in trunks.items() if f"/{coordinate}/" in name))
        tasks.append(replace(task(settings, "scores", name, inputs, work), weight=float(weights[name])))
    return tasks


def line_tasks(settings: Settings, stars: Iterable[Task], scores: Mapping[str, Sequence[Task]]) -> list[Task]:
    """Return one task a patch that searches its regions of interest for lines.

    Parameters
    ----------
    settings : Settings
        The scan.
    stars : iterable of Task
        Tasks of the patches' stars.
    scores : mapping
        Patch -> its score tasks.
    """
    tasks = []
    for t in stars:
        own = scores.get(t.name, ())
        lines = task(settings, "lines", t.name, (t.ref, *(s.ref for s in own)), {})
        tasks.append(replace(lines, weight=sum(s.weight for s in own)))
    return tasks


def patch_tasks(settings: Settings, stars: Iterable[Task], lines: Mapping[str, Task]) -> list[Task]:
    """Return one task a patch that adds its lines up to fragments."""
    return [
        task(
            settings,
            "fragments",
            t.name,
            (t.ref, lines[t.name].ref),
            {"patch": t.work["patch"]},
        )
        for t in stars
        if t.name in lines
    ]


def candidate_task(settings: Settings, patches: Task, upstream: Iterable[Task]) -> Task:
    """Return the task that joins the fragments of all patches.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : Task
        The task of the patches.
    upstream : iterable of Task
        Stars, scores, lines and fragments of every patch.
    """
    refs = sorted((t.ref for t in upstream), key=lambda ref: ref.id)
    return task(settings, "streams", SKY, (patches.ref, *refs), {})


def report_task(settings: Settings, streams: Task, calibration: TaskRef | None) -> Task:
    """Return the task that draws the report; it reads what the candidates were made of.

    Parameters
    ----------
    settings : Settings
        The scan.
    streams : Task
        The task of the candidates.
    calibration : TaskRef, optional
        Their calibration, where there is one.
    """
    extra = () if calibration is None else (calibration,)
    return task(settings, "report", SKY, (streams.ref, *extra, *streams.inputs), {})
