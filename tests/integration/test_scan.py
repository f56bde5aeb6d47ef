"""A whole scan on a tiny sky: once done it stays done, and nothing about how it ran changes it."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from viamachinae.catalog import read as read_catalogue
from viamachinae.cli import main as cli
from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ExitCode, TaskError
from viamachinae.scan import plan
from viamachinae.scan.attempt import Attempt
from viamachinae.scan.calibrate import calibrate_scan
from viamachinae.scan.changes import Changes
from viamachinae.scan.drive import run_scan
from viamachinae.scan.options import RunOptions
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.results import read_settings
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.sections import STAGES, settings_hash
from viamachinae.scan.sections import sections as sections_of
from viamachinae.scan.stages import DEFAULT_STAGES, StageFunction
from viamachinae.scan.status import status
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.work import execute
from viamachinae.scan.writers import table_writer
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.schema.io import read_table
from viamachinae.schema.publish import file_sha256
from viamachinae.sky.windows import WHOLE_REGION

TREE: dict[str, Any] = {
    "scan": {"name": "tiny", "seed": 5},
    "patches": {"centres": [[148.6, 24.2], [148.9, 28.2]], "radius": 6.0},
    "fiducial": {"radius": 5.0},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-15.0, -8.0], "min_stars": 100, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 50, "min_stars": 60},
    "scorer": {"name": "anode"},
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
#: Quick fits in slices.
RESIDUAL = {"background_star_steps": 40_000, "starts": 60, "refined": 4, "modes": 2, "folds": 2,
            "components": 1, "iterations": [3, 8]}  # fmt: skip
FINAL = ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv")


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({**TREE, **{k: {**TREE.get(k, {}), **v} for k, v in sections.items()}})


def hashes(out: Path, pattern: str = "*") -> dict[str, str]:
    return {
        str(path.relative_to(out)): file_sha256(path)
        for path in sorted(out.rglob(pattern))
        if path.is_file() and not {"log", "index"} & set(path.parts)
    }


def final(out: Path) -> dict[str, str]:
    return {name: file_sha256(out / name) for name in FINAL}


def counting(calls: Counter[str]) -> dict[str, StageFunction]:
    def counted(fn: StageFunction) -> StageFunction:
        def stage(task: Task, store: Store, settings: Settings) -> Products:
            calls[task.stage] += 1
            return fn(task, store, settings)

        return stage

    return {name: counted(fn) for name, fn in DEFAULT_STAGES.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished scan; tests that change it copy it first."""
    out = tmp_path_factory.mktemp("scan") / "out"
    result = run_scan(settings(), out, runner=InlineRunner())
    assert result.complete
    counts = {"patches": 1, "stars": 2, "plan": 2, "trunk": 1, "scores": 4, "lines": 2, "fragments": 2}
    assert result.done_now == {**counts, "streams": 1, "report": 1}
    return out


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


def test_a_scan_leaves_what_it_promises(done: Path) -> None:
    table, meta = read_catalogue(done / "streams.ecsv")
    assert meta["rows"] == len(table) == len(read_table(done / "streams.parquet", STREAMS)) > 0
    assert meta["release"] == "gaia-dr2"
    assert str(table["ra"].unit) == "deg"
    assert (
        (done / "report" / "index.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype")
    )
    assert (done / "coverage.fits").stat().st_size > 0
    assert "stars" in (done / "log" / "run.log").read_text()
    assert not list(done.rglob("*.tmp"))


def test_a_second_run_does_no_work(done: Path) -> None:
    before, calls = hashes(done), Counter[str]()
    result = run_scan(settings(), done, stages=counting(calls))
    assert not calls
    assert sum(result.done_now.values()) == 0
    assert hashes(done) == before


