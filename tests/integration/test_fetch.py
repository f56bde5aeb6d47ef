"""`viamachinae fetch`: cells downloaded once for all patches, kept over interruptions, shown by `status`."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from viamachinae.cli.main import main
from viamachinae.config.settings import MockSettings, Settings
from viamachinae.config.toml import dump
from viamachinae.errors import DataError, ExitCode, ResumeError, TaskError
from viamachinae.scan import masking, plan
from viamachinae.scan.drive import run_scan
from viamachinae.scan.masking import masks_near
from viamachinae.scan.runner import InlineRunner, ThreadRunner
from viamachinae.scan.status import status
from viamachinae.scan.task import Task
from viamachinae.schema import CELLS
from viamachinae.stars.archive import fetch
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.fetch import Fetched
from viamachinae.stars.mock.cells import CELL_ORDER, cell_stars

CENTRES = ((148.6, 24.2), (150.0, 26.0), (200.0, 60.0))
STOPPED = "stopped"
SKY = MockSettings(density=0.05, g_max=19.0)


def scan(**changes: dict[str, object]) -> Settings:
    tree: dict[str, dict[str, object]] = {
        "stars": {"source": "gaia-dr2"},
        "archive": {"cell_order": CELL_ORDER, "parallel": 2},
        "patches": {"centres": CENTRES, "radius": 3.0},
        "fiducial": {"radius": 2.0},
        "runner": {"inline": True},
    }
    for section, body in changes.items():
        tree[section] = tree.get(section, {}) | body
    return Settings.model_validate(tree)


class Archive:
    """Serves the cells of a mock sky; remembers which, and fails where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.lock = threading.Lock()

    def fetch_cell(self, settings, cell, workplace, *, stop=None, heard=None) -> Fetched:
        with self.lock:
            self.asked.append(cell.name)
        (workplace / "part").write_text("under way", encoding="utf-8")
        if cell.name in self.failing:
            raise self.failing[cell.name]
        if stop is not None and stop.is_set():
            raise ResumeError(STOPPED)
        stars = cell_stars(SKY, 1, cell.pixel).drop(columns="truth").sort_values("source_id")
        stars = CELLS.conform(stars[stars["parallax"] < settings.selection.parallax_max])
        heard(len(stars), 100 * len(stars))
        table = CELLS.to_arrow(stars)
        return Fetched(table, {"rows": len(stars), "bytes": 100 * len(stars), "release": "gaia-dr2"})


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    served = Archive()
    monkeypatch.setattr(fetch, "fetch_cell", served.fetch_cell)
    monkeypatch.setattr(fetch, "check_service", lambda settings: {})
    return served


def cells_of(settings: Settings, patches: pd.DataFrame) -> dict[str, set[str]]:
    return {row["patch"]: set(plan.cell_names(settings, row)) for row in patches.to_dict("records")}


def test_a_cell_is_downloaded_once_for_all_patches(archive: Archive, tmp_path: Path):
    settings = scan()
    result = run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    patches = pq.read_table(tmp_path / "patches.parquet").to_pandas()
    needed = cells_of(settings, patches)
    first, second, third = needed.values()
    assert first & second
    assert not first & third
    assert sorted(archive.asked) == sorted(first | second | third)
    assert result.done_now["stars"] == 3
    assert not (tmp_path / "streams.parquet").exists()
    assert list((tmp_path / "downloads").iterdir()) == []
    everything = pd.concat([cell_stars(SKY, 1, Cell.named(name).pixel) for name in sorted(first)])
    for name in needed:
        stars = pq.read_table(tmp_path / "stars" / f"{name}.parquet").to_pandas()
        assert stars["source_id"].is_unique
    ours = pq.read_table(tmp_path / "stars" / f"{next(iter(needed))}.parquet").to_pandas()
    kept = everything[everything["parallax"] < 1.0].merge(ours[["source_id"]], on="source_id")
    assert len(kept) == len(ours) > 500
    # again: nothing is asked
    archive.asked.clear()
    run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    assert archive.asked == []
    # cuts that are made here leave the cells alone; one that the archive makes does not
    run_scan(scan(fiducial={"g_max": 18.0}), tmp_path, runner=InlineRunner(), stars_only=True)
    assert archive.asked == []
    run_scan(scan(selection={"parallax_max": 0.5}), tmp_path, runner=InlineRunner(), stars_only=True)
    assert sorted(archive.asked) == sorted(first | second | third)


def test_a_cell_that_fails_holds_back_its_patches_alone(archive: Archive, tmp_path: Path):
    settings = scan()
    archive.failing = dict.fromkeys(plan.cell_names(settings, row_of(2)), DataError("no row"))
    with pytest.raises(DataError, match="no row"):
        run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    found = {state.stage: state for state in status(tmp_path)}
    assert found["stars"].done == 2
    assert found["stars"].total == 3
    assert found["cells"].done < found["cells"].total
    assert found["cells"].rows > 0
    assert found["cells"].bytes == 100 * found["cells"].rows
    asked, archive.failing = len(set(archive.asked)), {}
    archive.asked.clear()
    run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    assert sorted(archive.asked) == sorted(plan.cell_names(settings, row_of(2)))
    assert asked == status(tmp_path)[1].done == status(tmp_path)[1].total


def row_of(i: int) -> dict[str, object]:
    ra, dec = CENTRES[i]
    return {"ra": ra, "dec": dec, "radius": 3.0}


def test_an_error_of_the_machine_is_no_fault_of_the_input(archive: Archive, tmp_path: Path):
    archive.failing = {plan.cell_names(scan(), row_of(0))[0]: OSError("disk")}
    with pytest.raises(TaskError, match="disk"):
        run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)


