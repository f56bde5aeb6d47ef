"""What is particular to a cluster: the facts in ``slurm/SITE.toml``, or in a file of one's own."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import ErrorDetails

from viamachinae.config.resources import folder
from viamachinae.config.section import Section
from viamachinae.errors import ConfigError

__all__ = ["Node", "Qos", "Site", "load_site", "seconds", "sites"]

_TIME = re.compile(r"(?:(\d+)-)?(\d{1,4}):([0-5]\d):([0-5]\d)")


def seconds(time: str) -> int:
    """Return the length of a wall-time, written ``HH:MM:SS`` or ``D-HH:MM:SS`` (s).

    Raises
    ------
    ValueError
        It is written otherwise, or is zero.
    """
    match = _TIME.fullmatch(time)
    days, hours, minutes, rest = (int(part or 0) for part in match.groups()) if match else (0, 0, 0, 0)
    total = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if not total:
        msg = f"a wall-time is written HH:MM:SS or D-HH:MM:SS, got {time!r}"
        raise ValueError(msg)
    return total


def _checked(time: str) -> str:
    seconds(time)
    return time


_Time = Annotated[str, AfterValidator(_checked)]
_Count = Annotated[int, Field(ge=0)]


class Node(Section):
    """A kind of node, with or without GPUs, and how it is asked for."""

    constraint: str = Field("", description="feature that Slurm is asked for; empty: none")
    partition: str = Field("", description="partition; empty: the cluster's own")
    cpus: _Count = Field(0, description="CPUs of a node, as Slurm counts them; 0: all that the node has")
    threads_per_core: Annotated[int, Field(ge=1)] = Field(1, description="CPUs that a worker takes")
    gpus: _Count = Field(0, description="GPUs of a node")
    account_suffix: str = Field("", description="what the names of accounts for these nodes end with")
    options: tuple[Annotated[str, Field(pattern=r"^--[a-z][a-z-]*(=[^\n]+)?$")], ...] = Field(
        (), description='further options of sbatch, as "--licenses=scratch"'
    )


class Qos(Section):
    """A quality of service and its limits."""

    max_time: _Time = Field(description="longest wall-time")
    max_nodes: _Count = Field(0, description="most nodes of a job; 0: no limit")
    max_jobs: _Count = Field(
        0, description="most jobs in the queue, a task of an array being one; 0: no limit"
    )


class Site(Section):
    """A cluster."""

    account: bool = Field(False, description="whether a job needs an account")
    qos_default: str = Field("", description="quality of service unless another is asked for")
    time: _Time = Field("06:00:00", description="wall-time of a job unless another is asked for")
    grace: Annotated[int, Field(ge=1)] = Field(
        300, description="how long before the end of the wall-time a job is warned (s)"
    )
    max_restarts: _Count = Field(100, description="how often a job may put itself back into the queue")
    cpu: Node = Field(default_factory=Node)
    gpu: Node | None = Field(None, description="nodes with GPUs; left out: there are none")
    qos: dict[str, Qos] = Field(default_factory=dict, description="limits; empty: any name is accepted")


def sites() -> tuple[str, ...]:
    """Return the names of the clusters that the package knows, sorted."""
    names = (entry.name for entry in folder("slurm").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_site(name: str) -> Site:
    """Return what is known of a cluster.

    Parameters
    ----------
    name : str
        One of :func:`sites`, or a TOML file of the same form.

    Raises
    ------
    ConfigError
        There is neither, or the file is not of that form.
    """
    if name in sites():
        text = folder("slurm").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif Path(name).suffix == ".toml":
        text = _read(Path(name))
    else:
        msg = (
            f"--site {name}: no such cluster; valid: {', '.join(sites())}, or a file like slurm/generic.toml"
        )
        raise ConfigError(msg)
    try:
        return Site.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        msg = f"{name}: not valid TOML: {error}"
        raise ConfigError(msg) from error
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors(include_url=False))
        msg = f"{name}: {faults}; compare it with slurm/generic.toml"
        raise ConfigError(msg) from error


def _fault(detail: ErrorDetails) -> str:
    """Return what is wrong with one key, and what it may be."""
    place = [str(step) for step in detail["loc"]]
    where = ".".join(place)
    match detail["type"]:
        case "extra_forbidden":
            return f"{where}: no such key; valid: {', '.join(_section(place[:-1]).model_fields)}"
        case "missing":
            return f"{where} is missing: {_section(place[:-1]).model_fields[place[-1]].description}"
        case "value_error":
            return f"{where}: {detail['ctx']['error']}"
        case "string_pattern_mismatch":
            return f'{where} = {detail["input"]!r}: write "--name" or "--name=value", as sbatch has it'
    return f"{where} = {detail['input']!r}: {detail['msg'].lower()}"


def _section(place: Sequence[str]) -> type[Section]:
    """Return what describes a section of the file."""
    return Site if not place else Qos if place[0] == "qos" else Node


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        msg = f"--site {path}: cannot be read ({why}); copy slurm/generic.toml and edit it"
        raise ConfigError(msg) from error
