"""Tasks on Ray: a local cluster of our own, or one that is already there."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from viamachinae.errors import TaskError
from viamachinae.scan.runner import ONE_THREAD, Outcome, TaskFunction, call, environment
from viamachinae.scan.sections import TRAINING
from viamachinae.scan.task import Task

__all__ = ["RayRunner", "cores"]

logger = logging.getLogger(__name__)

#: Tries of a task whose worker died; errors of the science are never tried again.
_MAX_ATTEMPTS = 3
#: Results never travel through the object store, so it may be as small as Ray allows (bytes).
_OBJECT_STORE = 100_000_000
#: A Unix socket's path holds 103 bytes at least, of which Ray takes 64 and our folder's own name 12.
_LONGEST_TEMP = 27
_POLL = 0.5
#: What Ray is told when it starts, unless the user told it something else.
_RAY_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


class RayRunner:
    """Runs tasks on Ray, started when the first task needs it.

    Parameters
    ----------
    workers : int
        Tasks at a time, one core each; 0: one a core of this machine (or of the
        cluster at ``address``).
    address : str
        Cluster to join; empty: start one here and take it down at the end.
    device : {"cpu", "cuda", "auto"}
        Where densities train. Unless on processors, a task that trains has a GPU of
        its own, where the cluster has any.
    """

    def __init__(self, workers: int = 0, address: str = "", device: str = "cpu") -> None:
        self.workers = workers
        self.address = address
        self.device = device
        self._temp: Path | None = None
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            import ray

            ray.shutdown()
            self._started = False
        if self._temp is not None:
            shutil.rmtree(self._temp, ignore_errors=True)
            self._temp = None

    def run(self, tasks: Sequence[Task], fn: TaskFunction) -> Iterator[Outcome]:
        """Yield an outcome for every task, in the order in which they end."""
        if not tasks:
            return
        self._start()
        import ray

        remotes = {stage: ray.remote(**self._options(stage))(_call) for stage in {t.stage for t in tasks}}
        shared = ray.put(fn)
        waiting = deque((task, 1) for task in tasks)
        flying: dict[Any, tuple[Task, int]] = {}
        while waiting or flying:
            # Twice the workers: none waits for the driver, and little is lost when the scan is stopped.
            while waiting and len(flying) < 2 * self._slots():
                task, attempt = waiting.popleft()
                flying[remotes[task.stage].remote(shared, task, attempt)] = (task, attempt)
            ended, _ = ray.wait(list(flying), num_returns=1, timeout=_POLL)
            for reference in ended:
                task, attempt = flying.pop(reference)
                outcome = self._collect(reference, task, attempt)
                if outcome is None:
                    waiting.append((task, attempt + 1))
                else:
                    yield outcome

    def _collect(self, reference: Any, task: Task, attempt: int) -> Outcome | None:
        """Return the outcome of a task that ended; ``None``: its worker died, try again."""
        import ray
        from ray import exceptions

        try:
            outcome: Outcome = ray.get(reference)
        except (
            exceptions.WorkerCrashedError,
            exceptions.OutOfMemoryError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.ObjectLostError,
        ) as error:
            cause = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            if attempt < _MAX_ATTEMPTS:
                logger.warning("%s: its worker died (%s); attempt %d follows", task.id, cause, attempt + 1)
                return None
            return Outcome(
                task,
                error=(
                    f"its worker died {attempt} times ({cause}); out of memory? "
                    "try fewer runner.workers, or smaller patches"
                ),
            )
        except exceptions.RayError as error:
            return Outcome(task, error=f"Ray could not run it: {error}")
        for warning in outcome.warnings:
            logger.warning("%s: %s", task.id, warning)
        return outcome

    def _options(self, stage: str) -> dict[str, Any]:
        """Return what Ray is told of a stage's tasks.

        The process of a task with a GPU ends with it, as Ray does by default: the next
        one may be given another GPU, and PyTorch would stay on the first.
        """
        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0, "retry_exceptions": False}
        # Without a GPU in the cluster a task starts all the same, and says what is missing.
        if self.device != "cpu" and stage in TRAINING and _resources().get("GPU", 0) >= 1:
            options["num_gpus"] = 1
        return options

    def _slots(self) -> int:
        return self.workers or max(1, int(_resources().get("CPU", 1)))

    def _start(self) -> None:
        if self._started:
            return
        unsaid = {name: value for name, value in _RAY_DEFAULTS.items() if name not in os.environ}
        with environment({**unsaid, **ONE_THREAD}), _kept_handlers():
            import ray

            if ray.is_initialized():  # a session that is not ours: use it, leave it
                return
            common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            try:
                if self.address:
                    ray.init(address=self.address, **common)
                else:
                    self._temp = _short_folder()
                    ray.init(
                        num_cpus=self.workers or cores(),
                        num_gpus=0 if self.device == "cpu" else None,  # None: as many as there are
                        include_dashboard=False,
                        object_store_memory=_OBJECT_STORE,
                        _temp_dir=str(self._temp),
                        **common,
                    )
            except SystemExit as error:  # how Ray takes a SIGTERM while it starts
                raise KeyboardInterrupt from error
            except (OSError, RuntimeError, ValueError, TimeoutError) as error:
                where = f"at {self.address!r}" if self.address else "on this machine"
                msg = (
                    f"Ray did not start {where}: {error}; check runner.address, "
                    "or run without Ray: runner.inline = true (--inline)"
                )
                raise TaskError(msg) from error
        self._started = True
        logger.info("Ray runs %s workers", self._slots())


def _resources() -> dict[str, float]:
    """Return what the cluster has of everything."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources


class _Warnings(logging.Handler):
    """Keeps what a worker has to say to the user: its own log goes nowhere."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _call(fn: TaskFunction, task: Task, attempt: int) -> Outcome:
    """Run one task in a worker and return how it ended, with the warnings that it logged."""
    heard, room = _Warnings(), logging.getLogger("viamachinae")
    room.addHandler(heard)
    try:
        return replace(call(fn, task, attempt), warnings=tuple(heard.texts))
    finally:
        room.removeHandler(heard)


def cores() -> int:
    """Return the cores that this process may use, which a batch system can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _short_folder() -> Path:
    """Return a new temporary folder whose path is short enough for Ray's sockets."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix="vm-", dir=base if len(base) <= _LONGEST_TEMP else "/tmp"))  # noqa: S108


@contextmanager
def _kept_handlers() -> Iterator[None]:
    """Put the handlers of signals back that Ray replaces when it starts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
