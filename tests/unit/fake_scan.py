"""A scan whose stages write a few words each: what is looked at is the keeping of books."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan.drive import run_scan
from viamachinae.scan.options import RunOptions
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.stages import DEFAULT_STAGES, StageFunction
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.writers import text_writer

CENTRES = [[148.6, 24.2], [148.9, 28.2], [160.0, 30.0]]
NAMES = ["J0954.4+2412", "J0955.6+2812"]
TREE: dict[str, Any] = {
    "scan": {"name": "fake", "seed": 5},
    "patches": {"centres": CENTRES[:2], "radius": 6.0},
    "fiducial": {"radius": 5.0},
    "regions": {"coordinates": ["pm_lambda"], "group_size": 1},
    "scorer": {"name": "anode"},
}


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({**TREE, **{k: {**TREE.get(k, {}), **v} for k, v in sections.items()}})


def _text(*folders: str) -> StageFunction:
    def stage(task: Task, store: Store, given: Settings) -> Products:
        for ref in task.of("stars"):
            store.verified(ref, f"stars/{ref.name}.parquet")
        writers = {f"{f}/{task.name}.parquet": text_writer(f"{f} {task.name} {task.key}") for f in folders}
        return Products(writers, {"n_stars": 1, "report": {"release": "gaia-dr2"}})

    return stage


def _plan(task: Task, store: Store, given: Settings) -> Products:
    regions = [{"coordinate": "pm_lambda", "index": i, "low": float(i), "high": i + 6.0} for i in range(3)]
    return Products({f"plan/{task.name}.json": text_writer(json.dumps(regions))}, {"n_regions": 3})


#: Every stage but the first.
STAGES: dict[str, StageFunction] = {
    **DEFAULT_STAGES,
    "stars": _text("stars"),
    "plan": _plan,
    "trunk": _text("trunk"),
    "scores": _text("scores", "regions"),
    "lines": _text("rois"),
    "fragments": _text("fragments"),
    "streams": _text("streams"),
    "report": _text("report"),
}


def run(
    out: Path,
    given: Settings | None = None,
    options: RunOptions | None = None,
    stages: Mapping[str, StageFunction] = STAGES,
) -> Counter[str]:
    """Run a scan; return how many tasks of each stage were really done."""
    calls: Counter[str] = Counter()

    def counted(fn: StageFunction) -> StageFunction:
        def stage(task: Task, store: Store, settings: Settings) -> Products:
            calls[task.stage] += 1
            return fn(task, store, settings)

        return stage

    wrapped = {name: counted(fn) for name, fn in stages.items()}
    run_scan(given or settings(), out, options, runner=InlineRunner(), stages=wrapped)
    return calls
