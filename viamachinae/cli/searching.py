"""The commands that make a scan: what a user types, with its help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from viamachinae.cli.arguments import Inline, Scan, Workers, Yes

__all__ = ["app"]

app = typer.Typer()
command = partial(app.command, rich_help_panel="Search")


@command(epilog="Example: viamachinae demo --out demo-out")
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("demo-out"),
    workers: Workers = None,
    inline: Inline = False,
) -> None:
    """Search a small mock sky with one stream, and say whether it was found."""
    from viamachinae.cli import demo as driver
    from viamachinae.cli.commands import with_runner
    from viamachinae.config.presets import workflow

    driver.demo(with_runner(workflow("demo"), workers, inline=inline), out)


@command(epilog="Example: viamachinae init scan.toml --preset published")
def init(
    path: Annotated[Path, typer.Argument(metavar="SCAN.toml", help="File to write.")] = Path("scan.toml"),
    preset: Annotated[str, typer.Option(help="What to start from: a preset or a packaged scan.")] = "default",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented settings file to start from."""
    from viamachinae.cli.init import write_config

    write_config(path, preset, force)
    typer.echo(f"wrote {path}; edit it, then: viamachinae run {path} --out {path.stem}")


@command(epilog="Example: viamachinae plan scan.toml --out scan --json plan.json")
def plan(
    scan: Scan,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the scan: leaves out what is done there.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Most patches to load and measure.")] = 2,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again what an earlier call kept in the folder.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Predict hours, memory and disk of a scan before it starts."""
    from viamachinae.cli import commands
    from viamachinae.cli import plan as driver

    settings = commands.with_runner(commands.settings_of(scan), workers, inline=False)
    driver.plan(settings, out, json, sample, measure=measure)


@command(epilog="Example: viamachinae fetch scan.toml --out scan")
def fetch(
    scan: Scan,
    out: Annotated[Path, typer.Option(help="Folder of the scan; an existing one is continued.")],
    workers: Workers = None,
    inline: Inline = False,
    yes: Yes = False,
) -> None:
    """Get the stars of a scan and no more; `run` goes on from there, also where there is no network."""
    from viamachinae.cli import commands
    from viamachinae.cli import run as driver

    settings = commands.with_runner(commands.settings_of(scan), workers, inline=inline)
    driver.fetch(settings, out, driver.options_of(yes=yes))


@command(epilog="Example: viamachinae run scan.toml --out scan --workers 2")
def run(  # noqa: PLR0913  an option each
    scan: Scan,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the scan; an existing one is continued.")],
    workers: Workers = None,
    inline: Inline = False,
    yes: Yes = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="No network: end at once when something has to be fetched.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only the I-th of N groups of patches, up to their fragments."),
    ] = None,
    until_walltime: Annotated[
        str | None,
        typer.Option(
            metavar="auto|SECONDS",
            help="End in time, to be resumed: exit code 75. No task begins within runner.grace of the end.",
        ),
    ] = None,
    stop_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="End, to be resumed, when this file appears or is touched."),
    ] = None,
) -> None:
    """Run a scan, or what is left of it; SIGTERM and SIGUSR2 end it, to be resumed."""
    from viamachinae.cli import commands
    from viamachinae.cli import run as driver

    settings = commands.with_runner(commands.settings_of(scan), workers, inline=inline)
    options = driver.options_of(
        yes=yes,
        offline=offline,
        stop_file=stop_file,
        until=until_walltime,
        group=group,
        grace=settings.runner.grace,
    )
    driver.run(settings, out, options)


@command(epilog="Example: viamachinae submit scan.toml --out scan --site perlmutter --account m1234")
def submit(  # noqa: PLR0913  an option each
    scan: Scan,
    *,
    out: Annotated[Path, typer.Option(help="Folder of the scan, on a disk that all nodes see.")],
    site: Annotated[str, typer.Option(help="perlmutter, generic, or a TOML file like slurm/generic.toml.")],
    shape: Annotated[
        Literal["array", "ray"],
        typer.Option(help="Groups of patches on single nodes, then a merge; or one Ray on all nodes."),
    ] = "array",
    nodes: Annotated[int, typer.Option(help="Nodes; of an array its groups.")] = 4,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on GPUs.")] = False,
    time: Annotated[str, typer.Option(help="Wall-time of a job, HH:MM:SS. Default: the site's.")] = "",
    account: Annotated[str, typer.Option(help="Project that is charged.")] = "",
    qos: Annotated[str, typer.Option(help="Quality of service. Default: the site's.")] = "",
    container: Annotated[
        Literal["shifter", "podman-hpc"] | None, typer.Option(help="Run in a container.")
    ] = None,
    image: Annotated[str, typer.Option(help="Image of the container.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the scripts, submit nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Redo what changed settings touch.")] = False,
) -> None:
    """Hand a scan to Slurm; jobs put themselves back into the queue until it is done."""
    from viamachinae.cli import commands
    from viamachinae.cli import submit as driver
    from viamachinae.scan.batch.request import Request

    request = Request(shape, nodes, gpu, time, account, qos, container, image)
    driver.submit(commands.settings_of(scan), out, site, request, dry_run=dry_run, yes=yes)
