"""One door to every table format, chosen by the file's name."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError

import pyarrow as pa

from viamachinae.config.paths import is_url
from viamachinae.errors import DataError
from viamachinae.stars.files import fits, parquet, text, votable
from viamachinae.stars.files.columns import Chunk, TableHead
from viamachinae.stars.files.places import exists, reason, stamp, unreachable
from viamachinae.stars.files.region import Near

__all__ = ["SUFFIXES", "read_columns", "read_head"]


@dataclass(frozen=True)
class _Format:
    name: str
    head: Callable[[str, tuple[str, ...]], TableHead]
    load: Callable[[str, Mapping[str, str], Near | None], Iterator[Chunk]]


_PARQUET = _Format("Parquet", parquet.head, parquet.load)
_FITS = _Format("FITS", lambda place, _: fits.head(place), fits.load)
_TEXT = _Format("CSV or ECSV", lambda place, _: text.head(place), text.load)
_VOTABLE = _Format("VOTable", lambda place, _: votable.head(place), votable.load)

_BY_SUFFIX = {
    ".parquet": _PARQUET,
    ".pq": _PARQUET,
    ".fits": _FITS,
    ".fit": _FITS,
    ".ecsv": _TEXT,
    ".csv": _TEXT,
    ".vot": _VOTABLE,
    ".votable": _VOTABLE,
    ".xml": _VOTABLE,
}
SUFFIXES = tuple(_BY_SUFFIX)

_UNREADABLE = (TypeError, IndexError, UserWarning, zlib.error, ExpatError, pa.ArrowException)
_TELLING = ("_healpix_29", "source_id", "ra", "dec")


def read_head(place: str, telling: tuple[str, ...] = _TELLING) -> TableHead:
    """Return what the file says about its table; cheap for files of any size.

    Parameters
    ----------
    place : str
        Path or URL of the file.
    telling : tuple of str
        Columns whose ranges are wanted where the file keeps statistics; the last one is the declination.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, or cannot be read.
    """
    kind = _format(place)
    try:
        return _remembered(place, stamp(place), telling)
    except (*_UNREADABLE, *unreachable()) as error:
        raise _unreadable(place, kind, error) from error


@lru_cache(maxsize=200_000)
def _remembered(place: str, _stamp: tuple[int, int] | None, telling: tuple[str, ...]) -> TableHead:
    """Read a head once a process: patch after patch wants the heads of all files."""
    return _format(place).head(place, telling)


def read_columns(place: str, names: Mapping[str, str], near: Near | None = None) -> Iterator[Chunk]:
    """Read columns of a table, chunk by chunk.

    Parameters
    ----------
    place : str
        Path or URL of a file with one of the endings :data:`SUFFIXES`, or one of them and ``.gz``.
    names : mapping
        Our name of every column to read -> the file's own.
    near : Near, optional
        The patch of interest: rows outside may be left out, as :class:`Chunk` says, where the format
        allows it. Left out: every row is read.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, torn, or a value is no number.
    """
    kind = _format(place)
    try:
        yield from kind.load(place, names, near)
    except (*_UNREADABLE, *unreachable()) as error:
        raise _unreadable(place, kind, error) from error


def _format(place: str) -> _Format:
    if not exists(place):
        msg = f"{place}: no such file; correct stars.paths"
        raise DataError(msg)
    path = PurePosixPath(urlsplit(place).path if is_url(place) else place)
    suffixes = [s.lower() for s in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    ending = suffixes[-2:-1] if zipped else suffixes[-1:]
    kind = _BY_SUFFIX.get(ending[0]) if ending else None
    if kind is None or (zipped and kind is _PARQUET):
        msg = f"{place}: unknown kind of table; valid: {', '.join(SUFFIXES)}, all but Parquet also with .gz"
        raise DataError(msg)
    return kind


def _unreadable(place: str, kind: _Format, error: BaseException) -> DataError:
    advice = "try the URL by hand, or download the file" if is_url(place) else "copy or make the file again"
    return DataError(f"{place}: cannot be read as {kind.name} ({reason(error)}); {advice}")
