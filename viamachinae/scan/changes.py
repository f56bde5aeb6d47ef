"""What changed settings do to a scan folder that holds results already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan.ledger import Ledger, read_ledger
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.sections import STAGES
from viamachinae.scan.standing import holds
from viamachinae.scan.store import Store

__all__ = ["Changes", "changes", "other_files"]


@dataclass(frozen=True)
class Changes:
    """Settings that differ from those that a folder was run with, and what they cost.

    Parameters
    ----------
    out : Path
        The scan folder.
    settings : mapping
        ``section.key`` -> its value before and now, as texts; empty when those before cannot be read.
    redone : mapping
        Stage -> finished tasks that are made anew, stages with none left out.
    files : bool
        Whether the tables of stars are others than those that were loaded.
    """

    out: Path
    settings: Mapping[str, tuple[str, str]]
    redone: Mapping[str, int]
    files: bool = False

    def __str__(self) -> str:
        differ = [f"{key}: {old} -> {new}" for key, (old, new) in self.settings.items()]
        if self.files:
            differ.append("the tables of stars have changed")
        why = "; ".join(differ) or "they cannot be read"
        said = f"settings differ from those that {self.out} was run with ({why}): "
        if not self.redone:
            return said + "no finished task is made anew"
        redone = ", ".join(f"{n} of {stage}" for stage, n in self.redone.items())
        return said + f"finished tasks that are made anew: {redone}; all others stay"


def changes(store: Store, old: Settings | None, new: Settings, files: Sequence[str] = ()) -> Changes:
    """Compare the settings of a folder with new ones.

    Parameters
    ----------
    store : Store
        The scan folder.
    old : Settings or None
        Those that it was run with; ``None``: unknown, so that every finished task counts as theirs.
    new : Settings
        Those that it is to be run with.
    files : sequence of str
        Fingerprints of the tables of stars, as they are now.
    """
    ledger = read_ledger(store.root)
    before, after = _standing(ledger, old), _standing(ledger, new, files)
    counts = {stage: len(before[stage] - after[stage]) for stage in STAGES}
    redone = {stage: n for stage, n in counts.items() if n}
    return Changes(store.root, _differing(old, new), redone, other_files(store, files))


def other_files(store: Store, files: Sequence[str]) -> bool:
    """Return whether stars were loaded from other tables than those with these fingerprints."""
    return any(_tables(receipt) != sorted(files) for receipt in store.receipts("stars"))


def _differing(old: Settings | None, new: Settings) -> dict[str, tuple[str, str]]:
    if old is None:
        return {}
    a, b = old.model_dump(mode="json"), new.model_dump(mode="json")
    pairs = {f"{s}.{k}": (a[s][k], b[s][k]) for s in a if s != "runner" for k in a[s]}
    return {key: (_short(x), _short(y)) for key, (x, y) in pairs.items() if x != y}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _standing(
    ledger: Ledger, settings: Settings | None, files: Sequence[str] | None = None
) -> dict[str, set[str]]:
    """Return the names of the tasks, stage by stage, whose receipts hold under some settings and tables."""
    valid = {f"calibration/{name}": r.key for name, r in ledger.of("calibration").items()}
    found: dict[str, set[str]] = {}
    for stage in STAGES:
        receipts = ledger.of(stage)
        if stage == "stars" and files is not None:
            receipts = {name: r for name, r in receipts.items() if _tables(r) == sorted(files)}
        held = {n: r.key for n, r in receipts.items() if settings is None or holds(settings, r.body, valid)}
        valid |= {f"{stage}/{name}": key for name, key in held.items()}
        found[stage] = set(held)
    return found


def _tables(receipt: Receipt) -> list[str]:
    return list(receipt.body["work"].get("files", ()))
