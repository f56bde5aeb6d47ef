"""A small TAP service on this machine, as honest as the real ones, and as unreliable as the test wants it.

It answers the few forms of queries that a download sends, over tables in memory, synchronously and as jobs
of the Universal Worker Service, in VOTables. A list of :class:`Fault` says at which requests it misbehaves.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import numpy as np
import pyarrow as pa
from tap_answers import complaint, gaia_like, select, votable

__all__ = ["FakeTap", "Fault", "gaia_like"]

_XML = "application/x-votable+xml"


@dataclass
class Fault:
    """One way to misbehave.

    Parameters
    ----------
    kind : str
        ``status`` (answer with that HTTP status), ``reset`` (close the connection hard), ``stall`` (send
        nothing for a while, then close), ``redirect`` (answer with that status and ``location``), ``html``
        (a page, with status 200), ``error`` (a VOTable that reports an error, with status 200);
        of an answer with a table: ``cut`` (close in the middle of a body
        whose length was announced), ``short`` (the same, unannounced), ``missing``, ``doubled`` (a row),
        ``overflow``, ``moved`` (a row with a foreign identifier), ``nameless`` (a column less),
        ``miscount`` (one more than there are); of a job, asked for anything: ``failed``, ``fatal`` (the
        same, and the service says so), ``lost``;
        asked to run: ``refused`` (it does, and says that it did before).
    step : str
        Where: sync, create, run, phase, job, result, delete, login (redirect), or ``any``.
    times : int
        How often.
    skip : int
        How many requests of this step go well before.
    status, retry_after, seconds, location : int, str, float, str
        Of the kinds ``status``, ``redirect`` and ``stall``; ``{job}`` stands for the job that is asked.
    """

    kind: str
    step: str
    times: int = 1
    skip: int = 0
    status: int = 503
    retry_after: str = ""
    seconds: float = 30.0
    location: str = ""


@dataclass
class _Job:
    query: str
    maxrec: int | None
    phase: str = "PENDING"
    ends: float = 0.0
    failure: str = "transient"


class FakeTap:
    """The service; a context manager, in which it listens at ``url``.

    Parameters
    ----------
    tables : mapping
        Name, schema.table, to its rows; the column ``source_id`` is needed.
    job_seconds : float
        How long a job runs.
    hard_limit : int
        Most rows of an answer, whatever MAXREC says.
    serialization : str
        BINARY2, BINARY or TABLEDATA.
    login : (str, str), optional
        User and password without which nothing is answered.
    jobs_at : str
        Path below which jobs are announced.
    """

    def __init__(
        self,
        tables: Mapping[str, pa.Table],
        *,
        job_seconds: float = 0.0,
        hard_limit: int = 10_000_000,
        serialization: str = "BINARY2",
        login: tuple[str, str] | None = None,
        jobs_at: str = "/tap/async",
    ) -> None:
        self.tables = {name: table.sort_by("source_id").combine_chunks() for name, table in tables.items()}
        self.job_seconds = job_seconds
        self.hard_limit = hard_limit
        self.serialization = serialization
        self.login = login
        self.logins = 0
        self.jobs_at = jobs_at
        self.faults: list[Fault] = []
        self.jobs: dict[str, _Job] = {}
        self.log: list[str] = []  # steps in the order of their requests
        self.runs: Counter[str] = Counter()  # query: how often a job of it was run
        self.secrets: list[str] = []  # what came as Authorization
        self.played: Counter[str] = Counter()  # kind of fault: how often
        self.draw: Callable[[str], Fault | None] = lambda step: None
        self.lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        tap = self

        class Handler(_Handler):
            server_tap = tap

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/tap"
        self.list_of_jobs = self.url.removesuffix("/tap") + self.jobs_at
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def play(self, *faults: Fault) -> None:
        """Misbehave from now on."""
        with self.lock:
            self.faults += faults

    def fault_at(self, step: str) -> Fault | None:
        """Return the fault of the next request of a step, if it has one."""
        with self.lock:
            self.log.append(step)
            for fault in self.faults:
                if fault.times > 0 and fault.step in (step, "any"):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    self.played[fault.kind] += 1
                    return fault
            drawn = self.draw(step)
            if drawn is not None:
                self.played[drawn.kind] += 1
            return drawn

    def create(self, query: str, maxrec: int | None) -> str:
        """Make a job that does not run yet; return its name."""
        with self.lock:
            name = f"job{next(self._numbers)}"
            self.jobs[name] = _Job(query, maxrec)
            return name

    def begin(self, job: _Job) -> None:
        """Let a job run."""
        with self.lock:
            job.phase, job.ends = "EXECUTING", time.monotonic() + self.job_seconds
            self.runs[job.query] += 1

    def phase(self, job: _Job) -> str:
        """Return the phase of a job."""
        with self.lock:
            if job.phase == "EXECUTING" and time.monotonic() >= job.ends:
                job.phase = "COMPLETED"
            return job.phase

    def stall(self, seconds: float) -> None:
        """Send nothing for a while."""
        self._stopped.wait(seconds)

    def answer(self, query: str, maxrec: int | None, fault: Fault | None = None) -> bytes:
        """Return the VOTable that answers a query.

        Raises
        ------
        ValueError
            The query is not understood, or names what is not there.
        """
        limit = min(self.hard_limit, self.hard_limit if maxrec is None else maxrec)
        names, columns, rows = select(self.tables, query, limit + 1)
        n = min(len(rows), limit)
        overflow = len(rows) > limit
        rows = rows[:n]
        kind = fault.kind if fault else ""
        if kind == "missing":
            rows = rows[1:]
        elif kind == "doubled":
            rows = np.concatenate([rows, rows[-1:]])
        elif kind == "overflow":
            rows, overflow = rows[: len(rows) // 2], True
        elif kind == "nameless" and len(names) > 1:
            names, columns = names[:-1], columns[:-1]
        taken = [column.take(pa.array(rows)) for column in columns]
        if kind == "moved" and "source_id" in names:
            place = names.index("source_id")
            ids = taken[place].to_numpy().copy()
            ids[:1] = (1 << 62) + 1
            taken[place] = pa.array(ids)
        if kind == "miscount" and names == ["n_rows"]:
            taken = [pa.array([taken[0][0].as_py() + 1])]
        return votable(names, taken, self.serialization, overflow=overflow)


class _Handler(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body of an answer wait 40 ms for each other
    server_tap: FakeTap

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""

    def handle(self) -> None:
        # clients that were told to stop leave in the middle of an answer
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        url = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        self.server_tap.secrets += filter(None, [self.headers.get("Authorization")])
        text = url.query if method == "GET" else self.rfile.read(length).decode()
        form = {k.upper(): v[0] for k, v in urllib.parse.parse_qs(text).items()}
        path = re.sub(r"^/tap/|^.*/(?=async(/|$))", "", url.path).strip("/").split("/")
        try:
            if method == "DELETE" and path == ["async"]:
                self.server_tap.log.append("delete all")
                self._send(405, b"all jobs?")
                return
            if self.server_tap.login and not self._known(path, form):
                return
            if path[0] == "async" and len(path) > 1:
                self._job(method, path[1], "/".join(path[2:]), form)
            elif path[0] in ("sync", "async"):
                self._query(path[0], form)
            else:
                self._about(path[0])
        except ValueError as error:
            self._send(400, complaint(str(error)))

    def _known(self, path: list[str], form: Mapping[str, str]) -> bool:
        if self.path == "/login":
            if any(fault.step == "login" for fault in self.server_tap.faults):
                self._misbehaves(self.server_tap.fault_at("login"))
                return False
            known = (form.get("USERNAME"), form.get("PASSWORD")) == self.server_tap.login
            with self.server_tap.lock:
                self.server_tap.logins += known
                cookie = {"Set-Cookie": f"JSESSIONID=known{self.server_tap.logins}; Path=/"} if known else {}
            self._send(200 if known else 401, b"welcome" if known else b"wrong password", cookie)
            return False
        if self.headers.get("Cookie") == f"JSESSIONID=known{self.server_tap.logins}":
            return True
        self._send(401, b"log in first")
        return False

    def _query(self, mode: str, form: Mapping[str, str]) -> None:
        tap, step = self.server_tap, "sync" if mode == "sync" else "create"
        fault = tap.fault_at(step)
        if self._misbehaves(fault):
            return
        maxrec = int(form["MAXREC"]) if "MAXREC" in form else None
        if mode == "sync":
            self._body(tap.answer(form["QUERY"], maxrec, fault), fault)
        elif form.get("REQUEST") != "doQuery" or form.get("LANG") != "ADQL":
            self._send(400, complaint("REQUEST and LANG are needed"))
        else:
            self._send(303, b"", {"Location": f"{tap.list_of_jobs}/{tap.create(form['QUERY'], maxrec)}"})

    def _job(self, method: str, name: str, what: str, form: Mapping[str, str]) -> None:
        tap = self.server_tap
        deletes = method == "DELETE" or form.get("ACTION") == "DELETE"
        step = "delete" if deletes else "run" if method == "POST" else what.partition("/")[0] or "job"
        fault = tap.fault_at("result" if step == "results" else step)
        if fault and fault.kind == "lost":
            tap.jobs.pop(name, None)
        job = tap.jobs.get(name)
        if fault and fault.kind in ("failed", "fatal") and job:
            job.phase, job.failure = "ERROR", {"failed": "transient", "fatal": "fatal"}[fault.kind]
        if self._misbehaves(fault, name):
            return
        if job is None:
            self._send(404, b"<html><body>no such job</body></html>")
        elif deletes:
            tap.jobs.pop(name, None)
            self._send(303, b"", {"Location": tap.list_of_jobs})
        elif step == "run":
            self._run(name, job, form, fault)
        elif step == "phase":
            self._send(200, tap.phase(job).encode(), kind="text/plain")
        elif step == "results":
            self._result(job, fault)
        else:
            self._send(200, self._summary(name, job), kind="text/xml")

    def _run(self, name: str, job: _Job, form: Mapping[str, str], fault: Fault | None) -> None:
        if fault and fault.kind == "refused":
            self.server_tap.begin(job)
        if job.phase != "PENDING":
            self._send(400, b"the job runs already")
            return
        if form.get("PHASE") == "RUN":
            self.server_tap.begin(job)
        else:
            job.phase = "ABORTED"
        self._send(303, b"", {"Location": f"{self.server_tap.list_of_jobs}/{name}"})

    def _result(self, job: _Job, fault: Fault | None) -> None:
        if self.server_tap.phase(job) != "COMPLETED":
            self._send(404, b"no result yet")
        else:
            self._body(self.server_tap.answer(job.query, job.maxrec, fault), fault)

    def _summary(self, name: str, job: _Job) -> bytes:
        phase = self.server_tap.phase(job)
        result = f"{self.server_tap.url}/async/{name}/results/result"
        error = (
            f'<uws:errorSummary type="{job.failure}" hasDetail="false"><uws:message>the disk of the server '
            "is full</uws:message></uws:errorSummary>"
            if phase == "ERROR"
            else ""
        )
        return (
            '<uws:job xmlns:uws="http://www.ivoa.net/xml/UWS/v1.0" '
            'xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'version="1.1"><uws:jobId>{name}</uws:jobId><uws:ownerId/><uws:phase>{phase}</uws:phase>'
            "<uws:quote/><uws:executionDuration>3600</uws:executionDuration>"
            "<uws:destruction>2030-01-01T00:00:00Z</uws:destruction><uws:parameters/>"
            f'<uws:results><uws:result id="result" xlink:href="{result}"/></uws:results>{error}</uws:job>'
        ).encode()

    def _about(self, what: str) -> None:
        if what == "availability":
            body = (
                '<availability xmlns="http://www.ivoa.net/xml/VOSIAvailability/v1.0">'
                "<available>true</available></availability>"
            )
        elif what == "tables":
            tables = "".join(f"<table><name>{name}</name></table>" for name in self.server_tap.tables)
            body = (
                '<vosi:tableset xmlns:vosi="http://www.ivoa.net/xml/VOSITables/v1.0"><schema><name>default'
                f"</name>{tables}</schema></vosi:tableset>"
            )
        elif what == "capabilities":
            body = '<capabilities xmlns="http://www.ivoa.net/xml/VOSICapabilities/v1.0"/>'
        else:
            self._send(404, b"nothing here")
            return
        self._send(200, body.encode(), kind="text/xml")

    def _misbehaves(self, fault: Fault | None, job: str = "") -> bool:
        """Answer wrongly where the fault concerns any answer; return whether that was all."""
        if fault is None:
            return False
        if fault.kind == "status":
            more = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._send(fault.status, b"<html><title>busy</title></html>", more)
        elif fault.kind == "redirect":
            self._send(fault.status, b"moved", {"Location": fault.location.format(job=job)})
        elif fault.kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif fault.kind == "html":
            self._send(200, b"<html><body><h1>Down for maintenance</h1></body></html>", kind="text/html")
        elif fault.kind == "error":
            self._send(200, complaint("the database has gone away"))
        elif fault.kind == "stall":
            self.server_tap.stall(fault.seconds)
            self.close_connection = True
        else:
            return False
        return True

    def _body(self, body: bytes, fault: Fault | None) -> None:
        if fault and fault.kind == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif fault and fault.kind == "short":
            self._send(200, body[: len(body) // 2])
        else:
            self._send(200, body)

    def _send(
        self, status: int, body: bytes, more: Mapping[str, str] | None = None, *, kind: str = _XML
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
