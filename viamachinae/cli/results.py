"""The commands that make something of a finished scan: what a user types, with its help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from viamachinae.cli.arguments import Folder

__all__ = ["app"]

app = typer.Typer()
command = partial(app.command, rich_help_panel="Results")


@command(epilog="Example: viamachinae report scan")
def report(folder: Folder) -> None:
    """Draw the report of a finished scan anew."""
    from viamachinae.cli import commands

    commands.report(folder)


@command(epilog="Example: viamachinae calibrate scan --null scan-null")
def calibrate(
    folder: Folder,
    null: Annotated[Path, typer.Option(metavar="FOLDER", help="The same scan of a streamless sky.")],
) -> None:
    """Compare a scan with the same scan of a streamless sky."""
    from viamachinae.cli import commands

    commands.calibrate(folder, null)


@command(epilog="Example: viamachinae export scan --to catalogue --format fits --format ecsv")
def export(
    folder: Folder,
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the catalogue goes.")],
    format_: Annotated[
        list[str] | None, typer.Option("--format", help="ecsv, fits or parquet; repeatable. Default: all.")
    ] = None,
) -> None:
    """Write the catalogue: candidates, members and tracks with units."""
    from viamachinae.cli import commands

    commands.export(folder, to, format_)
