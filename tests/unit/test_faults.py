"""What a file system does that fails for a while, a full disk, and a purge: no good result is given up."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from fake_scan import NAMES, STAGES, run, settings

from viamachinae.errors import ConfigError, DataError, ResumeError, TaskError
from viamachinae.scan import store as store_module
from viamachinae.scan import verify as verify_module
from viamachinae.scan.agenda import Agenda
from viamachinae.scan.attempt import Attempt, Fault, rest_after
from viamachinae.scan.claims import claimed
from viamachinae.scan.faults import fault_of
from viamachinae.scan.interrupt import Stop
from viamachinae.scan.options import RunOptions
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.retry import retry
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.verify import verify
from viamachinae.schema.publish import file_sha256

STRICT = RunOptions(agree=lambda _: False)


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

    def noted(faults: int) -> float:
        if faults:
            rests.append(rest_after(faults))
        return 0.0

    monkeypatch.setattr("viamachinae.scan.runner.rest_after", noted)
    monkeypatch.setattr("viamachinae.scan.runner._met", [0])
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
    before = {name for name in everything(out) if not name.startswith("index/")}
    for module in (store_module, verify_module):
        monkeypatch.setattr(module, "file_sha256", failing("scores"))
    verdict = verify(out)
    assert len(verdict.unanswered) == 6
    assert "no answer" in verdict.unanswered[0]
    assert not verdict.damaged
    assert not verdict.vanished
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
    monkeypatch.setattr("viamachinae.scan.agenda._OUTAGE", 0.0)
    with pytest.raises(ResumeError, match="as did the 3 before it"):
        run(out)
    assert restless == [15.0, 60.0, 240.0, 240.0]  # each by another task
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
    assert fault_of(OSError(errno.EROFS, "Read-only file system")) is Fault.STORAGE
    assert fault_of(RuntimeError("CUDA error: out of memory")) is Fault.MEMORY
    assert fault_of(RuntimeError("CUDA error: device-side assert triggered")) is None
    assert fault_of(FileNotFoundError(errno.ENOENT, "x")) is None
    assert fault_of(PermissionError(errno.EACCES, "x")) is None


def sick_and_well(running: int) -> tuple[Agenda, list[tuple[Task, Attempt]]]:
    """Return an agenda of tasks of which some run already, on nodes that are well."""
    agenda = Agenda([Task("scores", f"t{i}", "", weight=100.0 - i) for i in range(20)])
    return agenda, [taken for _ in range(running) if (taken := agenda.take()) is not None]


def fails(agenda: Agenda) -> str:
    taken = agenda.take()
    assert taken is not None
    task, attempt = taken
    assert agenda.settle(Outcome(task, error="EIO", fault=Fault.STORAGE), attempt) is None
    return task.name


def test_a_node_that_fails_takes_no_task_twice_and_ends_no_run_in_which_another_is_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("viamachinae.scan.agenda._OUTAGE", 0.0)
    agenda, on_the_well_node = sick_and_well(running=1)
    failed = [fails(agenda) for _ in range(10)]
    assert len(set(failed)) == 10
    (task, attempt) = on_the_well_node[0]
    assert agenda.settle(Outcome(task, {}, seconds=1.0), attempt) is not None
    # Three more tell nothing; the fourth does, with no task left that ran before them.
    for _ in range(3):
        fails(agenda)
    with pytest.raises(ResumeError):
        fails(agenda)


def test_an_outage_has_to_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("viamachinae.scan.agenda.time.monotonic", lambda: now[0])
    agenda, _ = sick_and_well(running=0)
    for _ in range(12):
        now[0] += 20.0
        fails(agenda)
    now[0] += 100.0
    with pytest.raises(ResumeError, match="for 5 minutes"):
        fails(agenda)


def test_a_worker_rests_longer_the_more_faults_it_meets_in_a_row() -> None:
    assert [rest_after(n) for n in range(6)] == [0.0, 15.0, 60.0, 240.0, 240.0, 240.0]


def test_a_rest_ends_when_the_run_is_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viamachinae.scan.runner._met", [5])
    stop = Stop(grace=30.0)

    def fn(task: Task, attempt: Attempt) -> dict[str, Any]:
        stop.ask("enough")
        raise OSError(errno.EIO, "Input/output error")

    began = time.monotonic()
    assert list(InlineRunner().run([Task("scores", "t", "")], fn, stop)) == []
    assert time.monotonic() - began < 5.0


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
    assert relative not in verdict.damaged
    assert verdict.damaged  # all others
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


def test_the_price_of_a_change_names_what_it_brings_back(out: Path) -> None:
    for folder in ("stars", "scores", "regions"):
        shutil.rmtree(out / folder)
    with pytest.raises(
        ConfigError, match=r"2 of lines.*are gone and these need them: 2 of stars, 6 of scores"
    ):
        run(out, settings(lines={"n_angle": 90}), STRICT)


def test_status_of_a_purged_scan_is_what_a_run_finds(out: Path) -> None:
    shutil.rmtree(out / "stars")
    assert all(stage.done == stage.total for stage in scan_status(out).stages)
    Store(out).withdraw(Store(out).receipts("lines")[0].ref)
    left = {stage.stage: stage.total - stage.done for stage in scan_status(out).stages if stage.total}
    assert {stage: n for stage, n in left.items() if n} == {
        "stars": 2,
        "lines": 1,
        "fragments": 1,
        "streams": 1,
        "report": 1,
    }


def test_other_settings_than_those_of_a_run_at_work_are_asked_for(out: Path) -> None:
    store = Store(out)
    (receipt, *_) = store.receipts("lines")
    for stage in ("fragments", "streams", "report"):
        for later in store.receipts(stage):
            store.withdraw(later.ref)
    with claimed(store, receipt.task), pytest.raises(ConfigError, match="at work on the folder"):
        run(out, settings(fragments={"max_angle": 9.0}), STRICT)
    assert run(out, settings(fragments={"max_angle": 9.0}), STRICT)["fragments"] == 2


def test_a_file_that_came_back_damaged_is_found(out: Path, tmp_path: Path) -> None:
    shutil.move(out / "stars", tmp_path / "stars")
    assert not run(out)
    (path, *_) = sorted((tmp_path / "stars").iterdir())
    path.write_bytes(b"x" * path.stat().st_size)
    shutil.move(tmp_path / "stars", out / "stars")
    assert verify(out).damaged == [f"stars/{path.name}"]


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
