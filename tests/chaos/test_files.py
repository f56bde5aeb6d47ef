"""Files that are torn, flipped, emptied, exchanged or deleted, of every kind and at two moments."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Container, Iterable
from pathlib import Path

import numpy as np
import pytest
from chaos_scan import Fault, undo_behind

from viamachinae.scan.claims import claimed
from viamachinae.scan.failures import record_failure
from viamachinae.scan.sections import STAGES
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.scan.verify import verify
from viamachinae.scan.writers import text_writer
from viamachinae.schema.publish import machine

#: Kind of file -> (the stage that makes it, its files).
RESULTS = {
    "patches": ("patches", "patches.parquet"),
    "coverage": ("patches", "coverage.fits"),
    "masks": ("patches", "masks.parquet"),
    "stars": ("stars", "stars/*.parquet"),
    "plan": ("plan", "plan/*.json"),
    "trunk": ("trunk", "trunk/*.npz"),
    "scores": ("scores", "scores/*/*/*.parquet"),
    "regions": ("scores", "regions/*/*/*.parquet"),
    "rois": ("lines", "rois/*.parquet"),
    "fragments": ("fragments", "fragments/*.parquet"),
    "streams": ("streams", "streams.parquet"),
    "members": ("streams", "members.parquet"),
    "tracks": ("streams", "tracks.parquet"),
    "ecsv": ("report", "streams.ecsv"),
    "page": ("report", "report/index.html"),
}
BESIDE = {
    "settings": "scan.toml",
    "receipts": "receipts/**/*.json",
    "index": "index/*.lines",
    "failures": "failures/**/*.json",
    "suspects": "suspects/**/*.json",
    "claims": "claims/*.json",
    "log": "log/*.log",
}


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[zlib.crc32(path.name.encode()) % len(content)] ^= 1 << 3
    path.write_bytes(bytes(content))


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"and more")


def deleted(path: Path) -> None:
    path.unlink()


DAMAGES = (torn, cut_short, emptied, flipped, zeroed, longer, deleted)


def _sampled(kinds: Iterable[str], quick: Container[str]) -> list[object]:
    """Return every pair of a kind and a damage; the default run takes another damage for each quick kind."""
    return [
        pytest.param(
            kind, damage, marks=[] if kind in quick and j == i % len(DAMAGES) else [pytest.mark.heavy]
        )
        for i, kind in enumerate(kinds)
        for j, damage in enumerate(DAMAGES)
    ]


@pytest.mark.parametrize(("kind", "damage"), _sampled(RESULTS, {*RESULTS} - {"page"}))
def test_results_of_a_finished_scan(
    out: Path, fault: Fault, get_over: Callable[..., None], kind: str, damage: Callable[[Path], None]
) -> None:
    fault.of("results of a finished scan", f"{kind} {damage.__name__}")
    files = sorted(out.glob(RESULTS[kind][1]))
    assert files
    for path in files:
        damage(path)
    get_over(out)


@pytest.mark.parametrize(
    ("kind", "damage"),
    _sampled(
        [kind for kind, (stage, _) in RESULTS.items() if stage != "report"],
        ("masks", "stars", "rois", "fragments", "members"),
    ),
)
def test_results_that_the_next_stage_reads(
    out: Path, fault: Fault, get_over: Callable[..., None], kind: str, damage: Callable[[Path], None]
) -> None:
    fault.of("results that are read next", f"{kind} {damage.__name__}")
    stage, pattern = RESULTS[kind]
    undo_behind(out, stage)
    for path in sorted(out.glob(pattern)):
        damage(path)
    get_over(out)


@pytest.mark.parametrize(("kind", "damage"), _sampled(BESIDE, ("settings", "receipts", "index", "claims")))
def test_what_lies_beside_the_results(
    out: Path, fault: Fault, get_over: Callable[..., None], kind: str, damage: Callable[[Path], None]
) -> None:
    fault.of("receipts, settings, index, notes, log", f"{kind} {damage.__name__}")
    store = Store(out)
    (receipt, *_) = store.receipts("scores")
    record_failure(store, receipt.task, "an error", "a trace")
    if kind == "suspects":
        other = {relative: text_writer("other") for relative in receipt.outputs}
        store.publish(receipt.task, Products(other), started=0.0)
    undo_behind(out, "scores")
    with claimed(store, receipt.task):
        files = sorted(out.glob(BESIDE[kind]))
        assert files
        for path in files:
            damage(path)
    get_over(out, sound=kind != "suspects")


@pytest.mark.parametrize("kind", ["stars", pytest.param("trunk", marks=pytest.mark.heavy)])
def test_a_result_that_many_tasks_read(
    out: Path, fault: Fault, get_over: Callable[..., None], kind: str
) -> None:
    fault.of("results that are read next", f"{kind} read by every score task")
    undo_behind(out, "trunk")
    for path in out.glob(RESULTS[kind][1]):
        flipped(path)
    get_over(out)


def test_files_of_two_patches_exchanged(out: Path, fault: Fault, get_over: Callable[..., None]) -> None:
    fault.of("results of a finished scan", "scores exchanged")
    undo_behind(out, "scores")
    first, second = sorted((out / "scores").rglob("*.parquet"))[::2][:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    get_over(out)


def test_receipts_of_two_patches_exchanged(out: Path, fault: Fault, get_over: Callable[..., None]) -> None:
    fault.of("receipts, settings, index, notes, log", "receipts exchanged")
    first, second = sorted((out / "receipts" / "stars").glob("*.json"))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    get_over(out)


FOLDERS = (
    "stars",
    "plan",
    "trunk",
    "scores",
    "regions",
    "rois",
    "fragments",
    "report",
    "receipts",
    "index",
    "log",
)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[] if seed == 1 else [pytest.mark.heavy]) for seed in range(15)]
)
def test_folders_deleted(out: Path, fault: Fault, get_over: Callable[..., None], seed: int) -> None:
    gone = np.random.default_rng(seed).choice(FOLDERS, 1 + seed % 5, replace=False)
    fault.of("whole folders deleted", " ".join(gone))
    for folder in gone:
        shutil.rmtree(out / folder, ignore_errors=True)
    get_over(out)


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=[] if s in (0, 2) else [pytest.mark.heavy]) for s in range(30)]
)
def test_many_files_damaged_at_once(
    out: Path, fault: Fault, get_over: Callable[..., None], seed: int
) -> None:
    fault.of("several files at once", f"seed {seed}")
    chance = np.random.default_rng(seed)
    if chance.random() < 0.5:
        undo_behind(out, str(chance.choice(STAGES[:-1])))
    # Settings that cannot be read, beside results that do not stand, may be others: a run asks then.
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "scan.toml")
    for i in chance.choice(len(files), len(files) // 4, replace=False):
        if files[i].stat().st_size:
            DAMAGES[chance.integers(len(DAMAGES))](files[i])
    get_over(out)


@pytest.mark.parametrize("stage", STAGES)
def test_files_and_folders_that_nobody_knows(
    out: Path, fault: Fault, get_over: Callable[..., None], stage: str
) -> None:
    receipts = Store(out).receipts(stage)
    if not receipts:
        assert stage == "cells"
        return
    fault.of("strange things in the folder", f"files and folders beside those of {stage}")
    for relative in receipts[0].outputs:
        (out / relative).with_name(f".{Path(relative).name}.vm~1~0123abcd.old").mkdir()
    (out / "receipts" / stage / "notes.txt").write_text("a user's own words")
    (out / "receipts" / stage / "mine.json").write_text("{}")
    get_over(out, sound=False)
    assert (out / "receipts" / stage / "notes.txt").exists()


def test_leftovers_of_dead_processes(out: Path, fault: Fault, get_over: Callable[..., None]) -> None:
    fault.of("strange things in the folder", "leftovers of dead processes")
    store = Store(out)
    for stage in STAGES:
        for receipt in store.receipts(stage)[:1]:
            for path in (store.receipt_path(receipt.ref), *(out / relative for relative in receipt.outputs)):
                leave(path)
    (out / "claims").mkdir(exist_ok=True)
    (out / "claims" / "dead~1~0.json").write_text("{")
    get_over(out)


def leave(path: Path) -> None:
    """Leave a file half written, as a process of this host does that is killed."""
    path.with_name(f".{path.name}.{machine()}~4194305~0123abcd.tmp").write_bytes(b"half")


def test_a_receipt_of_a_task_that_the_scan_does_not_have(
    out: Path, fault: Fault, get_over: Callable[..., None]
) -> None:
    fault.of("strange things in the folder", "a task of another scan")
    foreign = Task(
        "scores", "P9999/pm_lambda/+000", "k", (TaskRef("stars", "P9999", "s"),), {"patch": "P9999"}
    )
    Store(out).publish(foreign, Products({"scores/P9999/x.parquet": text_writer("x")}), started=0.0)
    get_over(out, sound=False)
    assert verify(out).left == 1
