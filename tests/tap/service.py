"""A TAP service of its own on this machine: GAVO DaCHS above PostgreSQL, both in one folder.

Nothing outside the folder is written. DaCHS listens on a free port of the loopback.
"""

from __future__ import annotations

import grp
import hashlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import database
import requests
from database import Database
from processes import Owner, ServiceError, command_of, end
from skies import BIG, SKIES, Sky

__all__ = ["PACKAGES", "Service", "ServiceError", "missing_packages"]

#: Debian's names.
PACKAGES = ("postgresql", "postgresql-pgsphere", "postgresql-q3c", "python3-gavo")

_STARTED = 60.0  # s that a start may take
_HARD_MAXREC = 20_000_000  # rows, the default of DaCHS
_SMALL = [sky for skies in SKIES.values() for sky in skies]

_RC = """\
[general]
rootDir: {folder}/dachs
group: {group}
maintainerAddress: root@localhost

[web]
bindAddress: 127.0.0.1
serverPort: {port}
serverURL: http://127.0.0.1:{port}
user: {user}
sitename: made-up skies

[async]
maxTAPRunning: 3
hardMAXREC: {hard_maxrec}

[db]
indexWorkMem: 100
"""

_RESOURCE = """\
<resource schema="{schema}">
  <meta name="title">Made-up sky</meta>
  <meta name="description">Sources that never were, in the form of an archive's.</meta>
  <meta name="creationDate">2024-01-01T00:00:00Z</meta>
  <meta name="subject">stars</meta>
  <meta name="creator">nobody</meta>
{tables}</resource>
"""


def missing_packages() -> list[str]:
    """Return the Debian packages that stand for what is not found."""
    return database.missing_packages() + ([] if shutil.which("dachs") else ["python3-gavo"])


