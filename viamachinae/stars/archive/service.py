"""The TAP service: questions that are answered at once, and jobs of the Universal Worker Service."""

# ruff: noqa: PLC0415 - pyvo is slow to import: only where it is needed

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from viamachinae.stars.archive.connection import Connection
from viamachinae.stars.archive.faults import (
    BadAnswerError,
    FaultError,
    LostJobError,
    RefusedError,
    TransientError,
)
from viamachinae.stars.archive.patience import Patience
from viamachinae.stars.archive.votable import Table, read_bytes
from viamachinae.stars.archive.words import brief, said

__all__ = ["ENDED_WELL", "Service"]

ENDED_WELL = "COMPLETED"
_WAITING = ("PENDING", "HELD")
_RUNNING = ("QUEUED", "EXECUTING", "SUSPENDED", "UNKNOWN")
_ENDED_BADLY = ("ERROR", "ABORTED", "ARCHIVED")
_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>(.*?)</(?:\w+:)?message>", re.DOTALL)


class Service:
    """The verbs of a TAP service; every one is a single try, and raises a fault when it fails.

    Parameters
    ----------
    connection : Connection
        To the service.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.url = connection.url

    def answer(self, query: str, patience: Patience) -> Table:
        """Return the (small) table that answers a query, asked synchronously."""
        data = self._request(query, "sync", None)
        try:
            body = self.connection.ask("POST", f"{self.url}/sync", patience, data).body
        except LostJobError as fault:
            raise RefusedError(_no_service(fault)) from None
        return read_bytes(body)

    def create(self, query: str, maxrec: int, patience: Patience) -> str:
        """Create a job that does not run yet; return its URL."""
        data = self._request(query, "async", maxrec)
        try:
            answer = self.connection.ask("POST", f"{self.url}/async", patience, data, follow=False)
        except LostJobError as fault:
            raise RefusedError(_no_service(fault)) from None
        if not answer.location.startswith(("http://", "https://")):
            words = f"no job was created: {said(answer.body)}"
            raise BadAnswerError(words) if b"QUERY_STATUS" in answer.body else TransientError(words)
        return answer.location.rstrip("/")

    def run(self, job: str, patience: Patience) -> None:
        """Let a job begin; one that has begun is left alone."""
        try:
            self.connection.ask("POST", f"{job}/phase", patience, {"PHASE": "RUN"}, follow=False)
        except RefusedError:
            # what became of an earlier try, whose answer was lost
            if self.phase(job, patience) in _WAITING:
                raise

    def phase(self, job: str, patience: Patience) -> str:
        """Return the phase of a job.

        Raises
        ------
        LostJobError
            The job is gone, or ended without a result.
        """
        body = self.connection.ask("GET", f"{job}/phase", patience).body
        phase = body[:64].decode("utf-8", "replace").strip().upper()
        if phase in _ENDED_BADLY:
            msg = f"the job ended in phase {phase}: {self._complaint(job, patience)}"
            raise LostJobError(msg)
        if phase not in (*_WAITING, *_RUNNING, ENDED_WELL):
            msg = f"it answers with something else than the phase of a job: {said(body)}"
            raise TransientError(msg)
        return phase

    def waits(self, phase: str) -> bool:
        """Whether a job in this phase waits for :meth:`run`."""
        return phase in _WAITING

    def result(
        self, job: str, path: Path, patience: Patience, heard: Callable[[int], None] | None = None
    ) -> int:
        """Write the result of a job to a file; return its size."""
        return self.connection.download(f"{job}/results/result", path, patience, heard)

    def delete(self, job: str, patience: Patience) -> None:
        """Delete a job, in one of the two ways that the standard has; one that is not there is no fault."""
        for method, data in (("DELETE", None), ("POST", {"ACTION": "DELETE"})):
            try:
                if self.connection.ask(method, job, patience, data, follow=False).location:
                    return
                # what answers with a page instead of sending on may not have done it
                self.connection.ask("GET", f"{job}/phase", patience)
            except LostJobError:
                return
            except FaultError as fault:
                last = fault
            else:
                last = TransientError("the job is still there")
        raise last

    def _request(self, query: str, mode: str, maxrec: int | None) -> Mapping[str, Any]:
        from pyvo.dal import TAPQuery

        # no FORMAT: the standard's default is a VOTable, and every service writes its own names of the others
        return dict(TAPQuery(self.url, query, mode=mode, maxrec=maxrec))

    def _complaint(self, job: str, patience: Patience) -> str:
        """Return what a service says of a job that failed."""
        try:
            document = self.connection.ask("GET", job, patience).body.decode("utf-8", "replace")
        except FaultError as fault:
            return fault.words
        message = _MESSAGE.search(document)
        text = html.unescape(message[1]) if message else ""
        return brief(text) or "it gives no reason"


def _no_service(fault: FaultError) -> str:
    return f"there is no TAP service: {fault.words}"
