"""All receipts of a scan folder at once, from the index where it is sure and from their files elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from viamachinae.scan.index import Index, note_published, read_index, rebuild
from viamachinae.scan.receipt import Receipt, parse_receipt

__all__ = ["Ledger", "read_ledger", "rebuild_index"]

#: Folders that are listed at a time: a network file system answers each after a while.
_AT_A_TIME = 8
#: Files of the index from which on it is put together into one: where each task has a process of its own, as
#: on GPUs, there is a file a task.
_MANY_FILES = 256


@dataclass
class Ledger:
    """The receipts of a folder as they stood when it was read.

    Parameters
    ----------
    root : Path
        The scan folder.
    receipts : dict
        Stage -> name -> receipt, sorted by name; those from the index tell no provenance.
    unreadable : list of Path
        Files in the place of receipts that are none.
    indexed : int
        How many came from the index.
    """

    root: Path
    receipts: dict[str, dict[str, Receipt]] = field(default_factory=dict)
    unreadable: list[Path] = field(default_factory=list)
    indexed: int = 0
    _sizes: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, stage: str) -> dict[str, Receipt]:
        """Return the receipts of a stage by name."""
        return self.receipts.get(stage, {})

    def stands(self, receipt: Receipt) -> bool:
        """Say whether every output of a receipt is there with its size."""
        return all(self.size(relative) == entry["size"] for relative, entry in receipt.outputs.items())

    def misses(self, receipt: Receipt) -> bool:
        """Say whether an output of a receipt is not there."""
        return any(self.size(relative) is None for relative in receipt.promised)

    def size(self, relative: str) -> int | None:
        """Return the size of a file (bytes), ``None`` when it is not there."""
        if not self._sizes:
            self._list()
        folder, _, name = relative.rpartition("/")
        return self._sizes.get(folder, {}).get(name)

    def _list(self) -> None:
        """List every folder that holds outputs, rather than ask for file after file."""
        outputs = (
            r for found in self.receipts.values() for receipt in found.values() for r in receipt.promised
        )
        folders = sorted({relative.rpartition("/")[0] for relative in outputs} | {""})
        with ThreadPoolExecutor(_AT_A_TIME) as pool:
            sizes = pool.map(_sizes_in, (self.root / folder for folder in folders))
            self._sizes = dict(zip(folders, sizes, strict=True))


def read_ledger(root: Path, *, index: bool = True) -> Ledger:
    """Return all receipts of a folder.

    Parameters
    ----------
    root : Path
        The scan folder.
    index : bool
        Whether the index may answer for receipts; else each is read. What is missing from the index is
        added to it where the folder can be written.
    """
    known = read_index(root) if index else Index()
    ledger = Ledger(root)
    found: dict[str, dict[str, Receipt]] = defaultdict(dict)
    missing: list[tuple[int, bytes]] = []
    for stage, name, entry in _receipt_files(root):
        body = known.get(stage, name, entry.inode())
        if body is not None:
            found[stage][name] = Receipt(body)
            ledger.indexed += 1
            continue
        inode, text = _read(entry.path)
        if text is None:  # withdrawn since the folder was listed
            continue
        receipt = parse_receipt(text)
        if receipt is None or (receipt.stage, receipt.name) != (stage, name):
            ledger.unreadable.append(Path(entry.path))
            continue
        found[stage][name] = receipt
        missing.append((inode, text))
    ledger.receipts = {stage: dict(sorted(names.items())) for stage, names in found.items()}
    if index and len(known.files) > _MANY_FILES:
        rebuild_index(root)
    elif index:
        note_published(root, missing)
    return ledger


def rebuild_index(root: Path) -> None:
    """Write the index of a folder anew from its receipts."""
    old = read_index(root).files
    found = (_read(entry.path) for _, _, entry in _receipt_files(root))
    rebuild(root, ((inode, text) for inode, text in found if text is not None), old)


def _receipt_files(root: Path) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """Yield stage, name and entry of every file in the place of a receipt."""
    top = str(root / "receipts")
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.name.endswith(".json") and folder != top:
                    stage, _, name = entry.path[len(top) + 1 : -len(".json")].partition("/")
                    yield stage, name, entry


def _read(path: str) -> tuple[int, bytes | None]:
    """Return inode and bytes of one and the same file; no bytes when it is not there."""
    try:
        with open(path, "rb") as handle:  # noqa: PTH123  13,000 times
            return os.fstat(handle.fileno()).st_ino, handle.read()
    except FileNotFoundError:
        return 0, None


def _sizes_in(folder: Path) -> dict[str, int]:
    sizes: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                if entry.is_file():
                    sizes[entry.name] = entry.stat().st_size
    return sizes
