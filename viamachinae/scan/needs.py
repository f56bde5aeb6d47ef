"""Which results that are gone a run will read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from viamachinae.scan.sections import SKY, STAGES
from viamachinae.scan.standing import Standing

__all__ = ["READS", "needed"]

#: Stage -> the stages whose files its tasks read.
READS: Mapping[str, tuple[str, ...]] = {
    "patches": (),
    "cells": (),
    "stars": ("cells",),
    "plan": ("stars",),
    "trunk": (),
    "scores": ("stars", "trunk"),
    "lines": ("stars", "scores"),
    "fragments": ("stars", "lines"),
    "streams": ("patches", "stars", "scores", "fragments"),
    "report": ("patches", "stars", "scores", "lines", "fragments", "streams"),
}

#: Stages whose files every run reads, or the user does.
_ALWAYS = ("patches", "plan", "streams", "report")


def needed(found: Sequence[Standing], vanished: set[str], damaged: set[str]) -> set[str]:
    """Return the ids of all tasks that a run does, when these results are lost.

    Parameters
    ----------
    found : sequence of Standing
        Where each stage stands by its receipts.
    vanished : set of str
        Ids of tasks whose files are gone.
    damaged : set of str
        Ids of tasks whose files are damaged.
    """
    stages = {standing.stage: standing for standing in found}
    redo = set(damaged) | {name for name in vanished if name.partition("/")[0] in _ALWAYS}
    for standing in found:
        redo |= {f"{standing.stage}/{name}" for name in standing.known - standing.receipts.keys()}
    if stages["scores"].names is None:
        # Where the plan of a patch is not known, nor are its scores: they may be to do.
        unplanned = stages["stars"].known - {n for n in stages["plan"].receipts if f"plan/{n}" not in redo}
        redo |= {f"scores/{patch}/" for patch in unplanned}
    lost = _Lost(vanished)
    for stage in reversed(STAGES):
        for name in sorted(n for n in redo if n.startswith(f"{stage}/")):
            redo |= lost.read_by(name)
    return {name for name in redo if not name.endswith("/")}


class _Lost:
    """Results that vanished, by stage and patch."""

    def __init__(self, vanished: set[str]) -> None:
        self._by: dict[str, dict[str, set[str]]] = {}
        for task in vanished:
            stage, _, name = task.partition("/")
            self._by.setdefault(stage, {}).setdefault(name.split("/")[0], set()).add(task)

    def read_by(self, task: str) -> set[str]:
        """Return those that a task reads; handed out once.

        Of cells and trunks all: which of them a patch reads is not looked up, they are few or cheap.
        """
        stage, _, name = task.partition("/")
        found: set[str] = set()
        for source in READS[stage]:
            lost = self._by.get(source, {})
            everything = name == SKY or source in ("cells", "trunk")
            for patch in list(lost) if everything else [name.split("/")[0]]:
                found |= lost.pop(patch, set())
        return found
