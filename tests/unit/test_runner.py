"""Both runners run the same tasks to the same outcomes, whatever fails."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from viamachinae.errors import DataError
from viamachinae.scan.ray_runner import RayRunner, _short_folder
from viamachinae.scan.runner import InlineRunner, Outcome, Runner
from viamachinae.scan.task import Task


@pytest.fixture(params=["inline", "ray"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return InlineRunner() if request.param == "inline" else request.getfixturevalue("ray_runner")


def tasks(n: int) -> list[Task]:
    return [Task("scores", f"p{k}", f"key{k}", (), {"k": k}) for k in range(n)]


def by_name(outcomes: Iterator[Outcome]) -> dict[str, Outcome]:
    return {outcome.task.name: outcome for outcome in outcomes}


def summing() -> Callable[[Task, int], dict[str, Any]]:
    # A local function travels to the workers by value: they cannot import the tests.
    def fn(task: Task, attempt: int) -> dict[str, Any]:
        x = np.random.default_rng(task.work["k"]).normal(size=(300, 300))
        return {"sum": float((x @ x.T).sum()), "attempt": attempt}

    return fn


def test_every_task_ends_once(runner: Runner) -> None:
    outcomes = list(runner.run(tasks(7), summing()))
    assert sorted(o.task.name for o in outcomes) == [f"p{k}" for k in range(7)]
    assert all(o.ok and o.value is not None and o.value["attempt"] == 1 for o in outcomes)


def test_no_tasks_start_nothing() -> None:
    with RayRunner(workers=1, address="no-such-cluster:1") as idle:
        assert list(idle.run([], summing())) == []


def test_inline_and_ray_agree_to_the_last_bit(ray_runner: RayRunner) -> None:
    inline = by_name(InlineRunner().run(tasks(4), summing()))
    remote = by_name(ray_runner.run(tasks(4), summing()))
    assert {n: o.value for n, o in inline.items()} == {n: o.value for n, o in remote.items()}


def test_a_failing_task_is_reported_and_the_others_go_on(runner: Runner) -> None:
    def fn(task: Task, attempt: int) -> dict[str, Any]:
        if task.work["k"] == 1:
            msg = "patch p1: no stars"
            raise DataError(msg)
        if task.work["k"] == 2:
            raise ZeroDivisionError
        return {"attempt": attempt}

    outcomes = by_name(runner.run(tasks(4), fn))
    assert [outcomes[f"p{k}"].ok for k in range(4)] == [True, False, False, True]
    assert outcomes["p1"].error == "patch p1: no stars"
    assert outcomes["p1"].unusable
    assert "ZeroDivisionError" in outcomes["p2"].error
    assert "Traceback" in outcomes["p2"].trace
    assert not outcomes["p2"].unusable


def test_science_errors_are_not_tried_again(runner: Runner, tmp_path: Path) -> None:
    marks = tmp_path

    def fn(task: Task, attempt: int) -> dict[str, Any]:
        (marks / f"{task.name}-{attempt}").touch()
        raise ValueError

    assert not any(o.ok for o in runner.run(tasks(2), fn))
    assert sorted(p.name for p in marks.iterdir()) == ["p0-1", "p1-1"]


def test_a_task_whose_worker_died_is_tried_again(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: int) -> dict[str, Any]:
        if task.work["k"] == 0 and attempt == 1:
            os._exit(9)
        return {"attempt": attempt}

    outcomes = by_name(ray_runner.run(tasks(3), fn))
    assert all(o.ok for o in outcomes.values())
    assert outcomes["p0"].value == {"attempt": 2}


def test_a_worker_that_always_dies_is_given_up(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: int) -> dict[str, Any]:
        time.sleep(0.01)
        os._exit(9)

    (outcome,) = ray_runner.run(tasks(1), fn)
    assert not outcome.ok
    assert "died 3 times" in outcome.error


def test_a_signal_while_ray_starts_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(**_: Any) -> None:
        raise SystemExit(15)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", killed)
    with RayRunner(workers=1) as runner, pytest.raises(KeyboardInterrupt):
        list(runner.run(tasks(1), summing()))


@pytest.mark.parametrize("length", [5, 27, 28, 90])
def test_the_sockets_of_ray_have_short_paths(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    base = "/" + "x" * (length - 1)
    made = []

    def make(prefix: str, dir: Path) -> str:  # noqa: A002
        made.append(Path(dir))
        return f"{dir}/{prefix}12345678"

    monkeypatch.setattr("tempfile.gettempdir", lambda: base)
    monkeypatch.setattr("tempfile.mkdtemp", make)
    socket = "session_2026-11-22_03-38-13_596128_4194304/sockets/plasma_store"
    assert len(str(_short_folder() / socket)) <= 103
    assert (made == [Path(base)]) == (length <= 27)


def test_warnings_of_a_task_are_heard_wherever_it_runs(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    def fn(task: Task, attempt: int) -> dict[str, Any]:
        logging.getLogger("viamachinae.stars").warning("stars in only %d %% of it", 90)
        return {}

    with caplog.at_level(logging.WARNING, "viamachinae"):
        assert all(outcome.ok for outcome in runner.run(tasks(2), fn))
    assert sum("stars in only 90 % of it" in record.getMessage() for record in caplog.records) == 2


def test_workers_have_one_thread_and_the_own_environment_is_left_alone(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a batch system sets it; the Ray of the tests has started without.
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    before = dict(os.environ)

    def fn(task: Task, attempt: int) -> dict[str, Any]:
        return {"threads": os.environ["OMP_NUM_THREADS"]}

    (outcome,) = runner.run(tasks(1), fn)
    assert outcome.value == {"threads": "1"}
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == {
        k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"
    }


def asked(monkeypatch: pytest.MonkeyPatch, device: str, resources: dict[str, float], stage: str) -> Any:
    """Return the GPUs that Ray is asked for: at its start, and for a task of a stage."""
    started: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", started.update)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    with RayRunner(2, device=device) as runner:
        runner._start()
        return started["num_gpus"], runner._options(stage).get("num_gpus", 0)


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("cpu", 4.0, (0, 0)),
        ("cuda", 4.0, (None, 1)),  # None: as many as Ray finds
        ("auto", 1.0, (None, 1)),
        ("auto", 0.0, (None, 0)),
        ("cuda", 0.0, (None, 0)),  # the task says what is missing, instead of waiting for ever
    ],
)
@pytest.mark.parametrize("stage", ["trunk", "scores"])
def test_a_task_that_trains_has_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: float, expected: tuple[int | None, int], stage: str
) -> None:
    assert asked(monkeypatch, device, {"CPU": 2.0, "GPU": gpus}, stage) == expected
    assert asked(monkeypatch, device, {"CPU": 2.0, "GPU": gpus}, "lines")[1] == 0
