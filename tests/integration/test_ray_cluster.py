"""A scan on a Ray cluster that was there before: two nodes, of which one is lost in mid-scan."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ExitCode
from viamachinae.scan.drive import run_scan
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.store import Store
from viamachinae.schema.publish import file_sha256

#: Two nodes; the second goes, as a node does that loses power.
_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
second = cluster.add_node(**node)
print("ADDRESS", cluster.address, flush=True)
for line in sys.stdin:
    cluster.remove_node(second, allow_graceful=False)
    print("GONE", flush=True)
cluster.shutdown()
"""

#: A run whose score tasks wait, once the first is published, until the test lets them go on.
_DRIVER = """
import logging, sys, time
from pathlib import Path
import ray
from viamachinae.config.toml import load
from viamachinae.scan.drive import run_scan
from viamachinae.scan.stages import DEFAULT_STAGES
toml, out, waiting = map(Path, sys.argv[1:])

def scores(task, store, settings):
    if store.receipts("scores"):
        (waiting / ray.get_runtime_context().get_node_id()).touch()
        while not (waiting / "go").exists():
            time.sleep(0.02)
    return DEFAULT_STAGES["scores"](task, store, settings)

logging.basicConfig(level=logging.INFO)
run_scan(load(toml), out, stages={**DEFAULT_STAGES, "scores": scores})
"""

TREE: dict[str, Any] = {
    "scan": {"name": "cluster", "seed": 3},
    "patches": {"centres": [[148.6, 24.2]], "radius": 5.0},
    "fiducial": {"radius": 4.0},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-17.0, -6.0], "min_stars": 10, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 20, "min_stars": 30},
    "scorer": {"name": "anode"},
    "density": {"blocks": 1, "hidden": 8, "max_epochs": 2, "batch_size": 256},
    "trunk": {"density": 0.01, "max_star_steps": 2_000},
    "mock": {"density": 0.05},
}
SETTINGS = Settings.model_validate(TREE)
#: Longer than anything here takes on a machine with much else to do (s).
PATIENCE = 400


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


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait as long as a process lives."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_scan_loses_a_node_and_nothing_else(tmp_path: Path) -> None:
    undisturbed, out, waiting = tmp_path / "undisturbed", tmp_path / "out", tmp_path / "waiting"
    run_scan(SETTINGS, undisturbed, runner=InlineRunner())
    shutil.copytree(undisturbed, out)
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
    waiting.mkdir()
    toml = tmp_path / "scan.toml"
    toml.write_text(dump(Settings.model_validate({**TREE, "runner": {"address": "auto"}})), encoding="utf-8")
    command = [sys.executable, "-c", _DRIVER, str(toml), str(out), str(waiting)]
    with cluster() as (address, nodes):
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": address}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as driver:
            wait_for(lambda: len(list(waiting.iterdir())) == 2, driver)  # a task on either node
            kept = {r.name: r.body for r in Store(out).receipts("scores")}
            assert nodes.stdin is not None
            nodes.stdin.write("remove\n")
            nodes.stdin.flush()
            said(nodes, "GONE")
            (waiting / "go").touch()
            _, stderr = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == ExitCode.COMPLETE, stderr
    assert re.search(r"scores/\S+ lost its (node|worker process)", stderr), stderr
    found = {r.name: r.body for r in Store(out).receipts("scores")}
    assert 0 < len(kept) < len(found) == len(Store(undisturbed).receipts("scores"))
    assert kept.items() <= found.items()
    for name in ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv"):
        assert file_sha256(out / name) == file_sha256(undisturbed / name)
    for path in sorted((undisturbed / "scores").rglob("*.parquet")):
        assert file_sha256(out / path.relative_to(undisturbed)) == file_sha256(path)
