"""What a file system does that fails for a while, a full disk, and a purge: no good result is given up."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_scan import NAMES, STAGES, run

from viamachinae.errors import DataError, ResumeError, TaskError
from viamachinae.scan import attempt as attempts
from viamachinae.scan import store as store_module
from viamachinae.scan import verify as verify_module
from viamachinae.scan.attempt import Attempt, Fault
from viamachinae.scan.faults import fault_of
from viamachinae.scan.retry import retry
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.verify import verify
from viamachinae.schema.publish import file_sha256


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out"
    run(out)
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the rests of a worker instead of resting."""
    rests: list[float] = []
    monkeypatch.setattr("viamachinae.scan.runner.time.sleep", lambda s: rests.append(s) if s else None)
    return rests


def everything(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def failing(folder: str, number: int = errno.EIO, times: int = 10**6) -> Any:
    """Return a hash function that cannot read a folder so many times."""
    left = [times]

    def sha(path: Path) -> str:
        if f"/{folder}/" in path.as_posix() and left[0]:
            left[0] -= 1
            raise OSError(number, "no answer", str(path))
        return file_sha256(path)

    return sha


def test_a_file_system_that_fails_takes_no_receipt(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything(out)
    for module in (store_module, verify_module):
        monkeypatch.setattr(module, "file_sha256", failing("scores"))
    with pytest.raises(OSError, match="no answer"):
        verify(out)
    receipt = Store(out).receipts("scores")[0]
    with pytest.raises(OSError, match="no answer"):
        Store(out).verified(receipt.ref, f"scores/{receipt.name}.parquet")
    assert before <= everything(out)


def test_a_task_that_meets_it_rests_and_tries_again(
    out: Path, monkeypatch: pytest.MonkeyPatch, restless: list[float]
) -> None:
    Store(out).withdraw(Store(out).receipts("lines")[0].ref)
    monkeypatch.setattr(store_module, "file_sha256", failing("stars", errno.ESTALE, times=2))
    assert run(out)["lines"] == 3
    assert restless == [15.0, 60.0]


def test_a_file_system_that_stays_away_ends_the_run(
    out: Path, monkeypatch: pytest.MonkeyPatch, restless: list[float]
) -> None:
    for receipt in Store(out).receipts("scores"):
        Store(out).withdraw(receipt.ref)
    monkeypatch.setattr(store_module, "file_sha256", failing("stars"))
    with pytest.raises(ResumeError, match="met a file system that fails 4 times"):
        run(out)
    assert restless == [15.0, 60.0, 240.0] * 3  # three tasks of six
    assert len(Store(out).receipts("stars")) == 2


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_ends_the_run_at_once(out: Path, number: int) -> None:
    tried = []

    def full(task: Task, store: Store, settings: Any) -> Products:
        def write(path: Path) -> int:
            tried.append(task.name)
            raise OSError(number, "Disk quota exceeded", str(path))

        return Products({f"scores/{task.name}.parquet": write})

    for receipt in Store(out).receipts("scores"):
        Store(out).withdraw(receipt.ref)
    with pytest.raises(TaskError, match="make room") as error:
        run(out, stages={**STAGES, "scores": full})
    assert "every finished task is kept" in str(error.value)
    assert len(tried) == 1


def test_errors_are_told_from_faults() -> None:
    wrapped = DataError("cannot be read")
    wrapped.__cause__ = OSError(errno.EIO, "Input/output error")
    assert fault_of(wrapped) is Fault.STORAGE
    assert fault_of(RuntimeError("CUDA error: uncorrectable ECC error encountered")) is Fault.DEVICE
    assert fault_of(OSError(errno.EROFS, "Read-only file system")) is Fault.FULL
    assert fault_of(FileNotFoundError(errno.ENOENT, "x")) is None
    assert fault_of(PermissionError(errno.EACCES, "x")) is None


def test_the_last_try_is_not_followed_by_a_rest() -> None:
    for fault, further in attempts.FURTHER.items():
        assert Attempt((fault,) * further).rest(fault) == 0.0


# --- receipts that vanish, results that change while they are read ---------------------------------------


def test_verify_lists_tasks_whose_receipts_vanished(out: Path) -> None:
    shutil.rmtree(out / "receipts" / "scores" / NAMES[0])
    verdict = verify(out)
    assert verdict.undone == [f"scores/{NAMES[0]}/pm_lambda/{g}" for g in ("+000", "+001", "+002")]
    assert verdict.left == 0
    # What was made from them is read all the same: it stands once they are back.
    assert not verdict.redo
    assert run(out) == {"scores": 3}
    assert not verify(out).undone


def test_verify_leaves_alone_what_a_run_publishes_meanwhile(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(out)
    (receipt,) = store.receipts("report")
    relative = next(iter(receipt.outputs))
    fresh = b"drawn anew"

    def heard(files: int, _bytes: int) -> None:
        if files == 1:
            (out / relative).write_bytes(fresh)
            entry = {"size": len(fresh), "sha256": file_sha256(out / relative), "rows": None}
            store.amend(receipt, outputs={relative: entry}, seconds=99.0)

    monkeypatch.setattr(verify_module, "file_sha256", lambda path: "another")
    verdict = verify(out, threads=1, heard=heard)
    assert relative in verdict.damaged
    assert (out / relative).read_bytes() == fresh
    (after,) = store.receipts("report")
    assert after.body["seconds"] == 99.0


def test_a_receipt_that_could_be_read_again_is_kept(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Store(out).receipt_path(Store(out).receipts("lines")[0].ref)
    good = path.read_bytes()
    path.write_bytes(good[:100])
    monkeypatch.setattr(verify_module, "rebuild_index", lambda out: None)
    hashed = verify_module._hash_all

    def then_mended(*args: Any) -> Any:
        path.write_bytes(good)
        return hashed(*args)

    monkeypatch.setattr(verify_module, "_hash_all", then_mended)
    assert verify(out).unreadable == [path.relative_to(out).as_posix()]
    assert path.read_bytes() == good


def test_a_run_of_a_purged_scan_makes_nothing_anew(out: Path) -> None:
    for folder in ("stars", "scores", "regions", "rois", "trunk"):
        shutil.rmtree(out / folder)
    assert not run(out)
    assert all(stage.done == stage.total for stage in scan_status(out).stages)
    assert not (out / "stars").exists()


def test_a_folder_that_comes_back_counts_again(out: Path, tmp_path: Path) -> None:
    shutil.move(out / "stars", tmp_path / "stars")
    assert not run(out)
    assert all(receipt.gone for receipt in Store(out).receipts("stars"))
    shutil.move(tmp_path / "stars", out / "stars")
    Store(out).withdraw(Store(out).receipts("lines")[0].ref)
    assert run(out)["stars"] == 0


def test_what_is_marked_gone_keeps_its_provenance_and_never_lacks_a_receipt(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before, *_) = Store(out).receipts("stars")
    shutil.rmtree(out / "stars")
    unlink = Path.unlink

    def watched(path: Path, missing_ok: bool = False) -> None:
        assert path.suffix == ".tmp" or path.is_relative_to(out / "log"), path
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    assert not run(out)
    (after, *_) = Store(out).receipts("stars")
    assert after.gone == before.outputs
    assert after.body["versions"] == before.body["versions"]


# --- tasks that failed before ----------------------------------------------------------------------------


def test_what_failed_before_is_tried_after_all_others(out: Path) -> None:
    store, tried = Store(out), list[str]()
    for receipt in store.receipts("scores"):
        store.withdraw(receipt.ref)

    def scores(task: Task, store: Store, settings: Any) -> Products:
        tried.append(task.name)
        if task.name.endswith("+000") and NAMES[0] in task.name:
            msg = "a defect"
            raise ValueError(msg)
        return STAGES["scores"](task, store, settings)

    with pytest.raises(TaskError, match="a defect"):
        run(out, stages={**STAGES, "scores": scores})
    bad = tried[0]
    assert bad == f"{NAMES[0]}/pm_lambda/+000"
    tried.clear()
    store.withdraw(store.receipts("scores")[0].ref)
    with pytest.raises(TaskError, match="a defect"):
        run(out, stages={**STAGES, "scores": scores})
    assert tried[-1] == bad
    assert len(tried) == 2
    # Cleared, it comes in its turn.
    retry(out, "FAILED", [])
    tried.clear()
    store.withdraw(store.receipts("scores")[0].ref)
    with pytest.raises(TaskError, match="a defect"):
        run(out, stages={**STAGES, "scores": scores})
    assert tried[0] == bad
