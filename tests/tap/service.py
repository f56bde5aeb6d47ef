"""A TAP service of its own on this machine: GAVO DaCHS above PostgreSQL, both in one folder.

Nothing outside the folder is written: PostgreSQL listens on a socket in it, DaCHS on a free port of the
loopback. Whoever runs this as root gets both as the user ``postgres``, which PostgreSQL asks for.
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import requests
from skies import BIG, SKIES, Sky

__all__ = ["PACKAGES", "Service", "ServiceError", "missing_packages"]

#: Debian's, without a recommended one: what DaCHS needs, and PostgreSQL's extensions for the sky.
PACKAGES = ("postgresql", "postgresql-pgsphere", "postgresql-q3c", "python3-gavo")

_ADMIN = "tapadmin"  # superuser of this PostgreSQL
_DATABASE = "gavo"
_STARTED = 60.0  # s that a server may take to start or to end
_HARD_MAXREC = 20_000_000  # rows, the default of DaCHS

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
maxTAPRunning: {running}
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


class ServiceError(Exception):
    """The service cannot be made, started or stopped; the message says what is needed."""


def missing_packages() -> list[str]:
    """Return the Debian packages that stand for what is not found."""
    missing = []
    if _postgres_bin() is None:
        missing.append("postgresql")
    else:
        found = _extensions()
        missing += [f"postgresql-{name}" for name in ("pgsphere", "q3c") if name not in found]
    if shutil.which("dachs") is None:
        missing.append("python3-gavo")
    return missing


def _postgres_bin() -> Path | None:
    """Return the folder of the newest PostgreSQL server, as Debian lays it out."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


def _extensions() -> set[str]:
    version = (_postgres_bin() or Path()).parent.name
    folder = Path("/usr/share/postgresql") / version / "extension"
    names = {"pg_sphere.control": "pgsphere", "q3c.control": "q3c"}
    return {name for file, name in names.items() if (folder / file).exists()}


