"""An errand: a query that a job on the server answers, whatever happens on the way."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from viamachinae.errors import TaskError
from viamachinae.stars.archive.faults import (
    BadAnswerError,
    FaultError,
    RefusedError,
    SlowError,
    TransientError,
)
from viamachinae.stars.archive.patience import Clock, Patience
from viamachinae.stars.archive.service import ENDED_WELL, FailedJobError, Service
from viamachinae.stars.archive.votable import Table, read_file
from viamachinae.stars.archive.workplace import Workplace

__all__ = ["Errands"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

_SPOILT = 3  # downloads of one job's result that break before the job is thought to be at fault
_TIDYING = 15.0  # s that deleting a job may take
_LEFT = "left-"  # begins the name of a job that is still to be deleted
_TOO_LONG = re.compile(r"time.?out|timed out|time limit|cancel", re.IGNORECASE)


class Errands:
    """Brings the answers of queries, and leaves no job behind.

    The journal names a job before it runs. So a process that is killed at any moment leaves a job that the
    next one takes up again, or, between the server's making it and its name in the journal, a job that was
    never run, which the server deletes when its time comes.

    Parameters
    ----------
    service : Service
        Who answers.
    workplace : Workplace
        Where answers are put down, and the journal is kept.
    clock : Clock
        Time.
    heard : callable
        Told the bytes that came since the last time.

    Attributes
    ----------
    service : Service
        Who answers.
    bytes : int
        Downloaded so far.
    attached : int
        Jobs that an earlier process had begun.
    """

    def __init__(
        self, service: Service, workplace: Workplace, clock: Clock, heard: Callable[[int], None]
    ) -> None:
        self.bytes = 0
        self.attached = 0
        self.service = service
        self._place = workplace
        self._clock = clock
        self._heard = heard
        self._old = set(workplace.jobs().items())
        self._spoilt: dict[str, int] = {}

    def ask(self, query: str, patience: Patience) -> Table:
        """Return the small answer of a query that takes no job.

        Raises
        ------
        SlowError
            It takes longer than ``archive.timeout``, or than the service allows.
        ResumeError, TaskError, FaultError
            As :meth:`bring`.
        """

        def answer() -> Table:
            try:
                return self.service.answer(query, patience)
            except FaultError as fault:
                if isinstance(fault, SlowError) or _TOO_LONG.search(fault.words):
                    raise SlowError(fault.words) from None
                raise

        return patience.persist(answer, but=SlowError)

    def bring(
        self, name: str, query: str, maxrec: int, accept: Callable[[Table], T], patience: Patience
    ) -> T:
        """Return what ``accept`` makes of the answer to a query.

        Parameters
        ----------
        name : str
            Name of the errand in the journal.
        query : str
            ADQL.
        maxrec : int
            More rows than it has.
        accept : callable
            Judges the answer and keeps it; raises a fault when it is wrong.
        patience : Patience
            How long to go on.

        Raises
        ------
        ResumeError
            Asked to stop; the job goes on without us.
        TaskError, FaultError
            It did not succeed; the job is deleted. A job that fails twice with the same words, in an error
            that the service calls fatal, is not submitted again.
        """
        complaint = ""

        def attempt() -> T:
            nonlocal complaint
            try:
                return accept(self._fetch(name, query, maxrec, patience))
            except FailedJobError as fault:
                self.abandon(name, patience)
                if fault.words == complaint:
                    raise RefusedError(fault.words) from None
                complaint = fault.words
                raise
            except BadAnswerError:
                self.abandon(name, patience)
                raise

        try:
            result = patience.persist(attempt)
        except (FaultError, TaskError):
            self.abandon(name, patience)
            raise
        self.abandon(name, patience)
        return result

    def abandon(self, name: str, patience: Patience) -> None:
        """Delete the job of an errand, if it has one; what cannot be deleted now is left to :meth:`tidy`."""
        job = self._place.job(name)
        if job is None:
            return
        try:
            self.service.delete(job, self._short(patience))
        except (FaultError, TaskError):
            self._place.keep_job(f"{_LEFT}{hashlib.sha256(job.encode()).hexdigest()[:16]}", job, "")
        self._place.forget_job(name)

    def tidy(self, patience: Patience) -> None:
        """Delete the jobs that are in the journal; one that cannot be deleted is left to the service."""
        short = self._short(patience)
        for name, job in self._place.jobs().items():
            try:
                short.persist(partial(self.service.delete, job, short))
            except (FaultError, TaskError) as fault:
                logger.info("%s: the job %s cannot be deleted: %s", patience.what, job, fault)
            self._place.forget_job(name)

    def _short(self, patience: Patience) -> Patience:
        return Patience(patience.what, _TIDYING, patience.stop, self._clock)

    def _fetch(self, name: str, query: str, maxrec: int, patience: Patience) -> Table:
        """Take a job one step after the other to its result."""
        job = self._place.job(name)
        if job is None:
            job = self.service.create(query, maxrec, patience)
            self._place.keep_job(name, job, query)
        elif (name, job) in self._old:
            self._old.discard((name, job))
            self.attached += 1
        patience.poll_anew()
        while (phase := self.service.phase(job, patience)) != ENDED_WELL:
            if self.service.waits(phase):
                self.service.run(job, patience)
            patience.poll()
        try:
            return self._result(name, job, patience)
        except TransientError as fault:
            self._spoilt[job] = self._spoilt.get(job, 0) + 1
            if self._spoilt[job] >= _SPOILT:
                self.abandon(name, patience)
            raise fault from None
        except RefusedError as fault:
            # the job is well, so what is refused is its result
            raise BadAnswerError(fault.words) from None

    def _result(self, name: str, job: str, patience: Patience) -> Table:
        path = self._place.scratch(f"{name}.vot")
        try:
            self.bytes += self.service.result(job, path, patience, self._heard)
            return read_file(path)
        finally:
            path.unlink(missing_ok=True)
