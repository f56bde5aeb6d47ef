"""The commands that look after the folder of a scan: what a user types, with its help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from viamachinae.cli.arguments import Folder

__all__ = ["app"]

app = typer.Typer()
command = partial(app.command, rich_help_panel="Folder of a scan")


@command(epilog="Example: viamachinae status scan --map scan.png")
def status(
    folder: Folder,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    map_: Annotated[
        Path | None, typer.Option("--map", metavar="FILE", help="Also draw the patches (png, pdf, svg).")
    ] = None,
) -> None:
    """Say how far a scan is, from its receipts alone."""
    from viamachinae.cli import status as driver

    driver.status(folder, map_, as_json=json)


@command(epilog="Example: viamachinae verify scan")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a scan, or a packed scan.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong, change nothing.")] = False,
) -> None:
    """Read every published byte, list what is damaged or vanished, and plan what is needed of it again."""
    from viamachinae.cli import upkeep

    upkeep.verify(folder, dry_run=dry_run)


@command(epilog="Example: viamachinae retry scan FAILED --only 'scores/P0042/*'")
def retry(
    folder: Folder,
    state: Annotated[str, typer.Argument(metavar="[FAILED|SUSPECT]", help="Which tasks.")] = "FAILED",
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only tasks like this; repeatable.")
    ] = None,
) -> None:
    """Clear tasks that failed, or results that cannot be trusted, for another run.

    A run tries failed tasks again anyway; two different results of one task need this.
    """
    from viamachinae.cli import upkeep

    upkeep.retry(folder, state.upper(), only or ())


@command(epilog="Example: viamachinae clean scan")
def clean(
    folder: Folder,
    all_hosts: Annotated[
        bool, typer.Option("--all-hosts", help="Also of other hosts; no run may be at work.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
) -> None:
    """Delete what dead processes left half written; results stay."""
    from viamachinae.cli import upkeep

    upkeep.clean(folder, all_hosts=all_hosts, dry_run=dry_run, yes=yes)


@command(epilog="Example: viamachinae pack scan --to scan.tar.zst --with stars")
def pack(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Archive; default: FOLDER.tar.zst beside it.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="STAGE", help="Also stars, scores, cells or trunk; repeatable."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing archive.")] = False,
) -> None:
    """Write a finished scan into one archive that `verify` can check."""
    from viamachinae.cli import upkeep

    upkeep.pack(folder, to, with_ or (), replace=force)


@command(epilog="Example: viamachinae merge north south --out both")
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of one configuration.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The merged scan.")],
    scan: Annotated[
        str | None, typer.Option(metavar="SCAN.toml", help="Settings of the whole, where tilings differ.")
    ] = None,
) -> None:
    """Bring the patches of several folders of one configuration together."""
    from viamachinae.cli import upkeep

    upkeep.merge(folders, out, scan)
