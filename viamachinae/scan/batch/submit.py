"""A scan handed to Slurm: its scripts written to the scan's folder, and submitted."""

from __future__ import annotations

import getpass
import hashlib
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from viamachinae.config.paths import is_url, local_path
from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError
from viamachinae.scan.batch.render import Value, render, template, writable
from viamachinae.scan.batch.request import Job
from viamachinae.schema.publish import atomic_text

__all__ = ["Submission", "prepare", "queued", "submit", "submitted_jobs"]

#: File in the folder ``slurm`` of a scan: the numbers of all jobs that were submitted, a line each.
JOBS = "jobs.txt"

#: Seconds that Slurm's controller may take to answer.
_PATIENCE = 120
#: Part of the time from Slurm's warning to the end in which the driver leaves; the rest is for requeuing.
_OF_GRACE = 0.8


@dataclass(frozen=True)
class Submission:
    """Scripts that wait to be submitted.

    Parameters
    ----------
    folder : Path
        Where they stand.
    scripts : tuple of Path
        In the order in which they are submitted; each waits for the one before to succeed.
    groups : int
        Groups of patches of an array; 0: one job has all patches.
    patches : int
        Patches of the scan.
    """

    folder: Path
    scripts: tuple[Path, ...]
    groups: int
    patches: int

    def command(self, script: Path, after: str = "") -> list[str]:
        """Return the command that submits a script, ``after`` being the job that must succeed first."""
        waits = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
        return ["sbatch", "--parsable", *waits, str(script)]


def prepare(settings: Settings, out: Path, job: Job, bin_folder: Path | None = None) -> Submission:
    """Write the settings and scripts of a job below the folder ``slurm`` of a scan; submit nothing.

    They stand in a folder that is named by what they say, so that neither a later change of the user's
    file nor another submission reaches a job that waits or comes back.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path
        Its folder.
    job : Job
        What is asked of the cluster.
    bin_folder : Path, optional
        Folder of the program ``viamachinae``; by default that of this Python.

    Raises
    ------
    ConfigError
        The folder cannot be written, or its name cannot stand in a script.
    """
    from viamachinae.sky.patches import make_patches

    out = out.absolute()
    if "%" in str(out):
        msg = f"--out {out}: Slurm puts numbers in place of a %; choose another name"
        raise ConfigError(msg)
    if not writable(str(out)):
        msg = f"--out {str(out)!r}: sbatch takes no blanks, quotes or backslashes; choose another name"
        raise ConfigError(msg)
    patches = len(make_patches(settings.patches))
    groups = min(job.request.nodes, patches) if job.request.shape == "array" else 0
    names = ("array.sh", "merge.sh") if groups else ("ray.sh",)
    shared = {"scan.toml": dump(_for_nodes(settings, job)), "common.sh": template("common.sh")}
    fields = _fields(settings, out, job, bin_folder or Path(sys.executable).parent)
    said = [*shared.values(), *map(template, names), repr(_options(job)), repr(fields), repr(groups)]
    place = out / "slurm" / hashlib.sha256("\0".join(said).encode()).hexdigest()[:8]
    fields |= {"SCAN": str(place / "scan.toml"), "HERE": str(place)}
    texts = {name: _script(name, settings, out, job, fields, groups) for name in names}
    _write(place, shared | texts)
    return Submission(place, tuple(place / name for name in names), groups, patches)


def _write(place: Path, texts: dict[str, str]) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            atomic_text(place / name, text)
    except OSError as error:
        msg = f"{place}: cannot be written ({error}); give another --out folder"
        raise ConfigError(msg) from error


def submit(submission: Submission) -> list[str]:
    """Submit the scripts and return the numbers of their jobs, in order; the folder remembers them.

    Raises
    ------
    ConfigError
        Slurm is not here, or refuses a job.
    """
    jobs: list[str] = []
    for script in submission.scripts:
        try:
            jobs.append(_sbatch(submission.command(script, jobs[-1] if jobs else "")))
        except ConfigError as error:
            if not jobs:
                raise
            msg = f"{error}\njob {jobs[-1]} is in the queue already: scancel {jobs[-1]}"
            raise ConfigError(msg) from error
        note = submission.folder.with_name(JOBS)
        with note.open("a", encoding="utf-8") as lines:
            lines.write(f"{jobs[-1]}\n")
    return jobs


