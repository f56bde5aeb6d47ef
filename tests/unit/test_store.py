"""A result counts as done when a valid receipt vouches for it, and never otherwise."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import time
from pathlib import Path

import pandas as pd
import pytest

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.scan.provenance import ENVIRONMENT, catalogue_meta, whole_hash
from viamachinae.scan.store import DamagedError, Receipt, Store
from viamachinae.scan.suspects import suspects
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.writers import table_writer, text_writer
from viamachinae.schema import PATCHES
from viamachinae.schema.provenance import git_commit
from viamachinae.schema.publish import file_sha256, machine, place, sweep, temporaries, temporary

PATCH = pd.DataFrame(
    {"patch": ["a"], "ra": [1.0], "dec": [2.0], "l": [3.0], "b": [4.0], "radius": [15.0], "healpix": [-1]}
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "scan")


def task(key: str = "k1", name: str = "p1") -> Task:
    return Task("patches", name, key, (TaskRef("stars", "p1", "s1"),))


def publish(store: Store, key: str = "k1", ago: float = 0.0) -> Task:
    products = Products({"patches.parquet": table_writer(PATCH, PATCHES), "a/b.txt": text_writer("hello\n")})
    store.publish(task(key), products, started=time.time() - ago)
    return task(key)


def test_nothing_is_done_in_an_empty_folder(store: Store) -> None:
    assert not store.done(task())
    assert store.receipt(task()) is None


def test_a_published_task_is_done_and_reads_back(store: Store) -> None:
    done = publish(store)
    assert store.done(done)
    pd.testing.assert_frame_equal(
        store.read(done, "patches.parquet", PATCHES), PATCHES.conform(PATCH), check_dtype=False
    )


def test_the_receipt_says_what_was_done(store: Store) -> None:
    publish(store)
    body = json.loads((store.root / "receipts/patches/p1.json").read_text())
    assert body["inputs"] == {"stars/p1": "s1"}
    assert body["outputs"]["patches.parquet"]["rows"] == 1
    assert body["outputs"]["a/b.txt"]["size"] == 6
    assert body["outputs"]["a/b.txt"]["sha256"] == file_sha256(store.root / "a/b.txt")
    assert body["seconds"] >= 0
    assert {"python", "numpy", "viamachinae"} <= set(body["versions"])


def test_another_key_is_not_done(store: Store) -> None:
    publish(store)
    assert not store.done(task("k2"))


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "no receipt", "torn receipt", "half receipt"])
def test_a_damaged_result_is_not_done_and_doing_it_again_mends_it(store: Store, damage: str) -> None:
    publish(store)
    output, receipt = store.root / "patches.parquet", store.receipt_path(task())
    if damage == "missing":
        output.unlink()
    elif damage == "cut":
        output.write_bytes(output.read_bytes()[:-10])
    elif damage == "longer":
        output.write_bytes(output.read_bytes() + b"x")
    elif damage == "no receipt":
        receipt.unlink()
    elif damage == "torn receipt":
        receipt.write_text(receipt.read_text()[:100])
    else:
        receipt.write_text('{"format": 1, "key": "k1"}')
    assert not store.done(task())
    assert store.done(publish(store))


def test_flipped_bytes_are_seen_on_reading_and_withdraw_the_receipt(store: Store) -> None:
    publish(store)
    path = store.root / "patches.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert store.done(task())
    with pytest.raises(DataError, match=r"patches\.parquet.*run the same .viamachinae run. command again"):
        store.read(task(), "patches.parquet", PATCHES)
    assert not store.done(task())


def test_reading_needs_the_right_key_and_a_file_of_the_task(store: Store) -> None:
    publish(store)
    with pytest.raises(DataError, match="no valid receipt"):
        store.verified(task("k2"), "patches.parquet")
    with pytest.raises(DataError, match="no valid receipt"):
        store.verified(task(), "scan.toml")


def test_a_publish_that_stops_while_it_writes_changes_nothing(store: Store) -> None:
    publish(store)

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.publish(
            task("k2"), Products({"a/b.txt": text_writer("new\n"), "c.txt": fail}), started=time.time()
        )
    assert (store.root / "a/b.txt").read_text() == "hello\n"
    assert store.done(task("k1"))
    assert not store.done(task("k2"))
    assert not list(store.root.rglob("*.tmp"))
    assert not (store.root / "c.txt").exists()


def test_a_publish_that_stops_between_two_names_leaves_no_receipt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store)
    replace, seen = Path.replace, []

    def second_fails(path: Path, target: Path) -> Path:
        seen.append(target.name)
        if len(seen) == 2:
            raise OSError
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    products = Products({"a/b.txt": text_writer("new\n"), "c.txt": text_writer("more\n")})
    with pytest.raises(OSError, match=r"^$"):
        store.publish(task("k2"), products, started=time.time())
    assert seen == ["b.txt", "c.txt"]
    assert (store.root / "a/b.txt").read_text() == "new\n"
    # The old receipt must not vouch for a mixture of old and new files.
    assert not store.done(task("k1"))
    assert not store.done(task("k2"))
    assert not list(store.root.rglob("*.tmp"))


def test_the_receipt_comes_last_and_every_file_is_flushed_before_its_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, str]] = []
    replace, fsync = Path.replace, os.fsync

    def noted_replace(path: Path, target: Path) -> Path:
        steps.append(("name", target.name))
        return replace(path, target)

    def noted_fsync(handle: int) -> None:
        steps.append(("flush", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    monkeypatch.setattr(Path, "replace", noted_replace)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    publish(store)
    named = [name for step, name in steps if step == "name"]
    assert named == ["patches.parquet", "b.txt", "p1.json"]
    for name in named:
        flushed = [i for i, (step, other) in enumerate(steps) if step == "flush" and f".{name}." in other]
        assert flushed
        assert flushed[0] < steps.index(("name", name))
    # The folders of the results are flushed before the receipt gets its name.
    receipt = steps.index(("name", "p1.json"))
    for folder, name in (("scan", "patches.parquet"), ("a", "b.txt")):
        after = [
            i for i, step in enumerate(steps) if step == ("flush", folder) and i > steps.index(("name", name))
        ]
        assert after
        assert after[0] < receipt
    assert ("flush", "patches") in steps[receipt:]


def test_the_same_result_twice_is_quiet(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    publish(store)
    before = file_sha256(store.receipt_path(task()))
    publish(store)
    assert file_sha256(store.receipt_path(task())) == before
    assert not suspects(store.root)
    assert not caplog.records


def test_a_second_result_that_differs_is_suspect_and_kept_aside(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    publish(store)
    store.publish(
        task(),
        Products({"patches.parquet": table_writer(PATCH, PATCHES), "a/b.txt": text_writer("other\n")}),
        started=time.time(),
    )
    (suspect,) = suspects(store.root)
    assert (suspect.id, suspect.kind) == ("patches/p1", "different")
    assert "a/b.txt" in suspect.why
    assert "patches/p1 is suspect" in caplog.text
    # The first result stands.
    assert store.done(task())
    assert (store.root / "a/b.txt").read_text() == "hello\n"
    assert store.verified(task(), "a/b.txt").is_file()
    assert (suspect.path.with_suffix(".files") / "a/b.txt").read_text() == "other\n"
    assert not list(store.root.rglob("*.tmp"))


def test_numbers_of_another_processor_may_differ_a_little(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(ra: float) -> list[str]:
        table = table_writer(PATCH.assign(ra=ra), PATCHES)
        store.publish(task(), Products({"patches.parquet": table}), started=time.time())
        return [suspect.kind for suspect in suspects(store.root)]

    store.publish(task(), Products({"patches.parquet": table_writer(PATCH, PATCHES)}), started=time.time())
    monkeypatch.setattr("viamachinae.scan.suspects.processor", lambda: "another")
    assert again(1.0 + 1e-5) == []
    assert again(1.1) == ["different"]
    monkeypatch.undo()
    assert again(1.0 + 1e-5) == ["different", "different"]


def test_a_receipt_tells_where_the_result_comes_from(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("MY_TOKEN", "do not tell")
    settings = Settings.model_validate({"scan": {"name": "x", "seed": 9}})
    receipt = store.publish(task(), Products({}), started=time.time() - 5, attempt=2, settings=settings)
    body = json.loads(store.receipt_path(task()).read_text())
    assert body["seed"] == 9
    assert body["settings"] == whole_hash(settings)
    other = settings.model_copy(update={"runner": settings.runner.model_copy(update={"workers": 7})})
    assert body["settings"] == whole_hash(other)
    assert body["attempt"] == 2
    assert body["host"] == socket.gethostname()
    assert 5 <= body["seconds"] < 60
    assert body["environment"]["SLURM_JOB_ID"] == "4711"
    assert set(body["environment"]) <= set(ENVIRONMENT)
    assert "do not tell" not in json.dumps(body)
    assert body["git"] == git_commit()
    assert body["versions"]["torch"]
    assert store.receipt(task()) == Receipt(body)
    assert receipt.key == "k1"


def test_a_receipt_of_an_earlier_version_is_read(store: Store) -> None:
    publish(store)
    path = store.receipt_path(task())
    body = json.loads(path.read_text())
    new = ("seal", "git", "environment", "processor", "system")
    path.write_text(json.dumps({name: value for name, value in body.items() if name not in new}))
    assert store.done(task())
    assert catalogue_meta(store.receipt(task()).body)["host"] == socket.gethostname()  # type: ignore[union-attr]


def test_a_flipped_bit_in_a_receipt_is_seen(store: Store) -> None:
    publish(store)
    path = store.receipt_path(task())
    whole, seen = path.read_bytes(), 0
    for position in range(0, len(whole), 23):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(bytes(content))
        receipt = store.receipt(task())
        seen += receipt is None
        # White space that becomes other white space says the same.
        assert receipt is None or receipt.body == json.loads(whole)
        assert store.done(task()) == (receipt is not None)
    assert seen > 20


def test_facts_that_are_no_numbers_are_kept(store: Store) -> None:
    store.publish(
        task(), Products({}, {"held_out": float("nan"), "best": -float("inf")}), started=time.time()
    )
    receipt = store.receipt(task())
    assert receipt is not None
    assert receipt.info["best"] == -float("inf")
    assert receipt.info["held_out"] != receipt.info["held_out"]


def test_results_of_the_sky_are_hashed_before_they_count(store: Store) -> None:
    sky = task(name="sky")
    store.publish(sky, Products({"streams.ecsv": text_writer("one\n")}), started=time.time())
    assert store.done(sky)
    (store.root / "streams.ecsv").write_text("two\n")
    assert not store.done(sky)


def test_a_vanished_result_says_which_task_makes_it_anew(store: Store) -> None:
    publish(store)
    (store.root / "a/b.txt").unlink()
    with pytest.raises(DamagedError) as caught:
        store.verified(task(), "a/b.txt")
    assert caught.value.task == task()
    assert store.receipt(task()) is None


def test_a_damaged_result_that_was_made_anew_meanwhile_keeps_its_receipt(store: Store) -> None:
    publish(store, ago=60.0)
    earlier = store.receipt(task())
    assert store.withdraw(task())
    publish(store)
    assert not store.withdraw(task(), earlier)
    assert store.done(task())


def test_equal_rows_give_equal_bytes(store: Store) -> None:
    publish(store)
    first = file_sha256(store.root / "patches.parquet")
    publish(store, "k2")
    assert file_sha256(store.root / "patches.parquet") == first


def test_receipts_are_listed_with_names_that_hold_slashes_and_dots(store: Store) -> None:
    for name in ("p1/pm_lambda/-018", "p1.5+2.0"):
        store.publish(Task("scores", name, "k"), Products({}), started=time.time())
    assert [r.body["name"] for r in store.receipts("scores")] == ["p1/pm_lambda/-018", "p1.5+2.0"]


def test_temporary_names_never_collide(tmp_path: Path) -> None:
    names = {temporary(tmp_path / "x.parquet") for _ in range(100)}
    assert len(names) == 100
    assert all(name.parent == tmp_path for name in names)


def _leave(path: Path) -> None:
    def die(temp: Path) -> None:
        temp.write_text("half")
        os._exit(3)

    place(path, die)


def test_a_host_with_dots_in_its_name_sweeps_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host, left in (("nid1.site.gov", 0), ("nid2.site.gov", 1)):
        (tmp_path / f".x.parquet.{host}~4194305~0123abcd.tmp").write_text("half")
        monkeypatch.setattr("viamachinae.schema.publish.machine", lambda: "nid1.site.gov")
        assert sweep(tmp_path) == 1 - left
    assert [path.name for path in temporaries(tmp_path, all_hosts=True)] == [
        ".x.parquet.nid2.site.gov~4194305~0123abcd.tmp"
    ]


def test_a_container_with_the_name_of_its_host_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = machine.__wrapped__()
    assert ours == machine.__wrapped__() == machine()
    monkeypatch.setattr(Path, "readlink", lambda _path: Path("pid:[4026999999]"))
    assert machine.__wrapped__() != ours


def test_the_sweep_takes_only_what_dead_processes_left(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=_leave, args=(tmp_path / "x.txt",))
    child.start()
    child.join()
    mine = temporary(tmp_path / "y.txt")
    mine.write_text("being written")
    (left,) = [path for path in tmp_path.iterdir() if path != mine]
    foreign = left.with_name(left.name.replace(f"~{child.pid}~", f"-elsewhere~{child.pid}~"))
    foreign.write_text("of another host")
    assert sweep(tmp_path) == 1
    assert sorted(tmp_path.iterdir()) == sorted([mine, foreign])
    assert not (tmp_path / "x.txt").exists()
