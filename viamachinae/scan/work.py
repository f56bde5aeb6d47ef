"""One run of a scan: its parts, what it has done, and how a task is done and published."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError, TaskError
from viamachinae.scan.progress import Progress
from viamachinae.scan.runner import InlineRunner, Outcome, Runner, ThreadRunner
from viamachinae.scan.sections import TRAINING
from viamachinae.scan.stages import StageFunction
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task
from viamachinae.schema import STREAMS

__all__ = ["ScanResult", "Work", "execute", "raise_failures"]

logger = logging.getLogger(__name__)

#: Failures that the closing message names one by one.
_NAMED = 5


@dataclass
class ScanResult:
    """What a scan left.

    Parameters
    ----------
    out : Path
        The scan folder.
    done_before, done_now : dict
        Stage -> tasks that were done already, and that this run did.
    failed : list of Outcome
        Tasks that failed in this run.
    blocked : list of str
        Patches, or ``sky``, whose later stages wait for a failed task.
    seconds : dict
        Stage -> wall-clock time (s).
    """

    out: Path
    done_before: dict[str, int] = field(default_factory=dict)
    done_now: dict[str, int] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every task of the scan is done."""
        return not self.failed and not self.blocked

    def streams(self) -> pd.DataFrame:
        """Return the STREAMS table of a complete scan, best candidate first."""
        from viamachinae.schema.io import read_table

        return read_table(self.out / "streams.parquet", STREAMS)


@dataclass
class Work:
    """One run: its parts, and what it has done so far."""

    settings: Settings
    store: Store
    runner: Runner
    progress: Progress
    stages: Mapping[str, StageFunction]
    result: ScanResult = field(init=False)

    def __post_init__(self) -> None:
        self.result = ScanResult(self.store.root)

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run the tasks of one stage that are not done; return those that are done now."""
        if not tasks:
            return []
        stage, began = tasks[0].stage, time.monotonic()
        done = {task.name for task in tasks if self.store.done(task)}
        left = [task for task in tasks if task.name not in done]
        self.result.done_before[stage] = len(done)
        self.progress.start(stage, len(tasks), len(done))
        function, runner = self._where(stage, len(left))
        fn = partial(execute, root=self.store.root, settings=self.settings, stage=function)
        for outcome in runner.run(left, fn):
            self.progress.advance()
            if outcome.ok:
                done.add(outcome.task.name)
            else:
                self.result.failed.append(outcome)
                logger.error("%s failed: %s%s", outcome.task.id, outcome.error, _indented(outcome.trace))
        self.progress.finish()
        self.result.done_now[stage] = len(done) - self.result.done_before[stage]
        self.result.seconds[stage] = time.monotonic() - began
        return [task for task in tasks if task.name in done]

    def _where(self, stage: str, n_tasks: int) -> tuple[StageFunction, Runner]:
        """Return the function of a stage and where its tasks run.

        Downloads run here, a polite number of them, whatever computes the rest:
        the nodes of a cluster often have no way out.
        """
        function = self.stages[stage]
        if stage == "cells":
            stop = threading.Event()
            listening = partial(function, stop=stop, heard=self.progress.heard)  # type: ignore[call-arg]
            return cast("StageFunction", listening), ThreadRunner(self.settings.archive.parallel, stop)
        return function, self.runner if n_tasks > 1 or stage in _HEAVY else InlineRunner()


#: Stages whose tasks always go to the runner; a single task of another stage stays in this process.
_HEAVY = ("stars", *TRAINING)


def execute(
    task: Task, attempt: int, *, root: Path, settings: Settings, stage: StageFunction
) -> dict[str, Any]:
    """Do a task and publish its result; return the facts that its receipt holds.

    A second run on the same folder may have done the task since it was listed:
    its result is this one, and readers that rely on it are not disturbed.

    Parameters
    ----------
    task : Task
        What to do.
    attempt : int
        Which try this is.
    root : Path
        The scan folder.
    settings : Settings
        The scan.
    stage : StageFunction
        The stage's function.
    """
    started = time.time()
    store = Store(root)
    ours = store.receipt(task)
    if ours is not None and store.done(task):
        return ours.info
    products = stage(task, store, settings)
    ours = store.receipt(task)
    if ours is None or not store.done(task):
        ours = store.publish(task, products, started=started, attempt=attempt)
    return ours.info


def raise_failures(result: ScanResult) -> None:
    """Name the tasks that failed.

    Raises
    ------
    DataError
        Unusable stars are all that is wrong.
    TaskError
        Some tasks failed; the others are done.
    """
    if result.complete:
        return
    shown = [f"  {o.task.id}: {o.error}" for o in result.failed[:_NAMED]]
    if len(result.failed) > _NAMED:
        shown.append(f"  and {len(result.failed) - _NAMED} more")
    many = "s" * (len(result.failed) != 1)
    msg = (
        f"{len(result.failed)} task{many} failed; the others are done and kept:\n"
        + "\n".join(shown)
        + f"\nmend the cause and run the same command again; details in {result.out / 'log' / 'run.log'}"
    )
    if all(o.unusable and o.task.stage in ("cells", "stars") for o in result.failed):
        raise DataError(msg)
    raise TaskError(msg)


def _indented(trace: str) -> str:
    return "".join(f"\n    {line}" for line in trace.splitlines())
