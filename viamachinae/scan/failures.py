"""Failures of tasks, written down: so that a later `status` knows them, and not only the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viamachinae.scan.notes import read_notes, stamp, write_note
from viamachinae.scan.task import Task, TaskRef

if TYPE_CHECKING:
    from viamachinae.scan.store import Store

__all__ = ["Failure", "clear_failure", "failure_path", "failures", "record_failure"]

logger = logging.getLogger(__name__)

#: Characters of an error and of its traceback that are kept, from their ends.
_KEPT = 8_000


@dataclass(frozen=True)
class Failure:
    """The last failure of a task; ``body`` is the whole note."""

    body: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Stage and name of the task."""
        return f"{self.body['stage']}/{self.body['name']}"

    @property
    def error(self) -> str:
        """What went wrong."""
        return str(self.body["error"])


def failure_path(root: Path, task: Task | TaskRef) -> Path:
    """Return where the failure of a task is written down."""
    return root / "failures" / task.stage / f"{task.name}.json"


def record_failure(store: Store, task: Task, error: str, trace: str = "", attempt: int = 1) -> None:
    """Write down that a task failed; publishing its result removes the note.

    A folder that takes no more files costs the note and nothing else.

    Parameters
    ----------
    store : Store
        The scan folder.
    task : Task
        What failed.
    error : str
        What went wrong, for people.
    trace : str
        The traceback of an error that was not foreseen.
    attempt : int
        Which try this was.
    """
    body = {
        "stage": task.stage,
        "name": task.name,
        "key": task.key,
        "inputs": {ref.id: ref.key for ref in task.inputs},
        "work": dict(task.work),
        "error": error[-_KEPT:],
        "trace": trace[-_KEPT:],
        "attempt": attempt,
        **stamp(),
    }
    try:
        write_note(failure_path(store.root, task), body)
    except OSError as problem:
        logger.warning("the failure of %s cannot be written down (%s)", task.id, problem)


def clear_failure(root: Path, task: Task | TaskRef) -> None:
    """Forget the failure of a task."""
    failure_path(root, task).unlink(missing_ok=True)


def failures(root: Path) -> dict[str, Failure]:
    """Return every failure that is written down, by the id of its task."""
    found = (Failure(body) for _, body in read_notes(root / "failures") if _whole(body))
    return {failure.id: failure for failure in found}


def _whole(body: Mapping[str, Any]) -> bool:
    texts = all(isinstance(body.get(name), str) for name in ("stage", "name", "key", "error"))
    return texts and isinstance(body.get("inputs"), dict) and isinstance(body.get("work"), dict)
