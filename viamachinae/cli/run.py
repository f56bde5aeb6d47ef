"""The drivers of the commands that run a scan, or its first stages."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from viamachinae.cli.commands import candidates_table, shown_log
from viamachinae.cli.supervise import BEGAN
from viamachinae.cli.words import counted
from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError

if TYPE_CHECKING:
    from viamachinae.scan.changes import Changes
    from viamachinae.scan.ending import ScanResult
    from viamachinae.scan.options import RunOptions

__all__ = ["fetch", "options_of", "run", "search"]


def options_of(
    *,
    yes: bool = False,
    offline: bool = False,
    stop_file: Path | None = None,
    until: str | None = None,
    group: str | None = None,
    grace: float = 0.0,
) -> RunOptions:
    """Return what the command line says about a run.

    Raises
    ------
    ConfigError
        A time or a group cannot be understood.
    """
    from viamachinae.scan.groups import Group
    from viamachinae.scan.options import RunOptions, accept
    from viamachinae.scan.progress import for_terminal
    from viamachinae.scan.walltime import end_of

    return RunOptions(
        progress=for_terminal(),
        agree=accept if yes else _asked,
        offline=offline,
        stop_file=stop_file,
        end=None if until is None else end_of(until, began=_began(), grace=grace),
        group=None if group is None else Group.parse(group),
    )


def _began() -> float:
    """Return when the command was given (Unix time), also for a run that was started again since."""
    return float(os.environ.get(BEGAN, time.time()))


def _asked(changes: Changes) -> bool:
    """Ask in a terminal whether finished tasks may be made anew; nobody is there to ask in a batch job.

    Raises
    ------
    ConfigError
        The answer was no.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    if not typer.confirm(f"{changes}. Go on?", default=False, err=True):
        msg = "nothing was changed"
        raise ConfigError(msg)
    return True


def search(
    settings: Settings, out: Path, options: RunOptions | None = None, *, stars_only: bool = False
) -> ScanResult:
    """Run a scan, or its first stages up to the stars, with its log and progress on stderr."""
    from viamachinae.scan.drive import run_scan

    with shown_log():
        return run_scan(settings, out, options or options_of(), stars_only=stars_only)


def run(settings: Settings, out: Path, options: RunOptions) -> None:
    """Run a scan and print its best candidates."""
    result = search(settings, out, options)
    console = Console()
    if any(result.done_before.values()) and not any(result.done_now.values()):
        console.print("nothing to do: every task was done before")
    if result.group is not None:
        n = result.done_before.get("fragments", 0) + result.done_now.get("fragments", 0)
        found = (
            f"{n} patch{'es' * (n != 1)} searched up to the fragments"
            if n
            else f"nothing to do, there are fewer patches than {result.group.of} groups"
        )
        then = "the same command without --group joins those of all groups to candidates"
        console.print(f"group {result.group}: {found}; {then}", soft_wrap=True)
        return
    streams = result.streams()
    console.print(candidates_table(streams) if len(streams) else "no stream candidate")
    console.print(f"results in {out}: streams.ecsv, members.parquet, report/index.html", soft_wrap=True)
    console.print(f"to hand on: viamachinae export {out} --to FOLDER", soft_wrap=True)


def fetch(settings: Settings, out: Path, options: RunOptions) -> None:
    """Get the stars of a scan and say what came."""
    from viamachinae.scan.status import status

    result = search(settings, out, options, stars_only=True)
    n_patches = result.done_before.get("stars", 0) + result.done_now.get("stars", 0)
    print(f"stars of {n_patches} patch{'es' * (n_patches != 1)} in {out}")
    if settings.stars.downloads:
        cells = next(state for state in status(out) if state.stage == "cells")
        brought = f"{cells.rows:,} rows, {(cells.bytes or 0) / 1e6:.1f} MB"
        print(f"{counted(cells.done, 'cell')} downloaded: {brought}")
