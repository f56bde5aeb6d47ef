"""Twenty kills at random moments of a whole download lose no row, double none, and leave no job running."""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from client import wait_for
from service import Service
from truth import digest, expected, expected_patch, settings_for

from viamachinae.config.toml import dump
from viamachinae.errors import ExitCode
from viamachinae.schema.publish import file_sha256
from viamachinae.stars.archive.cells import Cell

pytestmark = pytest.mark.tap

KILLS = 20
SEED = 20
ORDER = 5  # of the cells: about thirty


class Fetch:
    """``viamachinae fetch`` of the whole patch."""

    def __init__(self, folder: Path, toml: Path) -> None:
        self.folder = folder
        self._command = [
            sys.executable,
            "-m",
            "viamachinae",
            "fetch",
            str(toml),
            "--out",
            str(folder),
            "--inline",
        ]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self) -> float:
        """Run to the end; return the seconds."""
        begun = time.monotonic()
        done = subprocess.run(self._command, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - begun

    def cells(self) -> dict[str, Path]:
        return {path.stem: path for path in sorted((self.folder / "cells").glob("*.parquet"))}

    def attached(self) -> int:
        """Return how many jobs of a killed process were taken up, as the last receipts count them."""
        receipts = (self.folder / "receipts" / "cells").glob("*.json")
        return sum(json.loads(path.read_text())["info"]["attached"] for path in receipts)


def test_a_download_that_is_killed_twenty_times_is_the_same(service: Service, tmp_path: Path) -> None:
    toml = tmp_path / "scan.toml"
    toml.write_text(dump(settings_for("gaia-dr3", service.url, cell_order=ORDER, chunk_rows=1000)))
    undisturbed, killed = Fetch(tmp_path / "undisturbed", toml), Fetch(tmp_path / "killed", toml)
    whole = undisturbed.finish()
    idle = undisturbed.finish()
    draws = random.Random(SEED)  # noqa: S311 - no secret
    for kill in range(KILLS):
        # At random, but so early that something is left to do for every process after this one.
        share = 1.0 - len(killed.cells()) / len(undisturbed.cells())
        latest = idle + 0.7 * share * (whole - idle) / (KILLS - kill)
        with killed.start() as process:
            try:
                process.wait(draws.uniform(0.3 * idle, latest))
            except subprocess.TimeoutExpired:
                process.kill()
                continue
            stderr = process.stderr.read() if process.stderr else b""
            pytest.fail(f"it ended by itself with {process.returncode} after {kill} kills: {stderr.decode()}")
    before = len(killed.cells())
    killed.finish()

    got, wanted = killed.cells(), undisturbed.cells()
    assert 0 < before < len(got)
    assert got.keys() == wanted.keys()
    for name, path in got.items():
        table = pq.read_table(path)
        assert digest(table) == digest(expected("gaia-dr3", ORDER, Cell.named(name).pixel)), name
        assert file_sha256(path) == file_sha256(wanted[name]), name
    everything = pa.concat_tables([pq.read_table(path) for path in got.values()]).sort_by("source_id")
    assert digest(everything) == digest(expected_patch("gaia-dr3"))
    assert killed.attached() > 0
    assert not list((killed.folder / "downloads").iterdir())
    # A kill between the server's making a job and its name in the journal leaves one that was never run.
    left = service.jobs()
    logging.getLogger(__name__).info(
        "%d kills; %d of %d cells done before the last run; %d jobs taken up; %d left that never ran",
        *(KILLS, before, len(got), killed.attached(), len(left)),
    )
    assert set(left.values()) <= {"PENDING"}
    assert len(left) < KILLS


def test_a_download_that_is_interrupted_says_how_to_go_on(service: Service, tmp_path: Path) -> None:
    toml = tmp_path / "scan.toml"
    toml.write_text(dump(settings_for("gaia-dr3", service.url, chunk_rows=1000)))
    fetch = Fetch(tmp_path / "out", toml)
    with fetch.start() as process:
        wait_for(lambda: fetch.cells() and service.executing())
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == ExitCode.RESUME, stderr.decode()
    assert b"run the same command again" in stderr
    assert b"Traceback" not in stderr
    fetch.finish()
    got = pa.concat_tables([pq.read_table(path) for path in fetch.cells().values()]).sort_by("source_id")
    assert digest(got) == digest(expected_patch("gaia-dr3"))
    assert service.jobs() == {}
