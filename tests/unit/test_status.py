"""Status, upkeep and the index: everything from receipts and notes, nothing guessed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from fake_scan import CENTRES, NAMES, STAGES, run, settings
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, TaskError
from viamachinae.report.progress_map import COLOURS, draw_progress
from viamachinae.scan import claims as claims_room
from viamachinae.scan.claims import claimed, claims
from viamachinae.scan.clean import clean
from viamachinae.scan.failures import failure_path, failures, record_failure
from viamachinae.scan.index import read_index
from viamachinae.scan.ledger import read_ledger, rebuild_index
from viamachinae.scan.merge import merge
from viamachinae.scan.pack import check_archive, pack
from viamachinae.scan.retry import retry
from viamachinae.scan.states import STATES
from viamachinae.scan.status import read_patches_table, scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import suspects
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.verify import replan, verify, withdraw_damaged
from viamachinae.scan.writers import text_writer
from viamachinae.schema.publish import file_sha256, machine, temporary

GROUPS = ["+000", "+001", "+002"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out"
    run(out)
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


def states(out: Path) -> dict[str, dict[str, int]]:
    return {s.stage: {k: n for k, n in s.states.items() if n} for s in scan_status(out).stages}


def withdraw(out: Path, *stages: str) -> None:
    for stage in stages:
        for receipt in Store(out).receipts(stage):
            Store(out).withdraw(receipt.ref)


def score(out: Path, patch: int = 0, group: int = 0) -> Task:
    name = f"{NAMES[patch]}/pm_lambda/{GROUPS[group]}"
    receipt = Store(out).receipt(TaskRef("scores", name, ""))
    assert receipt is not None
    return receipt.task


def test_a_finished_scan_is_done_everywhere(out: Path) -> None:
    found = scan_status(out)
    assert all(stage.done == stage.total == stage.states["DONE"] for stage in found.stages)
    assert {name: (p.state, p.done, p.known) for name, p in found.patches.items()} == dict.fromkeys(
        NAMES, ("DONE", 7, 7)
    )
    assert found.core_seconds_left == 0
    assert not found.failures
    assert not found.suspects


def test_what_is_left_is_pending_and_its_time_is_told(out: Path) -> None:
    withdraw(out, "lines", "fragments", "streams", "report")
    Store(out).withdraw(score(out))
    found = scan_status(out)
    by_stage = {stage.stage: stage for stage in found.stages}
    assert by_stage["scores"].states == {**dict.fromkeys(STATES, 0), "DONE": 5, "PENDING": 1}
    assert by_stage["lines"].states["PENDING"] == 2
    assert {p.state for p in found.patches.values()} == {"PENDING"}
    # No line was ever made, so that nobody knows how long they take.
    assert found.core_seconds_left is None
    assert found.seconds_left is None


def test_the_time_left_is_the_mean_of_the_stage(out: Path) -> None:
    store = Store(out)
    for i, receipt in enumerate(store.receipts("scores")):
        store.put_receipt(type(receipt)({**receipt.body, "seconds": 10.0 * (i + 1)}))
    for group in (0, 1):
        store.withdraw(score(out, 0, group))
    assert scan_status(out).core_seconds_left == pytest.approx(2 * np.mean([30, 40, 50, 60]), abs=1)
    with claimed(store, Task("scores", f"{NAMES[0]}/pm_lambda/+000", "k")):
        found = scan_status(out)
    assert found.workers == 1
    assert found.rate == pytest.approx(3600 / 45.0)
    assert found.seconds_left == pytest.approx(found.core_seconds_left)


def test_an_unfinished_plan_leaves_the_number_of_scores_open(out: Path) -> None:
    withdraw(out, "plan")
    by_stage = {stage.stage: stage for stage in scan_status(out).stages}
    assert by_stage["scores"].total is None
    assert by_stage["scores"].done == 6
    assert by_stage["plan"].states["PENDING"] == 2


def test_a_failure_is_written_down_shown_and_forgotten_when_the_task_is_done(out: Path) -> None:
    withdraw(out, "scores", "lines", "fragments", "streams", "report")

    def fails(task: Task, store: Store, given: Settings) -> Products:
        if task.name == f"{NAMES[0]}/pm_lambda/+001":
            msg = "no convergence"
            raise ArithmeticError(msg)
        return STAGES["scores"](task, store, given)

    with pytest.raises(TaskError, match="no convergence"):
        run(out, stages={**STAGES, "scores": fails})
    found = scan_status(out)
    (failed,) = found.failures
    assert failed == f"scores/{NAMES[0]}/pm_lambda/+001"
    assert "no convergence" in found.failures[failed].error
    assert states(out)["scores"] == {"DONE": 5, "FAILED": 1}
    assert states(out)["lines"] == {"DONE": 1, "BLOCKED": 1}
    assert states(out)["streams"] == {"BLOCKED": 1}
    assert [p.state for p in found.patches.values()] == ["FAILED", "DONE"]
    assert found.as_dict()["failures"][failed]["attempt"] == 1
    run(out)
    assert not failures(out)
    assert not failure_path(out, TaskRef("scores", f"{NAMES[0]}/pm_lambda/+001", "")).exists()
    assert states(out)["scores"] == {"DONE": 6}


def test_a_failure_of_other_settings_is_none(out: Path) -> None:
    task = score(out)
    Store(out).withdraw(task)
    record_failure(
        Store(out), Task(task.stage, task.name, "another key", task.inputs, task.work), "old", "", 1
    )
    assert states(out)["scores"] == {"DONE": 5, "PENDING": 1}
    record_failure(Store(out), task, "new", "a trace", 2)
    assert states(out)["scores"] == {"DONE": 5, "FAILED": 1}
    assert failures(out)[task.id].body["trace"] == "a trace"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "stage": "scores", "name": 3}']
)
def test_damaged_notes_are_no_notes(out: Path, text: str) -> None:
    for folder in ("failures/scores", "suspects/scores/x", "claims"):
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / "x.json").write_text(text)
    found = scan_status(out)
    assert not found.failures
    assert not found.suspects
    assert not found.claims


def test_a_full_disk_costs_the_note_of_a_failure_and_nothing_else(
    out: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("viamachinae.scan.failures.write_note", full)
    record_failure(Store(out), score(out), "x")
    assert "cannot be written down" in caplog.text


def test_a_task_at_work_is_running_as_long_as_its_process_lives(out: Path) -> None:
    task = score(out)
    store = Store(out)
    store.withdraw(task)
    with claimed(store, task, 2):
        (claim,) = claims(out)
        assert (claim.host, claim.pid, claim.alive) == (socket.gethostname(), os.getpid(), True)
        assert claim.tasks[0]["id"] == task.id
        assert claim.tasks[0]["attempt"] == 2
        assert states(out)["scores"] == {"DONE": 5, "RUNNING": 1}
        with claimed(store, score(out, 1)):
            (claim,) = claims(out)
            assert len(claim.tasks) == 2
    assert not claims(out)
    assert states(out)["scores"] == {"DONE": 5, "PENDING": 1}


def test_a_claim_gives_signs_by_its_content(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_room, "BEAT", 0.02)
    monkeypatch.setattr(claims_room, "_heart", cache(lambda _pid: claims_room._Heart()))
    with claimed(Store(out), score(out)):
        end = time.monotonic() + 10
        while claims(out)[0].beat < 3:
            assert time.monotonic() < end
            time.sleep(0.01)
    time.sleep(0.1)
    assert not claims(out)


def test_one_thread_gives_the_signs_of_all_claims(out: Path, tmp_path: Path) -> None:
    def beating() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "claims"]

    with claimed(Store(out), score(out)):
        before = len(beating())
    for i in range(5):
        with claimed(Store(tmp_path / str(i)), score(out)):
            assert len(beating()) == before
    assert all(thread.daemon for thread in beating())


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "RUNNING"),
        ({"pid": 4194305}, "PENDING"),
        ({"birth": "another boot 12"}, "PENDING"),
        ({"host": "elsewhere"}, "RUNNING"),
        ({"host": "elsewhere", "at": "2001-01-01T00:00:00Z"}, "PENDING"),
        ({"host": "elsewhere", "at": "9999-12-31T23:59:59Z"}, "PENDING"),
        ({"host": "elsewhere", "at": "soon"}, "PENDING"),
    ],
)
def test_a_stale_claim_makes_nothing_run(out: Path, change: dict[str, Any], state: str) -> None:
    task = score(out)
    Store(out).withdraw(task)
    with claimed(Store(out), task):
        body = json.loads(claims(out)[0].path.read_text())
    body |= change
    path = out / "claims" / "x~1~0.json"
    path.write_text(json.dumps(body))
    assert states(out)["scores"] == {"DONE": 5, state: 1}
    # A claim locks nothing.
    assert run(out)["scores"] == 1


def test_a_suspect_task_is_shown_and_done_again_on_request(out: Path) -> None:
    task = score(out)
    other = Products({f"{f}/{task.name}.parquet": text_writer("other") for f in ("scores", "regions")})
    Store(out).publish(task, other, started=time.time())
    assert states(out)["scores"] == {"DONE": 5, "SUSPECT": 1}
    assert scan_status(out).patches[NAMES[0]].state == "SUSPECT"
    # The first result stands: nothing is done again unasked.
    assert not run(out)
    assert retry(out, "SUSPECT", ["scores/nothing*"]) == []
    assert retry(out, "SUSPECT", [f"scores/{NAMES[0]}*"]) == [task.id]
    assert run(out) == {"scores": 1}
    assert states(out)["scores"] == {"DONE": 6}
    assert not (out / "suspects" / task.stage / task.name).exists()


def test_failures_are_cleared_by_pattern(out: Path) -> None:
    for patch in (0, 1):
        record_failure(Store(out), score(out, patch), "x")
    assert retry(out, "FAILED", [f"*{NAMES[1]}*"]) == [score(out, 1).id]
    assert list(failures(out)) == [score(out).id]
    assert retry(out) == [score(out).id]
    with pytest.raises(ConfigError, match="FAILED, SUSPECT"):
        retry(out, "DONE")
    with pytest.raises(ConfigError, match=r"scan\.toml"):
        retry(out.parent)


# --- the index -------------------------------------------------------------------------------------------


def test_the_index_answers_for_every_small_receipt_and_can_go(out: Path) -> None:
    before = scan_status(out)
    rebuild_index(out)
    ledger = read_ledger(out)
    n = sum(map(len, ledger.receipts.values()))
    assert ledger.indexed == n == 18
    assert scan_status(out).stages == before.stages
    shutil.rmtree(out / "index")
    assert read_ledger(out).indexed == 0
    assert scan_status(out).stages == before.stages
    assert read_ledger(out).indexed == n


def _tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for position in range(7, len(content), 311):
        content[position] ^= 4
    path.write_bytes(bytes(content))


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [_tear, _flip, _zero, Path.unlink])
def test_a_damaged_index_is_not_believed(out: Path, harm: Callable[[Path], None]) -> None:
    before = scan_status(out).stages
    rebuild_index(out)
    for path in (out / "index").iterdir():
        harm(path)
    assert scan_status(out).stages == before


def test_the_index_is_never_believed_over_receipts(out: Path) -> None:
    rebuild_index(out)
    store, task = Store(out), score(out)
    # Deleted by hand: the index still tells of it.
    store.receipt_path(task).unlink()
    assert states(out)["scores"] == {"DONE": 5, "PENDING": 1}
    # Replaced by hand: another file, which only its inode tells.
    other = store.receipt(score(out, 1))
    assert other is not None
    path = store.receipt_path(other.ref)
    fresh = path.with_name("fresh")
    fresh.write_text(path.read_text().replace('"attempt": 1', '"attempt": 2'))
    fresh.replace(path)
    assert states(out)["scores"] == {"DONE": 4, "PENDING": 2}


def test_a_withdrawn_receipt_is_not_believed_when_its_inode_comes_back(out: Path) -> None:
    rebuild_index(out)
    store, task = Store(out), score(out)
    path = store.receipt_path(task)
    inode, text = path.stat().st_ino, path.read_bytes()
    store.withdraw(task)
    index = read_index(out)
    assert index.get("scores", task.name, inode) is None
    # Put back by hand, it is read itself.
    path.write_bytes(text)
    ledger = read_ledger(out)
    assert ledger.of("scores")[task.name].key == task.key
    assert ledger.indexed == 17


def test_a_process_that_was_cut_off_while_it_wrote_harms_no_later_line(out: Path) -> None:
    rebuild_index(out)
    store, task = Store(out), score(out)
    store.withdraw(task)
    for path in (out / "index").iterdir():
        with path.open("ab") as handle:
            handle.write(b'\n12345678 {"sha256": "ab", "ino')
    run(out)
    ledger = read_ledger(out)
    assert ledger.indexed == sum(map(len, ledger.receipts.values()))


def test_status_changes_nothing_in_a_folder_that_it_may_not_write(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(out / "index", ignore_errors=True)
    real = Path.open

    def read_only(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode not in ("r", "rb"):
            raise OSError(30, "Read-only file system")
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", read_only)
    assert states(out)["scores"] == {"DONE": 6}


def test_a_run_in_a_folder_that_takes_no_file_ends_before_any_work(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(out).withdraw(score(out))

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "touch", read_only)
    monkeypatch.setattr("viamachinae.scan.drive.Work", None)
    with pytest.raises(ConfigError, match=r"cannot be written.*viamachinae export"):
        run(out)


# --- verify ----------------------------------------------------------------------------------------------


def test_a_sound_scan_verifies(out: Path) -> None:
    verdict = verify(out)
    assert verdict.sound
    assert verdict.files == 2 + 2 + 1 + 12 + 2 + 2 + 1 + 1 + 3
    assert verdict.redo == verdict.gone == verdict.vanished == []
    assert not run(out)


def test_verify_finds_flipped_bits_keeps_them_aside_and_the_next_run_mends(out: Path) -> None:
    path = out / "scores" / f"{score(out).name}.parquet"
    good = file_sha256(path)
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    assert states(out)["scores"] == {"DONE": 6}
    assert verify(out, dry_run=True).damaged == [path.relative_to(out).as_posix()]
    assert path.exists()
    verdict = verify(out)
    assert not verdict.sound
    assert verdict.redo == [score_id := f"scores/{NAMES[0]}/pm_lambda/+000"]
    assert states(out)["scores"] == {"DONE": 5, "SUSPECT": 1}
    (suspect,) = suspects(out)
    assert suspect.id == score_id
    assert (suspect.path.with_suffix(".files") / path.relative_to(out)).read_bytes() == bytes(content)
    assert run(out) == {"scores": 1}
    assert file_sha256(path) == good
    assert not suspects(out)
    assert verify(out).sound


def test_large_inputs_that_vanish_and_are_not_needed_stay_away(out: Path) -> None:
    for folder in ("stars", "scores", "regions", "rois", "fragments", "trunk"):
        shutil.rmtree(out / folder)
    dry = verify(out, dry_run=True)
    assert len(dry.vanished) == 2 + 12 + 2 + 2 + 1
    assert not dry.redo
    verdict = verify(out)
    assert verdict.gone == dry.gone
    assert verdict.sound
    assert all(stage.done == stage.total for stage in scan_status(out).stages)
    assert not run(out)
    assert not (out / "stars").exists()
    # Verified again they are no news.
    assert verify(out).gone == verdict.gone


def test_a_change_of_settings_brings_back_what_it_needs_and_no_more(out: Path) -> None:
    for folder in ("stars", "scores", "regions", "rois", "trunk"):
        shutil.rmtree(out / folder)
    verify(out)
    changed = settings(fragments={"max_angle": 9.0})
    assert replan(Store(out), changed) == sorted(
        [*(f"stars/{n}" for n in NAMES), *(f"lines/{n}" for n in NAMES),
         *(f"scores/{n}/pm_lambda/{g}" for n in NAMES for g in GROUPS), "trunk/pm_lambda"]
    )  # fmt: skip
    calls = run(out, changed)
    assert calls["plan"] == 0
    assert calls["fragments"] == 2


def test_what_vanished_and_is_needed_is_done_again_with_what_it_is_made_from(out: Path) -> None:
    withdraw(out, "lines", "fragments", "streams", "report")
    shutil.rmtree(out / "stars")
    (out / "scores" / NAMES[1] / "pm_lambda" / "+002.parquet").unlink()
    verdict = verify(out)
    assert verdict.redo == sorted([*(f"stars/{n}" for n in NAMES), f"scores/{NAMES[1]}/pm_lambda/+002"])
    assert not verdict.gone
    calls = run(out)
    assert calls == {"stars": 2, "scores": 1, "lines": 2, "fragments": 2, "streams": 1, "report": 1}


def test_a_vanished_plan_brings_its_stars_back(out: Path) -> None:
    shutil.rmtree(out / "stars")
    (out / "plan" / f"{NAMES[0]}.json").unlink()
    verdict = verify(out)
    assert verdict.redo == [f"plan/{NAMES[0]}", f"stars/{NAMES[0]}"]
    assert verdict.gone == [f"stars/{NAMES[1]}"]
    assert run(out) == {"stars": 1, "plan": 1}


def test_unreadable_receipts_are_found_and_withdrawn(out: Path) -> None:
    path = Store(out).receipt_path(score(out))
    path.write_text(path.read_text()[:200])
    verdict = verify(out)
    assert verdict.unreadable == [path.relative_to(out).as_posix()]
    assert not path.exists()
    assert run(out) == {"scores": 1}


def test_all_damaged_inputs_of_a_task_are_withdrawn_at_once(out: Path) -> None:
    store = Store(out)
    lines = store.receipts("lines")[0].task
    flipped = out / "scores" / NAMES[0] / "pm_lambda" / "+000.parquet"
    flipped.write_text("x" * flipped.stat().st_size)
    (out / "regions" / NAMES[0] / "pm_lambda" / "+002.parquet").unlink()
    assert withdraw_damaged(store, lines) == [f"scores/{NAMES[0]}/pm_lambda/{g}" for g in ("+000", "+002")]
    assert withdraw_damaged(store, lines) == []
    assert run(out) == {"scores": 2}


def test_results_of_other_settings_are_counted_and_left(out: Path) -> None:
    run(out, settings(fragments={"max_angle": 9.0}))
    (out / "scan.toml").write_text(dump(settings()))
    verdict = verify(out)
    assert verdict.left == 4
    assert verdict.sound


# --- clean, pack, merge ----------------------------------------------------------------------------------


def test_clean_takes_leftovers_of_the_dead_and_nothing_else(out: Path) -> None:
    before = {p for p in out.rglob("*") if p.is_file() and "index" not in p.parts}
    ours = temporary(out / "scores" / "x.parquet")
    dead = ours.with_name(ours.name.replace(f"~{os.getpid()}~", "~4194305~"))
    elsewhere = ours.with_name(ours.name.replace(f".{machine()}~", ".elsewhere~"))
    for path in (ours, dead, elsewhere):
        path.write_text("half")
    (out / "claims").mkdir(exist_ok=True)
    for host, pid in ((socket.gethostname(), 4194305), ("elsewhere", 1)):
        body = {"format": 1, "host": host, "pid": pid, "at": "x", "beat": 1, "tasks": []}
        (out / "claims" / f"{host}~{pid}~0.json").write_text(json.dumps(body))
    task = Task("cells", "o4-7", "k")
    Store(out).publish(task, Products({"cells/o4-7.parquet": text_writer("x")}), started=time.time())
    for name in ("o4-7", "o4-7.run", "o4-8"):
        (out / "downloads" / name).mkdir(parents=True)
        (out / "downloads" / name / "part").write_text("12345")
    gone = [
        f"scores/{dead.name}",
        f"claims/{socket.gethostname()}~4194305~0.json",
        "downloads/o4-7",
        "downloads/o4-7.run",
    ]
    assert sorted(clean(out, dry_run=True).paths) == sorted(gone)
    assert dead.exists()
    cleaned = clean(out)
    assert sorted(cleaned.paths) == sorted(gone)
    assert cleaned.bytes > 14
    assert ours.exists()
    assert elsewhere.exists()
    assert sorted(clean(out, all_hosts=True).paths) == sorted(
        [f"scores/{elsewhere.name}", "claims/elsewhere~1~0.json"]
    )
    assert all(path.exists() for path in before)
    assert (out / "downloads" / "o4-8" / "part").exists()
    ours.unlink()
    assert not run(out)


def test_a_finished_scan_packs_verifies_and_unpacks(out: Path, tmp_path: Path) -> None:
    first = pack(out, tmp_path / "a.tar.zst")
    assert check_archive(first.path).files == first.files
    pack(out, tmp_path / "b.tar.zst")
    assert file_sha256(tmp_path / "a.tar.zst") == file_sha256(tmp_path / "b.tar.zst")
    more = pack(out, tmp_path / "c.tar.zst", ["stars"])
    assert more.files == first.files + 2
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()

    with (
        pa.input_stream(str(more.path), compression="zstd") as raw,
        tarfile.open(fileobj=raw, mode="r|") as tar,
    ):
        tar.extractall(unpacked, filter="data")
    assert verify(unpacked).sound
    assert not run(unpacked)
    for name in ("patches.parquet", f"stars/{NAMES[0]}.parquet", "report/sky.parquet", "scan.toml"):
        assert file_sha256(unpacked / name) == file_sha256(out / name)


@pytest.mark.parametrize("at", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_damaged_archive_is_refused(out: Path, tmp_path: Path, at: float) -> None:
    path = pack(out, tmp_path / "a.tar.zst").path
    whole = path.read_bytes()
    content = bytearray(whole)
    content[int(at * len(content))] ^= 16
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="pack the scan folder again"):
        check_archive(path)
    path.write_bytes(whole[: int(at * len(whole))])
    with pytest.raises(DataError, match="pack the scan folder again"):
        check_archive(path)


def test_only_a_whole_scan_is_packed(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.tar\.zst"):
        pack(out, tmp_path / "a.zip")
    with pytest.raises(ConfigError, match="cells, stars, trunk, scores"):
        pack(out, tmp_path / "a.tar.zst", ["models"])
    path = out / "rois" / f"{NAMES[0]}.parquet"
    path.write_text("x" * path.stat().st_size)
    with pytest.raises(DataError, match="rois"):
        pack(out, tmp_path / "a.tar.zst")
    withdraw(out, "report")
    with pytest.raises(DataError, match="report"):
        pack(out, tmp_path / "a.tar.zst")
    assert not list(tmp_path.glob("*.zst"))


def test_patches_are_added_to_a_finished_scan(out: Path) -> None:
    more = settings(patches={"centres": CENTRES})
    assert run(out, more) == {
        "patches": 1, "stars": 1, "plan": 1, "scores": 3, "lines": 1, "fragments": 1,
        "streams": 1, "report": 1,
    }  # fmt: skip
    assert len(scan_status(out).patches) == 3


@pytest.mark.parametrize("disk", ["one", "two"])
def test_folders_of_one_configuration_are_merged(
    out: Path, tmp_path: Path, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if disk == "two":

        def no_links(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", no_links)
    # The second folder shares a patch with the first one.
    other, both = tmp_path / "other", tmp_path / "both"
    run(other, settings(patches={"centres": CENTRES[1:]}))
    before = {p: file_sha256(p) for f in (out, other) for p in f.rglob("*.parquet")}
    merged = merge([out, other], both)
    assert merged.tasks == {"stars": 3, "plan": 3, "trunk": 1, "scores": 9, "lines": 3, "fragments": 3}
    assert merged.twice == 1 + 1 + 1 + 3 + 1 + 1
    assert bool(merged.linked) == (disk == "one")
    assert not suspects(both)
    assert run(both, settings(patches={"centres": CENTRES})) == {"patches": 1, "streams": 1, "report": 1}
    assert merge([out, other], both).tasks == {}
    assert {p: file_sha256(p) for p in before} == before
    assert verify(both).sound


def test_folders_of_two_configurations_are_not_merged(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run(other, settings(patches={"centres": CENTRES[2:]}, lines={"n_angle": 90}))
    with pytest.raises(ConfigError, match=r"lines\.n_angle"):
        merge([out, other], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_results_that_differ_between_merged_folders_are_suspect(out: Path, tmp_path: Path) -> None:
    other = shutil.copytree(out, tmp_path / "other")
    withdraw(other, "scores")
    changed = {**STAGES, "scores": lambda task, store, given: Products(
        {f"{f}/{task.name}.parquet": text_writer("other") for f in ("scores", "regions")})}  # fmt: skip
    run(other, stages=changed)
    merge([out, other], tmp_path / "both")
    assert {s.kind for s in suspects(tmp_path / "both")} == {"different"}
    assert states(tmp_path / "both")["scores"] == {"SUSPECT": 6}


# --- the map ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", [True, False])
def test_the_map_shows_every_state(tmp_path: Path, field: bool) -> None:
    spread = 4.0 if field else 60.0
    names = [f"P{i}" for i in range(len(COLOURS))]
    patches = pd.DataFrame({
        "patch": names, "ra": [(350 + spread * i) % 360 for i in range(len(names))],
        "dec": np.linspace(-spread, spread, len(names)), "radius": 6.0,
    })  # fmt: skip
    path = tmp_path / "map.png"
    draw_progress(patches, dict(zip(names, COLOURS, strict=True)), 5.0, path)
    pixels = imread(path)[..., :3].reshape(-1, 3)
    for colour in COLOURS.values():
        mixed = 0.9 * np.array(to_rgb(colour)) + 0.1
        assert (np.abs(pixels - mixed).max(axis=1) < 0.02).sum() > 200, colour


def test_the_table_of_patches_for_a_map(out: Path) -> None:
    assert list(read_patches_table(out)["patch"]) == NAMES
