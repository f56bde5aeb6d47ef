"""The runner measured on this machine: overhead, memory of the driver, efficiency, time that a kill costs.

Every figure comes from processes of their own (:mod:`viamachinae.scan.overhead.job`), which run fake tasks
the way a scan runs its own. The result is one flat table of names and values:

==============================  ==========================================================================
``tasks``, ``workers``          asked for
``load``                        average load of the machine before the start (processes)
``inline_rate``                 tasks that do nothing, in one process without Ray (1/s)
``ray_rate``                    the same on Ray
``ray_memory_first``            peak memory of the driver when a tenth of these had ended (bytes)
``ray_memory_last``             the same when all had
``published_tasks``             a quarter of the tasks, for the disk's sake
``inline_published_rate``       score tasks of a scan that publish two texts of ten bytes, without Ray (1/s)
``ray_published_rate``          the same on Ray
``published_memory_first``      as above, of the driver of these
``published_memory_last``       likewise
``work_tasks``                  tasks that compute, for the efficiency
``work_wN_s``                   time of all of them with N workers (s)
``bare_wN_s``                   time of the same computing in N plain processes, right after (s)
``efficiency``                  ``work_w1_s`` / (N ``work_wN_s``) with N = ``workers``
``bare_efficiency``             the same of the plain processes: what the machine allows
``wait_wN_s``                   time of as many tasks that wait for 0.2 s, with N workers (s)
``wait_efficiency``             the same of these: what the runner allows, however busy the machine
``kill_to_work_s``              from kill -9 of the driver to the next published scores of a new one (s)
``kill_kept``                   whether all scores that stood before were untouched, and the scan was finished
``status_first_s``              ``viamachinae status`` of a finished scan of all tasks, without an index (s)
``status_s``                    the same with one
``status_json_s``               the same with ``--json``
``status_map_s``                the same with ``--map``
``retry_s``, ``clean_s``        these commands on the same folder (s)
``submit_s``                    likewise, with ``--dry-run``
``plan_s``                      likewise, when an earlier call has measured
``run_again_s``                 ``viamachinae run`` where nothing is left to do (s)
``patch_stars``                 stars of a patch that a task reads
``patch_read_s``                its time, hash compared, from the page cache (s)
``patch_first_read_s``          the same right after it was written elsewhere, cache dropped where allowed (s)
==============================  ==========================================================================
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from viamachinae.errors import TaskError
from viamachinae.scan.leftovers import end_all
from viamachinae.scan.overhead.commands import time_commands
from viamachinae.scan.overhead.folder import busy
from viamachinae.scan.overhead.job import ROUNDS_A_SECOND
from viamachinae.schema.publish import file_sha256

__all__ = ["Options", "measure"]

logger = logging.getLogger(__name__)

_JOB = "viamachinae.scan.overhead.job"
#: Tasks of the efficiency: long beside what a task costs, short beside the patience of people.
_WORK_TASKS, _WORK_ROUNDS, _WAIT = 40, ROUNDS_A_SECOND // 2, 0.2
#: The victim's tasks, and how many of them are done when it is killed.
_VICTIM_TASKS, _VICTIM_ROUNDS, _VICTIM_DONE = 40, ROUNDS_A_SECOND // 2, 6
#: Set for the victim and what it starts.
_VICTIM = "VIAMACHINAE_VICTIM"
_PATIENCE = 300.0

Result = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What is measured.

    Parameters
    ----------
    tasks : int
        Tasks that do nothing.
    workers : int
        Workers of Ray.
    stars : int
        Stars of the patch that is read.
    """

    tasks: int = 12_000
    workers: int = 2
    stars: int = 700_000


def measure(options: Options) -> Result:
    """Measure; return the names and values that the module describes.

    Raises
    ------
    TaskError
        A fake task failed, or a process ended without a word.
    """
    result: Result = {**vars(options), "load": os.getloadavg()[0]}
    del result["stars"]
    with tempfile.TemporaryDirectory(prefix="vm-overhead-") as folder:
        place = Path(folder)
        result |= _empty(options, place)
        result |= _efficiency(options)
        result |= _killed(options, place / "killed")
        result |= time_commands(options.tasks)
        result |= _read(options.stars, place / "read")
    return result


def _command(tasks: int, **options: object) -> list[str]:
    pairs = ((f"--{name}", str(value)) for name, value in options.items())
    return [sys.executable, "-m", _JOB, str(tasks), *(word for pair in pairs for word in pair)]


def _run(tasks: int, **options: object) -> Result:
    """Run a job and return what it saw."""
    command = _command(tasks, **options)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        msg = f"fake tasks failed: {ended.stderr[-2000:]}; run `python -m {_JOB} --help`"
        raise TaskError(msg)
    seen: Result = json.loads(ended.stdout.splitlines()[-1])
    return seen


