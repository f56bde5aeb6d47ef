"""A scan on a Ray cluster that was there before: two nodes, of which one is lost in mid-scan."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ExitCode
from viamachinae.scan.drive import run_scan
from viamachinae.scan.runner import InlineRunner
from viamachinae.schema.publish import file_sha256

#: Two nodes that compute beside a head that does not; the second goes, as a node does that loses power.
_CLUSTER = """
import os, sys
from ray.cluster_utils import Cluster
room = 100_000_000
cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": room},
)
nodes = [cluster.add_node(num_cpus=1, object_store_memory=room) for _ in range(2)]
print("ADDRESS", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(nodes.pop(), allow_graceful=False)
    print("GONE", flush=True)
cluster.shutdown()
"""

TREE: dict[str, Any] = {
    "scan": {"name": "cluster", "seed": 3},
    "patches": {"centres": [[148.6, 24.2]], "radius": 5.0},
    "fiducial": {"radius": 4.0},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-17.0, -6.0], "min_stars": 10, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 20, "min_stars": 30},
    "scorer": {"name": "anode"},
    "density": {"blocks": 1, "hidden": 16, "max_epochs": 15, "batch_size": 64},
    "trunk": {"density": 0.05, "max_star_steps": 20_000},
    "mock": {"density": 0.05},
}
SETTINGS = Settings.model_validate(TREE)


@contextmanager
def cluster() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Lend a cluster: its address, and the process that removes a node for every line it reads."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"},
    ) as process:
        try:
            yield said(process, "ADDRESS"), process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(180)


def said(process: subprocess.Popen[str], word: str) -> str:
    """Return what follows a word at the begin of a line of a process."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    pytest.fail(f"the cluster ended without a word of {word}")


def scores(out: Path) -> int:
    return len(list((out / "receipts" / "scores").rglob("*.json")))


def test_a_scan_loses_a_node_and_nothing_else(tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed"
    run_scan(SETTINGS, undisturbed, runner=InlineRunner())
    out, toml = shutil.copytree(undisturbed, tmp_path / "out"), tmp_path / "scan.toml"
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
    toml.write_text(dump(Settings.model_validate({**TREE, "runner": {"address": "auto"}})), encoding="utf-8")
    command = [sys.executable, "-m", "viamachinae", "run", str(toml), "--out", str(out)]
    with cluster() as (address, nodes):
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": address}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as driver:
            end = time.monotonic() + 400
            while not scores(out):
                assert driver.poll() is None, driver.communicate()[1]
                assert time.monotonic() < end
                time.sleep(0.02)
            assert nodes.stdin is not None
            nodes.stdin.write("remove\n")
            nodes.stdin.flush()
            said(nodes, "GONE")
            left = scores(out)
            _, stderr = driver.communicate(timeout=400)
    assert driver.returncode == ExitCode.COMPLETE, stderr
    assert 0 < left < scores(undisturbed)
    assert re.search(r"scores/\S+ lost its (node|worker process)", stderr), stderr
    for name in ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv"):
        assert file_sha256(out / name) == file_sha256(undisturbed / name)
    for path in sorted((undisturbed / "scores").rglob("*.parquet")):
        assert file_sha256(out / path.relative_to(undisturbed)) == file_sha256(path)
