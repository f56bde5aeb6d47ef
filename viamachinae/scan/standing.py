"""Which receipts of a scan folder hold under given settings, stage after stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.ledger import Ledger, read_ledger
from viamachinae.scan.masking import all_masks_key, masks_key
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.sections import SKY, STAGES
from viamachinae.scan.store import Store
from viamachinae.schema import PATCHES

__all__ = ["Standing", "holds", "standings"]

_SKY_STAGES = ("patches", "streams", "report")


@dataclass(frozen=True)
class Standing:
    """Where one stage stands.

    Parameters
    ----------
    stage : str
        Its name.
    receipts : dict
        Task's name -> its receipt, of every task that is done.
    names : set of str or None
        Tasks that the stage has; ``None`` while earlier stages have not said.
    known : set of str
        The tasks that are known so far: all of them, where ``names`` is not ``None``.
    damaged : set of str
        Tasks whose small results, which say what the stages behind have to do, are damaged.
    """

    stage: str
    receipts: dict[str, Receipt]
    names: set[str] | None
    known: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every task of the stage is done."""
        return self.names is not None and self.names <= self.receipts.keys()


def standings(
    store: Store,
    settings: Settings,
    *,
    ledger: Ledger | None = None,
    presumed: Mapping[str, str] | None = None,
) -> list[Standing]:
    """Return where every stage stands, in the order in which they run.

    A task counts when a receipt vouches for it under ``settings``, and the same
    holds for all its inputs. Its files may be gone, and tables of stars outside
    the folder are not looked at: :class:`~viamachinae.scan.books.Books` looks for the files.

    Parameters
    ----------
    store : Store
        The scan folder.
    settings : Settings
        The scan.
    ledger : Ledger, optional
        Its receipts; by default each is read from its own file.
    presumed : mapping, optional
        Id -> key of tasks that have no receipt, and whose results will stand when they are made anew.
    """
    ledger = read_ledger(store.root, index=False) if ledger is None else ledger
    reader = _Reader(store, settings, ledger)
    reader.valid |= presumed or {}
    return reader.read()


def holds(settings: Settings, body: Mapping[str, Any], valid: Mapping[str, str]) -> bool:
    """Say whether the key in a receipt, or in the note of a failure, is that of these settings and inputs.

    Parameters
    ----------
    settings : Settings
        The scan.
    body : mapping
        The receipt or note.
    valid : mapping
        Id -> key of every task whose result stands.
    """
    if any(valid.get(name) != key for name, key in body["inputs"].items()):
        return False
    receipt = Receipt(body)
    if not _masked_alike(settings, receipt.stage, body["work"]):
        return False
    expected = plan.task(settings, receipt.stage, receipt.name, receipt.inputs, body["work"])
    return expected.key == receipt.key


def _masked_alike(settings: Settings, stage: str, work: Mapping[str, Any]) -> bool:
    """Say whether known objects are masked as the settings and the tables of the package now say."""
    if stage == "patches":
        return bool(work.get("masks") == all_masks_key(settings))
    return stage != "stars" or bool(work.get("masks") == masks_key(settings, work["patch"]))


class _Reader:
    """Goes through the stages; what stands is the ground of the next stage."""

    def __init__(self, store: Store, settings: Settings, ledger: Ledger) -> None:
        self.store, self.settings, self.ledger = store, settings, ledger
        self.receipts: dict[str, dict[str, Receipt]] = {}
        self.valid = {f"calibration/{n}": r.key for n, r in ledger.of("calibration").items()}
        self.damaged: set[str] = set()
        self.regions: dict[str, list[dict[str, Any]] | None] = {}

    def read(self) -> list[Standing]:
        found = []
        for stage in STAGES:
            receipts = {
                name: receipt
                for name, receipt in self.ledger.of(stage).items()
                if holds(self.settings, receipt.body, self.valid)
            }
            self.receipts[stage] = receipts
            names, known = self._names(stage)
            if names is not None:
                receipts = {name: receipt for name, receipt in receipts.items() if name in names}
            self.receipts[stage] = receipts
            self.valid |= {f"{stage}/{name}": receipt.key for name, receipt in receipts.items()}
            found.append(Standing(stage, receipts, names, known))
        for standing in found:
            if standing.stage == "plan":
                standing.damaged.update(self.damaged)
        return found

    def _names(self, stage: str) -> tuple[set[str] | None, set[str]]:
        """Return the names of a stage's tasks, ``None`` while not all are known, and those that are known."""
        if stage in _SKY_STAGES:
            return {SKY}, {SKY}
        if stage == "cells" and not self.settings.stars.downloads:
            return set(), set()
        sky = self.receipts["patches"].get(SKY)
        if sky is None:
            return None, set(self.receipts[stage])
        if stage == "cells":
            cells = self._cells(sky)
            return cells, cells or set()
        patches = set(sky.info["patches"])
        return self._groups(stage, patches) if stage in ("trunk", "scores") else (patches, patches)

    def _cells(self, sky: Receipt) -> set[str] | None:
        if not self.store.intact(sky, "patches.parquet"):
            return None
        patches = self.store.read(sky.ref, "patches.parquet", PATCHES)
        return {task.name for task in plan.cell_tasks(self.settings, patches)}

    def _groups(self, stage: str, patches: set[str]) -> tuple[set[str] | None, set[str]]:
        """Return the names of the score tasks that the plans of the patches list, or of their trunks."""
        groups: set[str] = set()
        planned = 0
        for name in patches:
            receipt = self.receipts.get("plan", {}).get(name)
            if receipt is not None:
                if name not in self.regions:
                    self.regions[name] = self._planned(receipt)
                regions = self.regions[name]
                planned += regions is not None
                groups.update(plan.group_name(self.settings, name, region) for region in regions or ())
        names = groups
        if stage == "trunk":
            names = {task.name for task in plan.trunk_tasks(self.settings, {n.split("/")[1] for n in groups})}
        complete = planned == len(patches)
        return (names if complete else None), names | (set() if complete else set(self.receipts[stage]))

    def _planned(self, receipt: Receipt) -> list[dict[str, Any]] | None:
        relative = f"plan/{receipt.name}.json"
        if not self.store.intact(receipt, relative):
            if relative not in receipt.gone:
                self.damaged.add(receipt.name)
            return None
        text = (self.store.root / relative).read_text(encoding="utf-8")
        regions: list[dict[str, Any]] = json.loads(text)
        return regions