def test_an_interrupted_download_goes_on_where_it_was(archive: Archive, tmp_path: Path, monkeypatch):
    settings, got = scan(), []
    serve = archive.fetch_cell

    def interrupted(settings, cell, workplace, *, stop=None, heard=None):
        if len(got) == 5:
            raise KeyboardInterrupt
        got.append(cell.name)
        return serve(settings, cell, workplace, stop=stop, heard=heard)

    monkeypatch.setattr(fetch, "fetch_cell", interrupted)
    with pytest.raises(ResumeError, match="run the same command again"):
        run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    before = {path.stem for path in (tmp_path / "cells").glob("*.parquet")}
    assert 3 <= len(before) <= 5
    archive.asked.clear()
    monkeypatch.setattr(fetch, "fetch_cell", serve)
    run_scan(settings, tmp_path, runner=InlineRunner(), stars_only=True)
    assert not before & set(archive.asked)


def test_what_is_wrong_is_said_before_anything_is_asked(archive: Archive, tmp_path: Path):
    with pytest.raises(DataError, match="ruwe"):
        run_scan(
            scan(stars={"source": "galaxia-dr2"}, selection={"ruwe_max": 1.4}),
            tmp_path,
            runner=InlineRunner(),
        )
    assert archive.asked == []


def test_the_command_and_what_status_says(archive: Archive, tmp_path: Path, capsys):
    path = tmp_path / "scan.toml"
    path.write_text(dump(scan()), encoding="utf-8")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as end:
        main(["fetch", str(path), "--out", str(out)])
    assert end.value.code == ExitCode.COMPLETE
    said = capsys.readouterr().out
    assert "stars of 3 patches" in said
    assert "cells downloaded" in said
    with pytest.raises(SystemExit):
        main(["status", str(out), "--json"])
    stages = {s["stage"]: s for s in json.loads(capsys.readouterr().out)["stages"]}
    cells = pa.concat_tables(pq.read_table(p) for p in (out / "cells").glob("*.parquet"))
    assert stages["cells"]["rows"] == cells.num_rows
    assert stages["stars"]["done"] == 3
    with pytest.raises(SystemExit):
        main(["status", str(out)])
    assert f"{cells.num_rows:,}" in capsys.readouterr().out


def test_masks_redo_the_patches_that_they_touch_alone(archive: Archive, tmp_path: Path):
    run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    circle = [147.5, 23.5, 0.5]
    again = run_scan(scan(fiducial={"masks": [circle]}), tmp_path, runner=InlineRunner(), stars_only=True)
    assert again.done_now["cells"] == 0
    assert again.done_now["stars"] == 1
    masks = pq.read_table(tmp_path / "masks.parquet").to_pandas()
    assert "user" in set(masks["kind"])
    receipts = [json.loads(p.read_text()) for p in (tmp_path / "receipts" / "stars").glob("*.json")]
    masked = [sum(body["info"]["report"]["masked"].values()) for body in receipts]
    assert sum(n > 0 for n in masked) >= 1
    assert len(masks_near(scan(fiducial={"masks": [circle]}), row_of(2))) < len(masks)


def test_threads_stop_when_the_caller_gives_up():
    stop = threading.Event()
    tasks = [Task("cells", str(i), "") for i in range(6)]
    started: list[str] = []

    def work(task: Task, attempt: int) -> dict[str, object]:
        started.append(task.name)
        if task.name == "0":
            return {}
        stop.wait(30)
        raise ResumeError(STOPPED)

    with ThreadRunner(2, stop) as runner:
        outcomes = runner.run(tasks, work)
        assert next(outcomes).ok
        outcomes.close()
    assert stop.is_set()
    assert len(started) < len(tasks)
    assert np.unique(started).size == len(started)


def test_cells_may_go_when_the_stars_are_there(archive: Archive, tmp_path: Path):
    run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    archive.asked.clear()
    shutil.rmtree(tmp_path / "cells")
    again = run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    assert archive.asked == []
    assert sum(again.done_now.values()) == 0
    assert {state.stage: state.done for state in status(tmp_path)}["stars"] == 3
    # a patch that is made anew gets its own cells back, and no others
    (tmp_path / "receipts" / "stars" / f"{names_of(tmp_path)[2]}.json").unlink()
    run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    assert sorted(archive.asked) == sorted(plan.cell_names(scan(), row_of(2)))


def names_of(out: Path) -> list[str]:
    return list(pq.read_table(out / "patches.parquet").to_pandas()["patch"])


@pytest.fixture
def forgetting():
    """Forget what is remembered of the masks, before and after a test; return how."""

    def forget():
        for remembered in (masking._circles_key, masking._known_circles):
            remembered.cache_clear()

    forget()
    yield forget
    forget()


def test_another_table_of_known_objects_redoes_the_table_of_masks(
    archive: Archive, tmp_path: Path, monkeypatch, forgetting
):
    run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    known = masking.masks_of(scan())
    more = known.iloc[[0]].assign(name="new galaxy", ra=147.5, dec=23.5, radius=0.5)
    monkeypatch.setattr(masking, "_known", lambda *_: pd.concat([known, more], ignore_index=True))
    forgetting()
    assert status(tmp_path)[0].done == 0
    again = run_scan(scan(), tmp_path, runner=InlineRunner(), stars_only=True)
    assert again.done_now == {"patches": 1, "cells": 0, "stars": 1}
    assert "new galaxy" in set(pq.read_table(tmp_path / "masks.parquet").to_pandas()["name"])
