"""Runs that end, one after another, without finishing a task: whoever starts them again must hear of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from viamachinae.errors import ResumeError, TaskError
from viamachinae.scan.groups import Group
from viamachinae.scan.interrupt import Stop
from viamachinae.scan.log import log_path
from viamachinae.scan.notes import read_note, write_note

__all__ = ["Idle"]

#: Runs in a row that the wall-time ended before they finished a task; the last says so.
_CUT_SHORT = 3
#: Runs in a row that were killed before they finished a task: three jobs, each of which tries four times.
_LOST = 12


@dataclass
class Idle:
    """Counts such runs in a note beside the log, for a group of patches by itself.

    A run is counted when it begins, since one that is killed can write nothing, and
    the note goes with the first task that is done.

    Parameters
    ----------
    out : Path
        The scan folder.
    group : Group, optional
        The patches that the run has, when not all.
    """

    out: Path
    group: Group | None = None
    _useful: bool = field(init=False, default=False)

    @property
    def path(self) -> Path:
        """The note."""
        log = log_path(self.out, self.group)
        return log.with_name(log.stem.replace("run", "idle", 1) + ".json")

    def useful(self) -> None:
        """Forget the runs before this one: a task is done."""
        if not self._useful:
            self._useful = True
            self._note(0)

    @contextmanager
    def watched(self, stop: Stop) -> Iterator[None]:
        """Count the run inside.

        Parameters
        ----------
        stop : Stop
            What asks the run to end.

        Raises
        ------
        TaskError
            In place of :class:`ResumeError`, with which a batch job comes back: too many runs in a row
            did nothing.
        """
        before = self._before()
        self._note(before + 1)
        try:
            yield
        except ResumeError as error:
            if not self._useful:
                self._judge(before + 1, stop, error)
            raise
        except BaseException:
            self.useful()  # it ends for another reason, and says which
            raise
        self.useful()

    def _before(self) -> int:
        """Return how many runs before this one did nothing."""
        found = (read_note(self.path) or {}).get("runs")
        before = found if isinstance(found, int) else 0
        if before < _LOST:
            return before
        self._note(0)
        msg = (
            f"the last {before} runs were killed before they finished a task, by Ray or the system: memory "
            f"may be short; see {log_path(self.out, self.group)} and the output of the job, set "
            "runner.workers or runner.memory_gb lower, and run the same command again"
        )
        raise TaskError(msg)

    def _judge(self, runs: int, stop: Stop, error: ResumeError) -> None:
        """Judge a run that was asked to end and did nothing, the last of so many."""
        dropped = isinstance(error.__cause__, KeyboardInterrupt)
        if stop.terminated or (dropped and not stop.asked):
            self._note(runs - 1)  # that says nothing of its tasks
        elif runs >= _CUT_SHORT and not stop.asked:
            self._note(0)
            msg = f"{runs} runs in a row ended before they finished a task; the last: {error}"
            raise TaskError(msg) from error
        elif runs >= _CUT_SHORT:
            self._note(0)
            where = f"{stop.reason}: what ran was dropped" if dropped else str(error).partition(";")[0]
            msg = (
                f"{runs} runs in a row ended at their wall-time, or were killed, before they finished a task "
                f"(the last: {where}). "
                "Either a task takes longer than such a run, of which `viamachinae plan` tells the longest: "
                "ask for more time (`viamachinae submit --time`); or the node was too slow: submit again. "
                "Every finished task is kept"
            )
            raise TaskError(msg) from error

    def _note(self, runs: int) -> None:
        """Write the count down, as far as the folder lets itself be written."""
        with contextlib.suppress(OSError):
            if runs:
                write_note(self.path, {"runs": runs}, durable=False)
            else:
                self.path.unlink(missing_ok=True)
