"""The command line: its commands brought together, and the exit code with which each ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from viamachinae import __version__
from viamachinae.cli import benchmark, data, keeping, results, searching, supervise
from viamachinae.errors import ExitCode, ViaMachinaeError
from viamachinae.scan.faults import refused

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

for part in (searching, results, keeping):
    app.add_typer(part.app)
for part in (benchmark, data):
    app.add_typer(part.app, rich_help_panel="Machine and data")

#: How typer and click end: wrong usage, abort, Ctrl-C.
_TRANSLATED = {2: ExitCode.CONFIG, 1: ExitCode.RESUME, 130: ExitCode.RESUME}


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
        return _last_words(error)
    return int(ExitCode.COMPLETE)


def _last_words(error: Exception) -> int:
    ending = refused(error) if isinstance(error, OSError) else None
    if ending is not None:
        _complain(str(ending))
        return int(ending.exit_code)
    traceback.print_exception(error)
    _complain(f"this is a defect of viamachinae, not of your input: {type(error).__name__}: {error}")
    return int(ExitCode.FAILED)


def _complain(message: str) -> None:
    typer.secho(f"viamachinae: {message}", fg=typer.colors.RED, err=True)


if __name__ == "__main__":
    main()
