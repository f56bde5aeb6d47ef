"""The unit of work: what a task is, what it reads, and the key that names its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from viamachinae.schema.publish import Writer

__all__ = ["Products", "Task", "TaskRef", "fingerprint"]


def fingerprint(value: object) -> str:
    """Return the sha256 (hex) of a JSON-like value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class TaskRef:
    """A finished or planned task, as another one names it among its inputs."""

    stage: str
    name: str
    key: str

    @property
    def id(self) -> str:
        """Stage and name, for example ``scores/p0042/pm_lambda/-018``."""
        return f"{self.stage}/{self.name}"


@dataclass(frozen=True)
class Task:
    """One unit of work of a stage.

    Parameters
    ----------
    stage, name : str
        Where it belongs; the name is the path of its result inside the stage
        (a patch, or patch/coordinate/group, or ``sky``).
    key : str
        Fingerprint of everything that decides the result: the stage's
        settings and version, its own work, and the keys of its inputs.
    inputs : tuple of TaskRef
        Tasks whose results it reads.
    work : mapping
        What to do, JSON-like: the row of the patch, the regions of the group.
    weight : float
        How long it is likely to take beside the others of its stage, in any unit; 0: as long as they.
    """

    stage: str
    name: str
    key: str
    inputs: tuple[TaskRef, ...] = ()
    work: Mapping[str, Any] = field(default_factory=dict)
    weight: float = field(default=0.0, compare=False)

    @property
    def ref(self) -> TaskRef:
        """The task as an input of others."""
        return TaskRef(self.stage, self.name, self.key)

    @property
    def id(self) -> str:
        """Stage and name."""
        return self.ref.id

    def of(self, stage: str) -> tuple[TaskRef, ...]:
        """Return the inputs that belong to ``stage``, in order."""
        return tuple(ref for ref in self.inputs if ref.stage == stage)


@dataclass(frozen=True)
class Products:
    """What a stage hands to the store.

    Parameters
    ----------
    writers : mapping
        Path inside the scan folder -> function that writes it.
    info : mapping
        Small JSON-like facts for the receipt, for example counts of dropped stars.
    """

    writers: Mapping[str, Writer]
    info: Mapping[str, Any] = field(default_factory=dict)
