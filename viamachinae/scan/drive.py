"""One scan from the settings to the report, read from top to bottom."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ResumeError, TaskError
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of
from viamachinae.scan.interrupt import terminable
from viamachinae.scan.log import log_file
from viamachinae.scan.outside import file_fingerprint
from viamachinae.scan.progress import LogProgress, Progress
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.results import read_settings
from viamachinae.scan.runner import InlineRunner, Outcome, Runner
from viamachinae.scan.stages import DEFAULT_STAGES, StageFunction, planned_regions, read_patches
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task
from viamachinae.schema import STREAMS
from viamachinae.schema.publish import atomic_text, sweep

__all__ = ["ScanResult", "execute", "run_scan", "runner_for"]

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


def run_scan(
    settings: Settings,
    out: Path,
    *,
    runner: Runner | None = None,
    progress: Progress | None = None,
    stages: Mapping[str, StageFunction] = DEFAULT_STAGES,
) -> ScanResult:
    """Run a scan, or what is left of it; running a finished one does no work.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path
        Its folder; made when it does not exist.
    runner : Runner, optional
        Where tasks run, left open; by default as ``settings.runner`` says.
    progress : Progress, optional
        How progress is shown; by default log lines.
    stages : mapping
        Stage -> its function.

    Raises
    ------
    ConfigError
        The folder cannot be written.
    DataError
        The input cannot be used.
    ResumeError
        The scan was interrupted; what is published stays.
    TaskError
        Some tasks failed; the others are done.
    """
    store = Store(out)
    _prepare(settings, store)
    with log_file(out), terminable():
        try:
            # A runner that was handed in may serve other scans too: its owner closes it.
            own = runner_for(settings) if runner is None else nullcontext(runner)
            with own as active, progress or LogProgress() as shown:
                work = _Work(settings, store, active, shown, stages)
                _search(work)
        except KeyboardInterrupt as error:
            msg = (
                f"interrupted; every finished task is kept in {out}: "
                "run the same command again and it goes on from there"
            )
            raise ResumeError(msg) from error
    _raise_failures(work.result)
    return work.result


@dataclass
class _Work:
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
        fn = partial(execute, root=self.store.root, settings=self.settings, stage=self.stages[stage])
        runner = self.runner if len(left) > 1 or stage in _HEAVY else InlineRunner()
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


#: Stages whose tasks always go to the runner; a single task of another stage stays in this process.
_HEAVY = ("stars", *plan.TRAINING)


def _search(work: _Work) -> None:
    """Run the stages one after another; a patch with a failed task goes no further."""
    settings, store = work.settings, work.store
    patches = work.run([plan.patch_task(settings)])
    if not patches:
        return
    table = read_patches(store, patches[0])
    stars = work.run(_star_tasks(settings, store, table))
    planned = {task.name: task for task in work.run(plan.region_tasks(settings, stars))}
    stars = [task for task in stars if task.name in planned]

    wanted = {
        task.name: plan.score_tasks(settings, task, planned_regions(store, planned[task.name]))
        for task in stars
    }
    _warn_of_nothing_to_search(settings, [name for name, tasks in wanted.items() if not tasks])
    searched = {task.name.split("/")[1] for tasks in wanted.values() for task in tasks}
    trunks = plan.trunk_tasks(settings, searched)
    if len(work.run(trunks)) < len(trunks):
        work.result.blocked = [*table["patch"], plan.SKY]
        return
    scores = {task.name for task in work.run([task for tasks in wanted.values() for task in tasks])}
    stars = [task for task in stars if all(s.name in scores for s in wanted[task.name])]

    lines = {task.name: task for task in work.run(plan.line_tasks(settings, stars, wanted))}
    fragments = work.run(plan.patch_tasks(settings, stars, lines))

    finished = {task.name for task in fragments}
    work.result.blocked = [name for name in table["patch"] if name not in finished]
    if work.result.blocked:
        work.result.blocked.append(plan.SKY)
        return
    upstream = [*stars, *(s for tasks in wanted.values() for s in tasks), *lines.values(), *fragments]
    streams = work.run([plan.candidate_task(settings, patches[0], upstream)])
    for task in streams:
        work.run([plan.report_task(settings, task, calibration_of(store, task))])


def _warn_of_nothing_to_search(settings: Settings, patches: Sequence[str]) -> None:
    if patches:
        logger.warning(
            "%d patches have no signal region with %d to %d stars, so nothing is searched there (%s); "
            "see min_stars, max_stars and limits of [regions]",
            len(patches), settings.regions.min_stars, settings.regions.max_stars, ", ".join(patches[:_NAMED]),
        )  # fmt: skip


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


def runner_for(settings: Settings) -> Runner:
    """Return the runner that ``[runner]`` asks for."""
    if settings.runner.inline:
        return InlineRunner()
    return RayRunner(settings.runner.workers, settings.runner.address, settings.runner.device)


def _star_tasks(settings: Settings, store: Store, patches: pd.DataFrame) -> list[Task]:
    """Return the tasks of the stars, after the inputs were checked unless all are done."""
    from viamachinae.stars.load import check_inputs

    files = settings.stars.paths if settings.stars.source == "files" else ()
    tasks = plan.star_tasks(settings, patches, [file_fingerprint(path) for path in files])
    if not all(store.done(task) for task in tasks):
        check_inputs(settings, patches)
    return tasks


def _prepare(settings: Settings, store: Store) -> None:
    """Make the folder, and say what changed settings will redo."""
    out = store.root
    try:
        out.mkdir(parents=True, exist_ok=True)
        if (out / "scan.toml").is_file():
            _warn_of_changes(settings, out)
        atomic_text(out / "scan.toml", dump(settings))
        (out / "log").mkdir(exist_ok=True)
        sweep(out)
    except OSError as error:
        msg = f"{out}: cannot be written ({error}); give another --out folder"
        raise ConfigError(msg) from error


def _warn_of_changes(settings: Settings, out: Path) -> None:
    try:
        before = read_settings(out)
    except (ConfigError, DataError) as error:
        logger.warning("%s/scan.toml cannot be read (%s); it is written anew", out, error)
        return
    keys, stages = plan.changed_stages(before, settings)
    if stages:
        logger.warning(
            "settings differ from those that %s was run with (%s): the stages %s are made anew, "
            "earlier results stay", out, ", ".join(keys), ", ".join(stages),
        )  # fmt: skip


def _raise_failures(result: ScanResult) -> None:
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
    if all(o.unusable and o.task.stage == "stars" for o in result.failed):
        raise DataError(msg)
    raise TaskError(msg)


def _indented(trace: str) -> str:
    return "".join(f"\n    {line}" for line in trace.splitlines())
