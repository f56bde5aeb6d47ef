"""Tasks on Ray: a few more than there are workers at a time, the others wait here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from viamachinae.config.settings import RunnerSettings
from viamachinae.errors import TaskError
from viamachinae.scan.agenda import Agenda
from viamachinae.scan.attempt import Attempt, Fault
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.ray_cluster import RayCluster, cores
from viamachinae.scan.runner import TaskFunction, call
from viamachinae.scan.sections import TRAINING
from viamachinae.scan.task import Task

__all__ = ["RayRunner", "cores"]

logger = logging.getLogger(__name__)

#: How often the driver looks up from waiting (s), and how long it waits for a worker where there is none.
_POLL = 0.5
_DESERTED = 120.0


class RayRunner:
    """Runs tasks on Ray, started when the first task needs it.

    Ray is told of as many tasks as can run, so that its memory and the driver's do not
    grow with the scan, and that no task is started behind the back of a
    :class:`~viamachinae.scan.interrupt.Stop`. Ray itself tries nothing again: it cannot tell
    which faults are worth it, nor give a task less memory.

    Parameters
    ----------
    settings : RunnerSettings
        ``workers``: tasks at a time, one core each; ``address``: cluster to join;
        ``device``: unless on processors, a task that trains has ``gpus_per_task`` GPUs,
        where the cluster has any.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        self.settings = settings
        self._cluster = RayCluster(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.__exit__(kind, error, trace)

    def run(self, tasks: Sequence[Task], fn: TaskFunction, stop: Stop = NEVER) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end."""
        if not tasks:
            return
        self._cluster.start()
        flight = _Flight(self._cluster, fn, self._options({task.stage for task in tasks}))
        agenda = Agenda(tasks, stop)
        try:
            while True:
                while flight.room() and (taken := agenda.take()) is not None:
                    flight.start(*taken)
                if not flight.tasks or stop.left <= 0:
                    return
                for outcome, attempt in flight.landed(_POLL):
                    settled = agenda.settle(outcome, attempt)
                    if settled is not None:
                        yield settled
        finally:
            flight.drop()

    def _options(self, stages: set[str]) -> dict[str, dict[str, Any]]:
        """Return what Ray is told of the tasks of each stage.

        The process of a task with a GPU ends with it, as Ray does by default: the next
        one may be given another GPU, and PyTorch would stay on the first.
        """
        options: dict[str, dict[str, Any]] = {}
        for stage in stages:
            options[stage] = {"num_cpus": 1, "max_retries": 0, "retry_exceptions": False}
            # Without a GPU in the cluster a task starts all the same, and says what is missing.
            gpus = self.settings.gpus_per_task
            if self.settings.device != "cpu" and stage in TRAINING and self._cluster.has("GPU") >= gpus:
                options[stage]["num_gpus"] = gpus
        return options


class _Flight:
    """The tasks that Ray runs at the moment."""

    def __init__(
        self, cluster: RayCluster, fn: TaskFunction, options: Mapping[str, Mapping[str, Any]]
    ) -> None:
        import ray

        self.tasks: dict[Any, tuple[Task, Attempt]] = {}
        self._cluster = cluster
        self._gpus = max(float(option.get("num_gpus", 0.0)) for option in options.values())
        self._remotes = {stage: ray.remote(**option)(_call) for stage, option in options.items()}
        self._fn = ray.put(fn)
        self._seen = time.monotonic()

    def room(self) -> bool:
        """Return whether another task can run."""
        return len(self.tasks) < self._cluster.slots(self._gpus)

    def start(self, task: Task, attempt: Attempt) -> None:
        """Give a task to Ray."""
        self.tasks[self._remotes[task.stage].remote(self._fn, task, attempt)] = (task, attempt)

    def landed(self, timeout: float) -> Iterator[tuple[Outcome, Attempt]]:
        """Yield what ended within some time (s)."""
        import ray

        references = list(self.tasks)
        ended, _ = ray.wait(references, num_returns=1, timeout=timeout)
        if ended:
            ended, _ = ray.wait(references, num_returns=len(references), timeout=0)
        elif not self._cluster.has("CPU"):
            self._complain()
        else:
            self._seen = time.monotonic()
        for reference in ended:
            task, attempt = self.tasks.pop(reference)
            yield _collect(reference, task), attempt

    def drop(self) -> None:
        """End the tasks that still run."""
        import ray

        for reference in self.tasks:
            ray.cancel(reference, force=True)
        self.tasks.clear()

    def _complain(self) -> None:
        if time.monotonic() - self._seen > _DESERTED:
            msg = (
                f"the Ray cluster has had no worker for {_DESERTED:.0f} s; "
                "look at its nodes, and run the same command again"
            )
            raise TaskError(msg)


def _collect(reference: Any, task: Task) -> Outcome:
    """Return how a task ended that Ray has done with."""
    import ray
    from ray import exceptions

    faults: dict[type[Exception], Fault] = {
        exceptions.OutOfMemoryError: Fault.MEMORY,
        exceptions.WorkerCrashedError: Fault.WORKER,
        exceptions.NodeDiedError: Fault.NODE,
        exceptions.LocalRayletDiedError: Fault.NODE,
        exceptions.ObjectLostError: Fault.NODE,
        exceptions.RaySystemError: Fault.NODE,
        exceptions.OutOfDiskError: Fault.NODE,
        exceptions.RuntimeEnvSetupError: Fault.NODE,
    }
    try:
        outcome: Outcome = ray.get(reference)
    except tuple(faults) as error:
        fault = next(fault for kind, fault in faults.items() if isinstance(error, kind))
        return Outcome(task, error=f"{type(error).__name__}: {str(error).splitlines()[0]}", fault=fault)
    except exceptions.RayError as error:
        return Outcome(task, error=f"Ray could not run it: {error}")
    for warning in outcome.warnings:
        logger.warning("%s: %s", task.id, warning)
    return replace(outcome, task=task)  # the worker's copy of the task goes


class _Warnings(logging.Handler):
    """Keeps what a worker has to say to the user: its own log goes nowhere."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _call(fn: TaskFunction, task: Task, attempt: Attempt) -> Outcome:
    """Run one task in a worker and return how it ended, with the warnings that it logged."""
    heard, room = _Warnings(), logging.getLogger("viamachinae")
    room.addHandler(heard)
    try:
        return replace(call(fn, task, attempt), warnings=tuple(heard.texts))
    finally:
        room.removeHandler(heard)
