"""A small scan to be disturbed, the one command that runs it, and its catalogue."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from viamachinae.catalog import read as read_catalogue
from viamachinae.cli import main as cli
from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.scan.sections import STAGES
from viamachinae.scan.store import Store
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.schema.io import read_table
from viamachinae.schema.publish import file_sha256

TREE: dict[str, Any] = {
    "scan": {"name": "chaos", "seed": 5},
    "patches": {"centres": [[148.6, 24.2], [148.9, 28.2]], "radius": 4.0},
    "fiducial": {"radius": 3.5},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-15.0, -8.0], "min_stars": 60, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 30, "min_stars": 40},
    "scorer": {"name": "anode"},
    "density": {"blocks": 1, "hidden": 8, "max_epochs": 2, "batch_size": 512, "best_epochs": 1},
    "trunk": {"density": 0.005, "max_star_steps": 2_000},
    "mock": {
        "density": 0.05,
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
#: A JSON line a fault goes here, where the reliability page is made.
LOG = "VIAMACHINAE_CHAOS_LOG"


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({**TREE, **{k: {**TREE.get(k, {}), **v} for k, v in sections.items()}})


def command(out: Path, *more: str) -> list[str]:
    """Return the one `run` command of a folder, after which all faults are measured."""
    toml = out.parent / f"{out.name}.toml"
    if not toml.is_file():
        toml.write_text(dump(settings()), encoding="utf-8")
    return ["run", str(toml), "--out", str(out), *more]


def code_of(out: Path) -> int:
    """Give the `run` command, in this process; return its exit code."""
    with pytest.raises(SystemExit) as end:
        cli.main(command(out, "--inline"))
    assert isinstance(end.value.code, int)
    return end.value.code


def catalogue(out: Path) -> dict[str, pd.DataFrame]:
    """Return the final catalogue, every hash of it checked."""
    table, _ = read_catalogue(out / "streams.ecsv")
    tables = {
        schema.name: read_table(out / f"{schema.name}.parquet", schema)
        for schema in (STREAMS, MEMBERS, TRACKS)
    }
    return {"ecsv": table.to_pandas(), **tables}


def assert_same_catalogue(ours: Path, theirs: Path) -> None:
    """Compare two catalogues row for row and bit for bit."""
    a, b = catalogue(ours), catalogue(theirs)
    assert len(b["streams"]) > 0
    for name in b:
        pd.testing.assert_frame_equal(a[name], b[name], check_exact=True)


def results(out: Path) -> dict[str, str]:
    """Return path -> hash of every result; logs, notes, receipts and the report tell times."""
    beside = ("log", "receipts", "index", "claims", "failures", "suspects", "report", "downloads")
    return {
        path.relative_to(out).as_posix(): file_sha256(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] not in beside
    }


@dataclass
class Fault:
    """One injected fault: what it was, and what it took to get over it."""

    kind: str = ""
    what: str = ""
    commands: int = 0
    times: int = 1
    began: float = field(default_factory=time.monotonic)
    survived: bool = False

    def of(self, kind: str, what: str) -> None:
        self.kind, self.what, self.began = kind, what, time.monotonic()


def undo_behind(out: Path, stage: str) -> None:
    """Undo everything behind a stage, as if the run had been stopped there."""
    store = Store(out)
    for later in STAGES[STAGES.index(stage) + 1 :]:
        for receipt in store.receipts(later):
            for relative in receipt.outputs:
                (out / relative).unlink()
            store.withdraw(receipt.ref)
