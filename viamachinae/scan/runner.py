"""Where tasks run: in this process, or on Ray; the same interface, the same results."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

from viamachinae.errors import DataError, ViaMachinaeError
from viamachinae.scan.agenda import Agenda
from viamachinae.scan.attempt import RESTING, Attempt, rest_after
from viamachinae.scan.faults import fault_of
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.store import DamagedError
from viamachinae.scan.task import Task

__all__ = [
    "ONE_THREAD",
    "InlineRunner",
    "Outcome",
    "Runner",
    "TaskFunction",
    "ThreadRunner",
    "call",
    "environment",
]

#: One thread a worker: sums over more threads differ in the last bits, and busy neighbours cost less.
ONE_THREAD: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

#: Does a task's work and publishes it; gets the task and which try it is, returns small facts.
TaskFunction = Callable[[Task, Attempt], dict[str, Any]]

_POLL = 0.5


class Runner(Protocol):
    """Runs tasks; a context manager, started at most once a command."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, tasks: Sequence[Task], fn: TaskFunction, stop: Stop = NEVER) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end.

        Once ``stop`` is asked no task is started; those that run may end in the time
        left, and the others have no outcome.
        """
        ...


def call(fn: TaskFunction, task: Task, attempt: Attempt) -> Outcome:
    """Run one task in one thread and return how it ended; an error of the task never escapes."""
    with _one_thread():
        outcome = _outcome(fn, task, attempt)
    _rest(outcome)
    return outcome


def _outcome(fn: TaskFunction, task: Task, attempt: Attempt) -> Outcome:
    began = time.monotonic()
    try:
        outcome = Outcome(task, fn(task, attempt))
    except ViaMachinaeError as error:
        unusable, damaged = isinstance(error, DataError), isinstance(error, DamagedError)
        fault = fault_of(error)
        outcome = Outcome(task, error=str(error), unusable=unusable, damaged=damaged, fault=fault)
    except Exception as error:  # noqa: BLE001  the other tasks go on; the traceback reaches the log
        text = f"{type(error).__name__}: {error}"
        outcome = Outcome(task, error=text, trace=traceback.format_exc(), fault=fault_of(error))
    return replace(outcome, seconds=time.monotonic() - began)


#: Faults that this process met in a row.
_met = [0]


def _rest(outcome: Outcome, stop: Stop = NEVER) -> None:
    """Let this process rest when a file system or a GPU failed it, unless the run is asked to end."""
    _met[0] = _met[0] + 1 if outcome.fault in RESTING else 0
    end = time.monotonic() + rest_after(_met[0])
    while (left := end - time.monotonic()) > 0 and not stop.asked:
        time.sleep(min(left, _POLL))


class InlineRunner:
    """Runs tasks one after another in this process, without Ray."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(self, tasks: Sequence[Task], fn: TaskFunction, stop: Stop = NEVER) -> Iterator[Outcome]:
        """Yield an outcome for every task, the heaviest first."""
        agenda = Agenda(tasks, stop)
        with _one_thread():
            while (taken := agenda.take()) is not None:
                task, attempt = taken
                ended = _outcome(fn, task, attempt)
                _rest(ended, stop)
                outcome = agenda.settle(ended, attempt)
                if outcome is not None:
                    yield outcome


class ThreadRunner:
    """Runs tasks that wait for others (downloads) in threads of this process.

    Parameters
    ----------
    threads : int
        Tasks at a time.
    stop : threading.Event
        Is set when the caller gives up, so that tasks that look at it end soon.
    """

    def __init__(self, threads: int, stop: threading.Event) -> None:
        self.threads = threads
        self.stop = stop

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()

    def run(self, tasks: Sequence[Task], fn: TaskFunction, stop: Stop = NEVER) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end."""
        with _one_thread(), ThreadPoolExecutor(self.threads, "download") as pool:
            running = {pool.submit(_outcome, fn, task, Attempt()) for task in tasks}
            try:
                while running:
                    ended, running = wait(running, _POLL, FIRST_COMPLETED)
                    if stop.asked and not self.stop.is_set():
                        running = self._give_up(running)
                    yield from (o for o in _results(ended) if o.ok or not self.stop.is_set())
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _give_up(self, running: set[Future[Outcome]]) -> set[Future[Outcome]]:
        """Tell the tasks that run to end, and drop the others; what is half done is kept by the tasks."""
        self.stop.set()
        return {future for future in running if not future.cancel()}


def _results(futures: set[Future[Outcome]]) -> Iterator[Outcome]:
    return (future.result() for future in futures)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Allow one thread inside, whatever the environment says: batch systems set it to all cores.

    Libraries that are loaded already obey the limits, those that a task loads the environment.
    """
    from threadpoolctl import threadpool_limits

    with environment(ONE_THREAD), threadpool_limits(limits=1):
        yield


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for what starts inside; then put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
