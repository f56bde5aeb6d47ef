"""Which task comes next: the heaviest that can still end before the run does."""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from viamachinae.errors import ResumeError
from viamachinae.scan.attempt import RESTING, Attempt, Fault
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.task import Task

__all__ = ["Agenda"]

logger = logging.getLogger(__name__)

#: Ended tasks from which the time of the next one is foretold, and the part of them that were as quick.
_REMEMBERED, _QUANTILE = 50, 0.9
#: Faults of file systems or GPUs in a row, and the time since the first of them (s), that end the run.
_SICK, _OUTAGE = 4, 300.0


class Agenda:
    """The tasks of a stage that wait, heaviest first; equal ones in the order given.

    Parameters
    ----------
    tasks : sequence of Task
        What is to be done.
    stop : Stop, optional
        When the run must end: no task is handed out once that is asked for, and
        none that would take longer than the time left, judged by those that ended.
    """

    def __init__(self, tasks: Sequence[Task], stop: Stop = NEVER) -> None:
        self._stop = stop
        self._waiting = sorted((_weight(task), -i) for i, task in enumerate(tasks))
        self._tasks = [(task, Attempt()) for task in tasks]
        self._places = {task.id: i for i, task in enumerate(tasks)}
        self._paces: deque[float] = deque(maxlen=_REMEMBERED)
        self._running: dict[str, float] = {}
        self._sick, self._since = 0, 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> tuple[Task, Attempt] | None:
        """Return the next task; ``None`` when none waits that should still be started."""
        if self._stop.asked or not self._waiting:
            return None
        most = self._heaviest()
        i = len(self._waiting) if most == math.inf else bisect_right(self._waiting, (most, 0))
        if i == 0:
            return None
        _, position = self._waiting.pop(i - 1)
        task, attempt = self._tasks[-position]
        self._running[task.id] = time.monotonic()
        return task, attempt

    def settle(self, outcome: Outcome, attempt: Attempt) -> Outcome | None:
        """Return how a task ended for good; ``None`` when it goes back for another try.

        Raises
        ------
        ResumeError
            For some minutes nothing but file systems or GPUs that fail was met, by several tasks.
        """
        task, fault = outcome.task, outcome.fault
        if outcome.ok:
            self._paces.append(outcome.seconds / _weight(task))
        self._look_after(outcome)
        outcome = replace(outcome, attempt=attempt.number)
        if fault is None:
            return outcome
        following = attempt.after(fault)
        if following is None:
            return replace(outcome, error=_given_up(attempt, fault, outcome.error))
        part = "" if following.share == attempt.share else f", with {following.share:g} of runner.memory_gb"
        cause = outcome.error.partition("\n")[0]
        logger.warning("%s %s (%s); try %d follows%s", task.id, fault, cause, following.number, part)
        place = self._places[task.id]
        self._tasks[place] = (task, following)
        # The node that failed it is free first: others shall have it.
        weight = 0.0 if fault in RESTING else _weight(task)
        insort(self._waiting, (weight, -place))
        return None

    def _look_after(self, outcome: Outcome) -> None:
        """End the run when no node does anything but fail.

        A task that has run since before the first fault may lie on a node that is well.
        """
        self._running.pop(outcome.task.id, None)
        if outcome.fault not in RESTING:
            self._sick = 0
            return
        if not self._sick:
            self._since = time.monotonic()
        self._sick += 1
        well = any(start < self._since for start in self._running.values())
        if self._sick >= _SICK and time.monotonic() - self._since >= _OUTAGE and not well:
            minutes = (time.monotonic() - self._since) / 60.0
            msg = (
                f"{outcome.task.id} {outcome.fault} ({outcome.error}), as did the {self._sick - 1} before "
                f"it, for {minutes:.0f} minutes: look at the machine, and run the same "
                "command again; every finished task is kept"
            )
            raise ResumeError(msg)

    def _heaviest(self) -> float:
        """Return the weight of the heaviest task that can end in time."""
        left = self._stop.left
        if left == math.inf or not self._paces:
            return math.inf
        paces = sorted(self._paces)
        return left / max(paces[int(_QUANTILE * (len(paces) - 1))], 1e-9)


def _weight(task: Task) -> float:
    """Return the weight of a task; tasks of a stage that gives none are alike."""
    return task.weight or 1.0


def _given_up(attempt: Attempt, fault: Fault, cause: str) -> str:
    times = attempt.faults.count(fault) + 1
    advice = {
        Fault.MEMORY: "try fewer runner.workers, a smaller regions.group_size, or smaller patches",
        Fault.WORKER: "out of memory? Try fewer runner.workers, or smaller patches",
        Fault.NODE: "look at the nodes, and run the same command again",
        Fault.STORAGE: "look at the file system, and run the same command again",
        Fault.DEVICE: "look at the node, and run the same command again",
        Fault.FULL: "make room, and run the same command again",
    }[fault]
    share = "" if attempt.share == 1.0 else f", at last with {attempt.share:g} of runner.memory_gb"
    return f"it {fault} {times} time{'s' * (times > 1)}{share} ({cause}); {advice}"
