"""Which receipts of a scan folder hold under given settings, stage after stage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.masking import all_masks_key, masks_key
from viamachinae.scan.sections import SKY, STAGES
from viamachinae.scan.store import Receipt, Store
from viamachinae.scan.task import TaskRef
from viamachinae.schema import PATCHES

__all__ = ["Standing", "standings"]

#: Its tables may be deleted when the stars that they were made for are there.
_PASSING = "cells"
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
    """

    stage: str
    receipts: dict[str, Receipt]
    names: set[str] | None

    @property
    def complete(self) -> bool:
        """Whether every task of the stage is done."""
        return self.names is not None and self.names <= self.receipts.keys()


def standings(store: Store, settings: Settings, *, files: bool = True) -> list[Standing]:
    """Return where every stage stands, in the order in which they run.

    A task counts when a receipt vouches for it under ``settings``, its outputs
    have their sizes, and the same holds for all its inputs. Tables of stars
    outside the folder are not looked at.

    Parameters
    ----------
    store : Store
        The scan folder.
    settings : Settings
        The scan.
    files : bool
        Whether outputs must be there; else receipts alone count, so that large
        tables which no later step reads may be gone.
    """
    valid: dict[str, Receipt] = {}
    found = []
    for stage in STAGES:
        receipts = {
            str(receipt.body["name"]): receipt
            for receipt in store.receipts(stage)
            if _holds(store, settings, receipt, valid)
            and (
                not files
                or stage == _PASSING
                or store.done(TaskRef(stage, str(receipt.body["name"]), receipt.key))
            )
        }
        names = _names(stage, store, settings, valid)
        if names is not None:
            receipts = {name: receipt for name, receipt in receipts.items() if name in names}
        valid.update({f"{stage}/{name}": receipt for name, receipt in receipts.items()})
        found.append(Standing(stage, receipts, names))
    return found


def _holds(store: Store, settings: Settings, receipt: Receipt, valid: dict[str, Receipt]) -> bool:
    """Say whether a receipt is that of these settings and of inputs that hold themselves."""
    for ref in receipt.inputs:
        ours = store.receipt(ref) if ref.stage == "calibration" else valid.get(ref.id)
        if ours is None or ours.key != ref.key:
            return False
    body = receipt.body
    if not _masked_alike(settings, body["stage"], body["work"]):
        return False
    expected = plan.task(settings, body["stage"], body["name"], receipt.inputs, body["work"])
    return expected.key == receipt.key


def _masked_alike(settings: Settings, stage: str, work: Mapping[str, Any]) -> bool:
    """Say whether known objects are masked as the settings and the tables of the package now say."""
    if stage == "patches":
        return bool(work.get("masks") == all_masks_key(settings))
    return stage != "stars" or bool(work.get("masks") == masks_key(settings, work["patch"]))


def _names(stage: str, store: Store, settings: Settings, valid: dict[str, Receipt]) -> set[str] | None:
    """Return the names of a stage's tasks, or ``None`` when they are not known yet."""
    if stage in _SKY_STAGES:
        return {SKY}
    sky = valid.get(f"patches/{SKY}")
    if sky is None:
        return None
    if stage == "cells":
        return _cells(store, settings, sky)
    patches = set(sky.info["patches"])
    return _groups(stage, store, settings, valid, patches) if stage in ("trunk", "scores") else patches


def _cells(store: Store, settings: Settings, sky: Receipt) -> set[str]:
    if not settings.stars.downloads:
        return set()
    patches = store.read(TaskRef("patches", SKY, sky.key), "patches.parquet", PATCHES)
    return {task.name for task in plan.cell_tasks(settings, patches)}


def _groups(
    stage: str, store: Store, settings: Settings, valid: dict[str, Receipt], patches: set[str]
) -> set[str] | None:
    """Return the names of the score tasks that the plans of all patches list, or of their trunks."""
    groups: set[str] = set()
    for name in patches:
        receipt = valid.get(f"plan/{name}")
        if receipt is None:
            return None
        path = store.verified(TaskRef("plan", name, receipt.key), f"plan/{name}.json")
        regions = json.loads(path.read_text(encoding="utf-8"))
        groups.update(plan.group_name(settings, name, region) for region in regions)
    if stage == "scores":
        return groups
    return {task.name for task in plan.trunk_tasks(settings, {name.split("/")[1] for name in groups})}