@dataclass(frozen=True)
class Service:
    """One DaCHS and one PostgreSQL, both below a folder.

    Parameters
    ----------
    folder : Path
        Theirs alone; its path must be short, since PostgreSQL's socket lies in it.
    """

    folder: Path

    @property
    def owner(self) -> Owner:
        """Who runs both."""
        return Owner(self.folder)

    @property
    def database(self) -> Database:
        """Below DaCHS."""
        return Database(self.folder, self.owner)

    # What stands

    @property
    def url(self) -> str:
        """The TAP service."""
        return f"http://127.0.0.1:{self._state()['port']}/tap"

    @property
    def loaded(self) -> bool:
        """Whether the tables of every run are there, as the present code makes them."""
        return self._state().get("tables") == _fingerprint(_SMALL)

    @property
    def has_big(self) -> bool:
        """Whether the table of the measurement is there."""
        return self._state().get("big") == _fingerprint([BIG])

    # What runs

    def jobs(self) -> dict[str, str]:
        """Return the phase of every job by its identifier, as the database has them."""
        lines = self.database.sql("SELECT jobid || ' ' || phase FROM tap_schema.tapjobs").splitlines()
        return dict(line.split(" ") for line in lines)

    def executing(self) -> list[str]:
        """Return the jobs that run."""
        return [job for job, phase in self.jobs().items() if phase == "EXECUTING"]

    def delete(self, job: str) -> None:
        """Delete a job, as its owner would."""
        requests.delete(f"{self.url}/async/{job}", timeout=30)

    def clear_jobs(self) -> None:
        """Delete every job."""
        for job in self.jobs():
            self.delete(job)

    def locked(self, table: str) -> AbstractContextManager[None]:
        """Keep every query of a table waiting, as long as the context lasts: a job that takes its time."""
        return self.database.locked(table)

    # From nothing to a running service and back

    def make(self) -> None:
        """Make the database and what DaCHS needs, if they are not there; PostgreSQL runs afterwards."""
        if self._state().get("made"):
            self.database.start()
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            msg = f"{self.folder} holds something else, or a service half made: remove it, or name another"
            raise ServiceError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.owner.gets(self.folder)
        self.database.make()
        self._write_state(port=_free_port())
        self._write_rc(_HARD_MAXREC)
        self.owner.run(["dachs", "init", "--dsn", self.database.dsn])
        self._write_state(made=True)

    def load(self) -> None:
        """Load the tables of every run."""
        for schema in sorted({sky.schema for sky in _SMALL}):
            self._load(schema, [sky for sky in _SMALL if sky.schema == schema])
        self._write_state(tables=_fingerprint(_SMALL))

    def load_big(self) -> None:
        """Load the table of the measurement."""
        self._load(BIG.schema, [BIG])
        self._write_state(big=_fingerprint([BIG]))

    def start(self, hard_maxrec: int = _HARD_MAXREC) -> None:
        """Start DaCHS, if it does not run, and wait until it has brought a first job to its end.

        Parameters
        ----------
        hard_maxrec : int
            Rows that it gives at most, whatever is asked for.
        """
        self.database.start()
        if self._server() is not None:
            return
        self._write_rc(hard_maxrec)
        log = self.folder / "log" / "dachs.log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                ["dachs", "serve", "start", "--foreground"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                **self.owner.options(),
            )
        self._write_state(server=process.pid)
        deadline = time.monotonic() + _STARTED
        while not _answers(f"{self.url}/availability"):
            if process.poll() is not None or time.monotonic() > deadline:
                msg = f"DaCHS does not start: see {log}"
                raise ServiceError(msg)
            time.sleep(0.1)
        process.returncode = 0  # it may outlive us: nothing to warn of
        # The first job after the installation may fail.
        if not any(self._warm_up() for _ in range(3)):
            msg = f"no job comes to its end on {self.url}: see {self.folder / 'dachs' / 'logs'}"
            raise ServiceError(msg)

    def stop_server(self, *, jobs: bool = True) -> None:
        """Stop DaCHS alone, with the jobs that it runs; without them, they outlive it as it wants them to."""
        server = self._server()
        if server is not None:
            end(server)
        if jobs and self.database.runs:
            sql = "SELECT pid FROM tap_schema.tapjobs WHERE phase = 'EXECUTING' AND pid > 1"
            for pid in map(int, self.database.sql(sql).split()):
                if "taprun" in command_of(pid):
                    end(pid)
        self._write_state(server=None)

    def stop(self) -> None:
        """Stop DaCHS and PostgreSQL."""
        if self._state().get("made"):
            self.stop_server()
        self.database.stop()

    def remove(self) -> None:
        """Stop all and remove the folder."""
        self.stop()
        if self._state() or self.database.made:
            shutil.rmtree(self.folder)

    # Inside

    def _state(self) -> dict[str, Any]:
        path = self.folder / "service.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _write_state(self, **changed: Any) -> None:
        path = self.folder / "service.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._state() | changed, indent=1) + "\n")
        temporary.replace(path)

    def _write_rc(self, hard_maxrec: int) -> None:
        user = self.owner.user
        text = _RC.format(
            folder=self.folder,
            group=grp.getgrgid(user.pw_gid).gr_name,
            user=user.pw_name,
            port=self._state()["port"],
            hard_maxrec=hard_maxrec,
        )
        (self.folder / "gavo.rc").write_text(text)

    def _load(self, schema: str, skies: Sequence[Sky]) -> None:
        folder = self.folder / "dachs" / "inputs" / schema
        folder.mkdir(exist_ok=True)
        resource = folder / "q.rd"
        resource.write_text(_RESOURCE.format(schema=schema, tables="".join(sky.resource() for sky in skies)))
        self.owner.gets(folder, resource)
        self.owner.run(["dachs", "imp", f"{schema}/q"])
        for sky in skies:
            self.database.copy(sky.build(), sky.name)

    def _server(self) -> int | None:
        """Return the process of DaCHS, if it runs."""
        pid = self._state().get("server")
        return pid if pid and "dachs" in command_of(pid) else None

    def _warm_up(self) -> bool:
        query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 table_name FROM tap_schema.tables"}
        job = requests.post(f"{self.url}/async", query, timeout=30).url
        requests.post(f"{job}/phase", {"PHASE": "RUN"}, timeout=30)  # beside the query it would do nothing
        deadline = time.monotonic() + _STARTED / 3
        while (phase := _text(f"{job}/phase")) in {"PENDING", "QUEUED", "EXECUTING", "UNKNOWN"}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        requests.delete(job, timeout=30)
        return phase == "COMPLETED"


def _fingerprint(skies: Sequence[Sky]) -> list[str]:
    """Return what tells whether tables are as the present code makes them."""
    code = Path(__file__).with_name("skies.py").read_bytes()
    return [f"{sky} {hashlib.sha256(code).hexdigest()[:12]}" for sky in skies]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _text(url: str) -> str:
    answer = requests.get(url, timeout=30)
    answer.raise_for_status()
    return answer.text.strip()


def _answers(url: str) -> bool:
    try:
        return bool(_text(url))
    except OSError:
        return False
