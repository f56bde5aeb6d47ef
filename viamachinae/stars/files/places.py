"""Where tables lie: on this machine, or behind a URL that fsspec can read."""

# ruff: noqa: PLC0415 - fsspec and what lies below it: only where there is a URL

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from viamachinae.config.paths import HATS_FILES, is_hats, is_table, is_url, local_path
from viamachinae.errors import DataError

__all__ = [
    "exists",
    "hats_at",
    "opened",
    "reason",
    "remote_facts",
    "remote_tables",
    "stamp",
    "streamed",
    "unreachable",
]

_GZIP = b"\x1f\x8b"
_BUFFER = 1 << 16
_CONNECT, _SILENCE = 30.0, 120.0  # s


def stamp(place: str) -> tuple[int, int] | None:
    """Return size and time of change of a local file, by which a memory of it is known to be old."""
    if is_url(place):
        return None
    found = local_path(place).stat()
    return found.st_size, found.st_mtime_ns


def exists(place: str) -> bool:
    """Return whether there is a file at a place of this machine; URLs are believed until they are read."""
    return is_url(place) or local_path(place).is_file()


@contextmanager
def opened(place: str) -> Iterator[Any]:
    """Open a table that is read here and there; of a URL, only the bytes asked for are transferred.

    Raises
    ------
    DataError
        The server of a URL hands out whole files only.
    """
    if not is_url(place):
        with local_path(place).open("rb") as file:
            yield file
        return
    fs, path = _remote(place)
    facts = fs.info(path)
    if facts.get("size") is None or not facts.get("partial", True):
        msg = f"{place}: its server hands out whole files only, not parts; download it and name the copy"
        raise DataError(msg)
    with fs.open(path, "rb", cache_type="none") as file:
        yield file


@contextmanager
def streamed(place: str) -> Iterator[io.BufferedReader]:
    """Open a file that is read from its start to its end, unpacked where it is gzipped."""
    with ExitStack() as stack:
        source: Any
        if is_url(place):
            fs, path = _remote(place)
            whole = {"block_size": 0} if urlsplit(place).scheme in ("http", "https") else {}
            source = io.BufferedReader(_Raw(stack.enter_context(fs.open(path, "rb", **whole))), _BUFFER)
        else:
            source = stack.enter_context(local_path(place).open("rb"))
        if source.peek(2)[:2] == _GZIP:
            source = io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=source)), _BUFFER)
        yield source


def hats_at(place: str) -> bool:
    """Return whether a path or URL is a HATS catalogue or collection."""
    if not is_url(place):
        return is_hats(local_path(place))
    return not is_table(place) and "*" not in place and _remote_hats(place)


@lru_cache(maxsize=256)
def _remote_hats(url: str) -> bool:
    fs, path = _remote(url)
    return any(fs.exists(f"{path.rstrip('/')}/{name}") for name in HATS_FILES)


@lru_cache(maxsize=256)
def remote_tables(url: str) -> tuple[str, ...]:
    """Return the URLs of the tables that a URL stands for: a file, a pattern with ``*``, or a folder.

    Raises
    ------
    DataError
        It cannot be listed, or there is none.
    """
    if is_table(url) and "*" not in url:
        return (url,)
    fs, path = _remote(url)
    try:
        found = fs.glob(path) if "*" in url else fs.find(path) or [fs.info(path)["name"]]
    except unreachable() as error:
        raise _not_there(url, error) from error
    urls = sorted(fs.unstrip_protocol(p) for p in found)
    named = [(u, Path(urlsplit(u).path).name) for u in urls if is_table(u)]
    tables = tuple(u for u, name in named if not name.startswith((".", "_")))
    if not tables:
        msg = (
            f"{url}: no table there ({len(urls)} files found); name a table, a folder of tables or a pattern"
        )
        raise DataError(msg)
    return tables


def remote_facts(url: str) -> tuple[int | None, str]:
    """Return size (bytes) and version (ETag, or time of change) of the file at a URL, where it says so.

    Raises
    ------
    DataError
        It cannot be reached.
    """
    fs, path = _remote(url)
    try:
        facts = fs.info(path)
    except unreachable() as error:
        raise _not_there(url, error) from error
    version = next((facts[k] for k in ("ETag", "Last-Modified", "LastModified") if facts.get(k)), "")
    return facts.get("size"), str(version)


def unreachable() -> tuple[type[BaseException], ...]:
    """Return the errors of a connection; those of libraries only where these were loaded."""
    known = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"))
    loaded = (getattr(sys.modules.get(module), name, OSError) for module, name in known)
    return (OSError, EOFError, ValueError, KeyError, *loaded)


def reason(error: BaseException) -> str:
    """Return in one line what went wrong; fsspec calls all that fails a missing file, and keeps the cause."""
    cause = error.__cause__ or error
    return str(cause).strip().partition("\n")[0] or type(cause).__name__


class _Raw(io.RawIOBase):
    """A remote file as one that Python can buffer."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one answer of the server goes."""
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _not_there(url: str, error: BaseException) -> DataError:
    return DataError(f"{url}: cannot be reached ({reason(error)}); correct stars.paths")


def _remote(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and its path there."""
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        fs, path = url_to_fs(url, **_options(urlsplit(url).scheme))
    except (ImportError, ValueError) as error:
        msg = f"{url}: {error}; URLs need the packages of: pip install 'viamachinae[remote]'"
        raise DataError(msg) from error
    return fs, path


def _options(scheme: str) -> dict[str, Any]:
    if scheme in ("http", "https"):
        import aiohttp

        # a large file may take hours, but not minutes without a byte
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT, sock_read=_SILENCE)
        return {"client_kwargs": {"timeout": timeout}}
    if scheme == "s3":
        signed = any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE"))
        return {"anon": not signed and not Path("~/.aws/credentials").expanduser().exists()}
    return {}
