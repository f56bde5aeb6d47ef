"""What of a scan is done already, by the keys of its tasks: as a run would find it, with nothing written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of
from viamachinae.scan.ledger import read_ledger
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.sections import SKY, STAGES
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
    seconds : mapping
        Score task -> the time that it took where it ran (s), of those that are done.
    """

    tasks: Mapping[str, set[str]]
    stars: Mapping[str, int]
    scores: Mapping[str, list[str]]
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def nothing(cls) -> Self:
        """Return what is done of a scan that has not begun."""
        return cls({stage: set() for stage in STAGES}, {}, {})


def done_tasks(
    settings: Settings,
    store: Store,
    patches: pd.DataFrame,
    fingerprints: Sequence[str],
    downloads: Sequence[Task] = (),
) -> Done:
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
    downloads : sequence of Task
        Its tasks of the stage ``cells``.
    """
    folder = _Folder(store)
    standing, names = folder.standing, folder.names
    first = plan.patch_task(settings)
    standing([first])
    cells = {task.name: task for task in downloads}
    standing(downloads)
    stars = standing(plan.star_tasks(settings, patches, fingerprints, cells))
    planned = folder.planned(plan.region_tasks(settings, stars))
    wanted = {
        task.name: plan.score_tasks(settings, task, planned[task.name])
        for task in stars
        if task.name in planned
    }
    groups = [task for tasks in wanted.values() for task in tasks]
    standing(plan.trunk_tasks(settings, {task.name.split("/")[1] for task in groups}))
    scored = standing(groups)
    whole = [
        task
        for task in stars
        if task.name in wanted and all(s.name in names["scores"] for s in wanted[task.name])
    ]
    lines = {task.name: task for task in standing(plan.line_tasks(settings, whole, wanted))}
    fragments = standing(plan.patch_tasks(settings, whole, lines))
    if len(fragments) == len(patches):
        upstream = [*stars, *groups, *lines.values(), *fragments]
        for task in standing([plan.candidate_task(settings, first, upstream)]):
            standing([plan.report_task(settings, task, calibration_of(store, task))])
    return Done(
        names,
        {task.name: int(folder.receipt(task).info["n_stars"]) for task in stars},
        {name: [task.name for task in tasks] for name, tasks in wanted.items()},
        {task.name: float(folder.receipt(task).body["seconds"]) for task in scored},
    )


class _Folder:
    """Which tasks of a scan folder are done, by its receipts, all read at once."""

    def __init__(self, store: Store) -> None:
        self._store, self._ledger = store, read_ledger(store.root)
        self.names: dict[str, set[str]] = {stage: set() for stage in STAGES}

    def standing(self, tasks: Sequence[Task]) -> list[Task]:
        """Return those of the tasks that are done, and note their names."""
        found = [task for task in tasks if self._done(task)]
        for task in found:
            self.names[task.stage].add(task.name)
        return found

    def planned(self, tasks: Sequence[Task]) -> dict[str, list[dict[str, Any]]]:
        """Return the signal regions of the patches whose plan is done and not damaged, by patch."""
        found = {}
        for task in tasks:
            relative = f"plan/{task.name}.json"
            if self._done(task) and self._store.intact(self.receipt(task), relative):
                found[task.name] = json.loads((self._store.root / relative).read_bytes())
        self.names["plan"].update(found)
        return found

    def receipt(self, task: Task) -> Receipt:
        """Return the receipt of a task that is done."""
        return self._ledger.of(task.stage)[task.name]

    def _done(self, task: Task) -> bool:
        if task.name == SKY:  # few, and compared byte for byte
            return self._store.done(task)
        receipt = self._ledger.of(task.stage).get(task.name)
        return receipt is not None and receipt.key == task.key and self._ledger.stands(receipt)
