"""One run of a scan: its parts, what it has done, and how a task is done and published."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError, ResumeError, TaskError
from viamachinae.scan.attempt import Attempt
from viamachinae.scan.claims import claimed
from viamachinae.scan.failures import record_failure
from viamachinae.scan.groups import Group
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.log import log_path
from viamachinae.scan.progress import Progress
from viamachinae.scan.runner import InlineRunner, Outcome, Runner, ThreadRunner
from viamachinae.scan.sections import SKY, STAGES, TRAINING
from viamachinae.scan.stages import StageFunction, download_folder
from viamachinae.scan.store import DamagedError, Store
from viamachinae.scan.task import Task
from viamachinae.scan.verify import withdraw_damaged
from viamachinae.schema import STREAMS

__all__ = ["ScanResult", "Work", "execute", "raise_failures"]

logger = logging.getLogger(__name__)

#: Failures that the closing message names one by one.
_NAMED = 5
#: How often a run goes through its stages when results turn out to be damaged.
_ROUNDS = 3


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
    group : Group, optional
        The patches that were asked for, when not all.
    """

    out: Path
    done_before: dict[str, int] = field(default_factory=dict)
    done_now: dict[str, int] = field(default_factory=dict)
    failed: list[Outcome] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    group: Group | None = None

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
    stop: Stop = NEVER
    group: Group | None = None
    result: ScanResult = field(init=False)
    _rounds: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self.result = ScanResult(self.store.root, group=self.group)

    def met(self, error: DamagedError) -> None:
        """Note a damaged result that this process met itself."""
        self.result.failed.append(Outcome(error.task, error=str(error), unusable=True, damaged=True))

    def again(self) -> bool:
        """Return whether another round is worth it: tasks failed for an input that was damaged.

        Such an input has lost its receipt, so that it is made anew and they find it.
        """
        damaged = [outcome for outcome in self.result.failed if outcome.damaged]
        if not damaged or self._rounds >= _ROUNDS:
            return False
        for outcome in damaged:
            # A task stops at the first damaged input: the others must not cost a round each.
            withdraw_damaged(self.store, outcome.task)
        self._rounds += 1
        self.result.failed = [outcome for outcome in self.result.failed if not outcome.damaged]
        logger.warning("%d tasks met damaged results, which are made anew", len(damaged))
        return True

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run the tasks of one stage that are not done; return those that are done now.

        Raises
        ------
        ResumeError
            The run was asked to end before all of them had.
        """
        if not tasks:
            return []
        stage, began = tasks[0].stage, time.monotonic()
        done = {task.name for task in tasks if self.store.done(task)}
        failed = {outcome.task.id for outcome in self.result.failed}
        left = [task for task in tasks if task.name not in done and task.id not in failed]
        before = len(done)
        self.result.done_before.setdefault(stage, before)
        self.progress.start(stage, len(tasks), len(done))
        ended = self._do(stage, left, done)
        self.progress.finish()
        self.result.done_now[stage] = self.result.done_now.get(stage, 0) + len(done) - before
        self.result.seconds[stage] = self.result.seconds.get(stage, 0.0) + time.monotonic() - began
        if ended < len(left):
            self._stopped(stage, len(left) - ended, len(tasks))
        return [task for task in tasks if task.name in done]

    def _do(self, stage: str, left: Sequence[Task], done: set[str]) -> int:
        """Do the tasks that are left, note which are done, and return how many ended."""
        function, runner = self._where(stage, len(left))
        fn = partial(execute, root=self.store.root, settings=self.settings, stage=function)
        ended = 0
        for ended, outcome in enumerate(runner.run(left, fn, self.stop), 1):  # noqa: B007  how many
            self.progress.advance()
            if outcome.ok:
                done.add(outcome.task.name)
                continue
            self.result.failed.append(outcome)
            record_failure(self.store, outcome.task, outcome.error, outcome.trace)
            logger.error("%s failed: %s%s", outcome.task.id, outcome.error, _indented(outcome.trace))
        return ended

    def _stopped(self, stage: str, left: int, total: int) -> NoReturn:
        """End the run, to be resumed."""
        last = "fragments" if self.group else STAGES[-1]
        behind = STAGES[STAGES.index(stage) + 1 : STAGES.index(last) + 1]
        later = f", and the stages behind them ({', '.join(behind)})" if behind else ""
        why = self.stop.reason or "none of the tasks left would end before the wall-time does"
        msg = (
            f"stopped ({why}): {left} of {total} tasks of {stage} are left{later}; "
            f"every finished task is kept in {self.store.root}: "
            "run the same command again and it goes on from there"
        )
        raise ResumeError(msg)

    def workplace(self, task: Task) -> Path:
        """Return where this run puts a download together: groups never share a folder."""
        return download_folder(self.store, task, self.group.label if self.group else "")

    def _where(self, stage: str, n_tasks: int) -> tuple[StageFunction, Runner]:
        """Return the function of a stage and where its tasks run.

        Downloads run here, a polite number of them, whatever computes the rest:
        the nodes of a cluster often have no way out.
        """
        function = self.stages[stage]
        if stage == "cells":
            stop = threading.Event()
            heard, where = self.progress.heard, self.workplace
            listening = partial(function, stop=stop, heard=heard, where=where)  # type: ignore[call-arg]
            return cast("StageFunction", listening), ThreadRunner(self.settings.archive.parallel, stop)
        return function, self.runner if n_tasks > 1 or stage in _HEAVY else InlineRunner()


#: Stages whose tasks always go to the runner; a single task of another stage stays in this process.
_HEAVY = ("stars", *TRAINING)


def execute(
    task: Task, attempt: Attempt, *, root: Path, settings: Settings, stage: StageFunction
) -> dict[str, Any]:
    """Do a task and publish its result; return the facts that its receipt holds.

    A second run on the same folder may have done the task since it was listed:
    its result is this one, and readers that rely on it are not disturbed.

    Parameters
    ----------
    task : Task
        What to do.
    attempt : Attempt
        Which try this is, and how much memory it may use.
    root : Path
        The scan folder.
    settings : Settings
        The scan.
    stage : StageFunction
        The stage's function.
    """
    started, store = time.time(), Store(root)
    info = _done_elsewhere(store, task)
    if info is not None:
        return info
    with claimed(store, task, attempt.number):
        try:
            products = stage(task, store, _scaled(settings, attempt))
        except Exception:
            # Another run may have done it, and taken away what this one was reading.
            info = _done_elsewhere(store, task)
            if info is None:
                raise
            return info
        receipt = store.publish(task, products, started=started, attempt=attempt.number, settings=settings)
    return receipt.info


def _done_elsewhere(store: Store, task: Task) -> dict[str, Any] | None:
    """Return the facts of a task that is done, ``None`` when it is not."""
    ours = store.receipt(task)
    return ours.info if ours is not None and store.done(task) else None


def _scaled(settings: Settings, attempt: Attempt) -> Settings:
    """Return the settings with the memory that a try may use."""
    if attempt.share == 1.0:
        return settings
    memory = settings.runner.memory_gb * attempt.share
    return settings.model_copy(update={"runner": settings.runner.model_copy(update={"memory_gb": memory})})


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
        + _waiting(result.blocked)
        + f"\nmend the cause and run the same command again; details in {log_path(result.out, result.group)}"
    )
    if all(o.unusable and o.task.stage in ("cells", "stars") for o in result.failed):
        raise DataError(msg)
    raise TaskError(msg)


def _waiting(blocked: Sequence[str]) -> str:
    """Say what does not go on: a sky with a hole would give other candidates once the hole is filled."""
    patches = [name for name in blocked if name != SKY]
    if not patches:
        return ""
    shown = ", ".join(patches[:_NAMED]) + (", ..." if len(patches) > _NAMED else "")
    candidates = "; the candidates of the whole sky wait for them" if SKY in blocked else ""
    return (
        f"\nno further: {len(patches)} patch{'es' * (len(patches) != 1)} ({shown}){candidates}. "
        "A patch that cannot be mended can be left out: patches.exclude, or patches.centres without it"
    )


def _indented(trace: str) -> str:
    return "".join(f"\n    {line}" for line in trace.splitlines())
