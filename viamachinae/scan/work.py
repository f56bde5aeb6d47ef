"""One run of a scan: its parts, what it has done, and how a task is done and published."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, cast

from viamachinae.config.settings import Settings
from viamachinae.errors import ResumeError, TaskError
from viamachinae.scan.attempt import Attempt, Fault
from viamachinae.scan.claims import claimed
from viamachinae.scan.ending import ScanResult
from viamachinae.scan.failures import failures, record_failure
from viamachinae.scan.groups import Group
from viamachinae.scan.idle import Idle
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.log import tell_of
from viamachinae.scan.progress import Progress
from viamachinae.scan.runner import InlineRunner, Outcome, Runner, ThreadRunner
from viamachinae.scan.sections import STAGES, TRAINING
from viamachinae.scan.stages import StageFunction, download_folder
from viamachinae.scan.store import DamagedError, Store
from viamachinae.scan.task import Task
from viamachinae.scan.terms import Terms, require_terms
from viamachinae.scan.verify import withdraw_damaged

__all__ = ["Work", "execute"]

logger = logging.getLogger(__name__)

#: How often a run goes through its stages when results turn out to be damaged.
_ROUNDS = 3


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
    idle: Idle | None = None
    terms: Terms = field(kw_only=True)
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
        met = f"{len(damaged)} task{'s' * (len(damaged) != 1)} met"
        logger.warning("%s damaged results, which are made anew", met)
        return True

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run the tasks of one stage that are not done; return those that are done now.

        Raises
        ------
        ConfigError
            Another run has given the folder other settings meanwhile.
        ResumeError
            The run was asked to end before all of them had.
        """
        if not tasks:
            return []
        stage, began = tasks[0].stage, time.monotonic()
        require_terms(self.terms, self.store.root, stage)
        done = {task.name for task in tasks if self.store.done(task)}
        failed = {outcome.task.id for outcome in self.result.failed}
        left = [task for task in tasks if task.name not in done and task.id not in failed]
        before = len(done)
        lost = [f"{task.id}: {said}" for task in left if (said := self.store.amiss(task))]
        if lost:
            tell_of(lost, f"of {stage} not as their receipts say, and made anew")
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
        root, terms = self.store.root, self.terms
        # Workers are in another folder.
        fn = partial(execute, root=root.absolute(), settings=self.settings, stage=function, terms=terms)
        ended = 0
        # What failed before may fail again, and is to keep nothing else from being done.
        noted = {name: failure.body["key"] for name, failure in failures(root).items()}
        failed = [task for task in left if noted.get(task.id) == task.key]
        fresh = [task for task in left if noted.get(task.id) != task.key]
        outcomes = chain.from_iterable(runner.run(part, fn, self.stop) for part in (fresh, failed))
        for ended, outcome in enumerate(outcomes, 1):  # noqa: B007  how many
            self.progress.advance()
            if outcome.ok:
                done.add(outcome.task.name)
                if self.idle is not None:
                    self.idle.useful()
                continue
            require_terms(terms, root, stage)
            self.result.failed.append(outcome)
            record_failure(self.store, outcome.task, outcome.error, outcome.trace, outcome.attempt)
            logger.error("%s failed: %s%s", outcome.task.id, outcome.error, _indented(outcome.trace))
            self._end_for(outcome)
        return ended

    def _end_for(self, outcome: Outcome) -> None:
        """End the run when the disk is full: it would work for nothing."""
        if outcome.fault is Fault.FULL:
            msg = (
                f"{outcome.task.id}: {outcome.error}. The run ends here: the tasks left would meet the same; "
                f"every finished task is kept in {self.store.root}"
            )
            raise TaskError(msg)

    def _stopped(self, stage: str, left: int, total: int) -> NoReturn:
        """End the run, to be resumed."""
        last = "fragments" if self.group else STAGES[-1]
        unused = {"cells"} if not self.settings.stars.downloads else set()
        unused |= {"trunk"} if not self.settings.scorer.uses_trunk else set()
        following = STAGES[STAGES.index(stage) + 1 : STAGES.index(last) + 1]
        behind = [name for name in following if name not in unused]
        later = f", and the stages behind them ({', '.join(behind)})" if behind else ""
        why = self.stop.reason or "none of the tasks left would end before the wall-time does"
        failed = f", {len(self.result.failed)} have failed" if self.result.failed else ""
        msg = (
            f"stopped ({why}): {left} of {total} tasks of {stage} are left{failed}{later}; "
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
    task: Task,
    attempt: Attempt,
    *,
    root: Path,
    settings: Settings,
    stage: StageFunction,
    terms: Terms | None = None,
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
    terms : Terms, optional
        What the run makes results with: nothing is published into a folder that has others by then.
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
        if terms is not None:
            require_terms(terms, root, task.stage)
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


def _indented(trace: str) -> str:
    return "".join(f"\n    {line}" for line in trace.splitlines())
