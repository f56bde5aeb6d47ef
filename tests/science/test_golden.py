"""The same input gives the same results, or the version of the stage was raised.

``golden.json`` holds what every stage made of a tiny sky, summed up column by column, beside the key
that the stage's version and settings gave it. Numbers that change under the same key would let a
scan mix old and new results. After raising the version in ``viamachinae/scan/plan.py``::

    python tests/science/test_golden.py

writes the numbers anew; it refuses when no key at or before the changed stage is new.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from viamachinae.calibration import compare
from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.drive import run_scan
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.sections import STAGES
from viamachinae.scan.stages import DEFAULT_STAGES
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.writers import table_writer
from viamachinae.schema import REGIONS, SCORES, STARS
from viamachinae.sky.windows import WHOLE_REGION

GOLDEN = Path(__file__).with_name("golden.json")
SETTINGS = Settings.model_validate(
    {
        "scan": {"name": "golden", "seed": 5},
        "patches": {"centres": [[148.6, 24.2], [148.9, 28.2]], "radius": 6.0},
        "fiducial": {"radius": 5.0, "masks": [[147.0, 23.0, 0.5]]},
        "regions": {
            "coordinates": ["pm_lambda"],
            "limits": [-16.0, -8.0],
            "min_stars": 100,
            "group_size": 1,
        },
        "roi": {"stride": 3.0, "n_top": 50, "min_stars": 60},
        "scorer": {"name": "anode"},
        "residual": {"folds": 2, "starts": 100, "refined": 5},
        "density": {"blocks": 1, "hidden": 16, "max_epochs": 3, "batch_size": 512, "best_epochs": 2},
        "trunk": {"density": 0.05, "max_star_steps": 20_000},
        "mock": {
            "density": 0.1,
            "streams": [
                {
                    "name": "injected",
                    "n_stars": 900,
                    "start": [146.0, 18.0],
                    "end": [151.0, 34.5],
                    "pm_along": [-12.0, -12.0],
                    "pm_across": [-2.0, -2.0],
                    "width": 0.1,
                }
            ],
        },
    }
)
CHECKED = (*(s for s in STAGES[: STAGES.index("report")] if s != "cells"), "calibration")
#: Trainings differ in their last bits between processors, and training amplifies that.
TOLERANCE = {"trunk": 1e-2, "scores": 1e-2}
#: The numbers of a table, stage by stage; the other tables of ``streams`` follow its candidates.
TABLES = {
    "patches": ("patches.parquet",),
    "stars": ("stars/*.parquet",),
    "lines": ("rois/*.parquet",),
    "fragments": ("fragments/*.parquet",),
    "streams": ("streams.parquet", "members.parquet", "tracks.parquet"),
}

Numbers = dict[str, dict[str, list[float]]]


def keys() -> dict[str, str]:
    """Return what a stage's version and settings make of a task without inputs."""
    return {stage: plan.task(SETTINGS, stage, "golden", (), {}).key for stage in CHECKED}


def summed_up(frame: pd.DataFrame) -> dict[str, list[float]]:
    """Return rows, mean and root mean square of every column of numbers; lengths and sums of lists."""
    found: dict[str, list[float]] = {"rows": [float(len(frame))]}
    for name in frame:
        values = frame[name].to_numpy()
        if len(values) and isinstance(values[0], np.ndarray):
            values = np.concatenate(values)
        if name in {"source_id", "source_ids"}:
            values = values % 10_007
        if values.dtype.kind in "fiub":
            numbers = values.astype(np.float64)
            numbers = numbers[np.isfinite(numbers)]
            if len(numbers):
                found[str(name)] = [float(len(numbers)), numbers.mean(), np.sqrt(np.mean(numbers**2))]
        else:
            found[str(name)] = [float(len(set(values.astype(str))))]
    return found


def stand_in(task: Task, store: Store, settings: Settings) -> Products:
    """Score by the truth and a little noise: later stages must not hang on a training."""
    patch = task.work["patch"]
    stars = store.read(task.of("stars")[0], f"stars/{patch}.parquet", STARS)
    noise = (stars["source_id"].to_numpy() % 1_000_003) / 1_000_003
    log_r = 2.5 * (stars["truth"].fillna("") != "").to_numpy() + 3.0 * noise
    scores, regions = [], []
    for region in task.work["regions"]:
        pm = stars[region["coordinate"]].to_numpy()
        inside = (pm >= region["low"]) & (pm < region["high"])
        ranked = np.flatnonzero(inside & stars["fiducial"].to_numpy())
        scores.append(
            pd.DataFrame(
                {"row": ranked, "region": region["index"], "slice": WHOLE_REGION, "log_r": log_r[ranked]}
            )
        )
        counts = {"n_sr": inside.sum(), "n_sb": (~inside).sum(), "n_fiducial": len(ranked)}
        row = dict.fromkeys(REGIONS.names, 0.0) | region | counts
        regions.append(row | {"patch": patch, "region": region["index"], "slice": WHOLE_REGION})
    tables = {
        f"scores/{task.name}.parquet": table_writer(pd.concat(scores), SCORES),
        f"regions/{task.name}.parquet": table_writer(pd.DataFrame(regions)[list(REGIONS.names)], REGIONS),
    }
    return Products(tables)


