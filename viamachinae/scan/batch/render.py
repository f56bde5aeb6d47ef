"""The scripts of ``slurm/``, filled in.

They are shell scripts that run as they stand. What differs from scan to scan are their ``#SBATCH`` lines,
and the assignments above the line that reads in ``common.sh``; only these are replaced.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from viamachinae.config.resources import folder
from viamachinae.errors import ConfigError

__all__ = ["Options", "Value", "render", "template", "writable"]

#: Option of sbatch -> its value; True: it has none; None: the script goes without it.
Options = Mapping[str, str | bool | None]
#: Value of a shell variable, or the elements of an array.
Value = str | Sequence[str]

_DIRECTIVE = re.compile(r"#SBATCH --(?P<name>[a-z-]+)(=.*)?")
_FIELD = re.compile(r"(?P<name>[A-Z_]+)=(?P<value>\(.*?\)|\S*)(?P<note>\s+#.*)?")
_HEAD = "source "


def template(name: str) -> str:
    """Return the text of a file of ``slurm/``."""
    return folder("slurm").joinpath(name).read_text(encoding="utf-8")


def render(text: str, options: Options, fields: Mapping[str, Value]) -> str:
    """Return a script with its options and fields filled in.

    Parameters
    ----------
    text : str
        A script of ``slurm/``.
    options : mapping
        Options of sbatch; those that the script has and ``options`` does not stay.
    fields : mapping
        Every variable that is assigned above the line that reads in ``common.sh``.

    Raises
    ------
    ConfigError
        Script and ``fields`` do not fit, or a value cannot stand in a script.
    """
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if line.startswith(_HEAD)), 0)
    written = _fields(_directives(lines[:end], options), fields)
    return "\n".join([*written, *lines[end:]]) + "\n"


def writable(text: str) -> bool:
    """Say whether a text can stand in a line of options of sbatch."""
    return re.search(r"[\s\"'\\]", text) is None


def _directives(lines: Sequence[str], options: Options) -> list[str]:
    """Return the lines with the options replaced, and new ones behind the last that was there."""
    left = dict(options)
    done: list[str] = []
    last = 0
    for line in lines:
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            done.append(line)
            continue
        value = left.pop(match["name"]) if match["name"] in left else line
        if value is not None:
            done.append(line if value is line else _directive(match["name"], value))
        last = len(done)
    new = [_directive(name, value) for name, value in left.items() if value is not None]
    return [*done[:last], *new, *done[last:]]


def _directive(name: str, value: str | bool) -> str:
    if value is True:
        return f"#SBATCH --{name}"
    text = str(value)
    if not writable(text):
        msg = f"--{name}={text!r}: sbatch takes no blanks, quotes or backslashes; choose another name"
        raise ConfigError(msg)
    return f"#SBATCH --{name}={text}"


def _fields(lines: Sequence[str], fields: Mapping[str, Value]) -> list[str]:
    """Return the lines with every assignment replaced."""
    left = dict(fields)
    done = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            done.append(line)
        elif match["name"] in left:
            note = f"  {match['note'].strip()}" if match["note"] else ""
            done.append(f"{match['name']}={_shell(left.pop(match['name']))}{note}")
        else:
            msg = f"slurm/: no value for the field {match['name']}; valid: {', '.join(fields)}"
            raise ConfigError(msg)
    if left:
        msg = f"slurm/: the script has no field {', '.join(left)}; install viamachinae again"
        raise ConfigError(msg)
    return done


def _shell(value: Value) -> str:
    if isinstance(value, str):
        return shlex.quote(value) if value else ""
    return f"({' '.join(map(shlex.quote, value))})"
