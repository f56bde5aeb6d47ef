"""One driver a command: what happens between the arguments and the printed words."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.config.presets import workflow, workflows
from viamachinae.config.settings import Settings
from viamachinae.config.toml import load
from viamachinae.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from viamachinae.scan.status import StageStatus
    from viamachinae.scan.work import ScanResult

__all__ = [
    "calibrate",
    "candidates_table",
    "export",
    "fetch",
    "report",
    "run",
    "search",
    "settings_of",
    "shown_log",
    "status",
    "with_runner",
]

#: Candidates that a run prints; all of them are in streams.ecsv.
_SHOWN = 10


def settings_of(scan: str) -> Settings:
    """Return the settings in a TOML file, or of a packaged scan.

    Raises
    ------
    ConfigError
        There is neither, or the settings are refused.
    """
    path = Path(scan)
    # A folder may bear a packaged scan's name: `run demo --out demo` makes one, and is then run again.
    if path.is_file() or path.suffix == ".toml":
        return load(path)
    if scan in workflows():
        return workflow(scan, folder=Path.cwd())
    msg = f"{scan}: neither a TOML file nor a packaged scan; packaged scans: {', '.join(workflows())}"
    raise ConfigError(msg)


def with_runner(settings: Settings, workers: int | None, *, inline: bool) -> Settings:
    """Return the settings with what the command line says about the runner."""
    changes: dict[str, object] = {}
    if workers is not None:
        changes["workers"] = workers
    if inline:
        changes["inline"] = True
    return settings.model_copy(update={"runner": settings.runner.model_copy(update=changes)})


@contextmanager
def shown_log() -> Iterator[None]:
    """Send the log to stderr meanwhile, in step with live progress lines."""
    handler: logging.Handler
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        handler = RichHandler(console=Console(stderr=True), show_path=False, rich_tracebacks=False)
        handler.setLevel(logging.WARNING)  # the live lines show the rest
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("viamachinae")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def search(settings: Settings, out: Path, *, stars_only: bool = False) -> ScanResult:
    """Run a scan, or its first stages up to the stars, with its log and progress on stderr."""
    from viamachinae.scan.drive import run_scan
    from viamachinae.scan.progress import for_terminal

    with shown_log():
        return run_scan(settings, out, progress=for_terminal(), stars_only=stars_only)


def run(settings: Settings, out: Path) -> None:
    """Run a scan and print its best candidates."""
    result = search(settings, out)
    streams = result.streams()
    console = Console()
    if not sum(result.done_now.values()):
        console.print("nothing to do: every task was done before")
    console.print(candidates_table(streams) if len(streams) else "no stream candidate")
    console.print(f"results in {out}: streams.ecsv, members.parquet, report/index.html", soft_wrap=True)


def fetch(settings: Settings, out: Path) -> None:
    """Get the stars of a scan and say what came."""
    result = search(settings, out, stars_only=True)
    n_patches = result.done_before.get("stars", 0) + result.done_now.get("stars", 0)
    print(f"stars of {n_patches} patch{'es' * (n_patches != 1)} in {out}")
    if settings.stars.downloads:
        cells = next(state for state in _states(out) if state.stage == "cells")
        print(f"{cells.done} cells downloaded: {cells.rows:,} rows, {(cells.bytes or 0) / 1e6:.1f} MB")


def candidates_table(streams: pd.DataFrame) -> Table:
    """Return the best candidates as a table for the terminal."""
    title = f"{len(streams)} stream candidate{'s' * (len(streams) != 1)}"
    if len(streams) > _SHOWN:
        title += f", the first {_SHOWN}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("stream", "sigma", "members", "patches", "ra", "dec", "pmra", "pmdec"):
        table.add_column(heading, justify="left" if heading == "stream" else "right", no_wrap=True)
    for row in streams.head(_SHOWN).to_dict("records"):
        numbers = [f"{row[name]:.1f}" for name in ("ra", "dec", "pmra", "pmdec")]
        counts = [str(row["n_members"]), str(row["n_patches"])]
        table.add_row(str(row["stream_id"]), f"{row['significance']:.1f}", *counts, *numbers)
    return table


def report(folder: Path) -> None:
    """Draw the report anew."""
    from viamachinae.scan.late import redraw

    print(f"wrote {redraw(folder)}")


def calibrate(folder: Path, null: Path) -> None:
    """Calibrate a scan and print what the comparison says and does not say."""
    from viamachinae.scan.calibrate import calibrate_scan

    with shown_log():
        calibrated = calibrate_scan(folder, null)
    console = Console()
    table = Table(title="false candidates expected at each significance", title_justify="left")
    for heading in ("stream", "sigma", "expected", "95 % limits", "p-value", "q-value"):
        table.add_column(heading, justify="left" if heading == "stream" else "right", no_wrap=True)
    for row in calibrated.table.head(_SHOWN).to_dict("records"):
        limits = f"{row['expected_low']:.2f} .. {row['expected_high']:.2f}"
        numbers = [f"{row[name]:.3g}" for name in ("p_value", "q_value")]
        expected = f"{row['expected']:.2f}"
        table.add_row(str(row["stream_id"]), f"{row['significance']:.1f}", expected, limits, *numbers)
    console.print(table)
    for paragraph in calibrated.words:
        console.print(paragraph)


def export(folder: Path, to: Path, formats: Sequence[str] | None) -> None:
    """Write the catalogue of a finished scan."""
    from viamachinae.scan.export import export_scan

    for path in export_scan(folder, to, formats):
        print(path)


def status(folder: Path, *, as_json: bool) -> None:
    """Print where every stage of a scan stands."""
    states = _states(folder)
    if as_json:
        print(json.dumps({"folder": str(folder), "stages": [asdict(state) for state in states]}, indent=1))
        return
    table = Table(title=str(folder), title_justify="left")
    headings = ["stage", "done", "of", "seconds"]
    downloads = any(state.bytes is not None for state in states)
    for heading in (*headings, "rows", "MB") if downloads else headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for state in states:
        of = "?" if state.total is None else str(state.total)
        row = [state.stage, str(state.done), of, f"{state.seconds:.1f}"]
        if state.bytes is not None:
            row += [f"{state.rows:,}", f"{state.bytes / 1e6:.1f}"]
        table.add_row(*row)
    Console().print(table)


def _states(folder: Path) -> list[StageStatus]:
    from viamachinae.scan.status import status as states_of

    return states_of(folder)