def trained(out: Path) -> Numbers:
    """Return the numbers of the scores of one task, really trained by two scorers."""
    store = Store(out)
    receipt = store.receipts("scores")[0]
    task = Task("scores", receipt.body["name"], receipt.key, receipt.inputs, receipt.body["work"])
    frames: Numbers = {}
    for name in ("anode", "residual"):
        scorer = SETTINGS.scorer.model_copy(update={"name": name})
        settings = SETTINGS.model_copy(update={"scorer": scorer})
        with InlineRunner() as runner:

            def train(given: Task, attempt: int, settings: Settings = settings) -> dict[str, Any]:
                products = DEFAULT_STAGES["scores"](given, store, settings)
                found = {}
                for relative, write in products.writers.items():
                    write(out / "trained.parquet")
                    found[relative] = summed_up(pd.read_parquet(out / "trained.parquet"))
                return found

            (outcome,) = runner.run([task], train)
        assert outcome.value is not None, outcome.error
        frames |= {f"{name}: {relative}": numbers for relative, numbers in outcome.value.items()}
    return frames


def results(out: Path) -> dict[str, Numbers]:
    """Return the numbers of every stage."""
    run_scan(SETTINGS, out, runner=InlineRunner(), stages={**DEFAULT_STAGES, "scores": stand_in})
    found: dict[str, Numbers] = {
        stage: {
            path.relative_to(out).as_posix(): summed_up(pd.read_parquet(path))
            for pattern in patterns
            for path in sorted(out.glob(pattern))
        }
        for stage, patterns in TABLES.items()
    }
    found["plan"] = {
        path.stem: summed_up(pd.DataFrame(json.loads(path.read_text())))
        for path in sorted(out.glob("plan/*.json"))
    }
    found["trunk"] = {
        receipt.body["name"]: {"rows": [1.0], "held_out": [receipt.info["held_out"]]}
        for receipt in Store(out).receipts("trunk")
    }
    found["scores"] = trained(out)
    ours, null = (
        pd.DataFrame({"stream_id": list("abc"), "significance": s})
        for s in ([9.0, 7.5, 5.0], [8.0, 6.0, 4.5])
    )
    found["calibration"] = {"rates": summed_up(compare(ours, null, 300.0, 450.0))}
    return {stage: found[stage] for stage in CHECKED}


def differences(stage: str, old: Numbers, new: Numbers) -> list[str]:
    """Return the columns whose numbers differ by more than the stage's tolerance."""
    tolerance = TOLERANCE.get(stage, 1e-5)
    flat_old, flat_new = (
        {f"{table}: {column}": values for table, columns in n.items() for column, values in columns.items()}
        for n in (old, new)
    )
    return [
        f"{name} {flat_old.get(name)} -> {flat_new.get(name)}"
        for name in sorted(flat_old.keys() | flat_new.keys())
        if flat_old.get(name) is None
        or flat_new.get(name) != pytest.approx(flat_old[name], rel=tolerance, abs=tolerance)
    ]


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Numbers]:
    return results(tmp_path_factory.mktemp("golden"))


def test_the_golden_sky_has_something_in_every_table(now: dict[str, Numbers]) -> None:
    for stage, tables in now.items():
        assert tables, stage
        assert all(columns["rows"][0] > 0 for columns in tables.values()), stage


@pytest.mark.parametrize("stage", CHECKED)
def test_results_change_only_with_their_version(stage: str, now: dict[str, Numbers]) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["keys"][stage] == keys()[stage], (
        f"{stage} has another version or other settings than golden.json; write it anew: python {__file__}"
    )
    changed = differences(stage, golden["results"][stage], now[stage])
    assert not changed, (
        f"{stage} gives other results under the same version: if that is meant, raise VERSIONS[{stage!r}] in "
        f"viamachinae/scan/sections.py (of the first stage that changed), then run python {__file__}\n"
        + "\n".join(changed)
    )


def test_a_change_is_seen() -> None:
    old = {"t": {"rows": [3.0], "x": [3.0, 1.0, 2.0]}}
    assert differences("lines", old, {"t": {"rows": [3.0], "x": [3.0, 1.0, 2.0 + 1e-9]}}) == []
    assert differences("lines", old, {"t": {"rows": [3.0], "x": [3.0, 1.001, 2.0]}})
    assert differences("lines", old, {"t": {"rows": [3.0]}})
    assert differences("lines", {"t": {"rows": [3.0]}}, old)


def rewrite() -> str:
    """Write ``golden.json``; refuse numbers that changed under the keys that they had."""
    with tempfile.TemporaryDirectory() as folder:
        new = {"keys": keys(), "results": results(Path(folder))}
    old = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {"keys": {}, "results": {}}
    for stage in CHECKED:
        if old["keys"].get(stage) != new["keys"][stage]:
            break
        changed = differences(stage, old["results"][stage], new["results"][stage])
        if changed:
            return f"{stage} changed, and its version was not raised:\n" + "\n".join(changed)
    GOLDEN.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")
    return ""


if __name__ == "__main__":
    sys.exit(rewrite() or None)
