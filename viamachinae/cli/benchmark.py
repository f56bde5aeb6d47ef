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


@app.command(epilog="Example: viamachinae benchmark scorers --quick --json scorers.json --figure scorers.png")
def scorers(  # noqa: PLR0913  an option each
    *,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder of the rows; an existing one is continued.")
    ] = Path("benchmark-scorers"),
    skies: Annotated[
        str | None, typer.Option(help="toy, toy-correlated, mock, galaxia. Default: all.")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Stars of the stream. Default: 500,250,150,100,60.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Numbers of the skies. Default: 1,2,3,4,5.")] = None,
    scorers: Annotated[str | None, typer.Option(help="Scorers and ceilings by name. Default: all.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small skies, one a size: under ten minutes.")
    ] = False,
    budget: Annotated[
        float | None, typer.Option(metavar="HOURS", help="Begin no row after so long; exit code 75 then.")
    ] = None,
    sky: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Simulated sky (Parquet), for the sky galaxia.")
    ] = None,
    members: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Members of GD-1 (Parquet), to put into it.")
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every row.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw them (PNG).")] = None,
) -> None:
    """Compare the scorers on skies with known streams; the same command goes on where it stopped."""
    from viamachinae.benchmark.scorers.options import Options, numbers, source_of, words
    from viamachinae.benchmark.scorers.run import benchmark
    from viamachinae.cli.commands import shown_log

    options = Options(
        out,
        skies=words("--skies", skies),
        scorers=words("--scorers", scorers),
        sizes=numbers("--sizes", sizes),
        seeds=numbers("--seeds", seeds),
        quick=quick,
        budget=budget,
        source=source_of(sky, members),
    )
    with shown_log():
        benchmark(options, json, figure)


@app.command(
    epilog="Example: viamachinae benchmark mock --galaxia galaxia.parquet --json mock.json --figure mock.png"
)
def mock(  # noqa: PLR0913  an option each
    *,
    galaxia: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Simulated sky without streams (Parquet).")
    ] = None,
    real: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Real stars (Parquet); G is not needed.")
    ] = None,
    g_max: Annotated[float, typer.Option(help="Faint limit in G of both skies (mag).")] = 20.2,
    parallax_max: Annotated[float, typer.Option(help="Largest parallax of both skies (mas).")] = 1.0,
    release: Annotated[str, typer.Option(help="Errors of the mock sky: gaia-dr2, gaia-dr3.")] = "gaia-dr2",
    seed: Annotated[int, typer.Option(help="Of the mock sky.")] = 0,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the distributions (PNG).")] = None,
) -> None:
    """Compare the mock sky with a simulated one, in a minute; exit code 70 where it misses the target."""
    from viamachinae.benchmark.mock.options import Options, needed, release_of
    from viamachinae.benchmark.mock.run import benchmark
    from viamachinae.cli.commands import shown_log

    options = Options(needed(galaxia), real, g_max, parallax_max, release_of(release), seed)
    with shown_log():
        benchmark(options, json, figure)


@app.command(epilog="Example: viamachinae benchmark runner --json runner.json")
def runner(
    tasks: Annotated[int, typer.Option(min=20, help="Tasks that do nothing.")] = 12_000,
    workers: Annotated[int, typer.Option(min=2, help="Workers of Ray.")] = 2,
    stars: Annotated[int, typer.Option(min=1000, help="Stars of the patch that is read.")] = 700_000,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number.")] = None,
) -> None:
    """Time the running of tasks beside their work, and what a kill costs, in about ten minutes."""
    from viamachinae.cli.commands import shown_log
    from viamachinae.cli.overhead import benchmark
    from viamachinae.scan.overhead.measure import Options

    with shown_log():
        benchmark(Options(tasks, workers, stars), json)
