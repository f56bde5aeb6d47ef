"""The login at archives that offer one: one for all connections of a process to a service."""

from __future__ import annotations

import hashlib
import netrc
import os
import threading
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from viamachinae.errors import ConfigError
from viamachinae.stars.archive.connection import Connection, UnreachableError
from viamachinae.stars.archive.faults import BadAnswerError, FaultError
from viamachinae.stars.archive.patience import Patience
from viamachinae.stars.archive.service import elsewhere

__all__ = ["log_in"]

_USER, _PASSWORD = "VIAMACHINAE_GAIA_USER", "VIAMACHINAE_GAIA_PASSWORD"
_HERE = ("127.0.0.1", "localhost", "::1")
_LOOK = 0.1  # s between two looks at whether to stop
_SENT_ON = (302, 303)  # after a form was taken

_known: dict[str, _Login] = {}
_knowing = threading.Lock()


def log_in(connection: Connection, patience: Patience) -> None:
    """Log in as ESA's archives do it: a form beside the TAP service, answered with the cookie of a session.

    Parameters
    ----------
    connection : Connection
        To the service; it shares the cookie with all others of the process to this service, and logs in
        anew, once for all, where a request is refused. User and password are kept nowhere.
    patience : Patience
        How long to try.

    Raises
    ------
    ConfigError
        There are no credentials, they are refused, or would travel in the clear.
    """
    parts = urlsplit(connection.url)
    host = parts.hostname or ""
    if parts.scheme != "https" and host not in _HERE:
        msg = (
            f"archive.login: {connection.url} is not https, a password would travel in the clear; "
            "correct archive.url"
        )
        raise ConfigError(msg)
    asked = "\0".join((connection.url, *_credentials(host)))
    with _knowing:
        login = _known.setdefault(hashlib.sha256(asked.encode()).hexdigest(), _Login())
    connection.enter(_Entrance(login, connection), patience)


class _Login:
    """The last login of a process at a service: how many there were, and its cookies."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = 0
        self.cookies: Any = None


class _Entrance:
    """The way of one connection to a login that it shares."""

    def __init__(self, login: _Login, connection: Connection) -> None:
        self._login = login
        self._url = connection.url
        self._settings = connection.settings

    def cookies(self, patience: Patience, refused: int) -> tuple[int, Any]:
        """Return number and cookies of a login later than the one that was refused; 0: than none.

        Raises
        ------
        ConfigError
            The credentials are missing or refused.
        ResumeError, TaskError
            As :meth:`Patience.check`.
        """
        while not self._login.lock.acquire(timeout=_LOOK):
            patience.check()
        try:
            if self._login.number <= refused:
                self._login.cookies = self._made(patience)
                self._login.number += 1
            return self._login.number, self._login.cookies
        finally:
            self._login.lock.release()

    def _made(self, patience: Patience) -> Any:
        """Log in, and return the cookies."""
        url = self._url.rpartition("/")[0] + "/login"
        user, password = _credentials(urlsplit(url).hostname or "")
        form = {"username": user, "password": password}
        with closing(Connection(self._url, self._settings)) as connection:

            def send() -> None:
                # followed, a redirection would carry the password to wherever it leads, or lose it
                answer = connection.ask("POST", url, patience, form, follow=False)
                at, here = urlsplit(answer.location or url), urlsplit(url)
                stays = (at.scheme, at.netloc) == (here.scheme, here.netloc)
                if answer.status >= 300 and not (answer.status in _SENT_ON and stays):
                    raise elsewhere(answer)

            try:
                patience.persist(send, but=BadAnswerError)
            except UnreachableError:
                raise
            except FaultError as fault:
                msg = (
                    f"archive.login: {url} refuses the login ({fault.words}); correct the credentials, "
                    "or leave archive.login out"
                )
                raise ConfigError(msg) from None
            return connection.cookies


def _credentials(host: str) -> tuple[str, str]:
    """Return user and password, from the environment or from ``~/.netrc``.

    Raises
    ------
    ConfigError
        Neither has them.
    """
    user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
    if user and password:
        return user, password
    try:
        found = netrc.netrc().authenticators(host)
    except FileNotFoundError:
        found = None
    except (OSError, netrc.NetrcParseError):
        msg = f"archive.login: ~/.netrc cannot be read; correct it, or set {_USER} and {_PASSWORD}"
        raise ConfigError(msg) from None
    if found is None or not found[2]:
        msg = f"archive.login: set {_USER} and {_PASSWORD}, or put a line for {host} in ~/.netrc"
        raise ConfigError(msg)
    return found[0], found[2]
