"""A scan whose tasks do nothing: patches, keys, receipts and publishing are real, results are a few bytes."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.scan.drive import run_scan
from viamachinae.scan.ending import ScanResult
from viamachinae.scan.runner import InlineRunner, Runner
from viamachinae.scan.stages import DEFAULT_STAGES, StageFunction
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.writers import table_writer, text_writer
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.sky.patches import make_patches

__all__ = ["OF_PATCH", "Fake", "busy", "fake_scan", "fake_settings"]

#: Score tasks of a patch: 30 signal regions of both coordinates.
OF_PATCH = 60
#: Longitudes of neighbouring patches differ by this part of a turn, so that they lie evenly on the sphere.
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def busy(rounds: int) -> None:
    """Compute for a while, the same everywhere."""
    block = b"x" * 1024
    for _ in range(rounds):
        hashlib.blake2b(block).digest()


@dataclass(frozen=True)
class Fake:
    """What each score task does, and how many there are.

    Parameters
    ----------
    tasks : int
        Score tasks of the scan.
    rounds : int
        How much each computes.
    wait : float
        How long each waits (s).
    """

    tasks: int = 0
    rounds: int = 0
    wait: float = 0.0

    def work(self) -> None:
        """Do what a task does beside publishing."""
        busy(self.rounds)
        if self.wait:
            time.sleep(self.wait)

    def scores(self, task: Task, _store: Store, _settings: Settings) -> Products:
        """Do a score task as a stage of a scan does."""
        self.work()
        return _texts(task, "scores", "regions")


def fake_settings(tasks: int) -> Settings:
    """Return the settings of a scan with so many score tasks."""
    n = math.ceil(tasks / OF_PATCH)
    centres = []
    for i in range(n):
        dec = math.degrees(math.asin((2 * i + 1) / n - 1))
        centres.append([360.0 * (i * _GOLDEN % 1.0), dec])
    return Settings.model_validate(
        {
            "scan": {"name": "fake"},
            "patches": {"centres": centres},
            "regions": {"group_size": 1},
            "mock": {"density": 0.05},  # what a plan loads
        }
    )


def fake_scan(out: Path, fake: Fake, runner: Runner | None = None) -> ScanResult:
    """Run such a scan from its patches to its report.

    Parameters
    ----------
    out : Path
        Its folder.
    fake : Fake
        What its score tasks do.
    runner : Runner, optional
        Where they run; by default in this process.
    """
    settings = fake_settings(fake.tasks)
    names = make_patches(settings.patches)["patch"]
    counts = {name: min(OF_PATCH, fake.tasks - OF_PATCH * i) for i, name in enumerate(names)}
    stages: dict[str, StageFunction] = {
        **DEFAULT_STAGES,
        "stars": _stars,
        "plan": partial(_plan, counts=counts),
        "trunk": _trunk,
        "scores": fake.scores,
        "lines": _lines,
        "fragments": _fragments,
        "streams": _streams,
        "report": _report,
    }
    return run_scan(settings, out, runner=runner or InlineRunner(), stages=stages)


def _texts(task: Task, *folders: str) -> Products:
    writers = {f"{folder}/{task.name}.parquet": text_writer(task.name) for folder in folders}
    return Products(writers, {"n_regions": 1})


def _stars(task: Task, _store: Store, _settings: Settings) -> Products:
    writers = {f"stars/{task.name}.parquet": text_writer(task.name)}
    return Products(writers, {"n_stars": 1, "report": {"release": "none"}})


def _plan(task: Task, _store: Store, settings: Settings, *, counts: Mapping[str, int]) -> Products:
    n = counts[task.name]
    pairs = [(index, name) for index in range(n) for name in settings.regions.coordinates][:n]
    regions = [{"coordinate": c, "index": i, "low": 3.0 * i, "high": 3.0 * i + 6.0} for i, c in pairs]
    weights = [1 + i * 7919 % 1000 for i in range(n)]
    writer = text_writer(json.dumps(regions))
    return Products({f"plan/{task.name}.json": writer}, {"n_regions": n, "n_stars": weights})


def _trunk(task: Task, _store: Store, _settings: Settings) -> Products:
    return Products({f"trunk/{task.name}.npz": text_writer(task.name)})


def _lines(task: Task, _store: Store, _settings: Settings) -> Products:
    return _texts(task, "rois")


def _fragments(task: Task, _store: Store, _settings: Settings) -> Products:
    return _texts(task, "fragments")


def _streams(_task: Task, _store: Store, _settings: Settings) -> Products:
    tables = {"streams": STREAMS, "members": MEMBERS, "tracks": TRACKS}
    writers = {f"{name}.parquet": table_writer(schema.empty(), schema) for name, schema in tables.items()}
    return Products(writers)


def _report(_task: Task, _store: Store, _settings: Settings) -> Products:
    return Products({"report/index.html": text_writer("nothing was searched")})
