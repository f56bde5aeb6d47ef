"""One scan from the settings to the report, read from top to bottom."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ResumeError
from viamachinae.scan import plan
from viamachinae.scan.calibrate import calibration_of
from viamachinae.scan.interrupt import terminable
from viamachinae.scan.log import log_file
from viamachinae.scan.outside import file_fingerprint
from viamachinae.scan.progress import LogProgress, Progress
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.results import read_settings
from viamachinae.scan.runner import InlineRunner, Runner
from viamachinae.scan.sections import SKY, changed_stages
from viamachinae.scan.stages import (
    DEFAULT_STAGES,
    StageFunction,
    download_folder,
    planned_regions,
    read_patches,
)
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task
from viamachinae.scan.work import ScanResult, Work, raise_failures
from viamachinae.schema.publish import atomic_text, sweep

__all__ = ["run_scan", "runner_for"]

logger = logging.getLogger(__name__)

#: Failures that the closing message names one by one.
_NAMED = 5


def run_scan(
    settings: Settings,
    out: Path,
    *,
    runner: Runner | None = None,
    progress: Progress | None = None,
    stages: Mapping[str, StageFunction] = DEFAULT_STAGES,
    stars_only: bool = False,
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
    stars_only : bool
        End when the stars of every patch are there.

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
                work = Work(settings, store, active, shown, stages)
                found = _stars(work)
                if found is not None and not stars_only:
                    _search(work, *found)
        except KeyboardInterrupt as error:
            msg = (
                f"interrupted; every finished task is kept in {out}: "
                "run the same command again and it goes on from there"
            )
            raise ResumeError(msg) from error
    raise_failures(work.result)
    return work.result


def _stars(work: Work) -> tuple[Task, pd.DataFrame, list[Task]] | None:
    """Lay out the patches and load their stars; return the patches' task and table, and the stars' tasks."""
    settings, store = work.settings, work.store
    patches = work.run([plan.patch_task(settings)])
    if not patches:
        return None
    table = read_patches(store, patches[0])
    files = settings.stars.paths if settings.stars.source == "files" else ()
    fingerprints = [file_fingerprint(path) for path in files]
    cells = {task.name: task for task in plan.cell_tasks(settings, table)}
    tasks = plan.star_tasks(settings, table, fingerprints, cells)
    left = [task for task in tasks if not store.done(task)]
    # Cells whose patches are done may have been deleted since.
    wanted = [cells[name] for name in sorted({ref.name for task in left for ref in task.of("cells")})]
    if left:
        _check(work, table, wanted)
    got = work.run(wanted)
    for task in got:
        shutil.rmtree(download_folder(store, task), ignore_errors=True)
    there = {task.name for task in got}
    waiting = {task.name for task in left if not there.issuperset(ref.name for ref in task.of("cells"))}
    stars = work.run([task for task in tasks if task.name not in waiting])
    finished = {task.name for task in stars}
    work.result.blocked = [name for name in table["patch"] if name not in finished]
    return patches[0], table, stars


def _check(work: Work, patches: pd.DataFrame, cells: Sequence[Task]) -> None:
    """Find what is wrong with the source of the stars before any long work."""
    from viamachinae.stars.load import check_inputs

    check_inputs(work.settings, patches)
    if not all(work.store.done(task) for task in cells):
        from viamachinae.stars.archive.fetch import check_service

        check_service(work.settings)


def _search(work: Work, patches: Task, table: pd.DataFrame, stars: list[Task]) -> None:
    """Run the stages behind the stars one after another; a patch with a failed task goes no further."""
    settings, store = work.settings, work.store
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
        work.result.blocked = [*table["patch"], SKY]
        return
    scores = {task.name for task in work.run([task for tasks in wanted.values() for task in tasks])}
    stars = [task for task in stars if all(s.name in scores for s in wanted[task.name])]

    lines = {task.name: task for task in work.run(plan.line_tasks(settings, stars, wanted))}
    fragments = work.run(plan.patch_tasks(settings, stars, lines))

    finished = {task.name for task in fragments}
    work.result.blocked = [name for name in table["patch"] if name not in finished]
    if work.result.blocked:
        work.result.blocked.append(SKY)
        return
    upstream = [*stars, *(s for tasks in wanted.values() for s in tasks), *lines.values(), *fragments]
    streams = work.run([plan.candidate_task(settings, patches, upstream)])
    for task in streams:
        work.run([plan.report_task(settings, task, calibration_of(store, task))])


def _warn_of_nothing_to_search(settings: Settings, patches: Sequence[str]) -> None:
    if patches:
        logger.warning(
            "%d patches have no signal region with %d to %d stars, so nothing is searched there (%s); "
            "see min_stars, max_stars and limits of [regions]",
            len(patches), settings.regions.min_stars, settings.regions.max_stars, ", ".join(patches[:_NAMED]),
        )  # fmt: skip


def runner_for(settings: Settings) -> Runner:
    """Return the runner that ``[runner]`` asks for."""
    if settings.runner.inline:
        return InlineRunner()
    return RayRunner(settings.runner.workers, settings.runner.address, settings.runner.device)


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
    keys, stages = changed_stages(before, settings)
    if stages:
        logger.warning(
            "settings differ from those that %s was run with (%s): the stages %s are made anew, "
            "earlier results stay", out, ", ".join(keys), ", ".join(stages),
        )  # fmt: skip
