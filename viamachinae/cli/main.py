"""The command line: parses, calls one driver a command, and ends with the right exit code."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from viamachinae import __version__
from viamachinae.cli import benchmark, data
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
def run(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the scan; an existing one is continued.")],
    workers: Workers = None,
    inline: Inline = False,
) -> None:
    """Run a scan, or what is left of it."""
    from viamachinae.cli import commands

    commands.run(commands.with_runner(commands.settings_of(scan), workers, inline=inline), out)


@app.command(epilog="Example: viamachinae fetch scan.toml --out scan")
def fetch(
    scan: Annotated[
        str, typer.Argument(metavar="SCAN.toml", help="Settings, or the name of a packaged scan.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the scan; an existing one is continued.")],
    workers: Workers = None,
    inline: Inline = False,
) -> None:
    """Get the stars of a scan and no more; `run` goes on from there, also where there is no network."""
    from viamachinae.cli import commands

    commands.fetch(commands.with_runner(commands.settings_of(scan), workers, inline=inline), out)


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


@app.command(epilog="Example: viamachinae status scan --json")
def status(
    folder: Folder,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how far a scan is, from its receipts alone."""
    from viamachinae.cli import commands

    commands.status(folder, as_json=json)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of those of the process.
    """
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
