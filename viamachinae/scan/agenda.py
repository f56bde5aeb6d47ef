"""Which task comes next: the heaviest that can still end before the run does."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from viamachinae.scan.attempt import Attempt, Fault
from viamachinae.scan.interrupt import NEVER, Stop
from viamachinae.scan.outcome import Outcome
from viamachinae.scan.task import Task

__all__ = ["Agenda"]

logger = logging.getLogger(__name__)

#: Ended tasks from which the time of the next one is foretold, and the part of them that were as quick.
_REMEMBERED, _QUANTILE = 50, 0.9


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
        return self._tasks[-position]

    def settle(self, outcome: Outcome, attempt: Attempt) -> Outcome | None:
        """Return how a task ended for good; ``None`` when it goes back for another try."""
        task, fault = outcome.task, outcome.fault
        if outcome.ok:
            self._paces.append(outcome.seconds / _weight(task))
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
        insort(self._waiting, (_weight(task), -place))
        return None

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