def test_ray_gives_the_same_bytes_as_one_process(copied: Path, done: Path, ray_runner: RayRunner) -> None:
    for stage in ("stars", "plan", "trunk", "scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(copied / "receipts" / stage)
    run_scan(settings(), copied, runner=ray_runner)
    assert hashes(copied / "scores") == hashes(done / "scores")
    assert hashes(copied / "regions") == hashes(done / "regions")
    assert final(copied) == final(done)


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ({"members": {"half_width": 2.0}}, {"streams", "report"}),
        ({"streams": {"min_shared": 2}}, {"streams", "report"}),
        ({"fragments": {"max_angle": 9.0}}, {"fragments", "streams", "report"}),
        ({"lines": {"n_angle": 90}}, {"lines", "fragments", "streams", "report"}),
        ({"runner": {"workers": 7}}, set()),
    ],
)
def test_late_settings_keep_early_results(
    copied: Path, change: dict[str, Any], redone: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    calls = Counter[str]()
    with caplog.at_level(logging.WARNING, "viamachinae"):
        run_scan(settings(**change), copied, runner=InlineRunner(), stages=counting(calls))
    assert set(calls) == redone
    warned = [record for record in caplog.records if "settings differ" in record.message]
    assert bool(warned) == bool(redone)


@pytest.mark.parametrize("damaged", ["scores", "plan", "patches.parquet", "stars"])
def test_a_damaged_result_is_made_anew_by_the_run_that_meets_it(
    copied: Path, done: Path, damaged: str, ray_runner: RayRunner
) -> None:
    path = copied / damaged
    path = path if path.is_file() else min(p for p in path.rglob("*") if p.is_file())
    content = bytearray(path.read_bytes())
    content[100] ^= 0xFF
    path.write_bytes(bytes(content))
    shutil.rmtree(copied / "receipts" / "lines")
    result = run_scan(settings(), copied, runner=ray_runner)
    assert result.complete
    assert result.done_now.get(damaged.partition(".")[0]) == 1
    assert final(copied) == final(done)
    assert file_sha256(path) == file_sha256(done / path.relative_to(copied))


def test_a_result_that_is_damaged_again_and_again_ends_the_run(copied: Path) -> None:
    def damaging(task: Task, store: Store, given: Settings) -> Products:
        path = store.root / "stars" / f"{task.name}.parquet"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        return DEFAULT_STAGES["fragments"](task, store, given)

    shutil.rmtree(copied / "receipts" / "fragments")
    stages = {**DEFAULT_STAGES, "fragments": damaging}
    with pytest.raises(TaskError, match="not those that were published"):
        run_scan(settings(), copied, runner=InlineRunner(), stages=stages)


def test_errors_of_the_science_are_not_tried_again_in_the_next_round(copied: Path) -> None:
    calls = Counter[str]()

    def failing(task: Task, store: Store, given: Settings) -> Products:
        calls[task.name] += 1
        if calls.total() == 1:
            raise ZeroDivisionError
        return DEFAULT_STAGES["lines"](task, store, given)

    second = max((copied / "stars").iterdir())
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    shutil.rmtree(copied / "receipts" / "lines")
    with pytest.raises(TaskError, match=r"1 task failed[\s\S]*ZeroDivisionError"):
        run_scan(settings(), copied, runner=InlineRunner(), stages={**DEFAULT_STAGES, "lines": failing})
    assert sorted(calls.values()) == [1, 2]


def refuse(found: Changes) -> bool:
    refused.append(found)
    return False


refused: list[Changes] = []


def test_changed_settings_redo_nothing_unless_that_is_agreed_to(copied: Path) -> None:
    before, calls = hashes(copied), Counter[str]()
    changed = settings(lines={"n_angle": 90}, scan={"name": "other"})
    refused.clear()
    with pytest.raises(ConfigError, match=r"lines.n_angle: 180 -> 90.*2 of lines, 2 of fragments.*--yes"):
        run_scan(changed, copied, RunOptions(agree=refuse), stages=counting(calls))
    assert not calls
    assert hashes(copied) == before
    (found,) = refused
    assert dict(found.redone) == {"lines": 2, "fragments": 2, "streams": 1, "report": 1}
    assert set(found.settings) == {"lines.n_angle", "scan.name"}
    # Agreed to once it is the folder's own, and the way back has to be agreed to again.
    assert run_scan(changed, copied, RunOptions(agree=lambda _: True), runner=InlineRunner()).complete
    assert run_scan(changed, copied, RunOptions(agree=refuse), stages=counting(calls)).complete
    assert not calls
    with pytest.raises(ConfigError):
        run_scan(settings(), copied, RunOptions(agree=refuse))


@pytest.mark.parametrize("change", [{"trees": {"members": 3}}, {"runner": {"workers": 9, "nice": 3}}])
def test_changes_that_redo_nothing_need_no_consent(copied: Path, change: dict[str, Any]) -> None:
    calls = Counter[str]()
    assert run_scan(settings(**change), copied, RunOptions(agree=refuse), stages=counting(calls)).complete
    assert not calls
    assert read_settings(copied) == settings(**change)


def test_an_added_patch_keeps_the_others(copied: Path) -> None:
    calls = Counter[str]()
    tree = settings(patches={"centres": [*TREE["patches"]["centres"], [150.0, 32.0]]})
    refused.clear()
    with pytest.raises(ConfigError, match="1 of patches, 1 of streams, 1 of report"):
        run_scan(tree, copied, RunOptions(agree=refuse))
    run_scan(tree, copied, runner=InlineRunner(), stages=counting(calls))
    assert calls["stars"] == calls["lines"] == calls["streams"] == 1


@pytest.mark.parametrize("content", [b"", b"[scan]\nname = ", b"\xff\xfe\x00", b"[nowhere]\nx = 1\n"])
def test_a_damaged_scan_toml_is_written_anew_where_nothing_is_redone(copied: Path, content: bytes) -> None:
    calls = Counter[str]()
    (copied / "scan.toml").write_bytes(content)
    assert run_scan(settings(), copied, RunOptions(agree=refuse), stages=counting(calls)).complete
    assert not calls
    assert read_settings(copied) == settings()
    (copied / "scan.toml").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        run_scan(settings(lines={"n_angle": 90}), copied, RunOptions(agree=refuse))
    assert (copied / "scan.toml").read_bytes() == content


def test_the_command_refuses_in_batch_and_obeys_yes(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "changed.toml"
    toml.write_text(dump(settings(members={"half_width": 2.0})))
    command = ("run", str(toml), "--out", str(copied), "--inline")
    assert _code(*command) == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert "members.half_width" in error
    assert "1 of streams, 1 of report" in " ".join(error.split())
    assert "--yes" in error
    assert _code(*command, "--yes") == ExitCode.COMPLETE
    assert _code(*command) == ExitCode.COMPLETE


def test_groups_side_by_side_and_a_merge_equal_one_run(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, out = tmp_path / "scan.toml", tmp_path / "out"
    toml.write_text(dump(settings()))
    command = ["run", str(toml), "--out", str(out), "--inline"]
    groups = [
        subprocess.Popen(
            [sys.executable, "-m", "viamachinae", *command, "--group", f"{i}/2"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for i in (1, 2)
    ]
    for number, process in enumerate(groups, 1):
        said, error = process.communicate(timeout=300)
        assert process.returncode == ExitCode.COMPLETE, error.decode()
        assert f"group {number}/2: 1 patch searched" in said.decode()
        assert (out / "log" / f"run-{number}-of-2.log").stat().st_size > 0
    assert len(list((out / "fragments").iterdir())) == 2
    assert not (out / "streams.parquet").exists()
    calls = Counter[str]()
    assert run_scan(settings(), out, runner=InlineRunner(), stages=counting(calls)).complete
    assert calls == {"streams": 1, "report": 1}
    assert final(out) == final(done)
    assert hashes(out / "scores") == hashes(done / "scores")
    capsys.readouterr()
    assert _code(*command, "--group", "3/2") == ExitCode.CONFIG
    assert "3/2" in capsys.readouterr().err
    assert _code(*command, "--group", "7/8") == ExitCode.COMPLETE  # more groups than patches


def test_two_runs_on_one_folder_at_once_disturb_nothing(done: Path, tmp_path: Path) -> None:
    toml, out = tmp_path / "scan.toml", tmp_path / "out"
    toml.write_text(dump(settings()))
    runs = [_start(toml, out) for _ in range(2)]
    for process in runs:
        _, error = process.communicate(timeout=300)
        assert process.returncode == ExitCode.COMPLETE, error.decode()
    assert final(out) == final(done)
    assert hashes(out / "scores") == hashes(done / "scores")


def test_a_failing_patch_leaves_the_other_one_its_results(copied: Path) -> None:
    shutil.rmtree(copied / "receipts" / "scores")
    first = min(path.name for path in (copied / "scores").iterdir())

    def failing(task: Task, store: Store, given: Settings) -> Products:
        if task.work["patch"] == first:
            raise ZeroDivisionError
        return DEFAULT_STAGES["scores"](task, store, given)

    with pytest.raises(TaskError, match=f"scores/{first.replace('+', '[+]')}") as caught:
        run_scan(settings(), copied, runner=InlineRunner(), stages={**DEFAULT_STAGES, "scores": failing})
    assert f"no further: 1 patch ({first}); the candidates of the whole sky wait" in str(caught.value)
    assert caught.value.exit_code is ExitCode.FAILED
    assert "ZeroDivisionError" in (copied / "log" / "run.log").read_text()
    states = {state.stage: state for state in status(copied)}
    assert (states["scores"].done, states["scores"].total) == (2, 4)


def test_stars_that_cannot_be_used_end_as_bad_input(tmp_path: Path) -> None:
    def unusable(task: Task, store: Store, given: Settings) -> Products:
        msg = f"patch {task.name}: no stars"
        raise DataError(msg)

    with pytest.raises(DataError, match="no stars"):
        run_scan(settings(), tmp_path, runner=InlineRunner(), stages={**DEFAULT_STAGES, "stars": unusable})


def test_a_scan_without_regions_says_so(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "viamachinae"):
        result = run_scan(settings(regions={"min_stars": 90_000}), copied, runner=InlineRunner())
    assert result.complete
    assert result.streams().empty
    assert "2 patches have no signal region with 90000 to 1000000 stars" in caplog.text


class _Recorder:
    """Settings that remember which sections were looked at."""

    def __init__(self, given: Settings, seen: set[str]) -> None:
        self._given, self._seen = given, seen

    def __getattr__(self, name: str) -> Any:
        if name in Settings.model_fields:
            self._seen.add(name)
        return getattr(self._given, name)


@pytest.mark.parametrize("scorer", ["anode", "residual"])
def test_no_stage_reads_settings_that_its_key_leaves_out(copied: Path, scorer: str) -> None:
    shutil.rmtree(copied / "receipts")
    tree = settings(scorer={"name": scorer}, residual=RESIDUAL)
    seen: dict[str, set[str]] = {}

    def recording(fn: StageFunction) -> StageFunction:
        def stage(task: Task, store: Store, given: Settings) -> Products:
            recorder: Any = _Recorder(given, seen.setdefault(task.stage, set()))
            return fn(task, store, given if task.stage == "report" else recorder)

        return stage

    stages = {name: recording(fn) for name, fn in DEFAULT_STAGES.items()}
    run_scan(tree, copied, runner=InlineRunner(), stages=stages)
    for stage, sections in seen.items():
        covered = {name.split(".")[0] for name in sections_of(tree, stage)}
        if stage == "stars":
            covered.add("masks")  # those that touch the patch are in its work
        if stage == "scores":
            covered.add("roi")  # every scorer is handed the slices; those that fit them have it in their key
        assert sections - {"runner"} <= covered, stage  # where and how tasks run changes no result


def test_a_scan_of_fits_in_slices_ends_in_tables(done: Path, copied: Path) -> None:
    tree = settings(scorer={"name": "residual"}, residual=RESIDUAL)
    calls = Counter[str]()
    result = run_scan(tree, copied, runner=InlineRunner(), stages=counting(calls))
    assert set(calls) == {"scores", "lines", "fragments", "streams", "report"}
    assert result.complete

    def tables(folder: str) -> pd.DataFrame:
        return pd.concat(pd.read_parquet(path) for path in sorted((copied / folder).rglob("*.parquet")))

    scores, fits, rois = tables("scores"), tables("regions"), tables("rois")
    assert {-1, 0} < set(fits["slice"])
    assert WHOLE_REGION not in set(fits["slice"])
    key = ["patch", "coordinate", "region", "slice"]
    assert not fits.duplicated(key).any()
    # Every slice has a fit of its own: its stars are the region of interest's.
    both = rois.merge(fits, on=key, suffixes=("", "_fit"), validate="one_to_one")
    assert len(both) == len(rois) == len(fits) > 20
    assert (both["n_stars"] == both["n_fiducial"]).all()
    assert both["statistic"].equals(both["statistic_fit"])
    assert both["fraction"].between(0, 0.5).all()
    assert len(scores) == fits["n_fiducial"].sum()
    assert scores["membership"].between(0, 1).all()
    # No line counts for more than the held-out ratio of the fit that ranked its stars.
    expected = np.maximum(rois["log10_p_line"], -np.maximum(rois["statistic"], 0.0) / np.log(10.0))
    assert rois["log10_p"].to_numpy() == pytest.approx(expected.to_numpy())
    assert np.isneginf(rois["significance"][rois["statistic"] <= 0]).all()
    assert (rois["statistic"] <= 0).any()
    # The injected stream is the best candidate, as it is that of the densities.
    ours, theirs = (read_table(out / "streams.parquet", STREAMS) for out in (copied, done))
    assert abs(ours["pmdec"][0] - theirs["pmdec"][0]) < 1.0
    assert ours["significance"][0] == pytest.approx(rois["significance"].max(), rel=0.5)
    page = (copied / "report" / "index.html").read_text(encoding="utf-8")
    assert f"{fits.groupby(key[:3]).ngroups} scored signal regions" in page
    calls.clear()
    assert run_scan(tree, copied, stages=counting(calls)).complete
    assert not calls


@pytest.mark.parametrize("scorer", ["cwola", "cathode", "r-anode"])
def test_only_fits_of_a_signal_are_held_to_their_statistic(copied: Path, scorer: str) -> None:
    quick = {"restarts": 1, "max_epochs": 2, "blocks": 1, "hidden": 16}
    tree = settings(scorer={"name": scorer}, trees={"members": 1, "max_iterations": 5}, r_anode=quick)
    assert run_scan(tree, copied, runner=InlineRunner()).complete
    rois, fits = (
        pd.concat(pd.read_parquet(path) for path in sorted((copied / folder).rglob("*.parquet")))
        for folder in ("rois", "regions")
    )
    assert set(fits["slice"]) == {WHOLE_REGION}
    assert len(rois) > len(fits) > 0
    free = rois["significance"].equals(rois["significance_line"])
    assert free == (scorer != "r-anode")
    assert (rois["significance"] <= rois["significance_line"]).all()
    assert set(rois["statistic"]) == set(fits["statistic"])


@pytest.mark.parametrize(
    ("scorer", "change", "first"),
    [
        ("anode", {"residual": {"starts": 9}}, None),
        ("anode", {"r_anode": {"restarts": 2}}, None),
        ("anode", {"trees": {"members": 3}}, None),
        ("anode", {"roi": {"stride": 2.0}}, "lines"),
        ("anode", {"scorer": {"folds": 3}}, "scores"),
        ("residual", {"residual": {"starts": 9}}, "scores"),
        ("residual", {"roi": {"stride": 2.0}}, "scores"),
        ("residual", {"trees": {"members": 3}}, None),
        ("residual", {"lines": {"held_out": False}}, "lines"),
        ("r-anode", {"r_anode": {"restarts": 2}}, "scores"),
        ("r-anode", {"roi": {"min_stars": 70}}, "scores"),
        ("r-anode", {"residual": {"background_star_steps": 9}}, "scores"),
        ("r-anode", {"residual": {"starts": 9}}, None),
        ("cathode", {"trees": {"members": 3}}, "scores"),
        ("cathode", {"residual": {"starts": 9}}, None),
        ("cathode", {"roi": {"stride": 2.0}}, "lines"),
        ("cwola", {"trees": {"members": 3}}, "scores"),
        ("cwola", {"r_anode": {"restarts": 2}}, None),
    ],
)
def test_scores_depend_on_the_section_of_their_scorer_alone(
    scorer: str, change: dict[str, Any], first: str | None
) -> None:
    before = settings(scorer={"name": scorer})
    after = settings(**{**change, "scorer": {"name": scorer, **change.get("scorer", {})}})
    touched = [stage for stage in STAGES if settings_hash(before, stage) != settings_hash(after, stage)]
    assert touched[:1] == ([] if first is None else [first])
    same = plan.task(before, "scores", "x", (), {}).key == plan.task(after, "scores", "x", (), {}).key
    assert same == (first != "scores")


@pytest.mark.parametrize(
    ("scorer", "sideband", "region"),
    [("anode", True, True), ("cwola", False, False), ("cathode", True, False), ("r-anode", True, False),
     ("residual", True, False)],
)  # fmt: skip
def test_a_trunk_is_trained_where_a_model_starts_from_it(scorer: str, sideband: bool, region: bool) -> None:
    for places, wanted in (
        ({"sideband_start": "cold", "start": "cold"}, False),
        ({"sideband_start": "trunk", "start": "cold"}, sideband),
        ({"sideband_start": "cold", "start": "trunk"}, region),
    ):
        tree = settings(scorer={"name": scorer, **places})
        assert bool(plan.trunk_tasks(tree, {"pm_lambda"})) == wanted


def _start(toml: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "viamachinae", "run", str(toml), "--out", str(out), "--inline"]
    return subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _wait_for_scores(process: subprocess.Popen[bytes], out: Path) -> None:
    end = time.monotonic() + 120
    while not list((out / "receipts" / "scores").rglob("*.json")):
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_result(
    copied: Path, done: Path, tmp_path: Path, number: signal.Signals
) -> None:
    toml, out = tmp_path / "scan.toml", copied
    toml.write_text(dump(settings()), encoding="utf-8")
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
        shutil.rmtree(out / stage, ignore_errors=True)
    with _start(toml, out) as process:
        _wait_for_scores(process, out)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    if number is signal.SIGTERM:
        assert process.returncode == ExitCode.RESUME, stderr.decode()
        assert b"run the same command again" in stderr
        assert b"Traceback" not in stderr
    kept = {path: file_sha256(path) for path in (out / "receipts" / "scores").rglob("*.json")}
    assert 0 < len(kept) < 4
    result = run_scan(settings(), out, runner=InlineRunner())
    assert result.done_before["scores"] == len(kept)
    assert {path: file_sha256(path) for path in kept} == kept
    assert final(out) == final(done)
    assert not list(out.rglob("*.tmp"))


def test_status_counts_what_holds(copied: Path) -> None:
    assert all(state.done == state.total for state in status(copied))
    (copied / "members.parquet").unlink()
    states = {state.stage: state.done for state in status(copied)}
    assert states["fragments"] == 2
    assert (states["streams"], states["report"]) == (0, 1)  # as a run finds it: the report stays
    assert json.loads((copied / "receipts" / "streams" / "sky.json").read_text())["stage"] == "streams"


def test_a_null_scan_calibrates_and_the_catalogue_says_so(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    null = tmp_path / "null"
    empty = settings(mock={"streams": []}, scan={"name": "null", "seed": 6})
    run_scan(empty, null, runner=InlineRunner())
    assert _code("calibrate", str(copied), "--null", str(null)) == ExitCode.COMPLETE
    assert "lower limit" in " ".join(capsys.readouterr().out.split())
    streams, _ = read_catalogue(copied / "streams.ecsv")
    assert np.all((np.asarray(streams["p_value"]) > 0) & (np.asarray(streams["p_value"]) < 1))
    calls = Counter[str]()
    run_scan(settings(), copied, stages=counting(calls))
    assert not calls

    assert (
        _code("export", str(copied), "--to", str(tmp_path / "cat"), "--format", "fits") == ExitCode.COMPLETE
    )
    table, meta = read_catalogue(tmp_path / "cat" / "streams.fits")
    assert list(table["p_value"]) == list(streams["p_value"])
    assert meta["release"] == "gaia-dr2"
    assert sorted(path.name for path in (tmp_path / "cat").iterdir()) == [
        "members.fits", "streams.fits", "tracks.fits"
    ]  # fmt: skip
    assert _code("export", str(copied), "--to", str(tmp_path), "--format", "pdf") == ExitCode.CONFIG
    # Other candidates than those that were calibrated are not calibrated.
    run_scan(settings(members={"half_width": 2.0}), copied, runner=InlineRunner())
    assert read_catalogue(copied / "streams.ecsv")[0]["p_value"].mask.all()


def _forget(task: Task, store: Store, given: Settings) -> Products:
    """Join nothing: the scan of a sky on which no lines agree."""
    empty = {"members": MEMBERS, "tracks": TRACKS, "streams": STREAMS}
    writers = {f"{name}.parquet": table_writer(schema.empty(), schema) for name, schema in empty.items()}
    return Products(writers, {"n_streams": 0})


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0), (0, 0)])
def test_scans_without_candidates_calibrate_and_export(
    copied: Path, tmp_path: Path, ours: int, theirs: int
) -> None:
    null = shutil.copytree(copied, tmp_path / "null")
    # A sky without injected streams is asked for; what it holds does not matter here.
    (null / "scan.toml").write_text(dump(settings(mock={"streams": []})), encoding="utf-8")
    shutil.rmtree(null / "receipts" / "streams")
    stages = dict(DEFAULT_STAGES)
    for out, some, given in ((copied, ours, settings()), (null, theirs, settings(mock={"streams": []}))):
        stages["streams"] = DEFAULT_STAGES["streams"] if some else _forget
        shutil.rmtree(out / "receipts" / "streams", ignore_errors=True)
        run_scan(given, out, runner=InlineRunner(), stages=stages)
    calibrated = calibrate_scan(copied, null)
    assert len(calibrated.table) == len(read_table(copied / "streams.parquet", STREAMS))
    assert bool(len(calibrated.table)) == bool(ours)
    assert (calibrated.table["p_value"] > 0).all()
    assert _code("report", str(copied)) == _code("status", str(copied)) == ExitCode.COMPLETE
    assert _code("export", str(copied), "--to", str(tmp_path / "cat")) == ExitCode.COMPLETE
    for kind in ("ecsv", "fits", "parquet"):
        table, _ = read_catalogue(tmp_path / "cat" / f"streams.{kind}")
        assert len(table) == len(calibrated.table)


def test_candidates_of_other_settings_are_neither_calibrated_nor_exported(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A run that was stopped at once has left the new settings beside the old candidates.
    (copied / "scan.toml").write_text(dump(settings(lines={"n_angle": 90})), encoding="utf-8")
    assert _code("export", str(copied), "--to", str(tmp_path / "cat")) == ExitCode.DATA
    assert "lines, fragments, streams" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(DataError, match=r"scan\.toml"):
        calibrate_scan(copied, copied)


def test_the_catalogue_needs_no_tables_of_stars_and_scores(copied: Path, tmp_path: Path) -> None:
    for folder in ("stars", "scores", "regions", "rois", "fragments"):
        shutil.rmtree(copied / folder)
    assert _code("export", str(copied), "--to", str(tmp_path / "cat")) == ExitCode.COMPLETE


def test_a_catalogue_that_cannot_be_written_is_bad_configuration(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert _code("export", str(copied), "--to", str(tmp_path / "file" / "cat")) == ExitCode.CONFIG
    assert "Traceback" not in capsys.readouterr().err


def test_a_second_run_on_the_folder_leaves_results_that_are_there(copied: Path, done: Path) -> None:
    """Two runs at once: what the other one finished since the tasks were listed is not done again."""
    tasks: list[Task] = []

    def listed(task: Task, store: Store, given: Settings) -> Products:
        tasks.append(task)
        return DEFAULT_STAGES["scores"](task, store, given)

    shutil.rmtree(copied / "receipts" / "scores")
    run_scan(settings(), copied, runner=InlineRunner(), stages={**DEFAULT_STAGES, "scores": listed})
    before, calls = hashes(copied), Counter[str]()
    stage = counting(calls)["scores"]
    for task in tasks:
        execute(task, Attempt(), root=copied, settings=settings(), stage=stage)
    assert len(tasks) == 4
    assert not calls
    assert hashes(copied) == before


def test_a_null_scan_with_other_cuts_is_refused(copied: Path, tmp_path: Path) -> None:
    null = shutil.copytree(copied, tmp_path / "null")
    run_scan(settings(members={"half_width": 2.0}), null, runner=InlineRunner())
    with pytest.raises(ConfigError, match="injected streams"):
        calibrate_scan(copied, null)


def test_the_report_is_drawn_anew(copied: Path) -> None:
    page = copied / "report" / "index.html"
    page.unlink()
    assert _code("report", str(copied)) == ExitCode.COMPLETE
    assert "<html" in page.read_text(encoding="utf-8")


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code
