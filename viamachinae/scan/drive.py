"""One scan from the settings to the report, read from top to bottom."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import ResumeError
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of
from viamachinae.scan.ending import ScanResult, raise_failures
from viamachinae.scan.faults import refused
from viamachinae.scan.idle import Idle
from viamachinae.scan.interrupt import Stop
from viamachinae.scan.log import log_file, tell_of
from viamachinae.scan.offline import require_everything, tables_of_stars
from viamachinae.scan.options import RunOptions
from viamachinae.scan.prepare import prepare
from viamachinae.scan.progress import LogProgress
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.runner import InlineRunner, Runner
from viamachinae.scan.sections import SKY
from viamachinae.scan.stages import (
    DEFAULT_STAGES,
    StageFunction,
    planned_regions,
    planned_stars,
    read_patches,
)
from viamachinae.scan.store import DamagedError, Store
from viamachinae.scan.task import Task
from viamachinae.scan.terms import Terms
from viamachinae.scan.verify import replan
from viamachinae.scan.work import Work

__all__ = ["run_scan", "runner_for"]

logger = logging.getLogger(__name__)

#: Failures that the closing message names one by one.
_NAMED = 5


def run_scan(
    settings: Settings,
    out: Path,
    options: RunOptions | None = None,
    *,
    runner: Runner | None = None,
    stages: Mapping[str, StageFunction] = DEFAULT_STAGES,
    stars_only: bool = False,
) -> ScanResult:
    """Run a scan, or what is left of it; running a finished one does no work.

    Several processes may run on one folder at once, each with its group of patches or all of
    them: what one has published the others do not do again.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path
        Its folder; made when it does not exist.
    options : RunOptions, optional
        How it is run: progress, consent, network, end, group.
    runner : Runner, optional
        Where tasks run, left open; by default as ``settings.runner`` says.
    stages : mapping
        Stage -> its function.
    stars_only : bool
        End when the stars of every patch are there.

    Raises
    ------
    ConfigError
        The folder cannot be written, or the settings redo finished tasks and that was not agreed to.
    DataError
        The input cannot be used, or needs a network that is not there.
    ResumeError
        The scan was interrupted; what is published stays.
    TaskError
        Some tasks failed; the others are done.
    """
    options = options or RunOptions()
    store, tables = Store(out), tables_of_stars(settings, Store(out), offline=options.offline)
    prepare(settings, store, tables or (), options.agree)
    stop = Stop(settings.runner.grace, options.stop_file, options.end)
    idle = Idle(out, options.group)
    with log_file(out, options.group), stop, idle.watched(stop):
        try:
            # A runner that was handed in may serve other scans too: its owner closes it.
            own = runner_for(settings) if runner is None else nullcontext(runner)
            with own as active, options.progress or LogProgress() as shown:
                terms = Terms.of(settings, tables)
                work = Work(settings, store, active, shown, stages, stop, options.group, idle, terms=terms)
                _rounds(work, tables, offline=options.offline, stars_only=stars_only)
        except KeyboardInterrupt as error:
            msg = (
                f"interrupted; every finished task is kept in {out}: "
                "run the same command again and it goes on from there"
            )
            raise ResumeError(msg) from error
        except OSError as error:
            ending = refused(error)
            if ending is None:
                raise
            raise ending from error
    raise_failures(work.result)
    return work.result


def _rounds(work: Work, tables: list[str] | None, *, offline: bool, stars_only: bool) -> None:
    """Go through the stages, and again when a result that they read is damaged and has to be made anew."""
    for stage, names in groupby(replan(work.store, work.settings), lambda name: name.partition("/")[0]):
        tell_of(list(names), f"of {stage} gone or cut short, and needed again")
    again = True
    while again:
        try:
            found = _stars(work, tables, offline=offline)
            if found is not None and not stars_only:
                _search(work, *found)
        except DamagedError as error:  # read here, to know which tasks there are
            work.met(error)
        again = work.again()


def _stars(
    work: Work, tables: list[str] | None, *, offline: bool
) -> tuple[Task, pd.DataFrame, list[Task]] | None:
    """Lay out the patches and load their stars; return the patches' task and table, and the stars' tasks."""
    settings, store = work.settings, work.store
    patches = work.run([plan.patch_task(settings)])
    if not patches:
        return None
    table = read_patches(store, patches[0])
    if work.group:
        table = work.group.members(table)
    cells = {task.name: task for task in plan.cell_tasks(settings, table)}
    tasks = plan.star_tasks(settings, table, tables or (), cells)
    left = [task for task in tasks if tables is None or not store.done(task)]
    # Cells whose patches are done may have been deleted since.
    wanted = [cells[name] for name in sorted({ref.name for task in left for ref in task.of("cells")})]
    if offline:
        require_everything(settings, store, left)
        wanted = [task for task in wanted if store.done(task)]
    if left:
        _check(work, table, wanted, offline=offline)
    got = {task.name for task in work.run(wanted)}
    for name in got:
        shutil.rmtree(work.workplace(cells[name]), ignore_errors=True)
    waiting = {task.name for task in left if not got.issuperset(ref.name for ref in task.of("cells"))}
    stars = work.run([task for task in tasks if task.name not in waiting])
    finished = {task.name for task in stars}
    work.result.blocked = [name for name in table["patch"] if name not in finished]
    return patches[0], table, stars


def _check(work: Work, patches: pd.DataFrame, cells: Sequence[Task], *, offline: bool) -> None:
    """Find what is wrong with the source of the stars before any long work."""
    from viamachinae.stars.load import check_inputs

    check_inputs(work.settings, patches)
    if not offline and not all(work.store.done(task) for task in cells):
        from viamachinae.stars.archive.fetch import check_service

        check_service(work.settings)


def _search(work: Work, patches: Task, table: pd.DataFrame, stars: list[Task]) -> None:
    """Run the stages behind the stars one after another; a patch with a failed task goes no further."""
    settings, store = work.settings, work.store
    planned = {task.name: task for task in work.run(plan.region_tasks(settings, stars))}
    stars = [task for task in stars if task.name in planned]

    wanted = {task.name: _score_tasks(work, task, planned[task.name]) for task in stars}
    _warn_of_nothing_to_search(settings, [name for name, tasks in wanted.items() if not tasks])
    searched = {task.name.split("/")[1] for tasks in wanted.values() for task in tasks}
    trunks = plan.trunk_tasks(settings, searched)
    if len(work.run(trunks)) < len(trunks):
        work.result.blocked = [*table["patch"], *([] if work.group else [SKY])]
        return
    scores = {task.name for task in work.run([task for tasks in wanted.values() for task in tasks])}
    stars = [task for task in stars if all(s.name in scores for s in wanted[task.name])]

    lines = {task.name: task for task in work.run(plan.line_tasks(settings, stars, wanted))}
    fragments = work.run(plan.patch_tasks(settings, stars, lines))

    finished = {task.name for task in fragments}
    work.result.blocked = [name for name in table["patch"] if name not in finished]
    if work.group:
        return
    if work.result.blocked:
        work.result.blocked.append(SKY)
        return
    upstream = [*stars, *(s for tasks in wanted.values() for s in tasks), *lines.values(), *fragments]
    streams = work.run([plan.candidate_task(settings, patches, upstream)])
    for task in streams:
        work.run([plan.report_task(settings, task, calibration_of(store, task))])


def _score_tasks(work: Work, stars: Task, planned: Task) -> list[Task]:
    """Return the tasks that score a patch, weighed by the stars of their regions."""
    regions, counts = planned_regions(work.store, planned), planned_stars(work.store, planned)
    return plan.score_tasks(work.settings, stars, regions, counts)


def _warn_of_nothing_to_search(settings: Settings, patches: Sequence[str]) -> None:
    if patches:
        have = "1 patch has" if len(patches) == 1 else f"{len(patches)} patches have"
        logger.warning(
            "%s no signal region with %d to %d stars, so nothing is searched there (%s); "
            "see min_stars, max_stars and limits of [regions]",
            have, settings.regions.min_stars, settings.regions.max_stars, ", ".join(patches[:_NAMED]),
        )  # fmt: skip


def runner_for(settings: Settings) -> Runner:
    """Return the runner that ``[runner]`` asks for."""
    if settings.runner.inline:
        return InlineRunner()
    return RayRunner(settings.runner)
