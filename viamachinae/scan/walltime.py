"""When the wall-time of this process ends."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Mapping

from viamachinae.errors import ConfigError

__all__ = ["end_of"]

_LEFT = re.compile(r"^(?:(?P<days>\d+)-)?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+)$")


def end_of(
    asked: str,
    environment: Mapping[str, str] = os.environ,
    began: float | None = None,
    grace: float = 0.0,
) -> float | None:
    """Return the Unix time (s) at which the wall-time ends, ``None`` when nothing ends it.

    Parameters
    ----------
    asked : str
        Seconds from ``began``; or ``"auto"``: what Slurm says of the job that this process is part of.
    environment : mapping
        Where Slurm says it.
    began : float, optional
        Unix time (s) from which seconds count; by default now.
    grace : float
        Time before the end from which no task is begun (s).

    Raises
    ------
    ConfigError
        It is neither, nothing could be begun before the grace, or Slurm does not say.
    """
    if asked != "auto":
        return (time.time() if began is None else began) + _seconds(asked, grace)
    if environment.get("SLURM_JOB_END_TIME", "").isdigit():
        return float(environment["SLURM_JOB_END_TIME"])
    job = environment.get("SLURM_JOB_ID", "")
    if not job:
        msg = (
            "--until-walltime auto: this is no Slurm job, so nothing says when it ends; give seconds instead"
        )
        raise ConfigError(msg)
    return _end_of_job(job)


def _seconds(text: str, grace: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        msg = f'--until-walltime {text}: give "auto" (in a Slurm job), or the seconds from now, above 0'
        raise ConfigError(msg)
    if seconds <= grace:
        msg = (
            f"--until-walltime {text}: no longer than runner.grace ({grace:g} s), in which no task is begun; "
            "give more seconds, or a smaller grace"
        )
        raise ConfigError(msg)
    return seconds


def _end_of_job(job: str) -> float | None:
    """Ask Slurm for the time left: releases before 22.05 do not put the end into the environment."""
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%L"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        msg = (
            f"--until-walltime auto: squeue does not say when job {job} ends ({error}); give seconds instead"
        )
        raise ConfigError(msg) from error
    if said == "UNLIMITED":
        return None
    match = _LEFT.match(said)
    if match is None:
        msg = f"--until-walltime auto: squeue says {said!r} of the time of job {job}; give seconds instead"
        raise ConfigError(msg)
    part = {name: int(value or 0) for name, value in match.groupdict().items()}
    return time.time() + 60 * (60 * (24 * part["days"] + part["hours"]) + part["minutes"]) + part["seconds"]