@dataclass(frozen=True)
class Service:
    """One DaCHS and one PostgreSQL, both below a folder.

    Parameters
    ----------
    folder : Path
        Theirs alone; its path must be short, since PostgreSQL's socket lies in it.
    """

    folder: Path

    # What stands and what runs

    @property
    def url(self) -> str:
        """The TAP service."""
        return f"http://127.0.0.1:{self._state()['port']}/tap"

    @property
    def loaded(self) -> bool:
        """Whether the tables of every run are there, as the present code makes them."""
        return self._state().get("tables") == _fingerprint(_small())

    @property
    def has_big(self) -> bool:
        """Whether the table of the measurement is there."""
        return self._state().get("big") == _fingerprint([BIG])

    def jobs(self) -> dict[str, str]:
        """Return the phase of every job on the service, by identifier, as the database has them."""
        lines = self.sql("SELECT jobid || ' ' || phase FROM tap_schema.tapjobs").split("\n")
        return dict(line.split(" ") for line in lines if line)

    def queries(self) -> dict[str, str]:
        """Return the ADQL of every job on the service, by identifier."""
        text = self.sql("SELECT jobid || chr(9) || translate(parameters, E'\\n\\t', '  ') FROM tap_schema.tapjobs")
        return dict(line.split("\t", 1) for line in text.split("\n") if line)

    def clear_jobs(self) -> None:
        """Delete every job as its owner would."""
        for job in self.jobs():
            requests.delete(f"{self.url}/async/{job}", timeout=30)

    def sql(self, statement: str) -> str:
        """Run SQL in the database, past DaCHS, and return what it says."""
        return self._run(self._psql("-At", "-c", statement)).strip()

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keep every query of a table waiting, as long as the context lasts: a job that takes its time."""
        with subprocess.Popen(
            self._psql("-At"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **self._as_user()
        ) as session:
            assert session.stdin is not None
            assert session.stdout is not None
            session.stdin.write(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n")
            session.stdin.flush()
            assert session.stdout.readline() == "locked\n"
            try:
                yield
            finally:
                session.stdin.close()

    # From nothing to a running service

    def make(self) -> None:
        """Make the database and what DaCHS needs, if they are not there; PostgreSQL runs afterwards."""
        state = self._state()
        if state.get("made"):
            self._start_postgres()
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            msg = f"{self.folder} holds something else, or a service half made: remove it, or name another"
            raise ServiceError(msg)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("run", "log"):
            (self.folder / name).mkdir()
        self._own(self.folder, *self.folder.iterdir())
        self._run([*self._postgres("initdb"), "-D", self._data, "-U", _ADMIN, "-A", "trust", "-E", "UTF8",
                   "--locale=C", "--no-sync"])  # fmt: skip
        self._start_postgres()
        self._run([*self._postgres("createdb"), *self._where, "-T", "template0", _DATABASE])
        self._write_state(port=_free_port())
        self._write_rc(_HARD_MAXREC)
        dsn = f"host={self.folder / 'run'} port=5432 user={_ADMIN} dbname={_DATABASE}"
        self._run(["dachs", "init", "--dsn", dsn])
        self._write_state(made=True)

    def load(self) -> None:
        """Load the tables of every run."""
        schemas: dict[str, list[Sky]] = {}
        for sky in _small():
            schemas.setdefault(sky.schema, []).append(sky)
        for schema, skies in schemas.items():
            self._load(schema, skies)
        self._write_state(tables=_fingerprint(_small()))

    def load_big(self) -> None:
        """Load the table of the measurement."""
        self._load(BIG.schema, [BIG])
        self._write_state(big=_fingerprint([BIG]))

    def start(self, hard_maxrec: int = _HARD_MAXREC) -> None:
        """Start DaCHS and wait until it answers and has run a first job.

        Parameters
        ----------
        hard_maxrec : int
            Rows that it gives at most, whatever is asked for.
        """
        self._start_postgres()
        if self._server() is not None:
            return
        self._write_rc(hard_maxrec)
        with (self.folder / "log" / "dachs.log").open("ab") as log:
            process = subprocess.Popen(
                ["dachs", "serve", "start", "--foreground"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._as_user(),
            )
        self._write_state(server=process.pid)
        end = time.monotonic() + _STARTED
        while not _answers(f"{self.url}/availability"):
            if process.poll() is not None or time.monotonic() > end:
                msg = f"DaCHS does not start: see {self.folder / 'log' / 'dachs.log'}"
                raise ServiceError(msg)
            time.sleep(0.1)
        process.returncode = 0  # it may outlive us: nothing to warn of
        # Its file of compiled grammars and the like is made by the first job, which may fail for that.
        for _ in range(3):
            if self._warm_up():
                return
        msg = f"no job comes to an end on {self.url}: see {self.folder / 'dachs' / 'logs'}"
        raise ServiceError(msg)

    def stop_server(self, *, jobs: bool = True) -> None:
        """Stop DaCHS alone, with the jobs that it runs, or without: then they outlive it, as it wants them to."""
        server = self._server()
        if server is not None:
            _end(server)
        if jobs and self._postgres_runs():
            running = self.sql("SELECT pid FROM tap_schema.tapjobs WHERE phase = 'EXECUTING' AND pid > 1")
            for pid in map(int, running.split()):
                if "taprun" in _command(pid):
                    _end(pid)
        self._write_state(server=None)

    def stop(self) -> None:
        """Stop DaCHS and PostgreSQL."""
        if not self._state().get("made"):
            return
        self.stop_server()
        if self._postgres_runs():
            self._run([*self._postgres("pg_ctl"), "-D", self._data, "-m", "fast", "-w", "stop"])

    def remove(self) -> None:
        """Stop all and remove the folder."""
        if not self._state().get("made") and (self.folder / "pg").exists() and self._postgres_runs():
            self._run([*self._postgres("pg_ctl"), "-D", self._data, "-m", "immediate", "-w", "stop"])
        self.stop()
        if (self.folder / "pg").exists() or self._state():
            shutil.rmtree(self.folder)

    # Inside

    @property
    def _data(self) -> str:
        return str(self.folder / "pg")

    @property
    def _where(self) -> list[str]:
        return ["-h", str(self.folder / "run"), "-U", _ADMIN]

    def _psql(self, *arguments: str) -> list[str]:
        return [*self._postgres("psql"), *self._where, "-q", "-v", "ON_ERROR_STOP=1", *arguments, _DATABASE]

    def _postgres(self, program: str) -> list[str]:
        folder = _postgres_bin()
        if folder is None:
            msg = "no PostgreSQL server is installed"
            raise ServiceError(msg)
        return [str(folder / program)]

    def _state(self) -> dict[str, Any]:
        path = self.folder / "service.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def _write_state(self, **changed: Any) -> None:
        path = self.folder / "service.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._state() | changed, indent=1) + "\n")
        temporary.replace(path)

    def _user(self) -> pwd.struct_passwd:
        return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())

    def _as_user(self) -> dict[str, Any]:
        """Return what makes a process of this service: its environment, and its user where one can choose."""
        user = self._user()
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "USER": user.pw_name,
            "LANG": "C.UTF-8",
            "GAVOSETTINGS": str(self.folder / "gavo.rc"),
            "GAVOCUSTOM": "/nonexistent",
        }
        options: dict[str, Any] = {"env": environment, "cwd": self.folder}
        if os.geteuid() == 0:
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        return options

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self._user().pw_uid, self._user().pw_gid)

    def _run(self, command: Sequence[str], source: Any = None) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL if source is None else source,
            capture_output=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace")[-2000:]
            msg = f"{' '.join(command[:6])} ended with {done.returncode}:\n{said}"
            raise ServiceError(msg)
        return done.stdout.decode()

    def _write_rc(self, hard_maxrec: int) -> None:
        user = self._user()
        text = _RC.format(
            folder=self.folder,
            group=grp.getgrgid(user.pw_gid).gr_name,
            user=user.pw_name,
            port=self._state()["port"],
            running=3,
            hard_maxrec=hard_maxrec,
        )
        (self.folder / "gavo.rc").write_text(text)

    def _postgres_runs(self) -> bool:
        command = [*self._postgres("pg_ctl"), "-D", self._data, "status"]
        return subprocess.run(command, capture_output=True, check=False, **self._as_user()).returncode == 0

    def _start_postgres(self) -> None:
        if self._postgres_runs():
            return
        # A table that is lost with the machine is made again: nothing need reach the disk at once.
        options = f"-k {self.folder / 'run'} -c listen_addresses= -c fsync=off -c max_connections=60"
        command = [*self._postgres("pg_ctl"), "-D", self._data, "-w", "-o", options]
        # Its output must not be a pipe: the server would hold it open.
        with (self.folder / "log" / "pg_ctl.log").open("ab") as log:
            done = subprocess.run(
                [*command, "-l", str(self.folder / "log" / "postgres.log"), "start"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
                **self._as_user(),
            )
        if done.returncode:
            msg = f"PostgreSQL does not start: see {self.folder / 'log'}"
            raise ServiceError(msg)

    def _load(self, schema: str, skies: Sequence[Sky]) -> None:
        folder = self.folder / "dachs" / "inputs" / schema
        folder.mkdir(exist_ok=True)
        resource = folder / "q.rd"
        resource.write_text(_RESOURCE.format(schema=schema, tables="".join(sky.resource() for sky in skies)))
        self._own(folder, resource)
        self._run(["dachs", "imp", f"{schema}/q"])
        for sky in skies:
            self._copy(sky.build(), sky.name)

    def _copy(self, table: pa.Table, name: str) -> None:
        with (self.folder / "log" / "rows.csv").open("w+b") as file:
            pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False))
            file.seek(0)
            columns = ", ".join(f'"{column}"' for column in table.column_names)
            self._run(self._psql("-c", f"COPY {name} ({columns}) FROM STDIN CSV"), source=file)
        (self.folder / "log" / "rows.csv").unlink()
        self._run(self._psql("-c", f"ANALYZE {name}"))

    def _server(self) -> int | None:
        """Return the process of DaCHS, if it runs."""
        pid = self._state().get("server")
        return pid if pid and "dachs" in _command(pid) else None

    def _warm_up(self) -> bool:
        query = {"LANG": "ADQL", "QUERY": "SELECT TOP 1 table_name FROM tap_schema.tables"}
        job = requests.post(f"{self.url}/async", query, timeout=30).url
        requests.post(f"{job}/phase", {"PHASE": "RUN"}, timeout=30)  # beside the query it would do nothing
        end = time.monotonic() + _STARTED
        while (phase := _text(f"{job}/phase")) in {"PENDING", "QUEUED", "EXECUTING", "UNKNOWN"}:
            if time.monotonic() > end:
                break
            time.sleep(0.2)
        requests.delete(job, timeout=30)
        return phase == "COMPLETED"


def _small() -> list[Sky]:
    return [sky for skies in SKIES.values() for sky in skies]


def _fingerprint(skies: Sequence[Sky]) -> list[str]:
    """Return what tells whether tables are as the present code makes them."""
    code = Path(__file__).with_name("skies.py").read_text()
    return [f"{sky} {_hash(code)}" for sky in skies]


def _hash(text: str) -> str:
    """Return a short hash."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


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


def _command(pid: int) -> str:
    """Return the command line of a process; empty when there is none, or only what is left of it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _end(pid: int) -> None:
    """End a process: by asking, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + _STARTED / 4
        while time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not _command(pid):
                return
            time.sleep(0.05)
