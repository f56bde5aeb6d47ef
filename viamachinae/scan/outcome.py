"""How a task ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from viamachinae.scan.attempt import Fault
from viamachinae.scan.task import Task

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Parameters
    ----------
    task : Task
        The task.
    value : dict, optional
        What the function returned; ``None`` when it failed.
    error : str
        What went wrong, one line or more, empty on success.
    trace : str
        The traceback of an error that was not foreseen.
    unusable : bool
        The error says that an input cannot be used.
    damaged : bool
        An input was damaged or missing, and has lost its receipt.
    fault : Fault, optional
        The machine is to blame, and another try may succeed.
    attempt : int
        Which try this was, from 1.
    seconds : float
        How long it took (s).
    warnings : tuple of str
        What the task logged as a warning in another process; it is logged again here.
    """

    task: Task
    value: dict[str, Any] | None = None
    error: str = ""
    trace: str = ""
    unusable: bool = False
    damaged: bool = False
    fault: Fault | None = None
    attempt: int = 1
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the task is done."""
        return self.value is not None
