"""Every published byte compared with its receipt, and what vanished planned again.

Scratch file systems delete what was not read for weeks. A result that is gone,
and that no task left to do reads, stays valid: its receipt says so (``gone``).
What is needed again loses its receipt, so that the next run makes it anew, and
nothing that was made from it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.scan.books import Books
from viamachinae.scan.faults import fault_of
from viamachinae.scan.ledger import Ledger, read_ledger, rebuild_index
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.results import read_settings
from viamachinae.scan.store import ABSENT, Store
from viamachinae.scan.suspects import Suspect, keep_damaged, suspects
from viamachinae.scan.task import Task, TaskRef
from viamachinae.schema.publish import file_sha256

__all__ = ["Verdict", "replan", "verify", "withdraw_damaged"]

logger = logging.getLogger(__name__)


@dataclass
class Verdict:
    """What a verification found.

    Parameters
    ----------
    files, bytes : int
        What was read.
    damaged : list of str
        Files whose bytes are not those of their receipts.
    vanished : list of str
        Files that receipts vouch for and that are not there.
    unanswered : list of str
        Files that the system could not read, and why; that says nothing of their bytes.
    unreadable : list of str
        Files in the place of receipts that are none.
    redo : list of str
        Tasks whose results a run must make anew.
    gone : list of str
        Tasks whose vanished results no task left to do reads.
    undone : list of str
        Tasks of the scan, as far as they are known, that have no receipt: they were never done, or their
        receipts vanished. Cells are not among them, since loaded stars need none.
    left : int
        Results of other settings than those in ``scan.toml``; they are not read.
    suspects : list of Suspect
        Findings that stand in the folder.
    """

    files: int = 0
    bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    redo: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    left: int = 0
    suspects: list[Suspect] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every byte that is there is the one that was published."""
        return not (self.damaged or self.unreadable or self.suspects)


def verify(
    out: Path,
    *,
    dry_run: bool = False,
    threads: int = 4,
    heard: Callable[[int, int], None] | None = None,
) -> Verdict:
    """Read every published file of a scan and compare it with its receipt.

    Parameters
    ----------
    out : Path
        The scan folder.
    dry_run : bool
        Whether nothing is changed in it.
    threads : int
        Files that are read at a time.
    heard : callable, optional
        Is told the files and bytes read so far.

    Raises
    ------
    ConfigError
        The folder holds no scan, or its settings cannot be read.
    """
    settings, store = read_settings(out), Store(out)
    books = Books(store, settings, read_ledger(out, index=False))
    n_receipts = sum(map(len, books.ledger.receipts.values()))
    verdict = Verdict(left=n_receipts - len(books.holding), undone=books.undone)
    verdict.unreadable = [str(path.relative_to(out)) for path in books.ledger.unreadable]
    damaged = _hash_all(store, books.holding.values(), verdict, threads, heard)
    _look_again(store, books, damaged, verdict)
    redo = books.lost(damaged)
    verdict.redo = sorted(redo)
    verdict.gone = sorted(books.vanished - redo)
    if not dry_run:
        _act(store, books, damaged, verdict)
        rebuild_index(out)
    verdict.suspects = suspects(out)
    return verdict


def replan(store: Store, settings: Settings) -> list[str]:
    """Settle which results that vanished these settings need; return the tasks that are done again.

    A run asks for it before it begins. What it needs loses its receipt; of what nothing needs the receipt
    says that it is gone.

    Parameters
    ----------
    store : Store
        The scan folder.
    settings : Settings
        The scan.
    """
    ledger = read_ledger(store.root)
    if not any(ledger.misses(r) for found in ledger.receipts.values() for r in found.values()):
        return []
    books = Books(store, settings, ledger)
    redo = books.lost()
    for name in redo:
        store.withdraw(books.holding[name].ref, books.holding[name])
    for name in books.vanished - redo:
        _note_gone(store, books.ledger, books.holding[name])
    return sorted(redo)


