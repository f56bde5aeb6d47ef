"""The command line: parses, calls one driver a command, and ends with the right exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from viamachinae import __version__
from viamachinae.cli import benchmark, data, supervise
from viamachinae.errors import ExitCode, ViaMachinaeError

__all__ = ["app", "main"]

app = typer.Typer(
    name="viamachinae",
    help="Find stellar streams in Gaia with the Via Machinae method.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    epilog="Exit codes: 0 complete, 75 interrupted (run again), 70 some tasks failed, "
    "78 bad configuration, 65 corrupt or unusable input.",
)

app.add_typer(benchmark.app)
app.add_typer(data.app)

#: How typer and click end: wrong usage, abort, Ctrl-C.
_TRANSLATED = {2: ExitCode.CONFIG, 1: ExitCode.RESUME, 130: ExitCode.RESUME}

#: Faults of the machine, which a traceback would not explain better.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a scan.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Worker processes; 0: one a core.")]
Yes = Annotated[bool, typer.Option("--yes", help="Make finished tasks anew that changed settings touch.")]
Inline = Annotated[bool, typer.Option("--inline", help="Run in this process, without Ray.")]


def _version(shown: bool) -> None:
    if shown:
        typer.echo(f"viamachinae {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Find stellar streams in Gaia with the Via Machinae method."""


@app.command(epilog="Example: viamachinae demo --out demo-out")
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


@app.command(epilog="Example: viamachinae init scan.toml --preset published")
def init(
    path: Annotated[Path, typer.Argument(metavar="SCAN.toml", help="File to write.")] = Path("scan.toml"),
    preset: Annotated[str, typer.Option(help="What to start from: a preset or a packaged scan.")] = "default",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented settings file to start from."""
    from viamachinae.cli.init import write_config

    write_config(path, preset, force)
    typer.echo(f"wrote {path}; edit it, then: viamachinae run {path} --out {path.stem}")


@app.command(epilog="Example: viamachinae plan scan.toml --out scan --json plan.json")
def plan(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Folder of the scan: leaves out what is done there.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures as JSON.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Most patches to load and measure.")] = 2,
    workers: Workers = None,
) -> None:
    """Predict hours, memory and disk of a scan before it starts."""
    from viamachinae.cli import commands
    from viamachinae.cli import plan as driver

    driver.plan(commands.with_runner(commands.settings_of(scan), workers, inline=False), out, json, sample)


@app.command(epilog="Example: viamachinae run scan.toml --out scan --workers 2")
def run(  # noqa: PLR0913  an option each
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
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
        str | None, typer.Option(metavar="auto|SECONDS", help="End in time, to be resumed: exit code 75.")
    ] = None,
    stop_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="End, to be resumed, when this file appears.")
    ] = None,
) -> None:
    """Run a scan, or what is left of it; SIGTERM and SIGUSR2 end it, to be resumed."""
    from viamachinae.cli import commands
    from viamachinae.cli import run as driver

    settings = commands.with_runner(commands.settings_of(scan), workers, inline=inline)
    options = driver.options_of(
        yes=yes, offline=offline, stop_file=stop_file, until=until_walltime, group=group
    )
    driver.run(settings, out, options)


@app.command(epilog="Example: viamachinae submit scan.toml --out scan --site perlmutter --account m1234")
def submit(  # noqa: PLR0913  an option each
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
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


@app.command(epilog="Example: viamachinae fetch scan.toml --out scan")
def fetch(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
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


@app.command(epilog="Example: viamachinae report scan")
def report(folder: Folder) -> None:
    """Draw the report of a finished scan anew."""
    from viamachinae.cli import commands

    commands.report(folder)


@app.command(epilog="Example: viamachinae calibrate scan --null scan-null")
def calibrate(
    folder: Folder,
    null: Annotated[Path, typer.Option(metavar="FOLDER", help="The same scan of a streamless sky.")],
) -> None:
    """Compare a scan with the same scan of a streamless sky."""
    from viamachinae.cli import commands

    commands.calibrate(folder, null)


@app.command(epilog="Example: viamachinae export scan --to catalogue --format fits --format ecsv")
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


@app.command(epilog="Example: viamachinae status scan --map scan.png")
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


@app.command(epilog="Example: viamachinae verify scan")
def verify(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of a scan, or a packed scan.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong, change nothing.")] = False,
) -> None:
    """Read every published byte, list what is damaged or vanished, and plan what is needed of it again."""
    from viamachinae.cli import upkeep

    upkeep.verify(folder, dry_run=dry_run)


@app.command(epilog="Example: viamachinae retry scan FAILED --only 'scores/P0042/*'")
def retry(
    folder: Folder,
    state: Annotated[str, typer.Argument(metavar="[FAILED|SUSPECT]", help="Which tasks.")] = "FAILED",
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only tasks like this; repeatable.")
    ] = None,
) -> None:
    """Clear tasks that failed, or results that cannot be trusted, for another run."""
    from viamachinae.cli import upkeep

    upkeep.retry(folder, state.upper(), only or ())


@app.command(epilog="Example: viamachinae clean scan")
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


@app.command(epilog="Example: viamachinae pack scan --to scan.tar.zst --with stars")
def pack(
    folder: Folder,
    to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Archive; default: FOLDER.tar.zst beside it.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="STAGE", help="Also stars, scores, cells or trunk; repeatable."),
    ] = None,
) -> None:
    """Write a finished scan into one archive that `verify` can check."""
    from viamachinae.cli import upkeep

    upkeep.pack(folder, to, with_ or ())


@app.command(epilog="Example: viamachinae merge north south --out both")
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


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of those of the process.
    """
    if arguments is None and supervise.wanted(sys.argv[1:]):
        sys.exit(supervise.supervise(sys.argv[1:], _complain))
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: Sequence[str] | None) -> int:
    try:
        app(args=None if arguments is None else list(arguments), prog_name="viamachinae")
    except ViaMachinaeError as error:
        _complain(str(error))
        return int(error.exit_code)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(ExitCode.FAILED if end.code else 0)
        return int(_TRANSLATED.get(code, code))
    except KeyboardInterrupt:
        _complain("interrupted; run the same command again")
        return int(ExitCode.RESUME)
    except Exception as error:  # noqa: BLE001  the last stop: a defect still ends with a code of ours
        _last_words(error)
        return int(ExitCode.FAILED)
    return int(ExitCode.COMPLETE)


def _last_words(error: Exception) -> None:
    if isinstance(error, OSError) and error.errno in _REFUSED:
        _complain(f"the system refused: {error}; look at permissions and free space, then run this again")
        return
    traceback.print_exception(error)
    _complain(f"this is a defect of viamachinae, not of your input: {type(error).__name__}: {error}")


def _complain(message: str) -> None:
    typer.secho(f"viamachinae: {message}", fg=typer.colors.RED, err=True)


if __name__ == "__main__":
    main()
