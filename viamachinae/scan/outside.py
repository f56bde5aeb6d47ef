"""Fingerprints of files that come from outside the scan folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from viamachinae.config.paths import is_hats, is_url, local_path
from viamachinae.errors import DataError

__all__ = ["file_fingerprint", "files_fingerprint"]

_PART = 1 << 16
_PARQUET = b"PAR1"
_PARQUET_ENDINGS = (".parquet", ".pq")
#: Files of a HATS catalogue that say what it holds.
_HATS_LISTS = ("hats.properties", "properties", "collection.properties", "partition_info.csv")


def files_fingerprint(places: Iterable[str | Path]) -> list[str]:
    """Return one fingerprint of all tables, whatever their order, in a list; an empty list without tables."""
    found = sorted(file_fingerprint(place) for place in places)
    return [_combined(found)] if found else []


def file_fingerprint(place: str | Path) -> str:
    """Return a fingerprint of the content of a table that does not depend on its place or times.

    Size and, for Parquet, the bytes of the footer (which hold the statistics of
    every column chunk); for anything else the first and the last 64 KiB (a gzipped file ends with its
    checksum). Of a URL that is no Parquet file, size and what the server calls its version; where it has
    none, the first and last bytes too. Of a folder, a HATS catalogue or a pattern, those of all files; of
    a remote HATS catalogue, those that list its contents. A change that keeps all of these is not seen.

    Parameters
    ----------
    place : str or Path
        One of ``stars.paths``.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    place = str(place)
    if is_url(place):
        return _remote(place)
    path = local_path(place)
    if path.is_dir():
        return _combined(_of_file(str(p)) for p in _inside(path))
    return _of_file(str(path))


def _inside(folder: Path) -> list[Path]:
    """Return the files that make up a folder of tables, in an order that its place does not change."""
    lists = _HATS_LISTS if is_hats(folder) else ()
    every = [Path(here, name) for here, _, names in os.walk(folder, followlinks=True) for name in names]
    wanted = [p for p in every if p.suffix in _PARQUET_ENDINGS or p.name in lists]
    return sorted(wanted, key=lambda p: p.relative_to(folder).parts)


def _remote(url: str) -> str:
    from viamachinae.stars.files.places import hats_at, remote_facts, remote_tables

    if hats_at(url):
        found = [_of_list(f"{url.rstrip('/')}/{name}") for name in _HATS_LISTS]
        return _combined(f for f in found if f is not None)
    tables = remote_tables(url)
    if tables != (url,):
        return _combined(map(_remote, tables))
    if url.partition("?")[0].lower().endswith(_PARQUET_ENDINGS):
        return _of_file(url)
    size, version = remote_facts(url)
    return f"{size}:{hashlib.sha256(version.encode()).hexdigest()}" if version else _of_file(url)


def _of_list(url: str) -> str | None:
    """Return the hash of a small remote file, None where there is none."""
    from viamachinae.stars.files.places import reason, streamed, unreachable

    try:
        with streamed(url) as handle:
            return hashlib.sha256(handle.read()).hexdigest()
    except FileNotFoundError:
        return None
    except unreachable() as error:
        msg = f"{url}: cannot be read ({reason(error)}); check stars.paths"
        raise DataError(msg) from error


def _of_file(place: str) -> str:
    from viamachinae.stars.files.places import opened, reason, unreachable

    try:
        with opened(place) as handle:
            return _of_open(handle)
    except unreachable() as error:
        msg = f"{place}: cannot be read ({reason(error)}); check stars.paths"
        raise DataError(msg) from error


def _of_open(handle: IO[bytes]) -> str:
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - 8))
    end = handle.read()
    handle.seek(0)
    start = handle.read(min(size, 4))
    if start == _PARQUET and end[-4:] == _PARQUET:
        handle.seek(size - min(size, int.from_bytes(end[:4], "little") + 8))
        content = handle.read()
    else:
        content = start + handle.read(max(0, min(size, _PART) - 4))
        handle.seek(max(0, size - _PART))
        content += handle.read()
    return f"{size}:{hashlib.sha256(content).hexdigest()}"


def _combined(fingerprints: Iterable[str]) -> str:
    return f"all:{hashlib.sha256(chr(10).join(fingerprints).encode()).hexdigest()}"