def withdraw_damaged(store: Store, task: Task) -> list[str]:
    """Withdraw every input of a task that is damaged or missing; return their ids.

    A task that reads many results stops at the first that is damaged: this finds the others too, so that
    all are made anew at once.

    Parameters
    ----------
    store : Store
        The scan folder.
    task : Task
        What met a damaged result.
    """
    found = []
    for ref in task.inputs:
        receipt = store.receipt(ref)
        if receipt is None or receipt.key != ref.key:
            continue
        if not all(store.intact(receipt, relative) for relative in receipt.promised):
            store.withdraw(ref, receipt)
            found.append(ref.id)
    return found


def _hash_all(
    store: Store,
    receipts: Iterable[Receipt],
    verdict: Verdict,
    threads: int,
    heard: Callable[[int, int], None] | None,
) -> dict[str, list[tuple[str, str]]]:
    """Hash every output; return task -> (file, its hash) of those that differ, and count in the verdict."""
    damaged: dict[str, list[tuple[str, str]]] = {}
    jobs = ((receipt, relative) for receipt in receipts for relative in receipt.promised)
    with ThreadPoolExecutor(threads) as pool:
        for receipt, relative, found in pool.map(partial(_digest, store), jobs):
            if found is None:
                if relative in receipt.outputs:
                    verdict.vanished.append(relative)
                continue
            if isinstance(found, OSError):
                verdict.unanswered.append(f"{relative}: {found.strerror}")
                continue
            verdict.files += 1
            verdict.bytes += int(receipt.promised[relative]["size"])
            if found != receipt.promised[relative]["sha256"]:
                verdict.damaged.append(relative)
                damaged.setdefault(receipt.ref.id, []).append((relative, found))
            if heard is not None:
                heard(verdict.files, verdict.bytes)
    return damaged


def _digest(store: Store, job: tuple[Receipt, str]) -> tuple[Receipt, str, str | OSError | None]:
    """Hash a file; ``None`` when it is not there, an error when the system cannot say."""
    receipt, relative = job
    try:
        return receipt, relative, file_sha256(store.root / relative)
    except ABSENT:
        return receipt, relative, None
    except OSError as error:
        if fault_of(error) is None:
            raise
        return receipt, relative, error


def _look_again(
    store: Store, books: Books, damaged: dict[str, list[tuple[str, str]]], verdict: Verdict
) -> None:
    """Take back what a run made anew while files were read: the old receipt vouched for other bytes."""
    for name in list(damaged):
        receipt = books.holding[name]
        if store.receipt(receipt.ref) != receipt:
            again = {relative for relative, _ in damaged.pop(name)}
            verdict.damaged = [relative for relative in verdict.damaged if relative not in again]


def _act(store: Store, books: Books, damaged: Mapping[str, list[tuple[str, str]]], verdict: Verdict) -> None:
    """Keep damaged files aside, withdraw what must be done again, and mark what may stay away.

    Only receipts that stand unchanged are touched.
    """
    for name, files in damaged.items():
        for relative, found in files:
            logger.info("%s is suspect: %s is not as it was published", name, relative)
            keep_damaged(store.root, books.holding[name], relative, found)
    for name in verdict.redo:
        store.withdraw(books.holding[name].ref, books.holding[name])
    for name in verdict.gone:
        _note_gone(store, books.ledger, books.holding[name])
    for path in books.ledger.unreadable:
        stage, _, name = path.relative_to(store.root / "receipts").with_suffix("").as_posix().partition("/")
        ref = TaskRef(stage, name, "")
        if store.receipt(ref) is None:
            store.withdraw(ref)


def _note_gone(store: Store, ledger: Ledger, receipt: Receipt) -> None:
    """Say in a receipt which of its outputs are not there; those that came back are vouched for again."""
    gone = {relative: entry for relative, entry in receipt.promised.items() if ledger.size(relative) is None}
    if gone != receipt.gone:
        kept = {relative: entry for relative, entry in receipt.promised.items() if relative not in gone}
        store.amend(receipt, outputs=kept, gone=gone)