def _empty(options: Options, place: Path) -> Result:
    n, workers = options.tasks, options.workers
    jobs: dict[str, dict[str, object]] = {
        "inline": {},
        "ray": {"workers": workers},
        "inline_published": {"out": place / "inline"},
        "ray_published": {"workers": workers, "out": place / "ray"},
    }
    published = max(n // 4, 10)
    result: Result = {"published_tasks": published}
    for name, job in jobs.items():
        seen = _run(published if "out" in job else n, **job)
        result[f"{name}_rate"] = (seen["tasks"] - 1) / seen["seconds"]
        logger.info("%s: %.0f tasks a second", name, result[f"{name}_rate"])
        if "ray" in name:
            prefix = "published" if "published" in name else "ray"
            result |= {f"{prefix}_{key}": seen[key] for key in ("memory_first", "memory_last")}
    return result


def _efficiency(options: Options) -> Result:
    """Time the same work with one worker and with all, each followed by plain processes that do it."""
    n, rounds = _WORK_TASKS, _WORK_ROUNDS
    result: Result = {"work_tasks": n}
    for workers in (1, options.workers):
        result[f"wait_w{workers}_s"] = _run(n, wait=_WAIT, workers=workers)["seconds"]
        result[f"work_w{workers}_s"] = _run(n, rounds=rounds, workers=workers)["seconds"]
        result[f"bare_w{workers}_s"] = _bare(n, rounds, workers)
        logger.info(
            "%d workers: %.1f s of computing, in plain processes %.1f s; %.1f s of waiting",
            workers, *(result[f"{what}_w{workers}_s"] for what in ("work", "bare", "wait")),
        )  # fmt: skip
    for name, prefix in (("efficiency", "work"), ("bare_efficiency", "bare"), ("wait_efficiency", "wait")):
        ratio = result[f"{prefix}_w1_s"] / result[f"{prefix}_w{options.workers}_s"]
        result[name] = ratio / options.workers
    return result


def _bare(n: int, rounds: int, workers: int) -> float:
    timed = "t = time.monotonic(); busy({}); print(time.monotonic() - t)"
    code = f"import time; from {busy.__module__} import busy; {timed}"
    shares = [len(part) * rounds for part in np.array_split(np.arange(n), workers)]
    processes = [
        subprocess.Popen([sys.executable, "-c", code.format(share)], stdout=subprocess.PIPE, text=True)  # noqa: S603
        for share in shares
    ]
    return max(float(process.communicate()[0]) for process in processes)


def _killed(options: Options, out: Path) -> Result:
    """Kill a driver in the middle of its score tasks, start the same command, and wait for its first."""
    command = _command(_VICTIM_TASKS, rounds=_VICTIM_ROUNDS, workers=options.workers, out=out)
    mark, silent = secrets.token_hex(16), subprocess.DEVNULL
    environment = {**os.environ, _VICTIM: mark}
    with subprocess.Popen(command, stdout=silent, stderr=silent, env=environment) as victim:  # noqa: S603
        _wait_for(out, _VICTIM_DONE)
        victim.kill()
        began = time.monotonic()
        # As whoever supervises a run does: workers would publish for a while, which is no new work.
        end_all(f"{_VICTIM}={mark}")
    kept = _receipts(out)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as again:  # noqa: S603
        _wait_for(out, len(kept) + 1)
        seconds = time.monotonic() - began
        again.communicate()
    after = _receipts(out)
    untouched = all(after.get(name) == digest for name, digest in kept.items())
    logger.info("%.1f s from the kill to the next result", seconds)
    return {
        "kill_to_work_s": seconds,
        "kill_kept": untouched and len(after) == _VICTIM_TASKS and again.returncode == 0,
    }


def _receipts(out: Path) -> dict[str, str]:
    return {str(path): file_sha256(path) for path in _scores(out)}


def _scores(out: Path) -> list[Path]:
    return list((out / "receipts" / "scores").rglob("*.json"))


def _wait_for(out: Path, n: int) -> None:
    end = time.monotonic() + _PATIENCE
    while len(_scores(out)) < n:
        if time.monotonic() > end:
            msg = f"{out}: no {n} results within {_PATIENCE:.0f} s; is the machine too busy to measure?"
            raise TaskError(msg)
        time.sleep(0.01)


def _read(n: int, out: Path) -> Result:
    """Time how a task reads the stars of its patch: the whole table, its bytes compared with the receipt."""
    from viamachinae.scan.store import Store
    from viamachinae.scan.task import Products, Task
    from viamachinae.scan.writers import table_writer
    from viamachinae.schema import STARS

    rng = np.random.default_rng(1)
    frame = pd.DataFrame({c.name: rng.normal(size=n) for c in STARS.columns if not c.optional})
    frame["source_id"] = np.arange(n)
    frame["fiducial"] = frame["fiducial"] > 0
    store, task = Store(out), Task("stars", "patch", "key")
    store.publish(task, Products({"stars/patch.parquet": table_writer(frame, STARS)}), started=time.time())
    os.sync()
    with (out / "stars/patch.parquet").open("rb") as handle:
        os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    times = []
    for _ in range(4):
        began = time.perf_counter()
        store.read(task, "stars/patch.parquet", STARS)
        times.append(time.perf_counter() - began)
    return {"patch_stars": n, "patch_read_s": min(times[1:]), "patch_first_read_s": times[0]}
