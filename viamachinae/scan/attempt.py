"""Tries of a task: which faults are worth another one, how many, and how much memory it may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["FURTHER", "RESTING", "Attempt", "Fault", "rest_after"]


class Fault(StrEnum):
    """A fault of the machine, as a message names it; errors of the science are none."""

    MEMORY = "ran out of memory"
    WORKER = "lost its worker process"
    NODE = "lost its node"
    STORAGE = "met a file system that fails"
    DEVICE = "met a GPU that fails"
    FULL = "met a full disk"


#: Further tries after each fault. A node takes many tasks with it, which are not to blame.
FURTHER: Mapping[Fault, int] = {
    Fault.MEMORY: 3,
    Fault.WORKER: 2,
    Fault.NODE: 8,
    Fault.STORAGE: 3,
    Fault.DEVICE: 3,
    Fault.FULL: 0,
}

#: Faults after which a task may use half the memory: a kernel short of memory kills without a word.
_SMALLER = (Fault.MEMORY, Fault.WORKER)

#: Faults that a worker rests after, and how long (s), the more of them it met in a row. A server may come
#: back; and a node that fails every task at once would else be the one that is always free for the next.
RESTING = (Fault.STORAGE, Fault.DEVICE)
_RESTS = (15.0, 60.0, 240.0)


@dataclass(frozen=True)
class Attempt:
    """One try of a task.

    Parameters
    ----------
    faults : tuple of Fault
        How the tries before it ended.
    """

    faults: tuple[Fault, ...] = ()

    @property
    def number(self) -> int:
        """Which try this is, from 1."""
        return len(self.faults) + 1

    @property
    def share(self) -> float:
        """Part of ``runner.memory_gb`` that this try may use: 1, 1/2, 1/4, ..."""
        return 0.5 ** sum(fault in _SMALLER for fault in self.faults)

    def after(self, fault: Fault) -> Attempt | None:
        """Return the try that follows a fault, ``None`` when there were enough."""
        following = Attempt((*self.faults, fault))
        return following if following.faults.count(fault) <= FURTHER[fault] else None


def rest_after(faults: int) -> float:
    """Return how long a worker rests that met so many faults of :data:`RESTING` in a row (s)."""
    return _RESTS[min(faults, len(_RESTS)) - 1] if faults else 0.0
