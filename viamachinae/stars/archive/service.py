"""The TAP service: questions that are answered at once, and jobs of the Universal Worker Service."""

# ruff: noqa: PLC0415 - pyvo is slow to import: only where it is needed

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from viamachinae.stars.archive.connection import Answer, Connection
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

__all__ = ["ENDED_WELL", "FailedJobError", "Service", "elsewhere"]

ENDED_WELL = "COMPLETED"
_WAITING = ("PENDING", "HELD")
_RUNNING = ("QUEUED", "EXECUTING", "SUSPENDED", "UNKNOWN")
_ENDED_BADLY = ("ERROR", "ABORTED", "ARCHIVED")
_MESSAGE = re.compile(r"<(?:\w+:)?message\b[^>]*>(.*?)</(?:\w+:)?message>", re.DOTALL)
_FATAL = re.compile(r"""<(?:\w+:)?errorSummary\b[^>]*\btype\s*=\s*["']fatal["']""")
_LIST = "/async"  # ends the path of the list of jobs
_SEE_OTHER = 303
_MOVED = range(300, 400)


class FailedJobError(LostJobError):
    """A job ended in an error that the service calls fatal."""


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
            answer = self.connection.ask("POST", f"{self.url}/sync", patience, data, follow=False)
            if answer.status == _SEE_OTHER and answer.location:
                # a service may keep its answers as the results of jobs
                answer = self.connection.ask("GET", answer.location, patience)
        except LostJobError as fault:
            raise RefusedError(_no_service(fault)) from None
        if answer.status in _MOVED:
            raise elsewhere(answer)
        return read_bytes(answer.body)

    def create(self, query: str, maxrec: int, patience: Patience) -> str:
        """Create a job that does not run yet; return its URL.

        A job need not lie below the service's own URL: DaCHS announces those of ``HOST/tap/async`` as
        ``HOST/__system__/tap/run/async/ID``. A service behind a proxy may announce the scheme of its inside;
        then scheme and port are those of the service's URL.

        Raises
        ------
        RefusedError
            The service sends the client to another host, or to something that is no job.
        """
        data = self._request(query, "async", maxrec)
        try:
            answer = self.connection.ask("POST", f"{self.url}/async", patience, data, follow=False)
        except LostJobError as fault:
            raise RefusedError(_no_service(fault)) from None
        if not answer.location:
            words = f"no job was created: {said(answer.body)}"
            raise BadAnswerError(words) if b"QUERY_STATUS" in answer.body else TransientError(words)
        path = self._path(answer.location)
        if not _name(path):
            raise elsewhere(answer)
        at, here = urlsplit(answer.location), urlsplit(self.url)
        place = at if at.scheme == here.scheme else here
        return urlunsplit((place.scheme, place.netloc, path, "", ""))

    def run(self, job: str, patience: Patience) -> None:
        """Let a job begin; one that has begun is left alone."""
        try:
            answer = self.connection.ask("POST", f"{job}/phase", patience, {"PHASE": "RUN"}, follow=False)
            if answer.status in _MOVED and _name(self._path(answer.location)) != _name(urlsplit(job).path):
                raise elsewhere(answer)
        except RefusedError:
            # what became of an earlier try, whose answer was lost
            if self.phase(job, patience) in _WAITING:
                raise

    def phase(self, job: str, patience: Patience) -> str:
        """Return the phase of a job.

        Raises
        ------
        FailedJobError
            It ended in an error that will come again.
        LostJobError
            It is gone, or ended without a result.
        """
        body = self.connection.ask("GET", f"{job}/phase", patience).body
        phase = body[:64].decode("utf-8", "replace").strip().upper()
        if phase in _ENDED_BADLY:
            reason, fatal = self._complaint(job, patience)
            msg = f"the job ended in phase {phase}: {reason}"
            raise FailedJobError(msg) if fatal else LostJobError(msg)
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
        if not _name(urlsplit(job).path):
            return  # a journal that was tampered with must not make us delete a list of jobs
        for method, data in (("DELETE", None), ("POST", {"ACTION": "DELETE"})):
            try:
                answer = self.connection.ask(method, job, patience, data, follow=False)
                if answer.status == _SEE_OTHER and self._path(answer.location).endswith(_LIST):
                    return
                # what answers with a page, or sends on to anything but the list of jobs, may not have done it
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

    def _path(self, location: str) -> str:
        """Return the path of an address on the host of the service; empty: it is on another one."""
        at = urlsplit(location)
        near = at.scheme in ("http", "https") and at.hostname == urlsplit(self.url).hostname
        return at.path.rstrip("/") if near else ""

    def _complaint(self, job: str, patience: Patience) -> tuple[str, bool]:
        """Return what a service says of a job that failed, and whether it calls that fatal."""
        try:
            document = self.connection.ask("GET", job, patience).body.decode("utf-8", "replace")
        except FaultError as fault:
            return fault.words, False
        message = _MESSAGE.search(document)
        text = html.unescape(message[1]) if message else ""
        return brief(text) or "it gives no reason", _FATAL.search(document) is not None


def elsewhere(answer: Answer) -> RefusedError:
    """Return the fault that stands for a redirection that must not be followed."""
    return RefusedError(f"it redirects to {brief(answer.location) or 'nowhere'}; correct archive.url")


def _name(path: str) -> str:
    """Return the name of the job with that path; empty: it is not that of a job."""
    before, _, name = path.rpartition("/")
    return name if before.endswith(_LIST) and name.strip(".") else ""


def _no_service(fault: FaultError) -> str:
    return f"there is no TAP service: {fault.words}"
