"""Leftovers of processes that are gone, deleted; results never are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from viamachinae.scan.claims import stale_claims
from viamachinae.scan.ledger import rebuild_index
from viamachinae.scan.results import read_settings
from viamachinae.scan.store import Store
from viamachinae.scan.task import TaskRef
from viamachinae.schema.publish import temporaries

__all__ = ["Cleaned", "clean"]


@dataclass
class Cleaned:
    """What was deleted, or would be.

    Parameters
    ----------
    paths : list of str
        Files and folders, by their paths in the scan folder.
    bytes : int
        Their size.
    """

    paths: list[str] = field(default_factory=list)
    bytes: int = 0


def clean(out: Path, *, all_hosts: bool = False, dry_run: bool = False) -> Cleaned:
    """Delete temporary files of dead processes of this host, parts of finished downloads, and stale claims.

    The index is written anew, in one file.

    Parameters
    ----------
    out : Path
        The scan folder.
    all_hosts : bool
        Also the files of processes of other hosts, of which nobody here can say whether they live: only
        when no run is at work on the folder anywhere.
    dry_run : bool
        Whether everything stays.

    Raises
    ------
    ConfigError
        The folder holds no scan.
    """
    read_settings(out)
    found = Cleaned()
    for path in [
        *temporaries(out, all_hosts=all_hosts),
        *stale_claims(out, all_hosts=all_hosts),
        *_downloads(out),
    ]:
        found.paths.append(path.relative_to(out).as_posix())
        found.bytes += _size(path)
        if not dry_run:
            _delete(path)
    if not dry_run:
        rebuild_index(out)
    return found


def _downloads(out: Path) -> Iterator[Path]:
    """Yield the folders of downloads whose cell is published; a run's own is named CELL.RUN."""
    store, folder = Store(out), out / "downloads"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        receipt = store.receipt(TaskRef("cells", path.name.split(".")[0], ""))
        if receipt is not None and store.done(receipt.ref):
            yield path


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
