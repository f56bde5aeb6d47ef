"""A small scan through the shipped scripts: killed at its wall-time, requeued, finished, and cancelled."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from cluster import KILL_WAIT, begun_since, living, wait_for
from conftest import Scan

from viamachinae.cli.run import options_of
from viamachinae.config.presets import workflow
from viamachinae.config.settings import Settings
from viamachinae.scan.batch.request import Request
from viamachinae.scan.drive import run_scan

pytestmark = pytest.mark.slurm

on_one = pytest.mark.parametrize("scan", ["one_node"], indirect=True)
on_two = pytest.mark.parametrize("scan", ["two_nodes"], indirect=True)

_FILES = ("streams.parquet", "members.parquet", "tracks.parquet")


def _small() -> Settings:
    """Return the demo with fewer stars, fewer regions and two more patches: a minute of one core."""
    demo = workflow("demo")
    stream = demo.mock.streams[0].model_copy(update={"n_stars": 150})
    changes = {
        "scan": {"name": "small"},
        "patches": {"centres": (*demo.patches.centres, (150.0, 50.0), (170.0, 40.0))},
        "mock": {"density": 0.03, "streams": (stream,)},
        "regions": {
            "min_stars": 800,
            "group_size": 1,
            "limits": (-12.0, 6.0),
            "coordinates": ("pm_phi_coslambda",),
        },
        "density": {"max_star_steps": 50_000},
        "trunk": {"density": 0.03, "max_star_steps": 100_000},
    }
    sections = {name: getattr(demo, name).model_copy(update=keys) for name, keys in changes.items()}
    return demo.model_copy(update=sections)


SMALL = _small()


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The tables of the same scan, run in one go in this process."""
    out = tmp_path_factory.mktemp("answer") / "scan"
    inline = SMALL.runner.model_copy(update={"inline": True})
    run_scan(SMALL.model_copy(update={"runner": inline}), out, options_of())
    return {name: pd.read_parquet(out / name) for name in _FILES}


def same(out: Path, answer: dict[str, pd.DataFrame]) -> None:
    assert len(answer["streams.parquet"]) > 0
    for name, table in answer.items():
        pd.testing.assert_frame_equal(pd.read_parquet(out / name), table, check_exact=True)


@on_two
def test_an_array_on_two_nodes_outlives_its_wall_time(scan: Scan, answer: dict[str, pd.DataFrame]) -> None:
    array, merge = scan.submit(SMALL, Request(nodes=2, time="00:01:00"), grace=15)
    scan.wait(900)
    tasks = scan.cluster.tasks(array)
    assert [task["JobState"] for task in tasks] == ["COMPLETED", "COMPLETED"], scan.log()
    assert scan.cluster.job(merge)["JobState"] == "COMPLETED", scan.log()
    assert sum(int(task["Restarts"]) for task in tasks) >= 1
    same(scan.out, answer)
    assert scan.leftovers() == set()


@on_one
def test_one_ray_outlives_its_wall_time(scan: Scan, answer: dict[str, pd.DataFrame]) -> None:
    (job,) = scan.submit(SMALL, Request("ray", nodes=1, time="00:01:00"), grace=15)
    scan.wait(900)
    ended = scan.cluster.job(job)
    assert ended["JobState"] == "COMPLETED", scan.log()
    assert int(ended["Restarts"]) >= 1
    same(scan.out, answer)
    assert scan.leftovers() == set()


@on_one
@pytest.mark.parametrize("shape", ["array", "ray"])
def test_a_cancelled_scan_leaves_no_process(scan: Scan, shape: str) -> None:
    before = set(living())
    job, *_ = scan.submit(SMALL, Request(shape, nodes=1))
    wait_for(lambda: list(scan.out.glob("receipts/stars/*.json")), 120, "the scan is under way")
    scan.cluster.run("scancel", *scan.jobs)
    scan.wait(KILL_WAIT + 30)
    assert scan.cluster.job(job)["JobState"] == "CANCELLED"
    wait_for(lambda: not begun_since(before), 10, f"all are gone: {begun_since(before)}")
