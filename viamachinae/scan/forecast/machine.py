"""What this machine does in a second, with as many workers at work as a scan will have."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.errors import TaskError
from viamachinae.scan.ray_runner import cores
from viamachinae.scan.runner import ONE_THREAD, environment

__all__ = ["Machine", "gpus_of", "measure_machine", "workers_of"]

logger = logging.getLogger(__name__)

#: Models that a GPU is timed with at most; more together are little faster.
_MOST_MODELS = 64


@dataclass(frozen=True)
class Machine:
    """Measured rates of one worker, and the memory that it starts with.

    Parameters
    ----------
    workers : int
        Workers that a scan will have.
    trainers : int
        Those of them that train at a time: on GPUs one each.
    processes : int
        Workers that were timed, all at the same time; on GPUs one alone.
    training, evaluation : float
        Star presentations of training a second, and stars a second of which one model gives
        the likelihood, of one worker; mean over the processes (stars/s). Seconds of processor
        time, on a GPU of wall-clock time.
    share : float
        Part of a core that each of them got; 1 on a machine that does nothing else.
    process : float
        Memory of a worker before it has read a star (bytes).
    """

    workers: int
    trainers: int
    processes: int
    training: float
    evaluation: float
    share: float
    process: float


def workers_of(settings: Settings) -> int:
    """Return how many tasks run at a time; a cluster of unknown size counts as this machine."""
    return 1 if settings.runner.inline else settings.runner.workers or cores()


def gpus_of(settings: Settings) -> int:
    """Return how many GPUs of this machine a scan trains on."""
    if settings.runner.device == "cpu":
        return 0
    from viamachinae.density.engine import gpus

    return gpus()


def measure_machine(settings: Settings, seconds: float = 5.0) -> Machine:
    """Time training and evaluation in as many processes as the scan will have workers here.

    Workers beyond the cores of this machine are not started: they run elsewhere, or wait.
    Workers that have a GPU each do not disturb one another: one is timed.

    Parameters
    ----------
    settings : Settings
        Sections ``density``, ``regions`` and ``runner`` are used.
    seconds : float
        Time to measure (s), beside the start of the processes.

    Raises
    ------
    ConfigError
        There is no such device.
    TaskError
        A process died.
    """
    workers, gpus = workers_of(settings), gpus_of(settings)
    n = 1 if gpus else min(workers, cores())
    logger.info("timing the training of densities with %d workers for %g s", n, seconds)
    try:
        # A worker's environment: one thread each, set before its libraries are loaded.
        with (
            environment(ONE_THREAD),
            ProcessPoolExecutor(n, mp_context=get_context("spawn")) as pool,
        ):
            done = list(pool.map(_timed_worker, [settings] * n, [seconds] * n))
    except BrokenProcessPool as error:
        msg = (
            f"a process that timed the training died with {n} of them at work ({error}); "
            "out of memory? Try fewer runner.workers"
        )
        raise TaskError(msg) from error
    trainers = min(workers, gpus) or workers
    return Machine(workers, trainers, n, *(sum(column) / n for column in zip(*done, strict=True)))


def _timed_worker(settings: Settings, seconds: float) -> tuple[float, float, float, float]:
    """Return the rates (stars/s), the part of a core and the memory (bytes) of this process as a worker."""
    import viamachinae.anomaly
    import viamachinae.schema.io
    import viamachinae.streams.lines  # noqa: F401  what a worker loads
    from viamachinae.benchmark.rates import measure

    if not settings.runner.inline:
        import ray  # noqa: F401
    process = _resident()
    models = min(settings.regions.group_size, _MOST_MODELS) if gpus_of(settings) else 1
    began, computed = time.perf_counter(), time.process_time()
    rates = measure(settings.density, settings.runner.device, seconds, models)
    share = (time.process_time() - computed) / (time.perf_counter() - began)
    return rates.training, rates.evaluation, min(1.0, share), process


def _resident() -> float:
    """Return the memory of this process (bytes): now, or the most so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        import resource
        import sys

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(most) * (1 if sys.platform == "darwin" else 1024)
    import os

    return float(pages * os.sysconf("SC_PAGE_SIZE"))
