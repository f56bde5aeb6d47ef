"""What changed settings, or another version of the program, do to a scan folder that holds results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.books import Books
from viamachinae.scan.claims import claims
from viamachinae.scan.ledger import Ledger, read_ledger
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.sections import STAGES, VERSIONS, settings_hash
from viamachinae.scan.standing import holds
from viamachinae.scan.store import Store
from viamachinae.scan.terms import Terms

__all__ = ["Changes", "changes", "other_files"]

#: Says whether a receipt counts, given id -> key of the results that stand before it.
Judge = Callable[[Receipt, Mapping[str, str]], bool]
#: What was made with what, stage by stage: version and hash of its settings.
Made = Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class Changes:
    """What differs between what a folder's results were made with and what they are to be made with.

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
    stages : tuple of str
        Stages that this version of the program makes differently.
    edited : tuple of str
        Stages that were made with other settings than the folder's own file says.
    masks : bool
        Whether the tables of known objects, which are masked, are others.
    readable : bool
        Whether the settings before could be read.
    needed : mapping
        Stage -> results that vanished, and that those which are made anew read.
    at_work : tuple of str
        Processes of a run that is at work on the folder: it would end.
    """

    out: Path
    settings: Mapping[str, tuple[str, str]]
    redone: Mapping[str, int]
    files: bool = False
    stages: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    masks: bool = False
    readable: bool = True
    needed: Mapping[str, int] = field(default_factory=dict)
    at_work: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{'; '.join(self._reasons())}: "
        if not self.redone:
            return said + "no finished task is made anew" + self._interference()
        said += f"finished tasks that are made anew: {_counted(self.redone)}"
        if self.needed:
            said += f"; and, since their files are gone and these need them: {_counted(self.needed)}"
        return said + "; all others stay" + self._interference()

    def _interference(self) -> str:
        who = ", ".join(self.at_work)
        return f". A run is at work on the folder with other settings, and would end ({who})" if who else ""

    def _reasons(self) -> list[str]:
        reasons = []
        if not self.readable:
            reasons.append(f"the settings that {self.out} was run with cannot be read, and may be others")
        elif self.settings:
            differ = "; ".join(f"{key}: {old} -> {new}" for key, (old, new) in self.settings.items())
            reasons.append(f"settings differ from those that {self.out} was run with ({differ})")
        if self.files:
            reasons.append("the tables of stars have changed")
        if self.stages:
            reasons.append(f"this version of viamachinae makes {', '.join(self.stages)} differently")
        if self.edited:
            reasons.append(
                f"{', '.join(self.edited)} were made with other settings than those in {self.out}/scan.toml: "
                "it was edited, or another version of viamachinae reads it"
            )
        if self.masks:
            reasons.append("the known objects that are masked have changed")
        return reasons or [f"results in {self.out} are not those of the settings"]


def changes(store: Store, old: Settings | None, new: Settings, files: Sequence[str] = ()) -> Changes:
    """Compare what a folder's results were made with, and what they are to be made with.

    Parameters
    ----------
    store : Store
        The scan folder.
    old : Settings or None
        The settings that it was run with; ``None``: unknown.
    new : Settings
        Those that it is to be run with.
    files : sequence of str
        Fingerprints of the tables of stars, as they are now.
    """
    ledger, terms, now = read_ledger(store.root), Terms.read(store.root), Terms.of(new)
    made = terms.stages if terms is not None else _made(ledger, old)
    wanted = {ref.id: ref for found in ledger.receipts.values() for r in found.values() for ref in r.inputs}
    lost = [ref for ref in wanted.values() if ref.name not in ledger.of(ref.stage)]
    before = _standing(ledger, partial(_as_made, made), {ref.id: ref.key for ref in lost})
    # What is lost comes back as it was, where it is to be made as it was.
    alike = [r for r in lost if made is None or made.get(r.stage) == now.stages.get(r.stage)]
    after = _standing(ledger, partial(_as_now, new, sorted(files)), {ref.id: ref.key for ref in alike})
    counts = {stage: len(before[stage] - after[stage]) for stage in STAGES}
    redone = {stage: n for stage, n in counts.items() if n}
    today = None if old is None else Terms.of(old)
    of_results = {} if made is None else {stage: made[stage] for stage in STAGES if before[stage]}
    return Changes(
        store.root,
        _differing(old, new),
        redone,
        needed=_needed(store, new, ledger, after) if redone else {},
        files=other_files(store, files),
        stages=tuple(stage for stage, (version, _) in of_results.items() if version != VERSIONS[stage]),
        edited=tuple(s for s, (_, digest) in of_results.items() if today and digest != today.stages[s][1]),
        masks=bool(terms and today and terms.masks != today.masks),
        readable=old is not None,
        at_work=tuple(f"{claim.host} {claim.pid}" for claim in claims(store.root) if claim.at_work),
    )


def _needed(
    store: Store, settings: Settings, ledger: Ledger, after: Mapping[str, set[str]]
) -> dict[str, int]:
    """Return how many results of each stage stand, but for their files, which the ones made anew read."""
    lost = Books(store, settings, ledger).lost()
    counts = {stage: sum(f"{stage}/{name}" in lost for name in names) for stage, names in after.items()}
    return {stage: n for stage, n in counts.items() if n}


def _counted(tasks: Mapping[str, int]) -> str:
    return ", ".join(f"{n} of {stage}" for stage, n in tasks.items())


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


def _made(ledger: Ledger, old: Settings | None) -> Made | None:
    """Return what the results of a folder without terms were made with, as their keys tell."""
    if old is None:
        return None
    found = {}
    for stage in STAGES:
        digest = settings_hash(old, stage)
        versions = (
            version
            for version in range(VERSIONS[stage], 0, -1)
            if any(plan.key_of(r.task, version, digest) == r.key for r in ledger.of(stage).values())
        )
        found[stage] = (next(versions, VERSIONS[stage]), digest)
    return found


def _standing(ledger: Ledger, judge: Judge, lost: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the names of the tasks, stage by stage, whose receipts count, each on the ground of others.

    ``lost`` has the keys of results without a receipt that come back as they were.
    """
    valid = {f"calibration/{name}": r.key for name, r in ledger.of("calibration").items()} | dict(lost)
    found: dict[str, set[str]] = {}
    for stage in STAGES:
        counted = {name: r.key for name, r in ledger.of(stage).items() if judge(r, valid)}
        valid |= {f"{stage}/{name}": key for name, key in counted.items()}
        found[stage] = set(counted)
    return found


def _as_made(made: Made | None, receipt: Receipt, valid: Mapping[str, str]) -> bool:
    """Say whether a result is one of those that the folder was last run for."""
    if any(valid.get(ref.id) != ref.key for ref in receipt.inputs):
        return False
    return made is None or plan.key_of(receipt.task, *made[receipt.stage]) == receipt.key


def _as_now(settings: Settings, files: list[str], receipt: Receipt, valid: Mapping[str, str]) -> bool:
    """Say whether a result is one of those that the folder is to be run for."""
    if receipt.stage == "stars" and _tables(receipt) != files:
        return False
    if receipt.stage == "scores":
        regions = receipt.body["work"]["regions"]
        names = {plan.group_name(settings, receipt.body["work"]["patch"], region) for region in regions}
        if names != {receipt.name}:
            return False
    return holds(settings, receipt.body, valid)


def _tables(receipt: Receipt) -> list[str]:
    return list(receipt.body["work"].get("files", ()))
