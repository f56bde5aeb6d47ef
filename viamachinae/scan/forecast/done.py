"""What of a scan is done already, by the keys of its tasks: as a run would find it, with nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of
from viamachinae.scan.sections import STAGES
from viamachinae.scan.stages import planned_regions
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task

__all__ = ["Done", "done_tasks"]


@dataclass(frozen=True)
class Done:
    """What of a scan is done already.

    Parameters
    ----------
    tasks : mapping
        Stage -> names of its tasks that are done.
    stars : mapping
        Patch -> its stars, of patches whose stars are there.
    scores : mapping
        Patch -> names of all its score tasks, of patches whose regions are known.
    """

    tasks: Mapping[str, set[str]]
    stars: Mapping[str, int]
    scores: Mapping[str, list[str]]

    @classmethod
    def nothing(cls) -> Self:
        """Return what is done of a scan that has not begun."""
        return cls({stage: set() for stage in STAGES}, {}, {})


def done_tasks(settings: Settings, store: Store, patches: pd.DataFrame, fingerprints: Sequence[str]) -> Done:
    """Return the tasks whose results stand in a folder under these settings, as a run would find them.

    Parameters
    ----------
    settings : Settings
        The scan.
    store : Store
        Its folder; it need not exist.
    patches : DataFrame
        PATCHES table.
    fingerprints : sequence of str
        Of the outside files.
    """
    names: dict[str, set[str]] = {stage: set() for stage in STAGES}

    def standing(tasks: Sequence[Task]) -> list[Task]:
        found = [task for task in tasks if store.done(task)]
        for task in found:
            names[task.stage].add(task.name)
        return found

    first = plan.patch_task(settings)
    standing([first])
    cells = {task.name: task for task in plan.cell_tasks(settings, patches)}
    standing(list(cells.values()))
    stars = standing(plan.star_tasks(settings, patches, fingerprints, cells))
    planned = {task.name: task for task in standing(plan.region_tasks(settings, stars))}
    wanted = {
        task.name: plan.score_tasks(settings, task, planned_regions(store, planned[task.name]))
        for task in stars
        if task.name in planned
    }
    groups = [task for tasks in wanted.values() for task in tasks]
    standing(plan.trunk_tasks(settings, {task.name.split("/")[1] for task in groups}))
    standing(groups)
    scored = [
        task
        for task in stars
        if task.name in wanted and all(s.name in names["scores"] for s in wanted[task.name])
    ]
    lines = {task.name: task for task in standing(plan.line_tasks(settings, scored, wanted))}
    fragments = standing(plan.patch_tasks(settings, scored, lines))
    if len(fragments) == len(patches):
        upstream = [*stars, *groups, *lines.values(), *fragments]
        for task in standing([plan.candidate_task(settings, first, upstream)]):
            standing([plan.report_task(settings, task, calibration_of(store, task))])
    receipts = {task.name: store.receipt(task) for task in stars}
    return Done(
        names,
        {name: int(receipt.info["n_stars"]) for name, receipt in receipts.items() if receipt},
        {name: [task.name for task in tasks] for name, tasks in wanted.items()},
    )
