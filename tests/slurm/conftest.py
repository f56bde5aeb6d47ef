"""Clusters of one and two nodes, and a program that plays the driver on them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, wait_for

from viamachinae.config.settings import Settings
from viamachinae.scan.batch.request import Request, job_of
from viamachinae.scan.batch.site import Site
from viamachinae.scan.batch.submit import Submission, prepare, submit

_NONE = "no clusters of these tests: run `make test-slurm`, or tests/slurm/setup run COMMAND"


@pytest.fixture(scope="session")
def _folder() -> Iterator[Path]:
    if not os.environ.get("VIAMACHINAE_SLURM"):
        pytest.skip(_NONE)
    # Short: sockets lie in it.
    folder = Path(tempfile.mkdtemp(prefix="vms-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def one_node(_folder: Path) -> Iterator[Cluster]:
    """A cluster of one node with all cores of this machine."""
    with Cluster(Path(tempfile.mkdtemp(dir=_folder)) / "c", 1).running() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def two_nodes(_folder: Path) -> Iterator[Cluster]:
    """A cluster of two nodes with a core each."""
    with Cluster(Path(tempfile.mkdtemp(dir=_folder)) / "c", 2).running() as cluster:
        yield cluster


class Scan:
    """A scan on a cluster: its folder, and what became of its jobs."""

    def __init__(self, cluster: Cluster, out: Path, bin_folder: Path | None = None) -> None:
        self.cluster = cluster
        self.out = out
        self.bin_folder = bin_folder
        self.jobs: list[str] = []
        out.mkdir(exist_ok=True)

    def submit(self, settings: Settings, request: Request, grace: int = 25) -> list[str]:
        """Submit the shipped scripts and return the numbers of the jobs."""
        prepared: Submission = prepare(
            settings, self.out, job_of(request, Site(grace=grace)), bin_folder=self.bin_folder
        )
        self.jobs = submit(prepared)
        return self.jobs

    def play(self, tasks: int = 3, seconds: float = 0.2, code: int = 0) -> None:
        """Say what the stand-in does."""
        (self.out / "play.json").write_text(json.dumps({"tasks": tasks, "seconds": seconds, "code": code}))

    def calls(self) -> list[dict[str, Any]]:
        """Return what was asked of the stand-in."""
        path = self.out / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self) -> str:
        """Return the output of all jobs."""
        return "".join(path.read_text() for path in sorted((self.out / "slurm").glob("*.out")))

    def wait(self, seconds: float) -> None:
        """Wait until no job waits, runs or ends."""
        try:
            wait_for(lambda: not self.cluster.queued(), seconds, "the queue is empty")
        except AssertionError as error:
            error.add_note(self.cluster.run("squeue"))
            error.add_note(self.log())
            raise

    def leftovers(self) -> set[str]:
        """Return what the jobs left beside their logs."""
        folder = self.out / "slurm"
        return {path.name for path in folder.iterdir() if path.is_file()} - {
            "jobs.txt", *(path.name for path in folder.glob("*.out")),
        }  # fmt: skip


@pytest.fixture
def standin(tmp_path: Path) -> Path:
    """A folder with a program ``viamachinae`` that plays the driver."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "viamachinae"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("standin.py")}" "$@"\n'
    )
    program.chmod(0o755)
    (folder / "ray").symlink_to(Path(sys.executable).with_name("ray"))
    return folder


@pytest.fixture
def scan(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scan]:
    """A scan on the cluster that the parameter names; its driver is the stand-in, where a test has it."""
    cluster: Cluster = request.getfixturevalue(request.param)
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    played = "standin" in request.fixturenames
    made = Scan(cluster, tmp_path / "scan", request.getfixturevalue("standin") if played else None)
    yield made
    for job in made.jobs:
        cluster.run("scancel", job)
    wait_for(lambda: not cluster.queued(), 60, "cancelled jobs are gone")
