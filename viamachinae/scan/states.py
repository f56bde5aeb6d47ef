"""What each task of a scan is: done, at work, failed, waiting for one that failed, or still to do."""

from __future__ import annotations

from collections.abc import Mapping

from viamachinae.config.settings import Settings
from viamachinae.scan import plan
from viamachinae.scan.claims import Claim, claims
from viamachinae.scan.failures import Failure, failures
from viamachinae.scan.sections import SKY, STAGES
from viamachinae.scan.standing import Standing, holds
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import suspects
from viamachinae.schema import PATCHES

__all__ = ["STATES", "Facts"]

#: What a task can be, worst first: a patch is what the worst of its tasks is.
STATES = ("SUSPECT", "FAILED", "RUNNING", "BLOCKED", "PENDING", "DONE")


class Facts:
    """What each task is, by stage and name.

    Parameters
    ----------
    store : Store
        The scan folder.
    settings : Settings
        The scan.
    found : list of Standing
        Where each stage stands by its receipts.
    """

    def __init__(self, store: Store, settings: Settings, found: list[Standing]) -> None:
        self.store, self.settings = store, settings
        self.found = {standing.stage: standing for standing in found}
        self.claims = claims(store.root)
        self.suspects = suspects(store.root)
        valid = {f"{s.stage}/{name}": r.key for s in found for name, r in s.receipts.items()}
        self._suspect = {s.id for s in self.suspects} | {
            f"{s.stage}/{name}" for s in found for name in s.damaged
        }
        self._running = {
            str(task.get("id")) for claim in self.claims if claim.at_work for task in claim.tasks
        }
        self.failures = {
            name: failure
            for name, failure in failures(store.root).items()
            if name not in valid and self._holds(failure, valid)
        }
        self._failing = _Failing(self)
        self.states = {
            standing.stage: {name: self._state(standing, name) for name in sorted(standing.known)}
            for standing in found
        }
        # What a killed process left of tasks that were done since is nobody's concern.
        self.claims = [c for c in self.claims if c.alive is not False or not self._all_done(c)]

    def _all_done(self, claim: Claim) -> bool:
        """Say whether all that a process was at work on is done."""
        places = (str(task.get("id")).partition("/") for task in claim.tasks)
        return all(self.states.get(stage, {}).get(name) == "DONE" for stage, _, name in places)

    def _holds(self, failure: Failure, valid: Mapping[str, str]) -> bool:
        try:
            return holds(self.settings, failure.body, valid)
        except (KeyError, TypeError, ValueError):  # the note of another version
            return False

    def _state(self, standing: Standing, name: str) -> str:
        known = f"{standing.stage}/{name}"
        if known in self._suspect:
            return "SUSPECT"
        if name in standing.receipts:
            return "DONE"
        if known in self._running:
            return "RUNNING"
        if known in self.failures:
            return "FAILED"
        return "BLOCKED" if self._failing.stops(standing.stage, name) else "PENDING"


class _Failing:
    """Which tasks wait for one that failed."""

    def __init__(self, facts: Facts) -> None:
        self._first: dict[str, int] = {}
        self._everywhere = len(STAGES)
        for failure in facts.failures.values():
            stage, name = STAGES.index(failure.body["stage"]), str(failure.body["name"])
            for patch in self._touched(facts, failure):
                self._first[patch] = min(self._first.get(patch, stage), stage)
            if name == SKY or failure.body["stage"] == "trunk":
                self._everywhere = min(self._everywhere, stage)

    def _touched(self, facts: Facts, failure: Failure) -> list[str]:
        """Return the patches that wait for a failed task."""
        stage, name = failure.body["stage"], str(failure.body["name"])
        if stage != "cells":
            return [name.split("/", maxsplit=1)[0]]
        sky = facts.found["patches"].receipts[SKY]
        rows = facts.store.read(sky.ref, "patches.parquet", PATCHES).to_dict("records")
        return [str(row["patch"]) for row in rows if name in plan.cell_names(facts.settings, row)]

    def stops(self, stage: str, name: str) -> bool:
        """Say whether a task that is not done waits for one that failed."""
        at = STAGES.index(stage)
        if stage in ("patches", "cells", "trunk"):
            return self._everywhere < at
        if name == SKY:
            return min((self._everywhere, *self._first.values())) < at
        return min(self._everywhere, self._first.get(name.split("/", maxsplit=1)[0], len(STAGES))) < at