def queued(out: Path) -> list[str]:
    """Return the numbers of a scan's jobs that wait or run, as far as Slurm is here to say so."""
    known = submitted_jobs(out)
    if not known:
        return []
    try:
        command = ["squeue", "--noheader", "--format=%F"]
        done = subprocess.run(  # noqa: S603
            [*command, f"--user={getpass.getuser()}"],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    there = set(done.stdout.split())
    return [number for number in known if number in there]


def submitted_jobs(out: Path) -> list[str]:
    """Return the numbers of all jobs that were ever submitted for a scan, in order."""
    try:
        return (out / "slurm" / JOBS).read_text(encoding="utf-8").split()
    except OSError:
        return []


def _sbatch(command: list[str]) -> str:
    shown = shlex.join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)  # noqa: S603
    except FileNotFoundError as error:
        msg = "sbatch is not on the PATH: submit on a login node of the cluster, or look with --dry-run"
        raise ConfigError(msg) from error
    except subprocess.TimeoutExpired as error:
        msg = f"{shown}: no answer within {_PATIENCE} s; look with squeue whether the job is there"
        raise ConfigError(msg) from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        msg = f"Slurm refuses the job of {shown}; it says:\n{said}"
        raise ConfigError(msg)
    return done.stdout.strip().split(";")[0]


def _for_nodes(settings: Settings, job: Job) -> Settings:
    """Return the settings with the runner that the job has."""
    runner: dict[str, object] = {
        "address": "auto" if job.request.shape == "ray" else "",
        "workers": 0,
        "inline": False,
        "device": "cuda" if job.request.gpu else "cpu",
        "grace": max(1.0, _OF_GRACE * job.site.grace),
    }
    return settings.model_copy(update={"runner": settings.runner.model_copy(update=runner)})


def _script(name: str, settings: Settings, out: Path, job: Job, fields: dict[str, Value], groups: int) -> str:
    array = name == "array.sh"
    options = _options(job) | {
        "job-name": settings.scan.name + ("-merge" if name == "merge.sh" else ""),
        "output": f"{out}/slurm/%x-{'%A_%a' if array else '%j'}.out",
    }
    if array:
        options |= {"array": f"1-{groups}"}
        fields = fields | {"N_GROUPS": str(groups)}
    elif name == "ray.sh":
        options |= {"nodes": str(job.request.nodes)}
    return render(template(name), options, fields)


def _options(job: Job) -> dict[str, str | bool | None]:
    """Return what the site, its nodes and the request ask of sbatch."""
    node = job.node
    options: dict[str, str | bool | None] = {
        "time": job.time,
        "signal": f"B:USR2@{job.site.grace}",
        "account": job.account or None,
        "qos": job.qos or None,
        "constraint": node.constraint or None,
        "partition": node.partition or None,
        "cpus-per-task": str(node.cpus) if node.cpus else None,
        "gpus-per-task": str(node.gpus) if job.request.gpu else None,
        "image": job.request.image if job.request.container == "shifter" else None,
    }
    return options | dict(_split(option) for option in node.options)


def _split(option: str) -> tuple[str, str | bool]:
    name, equals, value = option.removeprefix("--").partition("=")
    return name, value if equals else True


def _fields(settings: Settings, out: Path, job: Job, bin_folder: Path) -> dict[str, Value]:
    contained = job.request.container is not None
    mounts = _mounts(settings) if job.request.container == "podman-hpc" else []
    return {
        "OUT": str(out),
        "BIN": "" if contained else str(bin_folder),
        "GPU": "yes" if job.request.gpu else "no",
        "THREADS_PER_CORE": str(job.node.threads_per_core),
        "MAX_RESTARTS": str(job.site.max_restarts),
        "CONTAINER": job.request.container or "",
        "IMAGE": job.request.image,
        "MOUNTS": mounts,
    }


def _mounts(settings: Settings) -> list[str]:
    """Return the folders outside the scan's that its tasks read."""
    files: Iterable[str] = settings.stars.paths if settings.stars.source == "files" else ()
    places = {local_path(file) for file in files if not is_url(file)}
    folders = {place if place.is_dir() else place.parent for place in places}
    if settings.extinction.folder is not None:
        folders.add(settings.extinction.folder.expanduser())
    return sorted(map(str, folders))
