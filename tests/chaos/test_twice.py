"""Tasks done twice, and several runs on one folder: equal results are quiet, others are suspect."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos_scan import Fault, assert_same_catalogue, command, results, settings, undo_behind

from viamachinae.errors import ExitCode
from viamachinae.scan.retry import retry
from viamachinae.scan.sections import STAGES
from viamachinae.scan.stages import DEFAULT_STAGES
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import suspects
from viamachinae.scan.task import Products
from viamachinae.scan.writers import text_writer


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "cells"])
def test_every_task_done_twice(
    out: Path, undisturbed: Path, fault: Fault, get_over: Callable[..., None], stage: str
) -> None:
    fault.of("duplicated tasks", stage)
    store, given = Store(out), settings()
    for receipt in store.receipts(stage):
        products = DEFAULT_STAGES[stage](receipt.task, store, given)
        store.publish(receipt.task, products, started=time.time(), attempt=2)
    assert not suspects(out)
    assert results(out) == results(undisturbed)
    get_over(out)


@pytest.mark.parametrize("stage", ["stars", "trunk", "scores", "fragments", "streams"])
def test_a_second_result_that_differs(
    out: Path, undisturbed: Path, fault: Fault, get_over: Callable[..., None], stage: str
) -> None:
    fault.of("duplicated tasks", f"{stage}, with another result")
    store = Store(out)
    (receipt, *_) = store.receipts(stage)
    other = {relative: text_writer("other") for relative in receipt.outputs}
    store.publish(receipt.task, Products(other), started=time.time(), attempt=2)
    assert [suspect.id for suspect in suspects(out)] == [receipt.ref.id]
    assert results(out) == results(undisturbed)
    (found,) = [s for s in scan_status(out).stages if s.stage == stage]
    assert found.states["SUSPECT"] == 1
    get_over(out, sound=False)
    assert retry(out, "SUSPECT") == [receipt.ref.id]
    get_over(out)


@pytest.mark.parametrize(
    ("runs", "stage"),
    [
        (2, "plan"),
        pytest.param(3, "patches", marks=pytest.mark.heavy),
        pytest.param(4, "trunk", marks=pytest.mark.heavy),
    ],
)
def test_several_runs_on_one_folder(
    out: Path, undisturbed: Path, fault: Fault, get_over: Callable[..., None], runs: int, stage: str
) -> None:
    fault.of("several runs on one folder", f"{runs} after {stage}")
    undo_behind(out, stage)
    line = [sys.executable, "-m", "viamachinae", *command(out, "--inline")]
    processes = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(runs)]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == ExitCode.COMPLETE, error.decode()
    assert not suspects(out)
    assert_same_catalogue(out, undisturbed)
    get_over(out)


def test_one_run_makes_a_scan_anew_while_another_one_reads_it(
    out: Path, undisturbed: Path, fault: Fault, get_over: Callable[..., None]
) -> None:
    fault.of("several runs on one folder", "results deleted under a run")
    undo_behind(out, "scores")
    line = [sys.executable, "-m", "viamachinae", *command(out, "--inline")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list((out / "receipts" / "lines").rglob("*.json")):
            assert process.poll() is None
            time.sleep(0.01)
        shutil.rmtree(out / "receipts" / "stars")
        shutil.rmtree(out / "scores")
        process.communicate(timeout=300)
    assert process.returncode in list(ExitCode)
    get_over(out)
