"""Where tasks run: in this process, or on Ray; the same interface, the same results."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from viamachinae.errors import DataError, ViaMachinaeError
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

#: Does a task's work and publishes it; gets the task and the number of the attempt, returns small facts.
TaskFunction = Callable[[Task, int], dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Parameters
    ----------
    task : Task
        The task.
    value : dict, optional
        What the function returned; ``None`` when it failed.
    error : str
        What went wrong, one line or more, empty on success.
    trace : str
        The traceback of an error that was not foreseen.
    unusable : bool
        The error says that an input cannot be used.
    warnings : tuple of str
        What the task logged as a warning in another process; it is logged again here.
    """

    task: Task
    value: dict[str, Any] | None = None
    error: str = ""
    trace: str = ""
    unusable: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the task is done."""
        return self.value is not None


class Runner(Protocol):
    """Runs tasks; a context manager, started at most once a command."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, tasks: Sequence[Task], fn: TaskFunction) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end."""
        ...


def call(fn: TaskFunction, task: Task, attempt: int) -> Outcome:
    """Run one task in one thread and return how it ended; an error of the task never escapes."""
    with _one_thread():
        return _outcome(fn, task, attempt)


def _outcome(fn: TaskFunction, task: Task, attempt: int) -> Outcome:
    try:
        return Outcome(task, fn(task, attempt))
    except ViaMachinaeError as error:
        return Outcome(task, error=str(error), unusable=isinstance(error, DataError))
    except Exception as error:  # noqa: BLE001  the other tasks go on; the traceback reaches the log
        return Outcome(task, error=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


class InlineRunner:
    """Runs tasks one after another in this process, without Ray."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def run(self, tasks: Sequence[Task], fn: TaskFunction) -> Iterator[Outcome]:
        """Yield an outcome for every task, in order."""
        for task in tasks:
            yield call(fn, task, 1)


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

    def run(self, tasks: Sequence[Task], fn: TaskFunction) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end."""
        with _one_thread(), ThreadPoolExecutor(self.threads, "download") as pool:
            futures = [pool.submit(_outcome, fn, task, 1) for task in tasks]
            try:
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


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
