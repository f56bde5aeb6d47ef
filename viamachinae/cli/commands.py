"""One driver a command: what happens between the arguments and the printed words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


__all__ = [
    "calibrate",
    "candidates_table",
    "export",
    "report",
    "settings_of",
    "shown_log",
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
        handler.setLevel(logging.INFO)  # the file in the folder has the details
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("viamachinae")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


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
