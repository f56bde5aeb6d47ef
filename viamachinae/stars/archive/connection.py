"""HTTP below the TAP client: time limits, faults told apart, a way out of a blocked read."""

# ruff: noqa: PLC0415 - requests is slow to import: only where it is needed

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin

from viamachinae.config.archive import ArchiveSettings
from viamachinae.stars.archive.faults import (
    BadAnswerError,
    FaultError,
    LostJobError,
    RefusedError,
    SlowError,
    TransientError,
)
from viamachinae.stars.archive.patience import Patience, retry_after
from viamachinae.stars.archive.words import said

__all__ = ["Access", "Answer", "Connection", "UnauthorizedError", "UnreachableError"]

T = TypeVar("T")

_LOOK = 0.1  # s between two looks at whether to stop
_BLOCK = 1 << 18  # bytes read at once
_SMALL = 1 << 24  # bytes of an answer that is no table of stars
_CONNECT = 30.0  # s
_SLOW = (408, 504)
_BUSY = (425, 429)
_GONE = (404, 410)
_UNAUTHORIZED = (401, 403)


class UnreachableError(TransientError):
    """No connection comes about: the host's name is unknown, or nobody listens there."""


class UnauthorizedError(RefusedError):
    """The service does not let this client in, perhaps because its login has run out."""


@dataclass(frozen=True)
class Answer:
    """A small answer of the service: its HTTP status, its bytes, and where it sends the client on to."""

    status: int
    body: bytes
    location: str


class Access(Protocol):
    """What hands out the cookies of a login."""

    def cookies(self, patience: Patience, refused: int) -> tuple[int, Any]:
        """Return number and cookies of a login later than the one that was refused; 0: than none."""
        ...


class Connection:
    """A session with one service; used by one thread.

    Parameters
    ----------
    url : str
        The TAP service.
    settings : ArchiveSettings
        ``timeout`` is used.
    """

    def __init__(self, url: str, settings: ArchiveSettings) -> None:
        import requests

        self.url = url
        self.settings = settings
        self._timeout = settings.timeout
        self._access: Access | None = None
        self._login = 0
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "viamachinae"
        # without a handler of its own, requests would send what ~/.netrc holds for this host
        self._session.auth = lambda request: request

    def close(self) -> None:
        """Let go of the sockets."""
        self._session.close()

    @property
    def cookies(self) -> Any:
        """What the service has given to be shown again."""
        return self._session.cookies

    def enter(self, access: Access, patience: Patience) -> None:
        """Use a login from now on, and a new one where the service refuses a request."""
        self._access = access
        self._login, cookies = access.cookies(patience, self._login)
        self._session.cookies.clear()
        self._session.cookies.update(cookies)

    def ask(
        self,
        method: str,
        url: str,
        patience: Patience,
        data: Mapping[str, Any] | None = None,
        *,
        follow: bool = True,
    ) -> Answer:
        """Return a small answer.

        Raises
        ------
        FaultError
            What came is not what was asked for; LostJobError where there is nothing under the address.
        """

        def work(given_up: threading.Event) -> Answer:
            with self._open(method, url, data, follow=follow) as response:
                body = b""
                for block in self._blocks(response):
                    body += block
                    if given_up.is_set() or len(body) > _SMALL:
                        break
                return Answer(response.status_code, body, _onward(url, response.headers.get("Location")))

        return self._let_in(partial(_apart, work, patience), patience)

    def download(
        self, url: str, path: Path, patience: Patience, heard: Callable[[int], None] | None = None
    ) -> int:
        """Write what lies under an address to ``path``; return its bytes as they came.

        Parameters
        ----------
        url, path : str, Path
            From where to where; nothing is left at ``path`` when it fails.
        patience : Patience
            When to give up.
        heard : callable, optional
            Told the number of bytes that came since the last time.
        """
        size, told = 0, 0

        def work(given_up: threading.Event) -> int:
            nonlocal size
            try:
                with self._open("GET", url, None) as response, path.open("wb") as file:
                    for block in self._blocks(response):
                        if given_up.is_set():
                            break
                        file.write(block)
                        size += len(block)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            if given_up.is_set():
                path.unlink(missing_ok=True)
            return size

        def tell() -> None:
            nonlocal told
            now = size
            if heard is not None and now > told:
                heard(now - told)
            told = now

        got = self._let_in(partial(_apart, work, patience, tell), patience)
        tell()
        return got

    def _let_in(self, request: Callable[[], T], patience: Patience) -> T:
        """Make a request, a second time with a new login where the one in use is refused."""
        try:
            return request()
        except UnauthorizedError:
            if self._access is None:
                raise
            self.enter(self._access, patience)
        return request()

    def _open(self, method: str, url: str, data: Mapping[str, Any] | None, *, follow: bool = True) -> Any:
        import requests

        limits = (min(self._timeout, _CONNECT), self._timeout)
        try:
            response = self._session.request(
                method, url, data=data, timeout=limits, stream=True, allow_redirects=follow
            )
        except requests.RequestException as error:
            raise _fault_of(error, self._timeout) from None
        if response.status_code < 400:
            return response
        with response:
            words = f"HTTP {response.status_code}"
            try:
                text = said(next(response.iter_content(_BLOCK), b""))
            except requests.RequestException:
                text = ""
            words += f": {text}" if text else ""
            status, wait = response.status_code, retry_after(response.headers.get("Retry-After"))
        if status in _SLOW:
            raise SlowError(words, wait)
        if status in _BUSY or status >= 500:
            raise TransientError(words, wait)
        if status in _GONE:
            raise LostJobError(words)
        if status in _UNAUTHORIZED:
            raise UnauthorizedError(words)
        raise RefusedError(words)

    def _blocks(self, response: Any) -> Any:
        import requests

        try:
            yield from response.iter_content(_BLOCK)
        except requests.RequestException as error:
            raise _fault_of(error, self._timeout) from None


