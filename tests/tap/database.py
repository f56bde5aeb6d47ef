"""A PostgreSQL of its own in a folder, which listens on a socket in that folder alone."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from processes import Owner, ServiceError

__all__ = ["Database", "missing_packages"]

_ADMIN = "tapadmin"  # superuser
_NAME = "gavo"
_PROGRAMS = Path("/usr/lib/postgresql")  # by version, as Debian lays them out
_SHARED = Path("/usr/share/postgresql")
_EXTENSIONS = {"postgresql-pgsphere": "pg_sphere", "postgresql-q3c": "q3c"}


def missing_packages() -> list[str]:
    """Return the Debian packages that stand for what is not found of PostgreSQL."""
    programs = _programs()
    if programs is None:
        return ["postgresql", *_EXTENSIONS]
    shared = _SHARED / programs.parent.name / "extension"
    return [package for package, name in _EXTENSIONS.items() if not (shared / f"{name}.control").exists()]


def _programs() -> Path | None:
    """Return the folder of the newest server."""
    found = _PROGRAMS.glob("*/bin/initdb")
    newest = max(found, key=lambda path: int(path.parts[-3]), default=None)
    return None if newest is None else newest.parent


@dataclass(frozen=True)
class Database:
    """PostgreSQL below a folder.

    Parameters
    ----------
    folder : Path
        Its path must be short, since the socket lies in it.
    owner : Owner
        Who runs it.
    """

    folder: Path
    owner: Owner

    @property
    def dsn(self) -> str:
        """How a superuser gets in."""
        return f"host={self._socket} port=5432 user={_ADMIN} dbname={_NAME}"

    @property
    def made(self) -> bool:
        """Whether there is a cluster, whole or not."""
        return self._data.exists()

    @property
    def runs(self) -> bool:
        """Whether the server runs."""
        if not self.made:
            return False
        command = [*self._program("pg_ctl"), "-D", str(self._data), "status"]
        done = subprocess.run(command, capture_output=True, check=False, **self.owner.options())
        return done.returncode == 0

    def make(self) -> None:
        """Make the cluster, start its server and make the database."""
        for folder in (self._socket, self._log.parent):
            folder.mkdir()
            self.owner.gets(folder)
        made = ["-D", str(self._data), "-U", _ADMIN, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self.owner.run([*self._program("initdb"), *made])
        self.start()
        self.owner.run([*self._program("createdb"), *self._where, "-T", "template0", _NAME])

    def start(self) -> None:
        """Start the server, if it does not run."""
        if self.runs:
            return
        # What is lost with the machine is made again: nothing need reach the disk at once.
        settings = f"-k {self._socket} -c listen_addresses= -c fsync=off -c max_connections=60"
        command = [
            *self._program("pg_ctl"),
            "-D",
            str(self._data),
            "-w",
            "-o",
            settings,
            "-l",
            str(self._log),
        ]
        # Its output must not be a pipe: the server would hold it open.
        done = subprocess.run(
            [*command, "start"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            **self.owner.options(),
        )
        if done.returncode:
            msg = f"PostgreSQL does not start: see {self._log}"
            raise ServiceError(msg)

    def stop(self) -> None:
        """Stop the server, if it runs."""
        if self.runs:
            self.owner.run([*self._program("pg_ctl"), "-D", str(self._data), "-m", "fast", "-w", "stop"])

    def sql(self, statement: str) -> str:
        """Run SQL and return what it says."""
        return self.owner.run(self._psql("-At", "-c", statement)).strip()

    def copy(self, table: pa.Table, name: str) -> None:
        """Add rows to a table of the same columns."""
        path = self._log.with_name("rows.csv")
        with path.open("w+b") as file:
            pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False))
            file.seek(0)
            columns = ", ".join(f'"{column}"' for column in table.column_names)
            self.owner.run(self._psql("-c", f"COPY {name} ({columns}) FROM STDIN CSV"), source=file)
        path.unlink()
        self.sql(f"ANALYZE {name}")

    @contextlib.contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Keep every query of a table waiting, as long as the context lasts."""
        with subprocess.Popen(
            self._psql("-At"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **self.owner.options(),
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

    @property
    def _data(self) -> Path:
        return self.folder / "pg"

    @property
    def _socket(self) -> Path:
        return self.folder / "run"

    @property
    def _log(self) -> Path:
        return self.folder / "log" / "postgres.log"

    @property
    def _where(self) -> list[str]:
        return ["-h", str(self._socket), "-U", _ADMIN]

    def _program(self, name: str) -> list[str]:
        programs = _programs()
        if programs is None:
            msg = "no PostgreSQL server is installed"
            raise ServiceError(msg)
        return [str(programs / name)]

    def _psql(self, *arguments: str) -> list[str]:
        return [*self._program("psql"), *self._where, "-qX", "-v", "ON_ERROR_STOP=1", *arguments, _NAME]
