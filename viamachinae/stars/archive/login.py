"""The login at archives that offer one."""

from __future__ import annotations

import netrc
import os
from functools import partial
from urllib.parse import urlsplit

from viamachinae.errors import ConfigError
from viamachinae.stars.archive.connection import Connection
from viamachinae.stars.archive.faults import BadAnswerError, FaultError
from viamachinae.stars.archive.patience import Patience

__all__ = ["log_in"]

_USER, _PASSWORD = "VIAMACHINAE_GAIA_USER", "VIAMACHINAE_GAIA_PASSWORD"
_HERE = ("127.0.0.1", "localhost", "::1")


def log_in(connection: Connection, patience: Patience) -> None:
    """Log in as ESA's archives do it: a form beside the TAP service, answered with the cookie of a session.

    Parameters
    ----------
    connection : Connection
        To the service; it keeps the cookie. User and password are kept nowhere.
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
    user, password = _credentials(host)
    url = connection.url.rpartition("/")[0] + "/login"
    form = {"username": user, "password": password}
    try:
        patience.persist(partial(connection.ask, "POST", url, patience, form), but=BadAnswerError)
    except FaultError as fault:
        msg = (
            f"archive.login: {url} refuses the login ({fault.words}); correct the credentials, "
            "or leave archive.login out"
        )
        raise ConfigError(msg) from None


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
