"""The processes of a service: whose they are, how they are run and ended."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Owner", "ServiceError", "command_of", "end"]

_PATIENCE = 15.0  # s between asking a process to end and ending it


class ServiceError(Exception):
    """The service cannot be made, started or stopped; the message says what is needed."""


@dataclass(frozen=True)
class Owner:
    """Who runs a service in a folder: whoever asks, but for root the user ``postgres``, as PostgreSQL wants.

    Parameters
    ----------
    folder : Path
        Working directory and home of the processes.
    """

    folder: Path

    @property
    def user(self) -> pwd.struct_passwd:
        """The user."""
        return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())

    def gets(self, *paths: Path) -> None:
        """Make the user the owner of files."""
        if os.geteuid() == 0:
            for path in paths:
                os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def options(self) -> dict[str, Any]:
        """Return what :mod:`subprocess` has to be told."""
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "USER": self.user.pw_name,
            "LANG": "C.UTF-8",
            "GAVOSETTINGS": str(self.folder / "gavo.rc"),
            "GAVOCUSTOM": "/nonexistent",
        }
        options: dict[str, Any] = {"env": environment, "cwd": self.folder}
        if os.geteuid() == 0:
            options |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        return options

    def run(self, command: Sequence[str], source: Any = None) -> str:
        """Run a command to its end and return what it says.

        Raises
        ------
        ServiceError
            It fails.
        """
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL if source is None else source,
            capture_output=True,
            check=False,
            **self.options(),
        )
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace")[-2000:]
            msg = f"{' '.join(command[:6])} ended with {done.returncode}:\n{said}"
            raise ServiceError(msg)
        return done.stdout.decode()


def command_of(pid: int) -> str:
    """Return the command line of a process; empty when there is none, or only what is left of it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def end(pid: int) -> None:
    """End a process: by asking, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            if not command_of(pid):
                return
            time.sleep(0.05)
