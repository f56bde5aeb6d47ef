"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Folder", "Inline", "Scan", "Workers", "Yes"]

Scan = Annotated[str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a scan.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Worker processes; 0: one a core.")]
Yes = Annotated[bool, typer.Option("--yes", help="Make finished tasks anew that changed settings touch.")]
Inline = Annotated[bool, typer.Option("--inline", help="Run in this process, without Ray.")]
