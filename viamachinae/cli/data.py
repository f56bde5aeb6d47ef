"""The data that a scan needs besides its stars."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(name="data", no_args_is_help=True)


class DataSet(StrEnum):
    """What can be fetched."""

    SFD = "sfd"


@app.callback()
def _root() -> None:
    """Get the data that a scan needs besides its stars."""


@app.command(epilog="Example: viamachinae data fetch sfd")
def fetch(
    what: Annotated[DataSet, typer.Argument(help="sfd: dust map of Schlegel, Finkbeiner & Davis (1998).")],
    folder: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where it goes; a scan finds it there by extinction.folder."),
    ] = None,
) -> None:
    """Download a data set once, 134 MB for sfd; a download that broke off goes on."""
    from viamachinae.cli.commands import shown_log
    from viamachinae.stars.dataverse import download
    from viamachinae.stars.sfd import DATASET, FILES, folder_of

    place = folder_of() if folder is None else folder.expanduser().absolute()
    with shown_log():
        paths = download(DATASET, FILES, place)
    for path in paths:
        typer.echo(path)
    if folder is not None:
        typer.echo(f'in the settings of the scan: extinction.folder = "{place}"')
    typer.echo(f'{what.value}: ready, for extinction.map = "{what.value}"')
