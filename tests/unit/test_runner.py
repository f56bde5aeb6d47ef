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

from viamachinae.config.settings import RunnerSettings
from viamachinae.errors import DataError, TaskError
from viamachinae.scan import attempt as attempts
from viamachinae.scan.agenda import Agenda
from viamachinae.scan.attempt import Attempt, Fault
from viamachinae.scan.faults import fault_of
from viamachinae.scan.interrupt import Stop
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.runner import InlineRunner, Runner
from viamachinae.scan.task import Task


@pytest.fixture(params=["inline", "ray"])
def runner(request: pytest.FixtureRequest) -> Runner:
    return InlineRunner() if request.param == "inline" else request.getfixturevalue("ray_runner")


def tasks(n: int) -> list[Task]:
    return [Task("scores", f"p{k}", f"key{k}", (), {"k": k}) for k in range(n)]


def by_name(outcomes: Iterator[Outcome]) -> dict[str, Outcome]:
    return {outcome.task.name: outcome for outcome in outcomes}


def summing() -> Callable[[Task, Attempt], dict[str, Any]]:
    # A local function travels to the workers by value: they cannot import the tests.
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        x = np.random.default_rng(task.work["k"]).normal(size=(300, 300))
        return {"sum": float((x @ x.T).sum()), "attempt": attempt.number}

    return fn


def test_every_task_ends_once(runner: Runner) -> None:
    outcomes = list(runner.run(tasks(7), summing()))
    assert sorted(o.task.name for o in outcomes) == [f"p{k}" for k in range(7)]
    assert all(o.ok and o.value is not None and o.value["attempt"] == 1 for o in outcomes)


def test_no_tasks_start_nothing() -> None:
    with RayRunner(RunnerSettings(workers=1, address="no-such-cluster:1")) as idle:
        assert list(idle.run([], summing())) == []


def test_inline_and_ray_agree_to_the_last_bit(ray_runner: RayRunner) -> None:
    inline = by_name(InlineRunner().run(tasks(4), summing()))
    remote = by_name(ray_runner.run(tasks(4), summing()))
    assert {n: o.value for n, o in inline.items()} == {n: o.value for n, o in remote.items()}


def test_a_failing_task_is_reported_and_the_others_go_on(runner: Runner) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        if task.work["k"] == 1:
            msg = "patch p1: no stars"
            raise DataError(msg)
        if task.work["k"] == 2:
            raise ZeroDivisionError
        return {"attempt": attempt.number}

    outcomes = by_name(runner.run(tasks(4), fn))
    assert [outcomes[f"p{k}"].ok for k in range(4)] == [True, False, False, True]
    assert outcomes["p1"].error == "patch p1: no stars"
    assert outcomes["p1"].unusable
    assert "ZeroDivisionError" in outcomes["p2"].error
    assert "Traceback" in outcomes["p2"].trace
    assert not outcomes["p2"].unusable


def test_science_errors_are_not_tried_again(runner: Runner, tmp_path: Path) -> None:
    marks = tmp_path

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        (marks / f"{task.name}-{attempt.number}").touch()
        raise ValueError

    assert not any(o.ok for o in runner.run(tasks(2), fn))
    assert sorted(p.name for p in marks.iterdir()) == ["p0-1", "p1-1"]


