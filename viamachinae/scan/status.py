"""How far a scan is, from its receipts and the notes beside them alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from viamachinae.errors import ConfigError
from viamachinae.scan import plan
from viamachinae.scan.books import Books
from viamachinae.scan.claims import Claim
from viamachinae.scan.failures import Failure
from viamachinae.scan.garbage import uncollected
from viamachinae.scan.ledger import read_ledger
from viamachinae.scan.results import read_settings
from viamachinae.scan.standing import Standing
from viamachinae.scan.states import STATES, Facts
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import Suspect
from viamachinae.schema import PATCHES

__all__ = [
    "STATES",
    "PatchStatus",
    "ScanStatus",
    "StageStatus",
    "read_patches_table",
    "scan_status",
    "status",
]


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
    rows, bytes : int or None
        What the done tasks downloaded; ``None`` for stages that do not.
    states : dict
        State -> tasks that are in it, of those that are known.
    """

    stage: str
    done: int
    total: int | None
    seconds: float
    rows: int | None = None
    bytes: int | None = None
    states: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PatchStatus:
    """Where a patch stands.

    Parameters
    ----------
    state : str
        That of the worst of its tasks.
    done, known : int
        Tasks that are done, and that are known so far.
    """

    state: str
    done: int
    known: int


@dataclass(frozen=True)
class ScanStatus:
    """Where a scan stands.

    Parameters
    ----------
    stages : list of StageStatus
        In the order in which they run.
    patches : dict
        Patch -> where it stands; empty before the patches are laid out.
    failures : dict
        Id -> last error of every task that is FAILED.
    suspects : list of Suspect
        What is SUSPECT, and why.
    claims : list of Claim
        What processes say that they work on; a claim may be stale.
    workers : int
        Tasks that are RUNNING.
    rate : float
        Tasks an hour at this moment: workers over the mean time of a task of their stages.
    core_seconds_left : float or None
        Time that the tasks left take, each as long as the mean of its stage; ``None`` when a stage with
        tasks left has none to measure.
    seconds_left : float or None
        The same over the workers, ``None`` when nothing runs.
    """

    stages: list[StageStatus]
    patches: dict[str, PatchStatus]
    failures: dict[str, Failure]
    suspects: list[Suspect]
    claims: list[Claim]
    workers: int
    rate: float
    core_seconds_left: float | None
    seconds_left: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-like values."""
        claims = [
            {"host": c.host, "pid": c.pid, "last_sign": c.at, "alive": c.alive, "tasks": list(c.tasks)}
            for c in self.claims
        ]
        errors = {
            name: {k: failure.body.get(k) for k in ("error", "attempt", "host", "at")}
            for name, failure in self.failures.items()
        }
        return {
            "stages": [asdict(stage) for stage in self.stages],
            "patches": {name: asdict(patch) for name, patch in self.patches.items()},
            "failures": errors,
            "suspects": [{"task": s.id, "kind": s.kind, "why": s.why} for s in self.suspects],
            "claims": claims,
            "workers": self.workers,
            "tasks_per_hour": self.rate,
            "core_seconds_left": self.core_seconds_left,
            "seconds_left": self.seconds_left,
        }


def status(out: Path) -> list[StageStatus]:
    """Return the state of every stage of a scan folder, in the order in which they run.

    Raises
    ------
    ConfigError
        The folder holds no scan, or its settings cannot be read.
    """
    return scan_status(out).stages


def scan_status(out: Path) -> ScanStatus:
    """Return where a scan stands.

    A task is DONE when a receipt vouches for it and all its inputs under the
    settings in the folder's ``scan.toml``, and its outputs have their sizes, or vanished
    when nothing needs them any more. Outside files are not looked at, and nothing is hashed but
    the plans: :mod:`viamachinae.scan.verify` does.

    Raises
    ------
    ConfigError
        The folder holds no scan, or its settings cannot be read.
    """
    settings, store = read_settings(out), Store(out)
    if not (out / "receipts").is_dir() and not (out / "log").is_dir():
        msg = f"{out}: a scan.toml, but no scan was run here; start it with `viamachinae run`"
        raise ConfigError(msg)
    with uncollected():
        found = Books(store, settings, read_ledger(out), presume=False).standing()
        facts = Facts(store, settings, found)
    stages = [_of_stage(facts, standing) for standing in found if standing.names != set()]
    workers = sum(stage.states["RUNNING"] for stage in stages)
    mean = {stage.stage: stage.seconds / stage.done for stage in stages if stage.done}
    left = _left(stages, mean)
    busy = [mean[s.stage] for s in stages for _ in range(s.states["RUNNING"]) if mean.get(s.stage)]
    return ScanStatus(
        stages=stages,
        patches=_patches(facts),
        failures=facts.failures,
        suspects=facts.suspects,
        claims=facts.claims,
        workers=workers,
        rate=sum(3600.0 / seconds for seconds in busy),
        core_seconds_left=left,
        seconds_left=left / workers if left is not None and workers else None,
    )


def read_patches_table(out: Path) -> Any:
    """Return the PATCHES table of a scan folder for a map.

    Raises
    ------
    ConfigError
        The folder holds no scan.
    DataError
        The patches are not laid out yet, or the table is damaged.
    """
    task = plan.patch_task(read_settings(out))
    return Store(out).read(task, "patches.parquet", PATCHES)


def _of_stage(facts: Facts, standing: Standing) -> StageStatus:
    receipts = list(standing.receipts.values())
    downloads = standing.stage == "cells"
    counts = Counter(facts.states[standing.stage].values())
    return StageStatus(
        standing.stage,
        len(receipts),
        None if standing.names is None else len(standing.names),
        sum(float(receipt.body["seconds"]) for receipt in receipts),
        sum(int(receipt.info["rows"]) for receipt in receipts) if downloads else None,
        sum(int(receipt.info["bytes"]) for receipt in receipts) if downloads else None,
        {state: counts[state] for state in STATES},
    )


def _left(stages: list[StageStatus], mean: Mapping[str, float]) -> float | None:
    """Return the time (s) of the tasks left; those of the sky's own stages, one task each, are left out."""
    total = 0.0
    for stage in stages:
        if stage.total == 1 and stage.stage in ("patches", "streams", "report"):
            continue
        if stage.total is None or (stage.total > stage.done and stage.stage not in mean):
            return None
        total += (stage.total - stage.done) * mean.get(stage.stage, 0.0)
    return total


def _patches(facts: Facts) -> dict[str, PatchStatus]:
    """Return where each patch stands: its stars, plan, scores, lines and fragments."""
    states: dict[str, Counter[str]] = {}
    for name in facts.found["stars"].known if facts.found["patches"].receipts else ():
        states[name] = Counter()
    for stage in ("stars", "plan", "scores", "lines", "fragments"):
        for name, state in facts.states[stage].items():
            if (patch := name.split("/")[0]) in states:
                states[patch][state] += 1
    return {
        patch: PatchStatus(next(s for s in STATES if counts[s]), counts["DONE"], counts.total())
        for patch, counts in sorted(states.items())
    }
