"""A real scan packed, exported, extended by a patch, and merged from two folders."""

from __future__ import annotations

import shutil
import socket
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from viamachinae.catalog import read as read_catalogue
from viamachinae.config.settings import Settings
from viamachinae.scan.drive import run_scan
from viamachinae.scan.export import export_scan
from viamachinae.scan.merge import merge
from viamachinae.scan.pack import check_archive, pack
from viamachinae.scan.provenance import ENVIRONMENT, whole_hash
from viamachinae.scan.results import read_settings
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.sections import STAGES
from viamachinae.scan.store import Store
from viamachinae.scan.verify import verify
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.schema.io import read_table
from viamachinae.schema.provenance import git_commit
from viamachinae.schema.publish import file_sha256

HIDDEN = "do-not-write-this-down"
NORTH, SOUTH = [148.9, 28.2], [148.6, 24.2]
TREE: dict[str, Any] = {
    "scan": {"name": "upkeep", "seed": 5},
    "patches": {"centres": [SOUTH, NORTH], "radius": 4.0},
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


def settings(*centres: list[float]) -> Settings:
    patches = {**TREE["patches"], "centres": list(centres)}
    return Settings.model_validate({**TREE, "patches": patches})


def run(out: Path, *centres: list[float]) -> dict[str, int]:
    """Run a scan of some fields; return the tasks that were done now."""
    result = run_scan(settings(*centres), out, runner=InlineRunner())
    assert result.complete
    return {stage: n for stage, n in result.done_now.items() if n}


def final(out: Path) -> dict[str, str]:
    return {
        f"{schema.name}": file_sha256(out / f"{schema.name}.parquet") for schema in (STREAMS, MEMBERS, TRACKS)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CLUSTER_API_TOKEN", HIDDEN)
        environment.setenv("SLURM_JOB_ID", "4711")
        run(out, SOUTH, NORTH)
    assert len(read_table(out / "streams.parquet", STREAMS)) > 0
    return out


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("south") / "out"
    run(out, SOUTH)
    return out


def test_a_patch_added_to_a_finished_scan_keeps_the_others(south: Path, whole: Path, tmp_path: Path) -> None:
    out = shutil.copytree(south, tmp_path / "out")
    assert run(out, SOUTH, NORTH) == {
        "patches": 1, "stars": 1, "plan": 1, "scores": 2, "lines": 1, "fragments": 1,
        "streams": 1, "report": 1,
    }  # fmt: skip
    assert final(out) == final(whole)


def test_two_halves_merge_to_the_whole(south: Path, whole: Path, tmp_path: Path) -> None:
    north, both = tmp_path / "north", tmp_path / "both"
    run(north, NORTH)
    merge([south, north], both)
    centres = [list(centre) for centre in read_settings(both).patches.centres]
    assert centres == [SOUTH, NORTH]
    assert run(both, *centres) == {"patches": 1, "streams": 1, "report": 1}
    assert final(both) == final(whole)
    assert verify(both).sound


def test_an_archive_is_a_scan_folder_again(whole: Path, tmp_path: Path) -> None:
    packed = pack(whole, tmp_path / "scan.tar.zst")
    assert check_archive(packed.path).files == packed.files
    with (
        pa.input_stream(str(packed.path), compression="zstd") as raw,
        tarfile.open(fileobj=raw, mode="r|") as tar,
    ):
        tar.extractall(tmp_path / "out", filter="data")
    assert not run(tmp_path / "out", SOUTH, NORTH)
    verdict = verify(tmp_path / "out")
    assert verdict.sound
    assert not verdict.redo
    ours, theirs = (
        export_scan(out, tmp_path / name) for out, name in ((tmp_path / "out", "a"), (whole, "b"))
    )
    assert [file_sha256(path) for path in ours] == [file_sha256(path) for path in theirs]


def test_every_receipt_tells_where_its_result_comes_from(whole: Path) -> None:
    receipts = [receipt.body for stage in STAGES for receipt in Store(whole).receipts(stage)]
    assert {body["stage"] for body in receipts} == set(STAGES) - {"cells"}
    for body in receipts:
        assert body["versions"]["pandas"] == pd.__version__
        assert body["git"] == git_commit()
        assert body["settings"] == whole_hash(settings(SOUTH, NORTH))
        assert body["seed"] == 5
        assert body["host"] == socket.gethostname()
        assert datetime.fromisoformat(body["started"]).tzinfo is not None
        assert 0 <= body["seconds"] < 600
        assert body["environment"]["SLURM_JOB_ID"] == "4711"
        assert body["environment"].keys() <= set(ENVIRONMENT)


def test_no_other_variable_of_the_environment_is_written_down(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER_API_TOKEN", HIDDEN)
    export_scan(whole, tmp_path / "catalogue")
    packed = pack(whole, tmp_path / "scan.tar.zst")
    with pa.input_stream(str(packed.path), compression="zstd") as raw:
        (tmp_path / "scan.tar").write_bytes(raw.read())
    files = [path for folder in (whole, tmp_path) for path in folder.rglob("*") if path.is_file()]
    assert any(b"4711" in path.read_bytes() for path in files)
    for path in files:
        assert HIDDEN.encode() not in path.read_bytes(), path
        assert b"CLUSTER_API_TOKEN" not in path.read_bytes(), path


def test_the_catalogue_tells_where_it_comes_from(whole: Path, tmp_path: Path) -> None:
    receipt = Store(whole).receipts("streams")[0].body
    for path in export_scan(whole, tmp_path):
        _, meta = read_catalogue(path)
        assert meta["host"] == socket.gethostname()
        assert meta["seed"] == "5"
        assert meta["started"] == receipt["started"]
        assert meta["scan_settings_hash"] == whole_hash(settings(SOUTH, NORTH))
        assert f"pandas={pd.__version__}" in str(meta["versions"])
        assert meta.get("git_commit", "") == git_commit()
        assert meta["seconds"] == str(receipt["seconds"])
        assert "SLURM_JOB_ID=4711" in str(meta["environment"])
    # Of what a run leaves itself nothing may depend on host or time.
    _, meta = read_catalogue(whole / "streams.ecsv")
    assert meta["seed"] == "5"
    assert meta["scan_settings_hash"] == whole_hash(settings(SOUTH, NORTH))
    assert f"pandas={pd.__version__}" in str(meta["versions"])
    assert meta.get("git_commit", "") == git_commit()
    assert not {"host", "started", "seconds", "environment"} & meta.keys()