def test_a_task_whose_worker_died_is_tried_again(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        if task.work["k"] == 0 and attempt.number == 1:
            os._exit(9)
        return {"attempt": attempt.number}

    outcomes = by_name(ray_runner.run(tasks(3), fn))
    assert all(o.ok for o in outcomes.values())
    assert outcomes["p0"].value == {"attempt": 2}


def test_a_worker_that_always_dies_is_given_up(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        time.sleep(0.01)
        os._exit(9)

    (outcome,) = ray_runner.run(tasks(1), fn)
    assert not outcome.ok
    assert "lost its worker process 3 times, at last with 0.25 of runner.memory_gb" in outcome.error


def test_a_signal_while_ray_starts_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(**_: Any) -> None:
        raise SystemExit(15)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", killed)
    with RayRunner(RunnerSettings(workers=1)) as runner, pytest.raises(KeyboardInterrupt):
        list(runner.run(tasks(1), summing()))


def test_warnings_of_a_task_are_heard_wherever_it_runs(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
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

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        return {"threads": os.environ["OMP_NUM_THREADS"]}

    (outcome,) = runner.run(tasks(1), fn)
    assert outcome.value == {"threads": "1"}
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == {
        k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"
    }


def asked(
    monkeypatch: pytest.MonkeyPatch, settings: RunnerSettings, resources: dict[str, float], stage: str
) -> tuple[int | None, float, int]:
    """Return the GPUs that Ray is asked for, at its start and for a task of a stage, and tasks at a time."""
    started: dict[str, Any] = {}
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: started.update(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    with RayRunner(settings) as runner:
        runner._cluster.start()
        gpus = runner._options({stage})[stage].get("num_gpus", 0)
        return started.get("num_gpus"), gpus, runner._cluster.slots(gpus)


@pytest.mark.parametrize(
    ("device", "gpus", "part", "expected"),
    [
        ("cpu", 4.0, 1.0, (0, 0, 8)),
        ("cuda", 4.0, 1.0, (None, 1, 4)),  # None: as many as Ray finds
        ("cuda", 4.0, 0.5, (None, 0.5, 8)),
        ("cuda", 1.0, 0.3, (None, 0.3, 3)),
        ("auto", 1.0, 1.0, (None, 1, 1)),
        ("auto", 0.0, 1.0, (None, 0, 8)),
        ("cuda", 0.0, 1.0, (None, 0, 8)),  # the task says what is missing, instead of waiting for ever
    ],
)
@pytest.mark.parametrize("stage", ["trunk", "scores"])
def test_a_task_that_trains_has_its_part_of_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch,
    device: Any,
    gpus: float,
    part: float,
    expected: tuple[int | None, float, int],
    stage: str,
) -> None:
    settings, resources = RunnerSettings(device=device, gpus_per_task=part), {"CPU": 8.0, "GPU": gpus}
    assert asked(monkeypatch, settings, resources, stage) == expected
    assert asked(monkeypatch, settings, resources, "lines")[1:] == (0, 8)


def test_workers_bound_the_tasks_at_a_time_on_a_larger_cluster_too(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = RunnerSettings(workers=3, address="auto")
    assert asked(monkeypatch, joined, {"CPU": 8.0}, "scores") == (None, 0, 3)


def test_niceness_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str | None] = []
    variable = "RAY_worker_niceness"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: found.append(os.environ.get(variable)))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    for nice in (0, 7):
        with RayRunner(RunnerSettings(nice=nice)) as runner:
            runner._cluster.start()
    assert found == ["0", "7"]
    assert variable not in os.environ


def test_workers_are_as_important_as_everything_else(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        return {"nice": os.getpriority(os.PRIO_PROCESS, 0)}

    (outcome,) = ray_runner.run(tasks(1), fn)
    assert outcome.value == {"nice": os.getpriority(os.PRIO_PROCESS, 0)}


def test_processes_are_used_again(ray_runner: RayRunner) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        return {"pid": os.getpid()}

    pids = {outcome.value["pid"] for outcome in ray_runner.run(tasks(40), fn) if outcome.value}
    assert 1 <= len(pids) <= 4
    assert os.getpid() not in pids


def test_the_heaviest_come_first_and_equal_ones_in_order() -> None:
    weighed = [Task("scores", str(i), "", weight=w) for i, w in enumerate([1.0, 9.0, 3.0, 9.0, 0.0])]

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        return {}

    ended = [outcome.task.name for outcome in InlineRunner().run(weighed, fn)]
    assert ended == ["1", "3", "2", "0", "4"]


def exhausted(within: float) -> Callable[[Task, Attempt], dict[str, Any]]:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        if attempt.share > within:
            raise MemoryError
        return {"share": attempt.share, "attempt": attempt.number}

    return fn


def test_a_task_that_ran_out_of_memory_is_tried_again_smaller(runner: Runner) -> None:
    (outcome,) = runner.run(tasks(1), exhausted(0.25))
    assert outcome.value == {"share": 0.25, "attempt": 3}


def test_a_task_that_never_fits_is_given_up(runner: Runner) -> None:
    (outcome,) = runner.run(tasks(1), exhausted(0.0))
    assert not outcome.ok
    assert "ran out of memory 4 times, at last with 0.125 of runner.memory_gb (MemoryError" in outcome.error


def test_what_counts_as_out_of_memory() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch calls its own."""

    alloc = RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
    assert all(fault_of(error) is Fault.MEMORY for error in (MemoryError(), OutOfMemoryError("CUDA"), alloc))
    assert not any(fault_of(error) for error in (RuntimeError("shape"), ValueError(), OSError()))


def test_tries_are_bounded_by_fault() -> None:
    for fault, further in attempts.FURTHER.items():
        attempt: Attempt | None = Attempt()
        for _ in range(further):
            assert attempt is not None
            attempt = attempt.after(fault)
        assert attempt is not None
        assert attempt.after(fault) is None
        assert attempt.share == (0.5**further if fault in (Fault.MEMORY, Fault.WORKER) else 1.0)
        # Faults of other kinds are counted by themselves.
        others = {other for other, n in attempts.FURTHER.items() if n} - {fault}
        assert all(attempt.after(other) is not None for other in others)


def test_nothing_is_started_once_the_run_is_asked_to_end(runner: Runner) -> None:
    stop, started = Stop(grace=30.0), []
    for outcome in runner.run(tasks(40), summing(), stop):
        started.append(outcome.task.name)
        stop.ask("enough")
    assert 1 <= len(started) <= 3  # those that ran when it was asked


def test_a_stop_file_that_is_there_already_is_spoken_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "STOP"
    with Stop(file=file):
        assert not caplog.text
    file.touch()
    with Stop(file=file) as stop:
        assert not stop.asked
        assert f"{file} is there already" in caplog.text


def test_tasks_that_do_not_end_in_time_are_dropped(ray_runner: RayRunner, tmp_path: Path) -> None:
    stop, began = Stop(grace=2.0), time.monotonic()

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        time.sleep(0.01 if task.name == "p0" else 60.0)
        (tmp_path / task.name).touch()
        return {}

    ended = []
    for outcome in ray_runner.run(tasks(2), fn, stop):
        ended.append(outcome.task.name)
        stop.ask("enough")
    assert ended == ["p0"]
    assert time.monotonic() - began < 20
    # Their processes are gone, and others take the next tasks.
    assert all(outcome.ok for outcome in ray_runner.run(tasks(3), summing()))
    assert [path.name for path in tmp_path.iterdir()] == ["p0"]


def test_only_tasks_that_fit_into_the_time_left_are_started() -> None:
    stop = Stop(grace=1.0, end=time.time() + 100.0)
    agenda = Agenda([Task("scores", str(w), "", weight=w) for w in (1.0, 5.0, 50.0, 500.0)], stop)
    taken = agenda.take()
    assert taken is not None  # nothing is known yet
    task, attempt = taken
    assert task.name == "500.0"
    agenda.settle(Outcome(task, {}, seconds=1000.0), attempt)
    assert [item[0].name for item in iter(agenda.take, None)] == ["5.0", "1.0"]
    assert len(agenda) == 1


def test_a_cluster_without_workers_is_given_up(
    ray_runner: RayRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        time.sleep(30.0)
        return {}

    monkeypatch.setattr("viamachinae.scan.ray_runner._DESERTED", 1.0)
    monkeypatch.setattr(ray, "cluster_resources", dict)
    with pytest.raises(TaskError, match="no worker"):
        list(ray_runner.run(tasks(1), fn))


@pytest.mark.heavy
def test_a_worker_that_ray_kills_for_its_memory_is_tried_again_smaller_and_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Heavy for another reason too: whoever else fills the memory meanwhile gets the blame.
    if ray.is_initialized():
        pytest.skip("Ray runs already, with its own threshold")
    pairs = (line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    memory = {name: float(text.split()[0]) for name, text in pairs}  # kB
    used = 1 - memory["MemAvailable"] / memory["MemTotal"]
    # Between half a task and a whole one, both with the 0.7 GB that Ray itself takes.
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{used + 4.4e6 / memory['MemTotal']:.3f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        share = attempt.share if task.name == "p0" else 1.0
        held = []
        for _ in range(int(50 * share)):
            held.append(np.ones(12_500_000))  # 100 MB
            time.sleep(0.02)
        time.sleep(1.5)
        return {"share": share, "attempt": attempt.number}

    with RayRunner(RunnerSettings(workers=1)) as runner:
        ended = {outcome.task.name: outcome for outcome in runner.run(tasks(2), fn)}
    assert ended["p0"].value == {"share": 0.5, "attempt": 2}
    assert not ended["p1"].ok
    assert "ran out of memory 4 times, at last with 0.125 of runner.memory_gb" in ended["p1"].error
