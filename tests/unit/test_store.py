"""A result counts as done when a valid receipt vouches for it, and never otherwise."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pandas as pd
import pytest

from viamachinae.errors import DataError
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.writers import table_writer, text_writer
from viamachinae.schema import PATCHES
from viamachinae.schema.publish import file_sha256, place, sweep, temporary

PATCH = pd.DataFrame(
    {"patch": ["a"], "ra": [1.0], "dec": [2.0], "l": [3.0], "b": [4.0], "radius": [15.0], "healpix": [-1]}
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "scan")


def task(key: str = "k1", name: str = "p1") -> Task:
    return Task("patches", name, key, (TaskRef("stars", "p1", "s1"),))


def publish(store: Store, key: str = "k1") -> Task:
    products = Products({"patches.parquet": table_writer(PATCH, PATCHES), "a/b.txt": text_writer("hello\n")})
    store.publish(task(key), products, started=time.time())
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


def test_a_publish_that_stops_half_way_leaves_no_receipt(store: Store) -> None:
    publish(store)

    def fail(path: Path) -> None:
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.publish(
            task("k2"), Products({"a/b.txt": text_writer("new\n"), "c.txt": fail}), started=time.time()
        )
    assert (store.root / "a/b.txt").read_text() == "new\n"
    # The old receipt must not vouch for a mixture of old and new files.
    assert not store.done(task("k1"))
    assert not store.done(task("k2"))
    assert not list(store.root.rglob("*.tmp"))
    assert not (store.root / "c.txt").exists()


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
