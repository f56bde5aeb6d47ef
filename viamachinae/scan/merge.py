"""Two folders of one scan, each with some of its patches, brought together in a third."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError
from viamachinae.scan.ledger import read_ledger
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.results import read_settings, run_again
from viamachinae.scan.standing import standings
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import compare_twice
from viamachinae.scan.terms import Terms
from viamachinae.schema.publish import atomic_text, commit, make_folder, staged

__all__ = ["Merged", "merge"]

logger = logging.getLogger(__name__)

#: Stages whose results are those of single patches, cells or coordinates: they fit any set of patches.
_KEPT = ("cells", "stars", "plan", "trunk", "scores", "lines", "fragments")
#: Settings that may differ between the folders.
_FREE = ("patches.centres", "patches.exclude", "patches.b_min", "patches.nside", "scan.name")


@dataclass
class Merged:
    """What came into the new folder.

    Parameters
    ----------
    tasks : dict
        Stage -> tasks whose results were taken.
    twice : int
        Tasks that both folders had done.
    linked, copied : int
        Files that share their bytes with the old folder, and that were copied.
    different : list of str
        Tasks that both folders had done, with results that differ: they are suspect.
    left : dict
        Folder -> results of patches that were not taken: of other settings, of another version of a stage, or
        missing.
    """

    tasks: dict[str, int] = field(default_factory=dict)
    twice: int = 0
    linked: int = 0
    copied: int = 0
    different: list[str] = field(default_factory=list)
    left: dict[Path, int] = field(default_factory=dict)


def merge(folders: Sequence[Path], out: Path, settings: Settings | None = None) -> Merged:
    """Take the valid results of several folders of one configuration into a new one.

    Results of single patches are taken; those of the sky as a whole (candidates, report) are left to the
    next run. Files are linked where the folders lie on one disk: published
    files are replaced and never changed, so that neither folder can harm the other.

    Parameters
    ----------
    folders : sequence of Path
        The scan folders; they are not changed.
    out : Path
        The new folder. It may exist, with the same settings: merging again goes on.
    settings : Settings, optional
        Of the merged scan; by default those of the folders, with the given fields (``patches.centres``) of
        all of them, and of the new folder where it is there.

    Raises
    ------
    ConfigError
        A folder holds no scan, settings differ in more than the patches, or the new folder cannot be written.
    DataError
        A file of a folder is damaged.
    """
    given = [read_settings(folder) for folder in folders]
    if settings is None:
        begun = [out] if (out / "scan.toml").is_file() else []
        wanted = _merged([*folders, *begun], [*given, *map(read_settings, begun)])
    else:
        wanted = settings
    for folder, theirs in zip(folders, given, strict=True):
        _check_comparable(folder, theirs, wanted)
    store, merged = Store(out), Merged()
    try:
        _begin(out, wanted)
        for folder in folders:
            _take(Store(folder), store, merged)
    except OSError as error:
        msg = f"{out}: cannot be written ({error}); give another --out folder"
        raise ConfigError(msg) from error
    return merged


def _merged(folders: Sequence[Path], given: Sequence[Settings]) -> Settings:
    """Return the settings of the folders with the fields of all."""
    first = given[0]
    fields = list(dict.fromkeys(centre for s in given for centre in s.patches.centres))
    tilings = [s.patches.model_copy(update={"centres": ()}) for s in given]
    if any(t != tilings[0] for t in tilings) or (fields and not all(s.patches.centres for s in given)):
        msg = (
            f"{' and '.join(map(str, folders))}: their tilings differ, so that the merged one must be said: "
            "give its settings with --scan SCAN.toml"
        )
        raise ConfigError(msg)
    patches = first.patches.model_copy(update={"centres": tuple(fields)})
    return first.model_copy(update={"patches": patches})


def _check_comparable(folder: Path, theirs: Settings, wanted: Settings) -> None:
    a, b = theirs.model_dump(mode="json"), wanted.model_dump(mode="json")
    changed = (f"{s}.{k}" for s in a if s != "runner" for k in a[s] if a[s][k] != b[s][k])
    differ = [name for name in changed if name not in _FREE]
    if differ:
        msg = (
            f"{folder}: its settings differ from those of the merged scan in {', '.join(differ)}; "
            "only folders of one configuration, with other patches, can be merged"
        )
        raise ConfigError(msg)


def _begin(out: Path, settings: Settings) -> None:
    make_folder(out)
    text = dump(settings)
    if (out / "scan.toml").is_file():
        _check_comparable(out, read_settings(out), settings)
    if Terms.read(out) is None:  # what stands there was agreed to, and a run asks about the rest
        Terms.of(settings).keep(out)
    atomic_text(out / "scan.toml", text)
    make_folder(out / "log")


def _take(source: Store, store: Store, merged: Merged) -> None:
    ledger = read_ledger(source.root, index=False)
    left = sum(len(ledger.of(stage)) for stage in _KEPT)
    for standing in standings(source, read_settings(source.root), ledger=ledger):
        if standing.stage not in _KEPT:
            continue
        for receipt in standing.receipts.values():
            earlier = store.receipt(receipt.ref)
            if earlier is not None and earlier.key == receipt.key and store.done(receipt.ref):
                merged.twice += 1
                if not _compare(source, store, earlier, receipt):
                    merged.different.append(receipt.ref.id)
                elif earlier.gone and not receipt.gone and ledger.stands(receipt):
                    _transfer(source, store, receipt, merged)
            elif ledger.stands(receipt):
                _transfer(source, store, receipt, merged)
                merged.tasks[standing.stage] = merged.tasks.get(standing.stage, 0) + 1
            else:
                continue
            left -= 1
    if left:
        merged.left[source.root] = left


def _transfer(source: Store, store: Store, receipt: Receipt, merged: Merged) -> None:
    """Bring the files of a task over, then its receipt."""
    writers = {store.root / r: partial(_bring, source.root / r, merged) for r in receipt.outputs}
    with staged(writers) as files:
        for relative, file in zip(receipt.outputs, files.values(), strict=True):
            if file.sha256 != receipt.outputs[relative]["sha256"]:
                msg = (
                    f"{source.root / relative}: not as it was published; `viamachinae verify {source.root}` "
                    f"and `{run_again(source.root)}` mend it, then merge again"
                )
                raise DataError(msg)
        store.withdraw(receipt.ref)
        commit(files)
    store.put_receipt(receipt)


def _bring(path: Path, merged: Merged, temp: Path) -> None:
    try:
        os.link(path, temp)
        merged.linked += 1
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, temp)
        merged.copied += 1


def _compare(source: Store, store: Store, earlier: Receipt, receipt: Receipt) -> bool:
    """Hold the second result of a task against the first; say whether they agree."""
    if _hashes(earlier) == _hashes(receipt):
        return True
    present = [r for r in receipt.outputs if (source.root / r).is_file()]
    writers = {store.root / r: partial(_copy, source.root / r) for r in present}
    with staged(writers) as files:
        second = dict(zip(present, files.values(), strict=True))
        return compare_twice(store.root, earlier, second, str(receipt.body.get("processor", "")))


def _copy(path: Path, temp: Path) -> None:
    shutil.copyfile(path, temp)


def _hashes(receipt: Receipt) -> dict[str, str]:
    return {name: str(entry["sha256"]) for name, entry in {**receipt.outputs, **receipt.gone}.items()}