def _apart(
    work: Callable[[threading.Event], T], patience: Patience, tick: Callable[[], None] = lambda: None
) -> T:
    """Do blocking work in a thread of its own, and leave it behind when it is time to stop.

    A read cannot be interrupted, and one that waits for ``archive.timeout`` seconds would hold up the end
    of a scan for as long. What is left behind ends with its read.
    """
    patience.check()
    done, given_up = threading.Event(), threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work(given_up))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="archive", daemon=True).start()
    try:
        while not done.wait(_LOOK):
            tick()
            patience.check()
    except BaseException:
        given_up.set()
        raise
    if errors:
        raise errors[0]
    return results[0]


def _onward(url: str, location: str | None) -> str:
    """Return the whole address of a Location header; empty: there is none, or none that can be read."""
    try:
        return urljoin(url, location) if location else ""
    except ValueError:
        return ""


def _fault_of(error: Exception, timeout: float) -> FaultError:
    """Return the fault that an error of requests stands for."""
    import requests
    from urllib3.exceptions import NewConnectionError

    fault: FaultError
    if isinstance(error, requests.ConnectTimeout):
        fault = TransientError("no connection: the service does not answer")
    elif isinstance(error, requests.ReadTimeout) or "Read timed out" in str(error):
        fault = SlowError(f"no byte came for archive.timeout = {timeout:g} s")
    elif "CERTIFICATE_VERIFY_FAILED" in str(error):
        fault = RefusedError("its certificate is not valid")
    elif isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        inner = error.args[0] if error.args else error
        reason = getattr(inner, "reason", inner)
        kind = UnreachableError if isinstance(reason, NewConnectionError) else TransientError
        fault = kind(f"the connection failed: {said(str(reason))}")
    elif isinstance(error, requests.exceptions.ContentDecodingError):
        fault = TransientError("the answer cannot be decompressed")
    elif isinstance(error, requests.TooManyRedirects):
        fault = BadAnswerError("it redirects in a circle")
    else:
        fault = RefusedError(said(str(error)))
    return fault
