"""The benchmarks of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(name="benchmark", no_args_is_help=True)


@app.callback()
def _root() -> None:
    """Measure the search on this machine."""


@app.command(epilog="Example: viamachinae benchmark engine --json engine.json --figure engine.png")
def engine(
    seconds: Annotated[float, typer.Option(help="Training of the published flow (s).")] = 240.0,
    device: Annotated[str, typer.Option(help="cpu (one thread), cuda or auto.")] = "cpu",
    models: Annotated[str, typer.Option(help="Numbers of models that train together.")] = "1,8,32",
    stars: Annotated[int, typer.Option(help="Stars of the patch that it makes.")] = 700_000,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them (PNG).")] = None,
) -> None:
    """Time the training engine beside the published flow, for up to ten minutes; say what a sky costs."""
    from viamachinae.benchmark.engine import benchmark
    from viamachinae.benchmark.options import Options, numbers
    from viamachinae.cli.commands import shown_log

    with shown_log():
        benchmark(Options(seconds, device, numbers(models), stars), json, figure)
