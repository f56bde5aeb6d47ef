"""Print where a scan stands, and draw it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.cli.plan import duration
from viamachinae.errors import ConfigError

if TYPE_CHECKING:
    from viamachinae.scan.status import ScanStatus

__all__ = ["status"]

#: Failures, suspects and claims that are printed; all of them are in the JSON.
_SHOWN = 10
_MAPS = (".png", ".pdf", ".svg")


def status(folder: Path, map_file: Path | None = None, *, as_json: bool = False) -> None:
    """Print where every stage of a scan stands, and draw a map of its patches.

    Raises
    ------
    ConfigError
        The folder holds no scan and none was submitted for it, or the map cannot be written.
    DataError
        A map was asked for before the patches were laid out.
    """
    from viamachinae.scan.batch.submit import submitted_jobs
    from viamachinae.scan.status import scan_status

    jobs = submitted_jobs(folder)
    if jobs and map_file is None and not (folder / "scan.toml").exists():
        waiting = {"folder": str(folder), "jobs": jobs, "stages": []}
        print(json.dumps(waiting, indent=1) if as_json else _submitted(folder, jobs))
        return
    found = scan_status(folder)
    if map_file is not None:
        _draw(folder, found, map_file)
    if as_json:
        print(json.dumps({"folder": str(folder), **found.as_dict()}, indent=1))
        return
    console = Console()
    console.print(_stages(folder, found))
    drawn = [] if map_file is None else [f"wrote {map_file}"]
    then = _then(folder, found, submitted=bool(jobs))
    for line in (*_pace(found), *_patches(found), *_troubles(found), *drawn, *then):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _submitted(folder: Path, jobs: list[str]) -> str:
    """Say that a scan was submitted, and that no job has come to begin it."""
    numbers = ",".join(jobs)
    if any((folder / "slurm").glob("*.out")):
        return (
            f"{folder}: submitted (squeue --jobs {numbers}), not begun; its jobs wrote {folder}/slurm/*.out"
        )
    return f"{folder}: submitted, and no job has started yet (squeue --jobs {numbers})"


def _stages(folder: Path, found: ScanStatus) -> Table:
    table = Table(title=str(folder), title_justify="left", box=SIMPLE_HEAD)
    shown = [state for state in _states() if any(stage.states[state] for stage in found.stages)]
    downloads = any(stage.bytes is not None for stage in found.stages)
    headings = ["stage", "done", "of", *(state.lower() for state in shown), "core time"]
    for heading in (*headings, "rows", "MB") if downloads else headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in found.stages:
        of = "?" if stage.total is None else str(stage.total)
        counts = [str(stage.states[state] or "") for state in shown]
        row = [stage.stage, str(stage.done), of, *counts, duration(stage.seconds)]
        if stage.bytes is not None:
            row += [f"{stage.rows:,}", f"{stage.bytes / 1e6:.1f}"]
        table.add_row(*row)
    return table


def _states() -> list[str]:
    from viamachinae.scan.status import STATES

    return [state for state in reversed(STATES) if state != "DONE"]


def _pace(found: ScanStatus) -> list[str]:
    if found.core_seconds_left is None:
        left = "time left: not known while a stage with tasks left has done none"
    elif not found.core_seconds_left:
        return []
    else:
        left = f"left: {duration(found.core_seconds_left)} of one worker"
    if found.seconds_left is not None:
        left += f", {duration(found.seconds_left)} with the {found.workers} at work"
    pace = f"; {found.rate:.3g} tasks an hour now" if found.rate else ""
    return [left + pace]


def _then(folder: Path, found: ScanStatus, *, submitted: bool) -> list[str]:
    """Say how an unfinished scan goes on that nobody is known to work on."""
    from viamachinae.scan.results import run_again

    # Cells are wanted by stars alone.
    left = any(s.total is None or s.done < s.total for s in found.stages if s.stage != "cells")
    if found.workers or not left:
        return []
    unless = "unless its jobs wait in the queue (squeue --me), " if submitted else ""
    return [f"no process is known to be at work; {unless}go on with: {run_again(folder)}"]


def _patches(found: ScanStatus) -> list[str]:
    counts: dict[str, int] = {}
    for patch in found.patches.values():
        counts[patch.state] = counts.get(patch.state, 0) + 1
    if not counts:
        return []
    said = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    return [f"{len(found.patches)} patch{'es' * (len(found.patches) != 1)}: {said}"]


def _troubles(found: ScanStatus) -> list[str]:
    lines = []
    for claim in found.claims[:_SHOWN]:
        ended = ", which is gone" if claim.alive is False else ""
        names = ", ".join(str(task["id"]) for task in claim.tasks if "id" in task)
        lines.append(
            f"{names}: claimed by {claim.host} {claim.pid}{ended}, last sign {claim.at} by its clock"
        )
    lines += _more(len(found.claims), "claims")
    for name, failure in list(found.failures.items())[:_SHOWN]:
        first = failure.error.partition("\n")[0]
        lines.append(f"FAILED {name}, try {failure.body.get('attempt', '?')}: {first}")
    lines += _more(len(found.failures), "failures")
    lines += [f"SUSPECT {suspect.said}" for suspect in found.suspects[:_SHOWN]]
    return lines + _more(len(found.suspects), "suspects")


def _more(n: int, what: str) -> list[str]:
    return [f"and {n - _SHOWN} more {what}, see --json"] if n > _SHOWN else []


def _draw(folder: Path, found: ScanStatus, map_file: Path) -> None:
    from viamachinae.report.progress_map import draw_progress
    from viamachinae.scan.results import read_settings
    from viamachinae.scan.status import read_patches_table

    if map_file.suffix not in _MAPS:
        msg = f"{map_file}: no figure; give --map a name that ends in {', '.join(_MAPS)}"
        raise ConfigError(msg)
    patches = read_patches_table(folder)
    states = {name: patch.state for name, patch in found.patches.items()}
    try:
        draw_progress(patches, states, read_settings(folder).fiducial.radius, map_file)
    except OSError as error:
        msg = f"{map_file}: cannot be written ({error.strerror}); name another --map file"
        raise ConfigError(msg) from error
