"""The shipped scripts on Slurm, with a stand-in for the driver: who comes back, who waits, what is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from cluster import KILL_WAIT, begun_since, living, wait_for
from conftest import Scan

from viamachinae.config.presets import workflow
from viamachinae.scan.batch.request import Request

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("standin")]

DEMO = workflow("demo")
#: The shortest wall-time that Slurm knows.
MINUTE = "00:01:00"

on_one = pytest.mark.parametrize("scan", ["one_node"], indirect=True)
on_two = pytest.mark.parametrize("scan", ["two_nodes"], indirect=True)


@on_two
def test_groups_run_side_by_side_and_the_merge_follows(scan: Scan) -> None:
    scan.play(tasks=4, seconds=0.5)
    array, merge = scan.submit(DEMO, Request(nodes=2))
    scan.wait(60)
    assert [task["JobState"] for task in scan.cluster.tasks(array)] == ["COMPLETED", "COMPLETED"]
    assert scan.cluster.job(merge)["JobState"] == "COMPLETED"
    groups = {call["group"]: call for call in scan.calls()}
    assert set(groups) == {"1/2", "2/2", "all"}
    assert abs(groups["1/2"]["time"] - groups["2/2"]["time"]) < 2  # four tasks take as long
    assert groups["all"]["time"] > max(groups["1/2"]["time"], groups["2/2"]["time"]) + 2
    assert scan.leftovers() == set()


@on_one
def test_the_driver_gets_what_it_was_promised(scan: Scan) -> None:
    scan.play()
    (job, _) = scan.submit(DEMO, Request(nodes=1))
    scan.wait(60)
    call = scan.calls()[0]
    environment = call["environment"]
    assert call["scan"]
    assert call["workers"] == int(scan.cluster.job(job)["NumCPUs"])
    assert environment["RAY_AUTH_MODE"] == "token"
    assert call["token"] == [64, "0o600"]
    assert Path(environment["TMPDIR"]) == Path("/", "tmp", f"vm-{environment['SLURM_JOB_ID']}")
    left = float(environment["SLURM_JOB_END_TIME"]) - call["time"]
    assert 6 * 3600 - 10 < left <= 6 * 3600


@on_one
def test_a_job_at_its_wall_time_is_warned_and_comes_back_until_it_is_done(scan: Scan) -> None:
    scan.play(tasks=50, seconds=1)
    array, merge = scan.submit(DEMO, Request(nodes=1, time=MINUTE))
    wait_for(lambda: len(scan.calls()) == 2, 150, "the job is back")
    scan.play(tasks=50, seconds=0.1)  # for the jobs that start from now on
    scan.wait(200)
    ended = scan.cluster.job(array)
    assert ended["JobState"] == "COMPLETED"
    assert int(ended["Restarts"]) >= 1
    assert scan.cluster.job(merge)["JobState"] == "COMPLETED"  # it waited through the requeues
    groups = [call["group"] for call in scan.calls()]
    assert groups.index("all") == int(ended["Restarts"]) + 1
    assert "the driver left with 75" in scan.log()


@on_two
def test_a_lost_node_costs_its_group_a_restart_and_the_others_nothing(scan: Scan) -> None:
    scan.play(tasks=15, seconds=1)
    array, merge = scan.submit(DEMO, Request(nodes=2))
    wait_for(lambda: len(scan.calls()) == 2, 30, "both groups run")
    scan.cluster.lose("n2")
    try:
        scan.wait(180)
    finally:
        scan.cluster.boot("n2")
        wait_for(scan.cluster.idle, 60, "the node is back")
    tasks = scan.cluster.tasks(array)
    assert [task["JobState"] for task in tasks] == ["COMPLETED", "COMPLETED"]
    assert sorted(task["Restarts"] for task in tasks) == ["0", "1"]
    assert scan.cluster.job(merge)["JobState"] == "COMPLETED"


@on_two
def test_a_lost_first_node_brings_the_job_of_several_nodes_back(scan: Scan) -> None:
    (job,) = scan.submit(DEMO, Request("ray", nodes=2))
    wait_for(lambda: "BatchHost" in scan.cluster.job(job), 30, "the job runs")
    first = scan.cluster.job(job)["BatchHost"]
    scan.cluster.lose(first)
    try:
        wait_for(lambda: scan.cluster.job(job)["Restarts"] == "1", 120, "the job is back in the queue")
        scan.cluster.run("scancel", job)
        scan.wait(KILL_WAIT + 20)
    finally:
        scan.cluster.boot(first)
        wait_for(scan.cluster.idle, 60, "the node is back")


@on_one
def test_another_exit_code_ends_the_job_and_cancels_the_merge(scan: Scan) -> None:
    scan.play(tasks=1, code=70)
    array, merge = scan.submit(DEMO, Request(nodes=1))
    scan.wait(60)
    ended = scan.cluster.job(array)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "70:0", "0")
    assert scan.cluster.job(merge)["JobState"] == "CANCELLED"
    assert [call["group"] for call in scan.calls()] == ["1/1"]


@on_one
def test_a_cancelled_job_leaves_no_process_and_stays_away(scan: Scan) -> None:
    before = set(living())
    scan.play(tasks=1000, seconds=1)
    array, merge = scan.submit(DEMO, Request(nodes=1))
    wait_for(scan.calls, 30, "the driver runs")
    scan.cluster.run("scancel", array)
    scan.wait(KILL_WAIT + 20)
    assert scan.cluster.job(array)["JobState"] == "CANCELLED"
    assert scan.cluster.job(merge)["JobState"] == "CANCELLED"
    wait_for(lambda: not begun_since(before), 10, f"all are gone: {begun_since(before)}")
    assert "the driver left with 75" in scan.log()
    assert "ended by Slurm" in scan.log()
    assert len(scan.calls()) == 1


@on_one
def test_a_stop_file_made_by_hand_rehearses_the_wall_time(scan: Scan) -> None:
    scan.play(tasks=30, seconds=0.2)
    array, _ = scan.submit(DEMO, Request(nodes=1))
    wait_for(scan.calls, 30, "the driver runs")
    (scan.out / "slurm" / f"stop-{array}_1").touch()
    scan.wait(90)
    ended = scan.cluster.job(array)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1")


@on_one
def test_a_killed_driver_is_not_taken_for_one_that_is_done(scan: Scan) -> None:
    scan.play(tasks=1000, seconds=1)
    array, _ = scan.submit(DEMO, Request(nodes=1))
    wait_for(scan.calls, 30, "the driver runs")
    time.sleep(0.5)
    driver = next(pid for pid, text in living().items() if "standin.py run" in text and "bash" not in text)
    os.kill(driver, signal.SIGKILL)
    scan.wait(60)
    ended = scan.cluster.job(array)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "137:0", "0")


@on_one
def test_a_job_that_gets_nothing_done_does_not_come_back_for_ever(scan: Scan, standin: Path) -> None:
    program = standin / "viamachinae"
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("endless.py")}" "$@"\n'
    )
    array, merge = scan.submit(DEMO, Request(nodes=1), grace=1)
    scan.wait(180)
    ended = scan.cluster.job(array)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "70:0", "2"), scan.log()
    assert "3 runs in a row ended at their wall-time" in scan.log()
    assert scan.cluster.job(merge)["JobState"] == "CANCELLED"
    assert scan.leftovers() == set()


@on_one
def test_one_ray_over_all_nodes_runs_the_driver_once(scan: Scan) -> None:
    scan.play(tasks=1)
    (job,) = scan.submit(DEMO, Request("ray", nodes=1))
    scan.wait(120)
    assert scan.cluster.job(job)["JobState"] == "COMPLETED", scan.log()
    (call,) = scan.calls()
    assert call["group"] == "all"
    assert call["environment"]["RAY_ADDRESS"] == f"localhost:{20000 + int(job) % 1200 * 10}"
    assert scan.leftovers() == set()
    assert not Path(call["environment"]["TMPDIR"]).exists()


@on_one
def test_a_launcher_that_succeeds_without_the_driver_is_a_failure(scan: Scan, standin: Path) -> None:
    scan.play(tasks=1)
    launcher = standin / "ray"
    launcher.unlink()
    launcher.write_text("#!/bin/sh\nexit 0\n")
    launcher.chmod(0o755)
    (job,) = scan.submit(DEMO, Request("ray", nodes=1))
    scan.wait(60)
    ended = scan.cluster.job(job)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "70:0", "0")
    assert scan.calls() == []


@on_one
def test_the_driver_below_the_launcher_hears_of_the_stop(scan: Scan) -> None:
    scan.play(tasks=100, seconds=0.3)
    (job,) = scan.submit(DEMO, Request("ray", nodes=1))
    wait_for(scan.calls, 60, "the driver runs")
    scan.play(tasks=3)
    scan.cluster.run("scancel", "--batch", "--signal=USR2", job)
    scan.wait(120)
    ended = scan.cluster.job(job)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), scan.log()
    assert len(scan.calls()) == 2
