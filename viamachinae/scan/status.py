"""How far a scan is, from its receipts alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError
from viamachinae.scan import plan
from viamachinae.scan.results import read_settings
from viamachinae.scan.store import Receipt, Store
from viamachinae.scan.task import TaskRef

__all__ = ["StageStatus", "status"]

_SKY_STAGES = ("patches", "streams", "report")


@dataclass(frozen=True)
class StageStatus:
    """Where a stage stands.

    Parameters
    ----------
    stage : str
        Its name.
    done : int
        Tasks whose receipt is valid for the folder's settings.
    total : int or None
        Tasks that the stage has; ``None`` while earlier stages have not said.
    seconds : float
        Time that the done tasks took, summed (s).
    """

    stage: str
    done: int
    total: int | None
    seconds: float


def status(out: Path) -> list[StageStatus]:
    """Return the state of every stage of a scan folder, in the order in which they run.

    A task counts when a receipt vouches for it under the settings in the
    folder's ``scan.toml``, its outputs have their sizes, and the same holds for
    all its inputs. Outside files are not looked at.

    Raises
    ------
    ConfigError
        The folder holds no scan, or its settings cannot be read.
    """
    settings, store = read_settings(out), Store(out)
    if not (out / "receipts").is_dir() and not (out / "log").is_dir():
        msg = f"{out}: a scan.toml, but no scan was run here; start it with `viamachinae run`"
        raise ConfigError(msg)
    valid: dict[str, Receipt] = {}
    states = []
    for stage in plan.STAGES:
        found = {
            str(receipt.body["name"]): receipt
            for receipt in store.receipts(stage)
            if _holds(store, settings, receipt, valid)
        }
        total = _total(stage, store, settings, valid)
        if total is not None:
            found = {name: receipt for name, receipt in found.items() if name in total}
        valid.update({f"{stage}/{name}": receipt for name, receipt in found.items()})
        count = None if total is None else len(total)
        seconds = sum(float(receipt.body["seconds"]) for receipt in found.values())
        states.append(StageStatus(stage, len(found), count, seconds))
    return states


def _holds(store: Store, settings: Settings, receipt: Receipt, valid: dict[str, Receipt]) -> bool:
    """Say whether a receipt is that of today's settings and of inputs that hold themselves."""
    body: dict[str, Any] = receipt.body
    inputs = receipt.inputs
    for ref in inputs:
        ours = store.receipt(ref) if ref.stage == "calibration" else valid.get(ref.id)
        if ours is None or ours.key != ref.key:
            return False
    expected = plan.task(settings, body["stage"], body["name"], inputs, body["work"])
    return expected.key == receipt.key and store.done(expected)


def _total(stage: str, store: Store, settings: Settings, valid: dict[str, Receipt]) -> set[str] | None:
    """Return the names of a stage's tasks, or ``None`` when they are not known yet."""
    if stage in _SKY_STAGES:
        return {plan.SKY}
    sky = valid.get(f"patches/{plan.SKY}")
    if sky is None:
        return None
    names = set(sky.info["patches"])
    if stage != "scores":
        return names
    tasks: set[str] = set()
    for name in names:
        receipt = valid.get(f"plan/{name}")
        if receipt is None:
            return None
        path = store.verified(TaskRef("plan", name, receipt.key), f"plan/{name}.json")
        regions = json.loads(path.read_text(encoding="utf-8"))
        tasks.update(plan.group_name(settings, name, region) for region in regions)
    return tasks
