"""One door to every table format, chosen by the file's name."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.parsers.expat import ExpatError

import pyarrow as pa

from viamachinae.errors import DataError
from viamachinae.stars.files import fits, parquet, text, votable
from viamachinae.stars.files.columns import LoadedColumns, TableHead

__all__ = ["SUFFIXES", "read_columns", "read_head"]


@dataclass(frozen=True)
class _Format:
    name: str
    head: Callable[[Path], TableHead]
    load: Callable[[Path, list[str], tuple[float, float] | None], LoadedColumns]


_PARQUET = _Format("Parquet", parquet.head, parquet.load)
_FITS = _Format("FITS", fits.head, fits.load)
_TEXT = _Format("CSV or ECSV", text.head, text.load)
_VOTABLE = _Format("VOTable", votable.head, votable.load)

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

_UNREADABLE = (
    OSError, EOFError, ValueError, TypeError, KeyError, IndexError, UserWarning,
    zlib.error, ExpatError, pa.ArrowException,
)  # fmt: skip


def read_head(path: Path) -> TableHead:
    """Return what the file says about its table; cheap for files of any size.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, or cannot be read.
    """
    kind = _format(path)
    try:
        return kind.head(path)
    except _UNREADABLE as error:
        raise _unreadable(path, kind, error) from error


def read_columns(path: Path, names: list[str], dec_range: tuple[float, float] | None) -> LoadedColumns:
    """Return the columns ``names`` (the file's own names) of the table.

    Parameters
    ----------
    path : Path
        A file with one of the endings :data:`SUFFIXES`, or one of them and ``.gz``.
    names : list of str
        Columns to read.
    dec_range : (float, float) or None
        Declinations of interest in the file's unit; rows outside may be skipped
        where the format keeps statistics.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, torn, or a value is no number.
    """
    kind = _format(path)
    try:
        return kind.load(path, names, dec_range)
    except _UNREADABLE as error:
        raise _unreadable(path, kind, error) from error


def _format(path: Path) -> _Format:
    if not path.is_file():
        msg = f"{path}: no such file; correct stars.paths"
        raise DataError(msg)
    suffixes = [s.lower() for s in path.suffixes]
    zipped = suffixes[-1:] == [".gz"]
    ending = suffixes[-2:-1] if zipped else suffixes[-1:]
    kind = _BY_SUFFIX.get(ending[0]) if ending else None
    if kind is None or (zipped and kind is _PARQUET):
        msg = f"{path}: unknown kind of table; valid: {', '.join(SUFFIXES)}, all but Parquet also with .gz"
        raise DataError(msg)
    return kind


def _unreadable(path: Path, kind: _Format, error: BaseException) -> DataError:
    first_line = str(error).strip().partition("\n")[0] or type(error).__name__
    return DataError(f"{path}: cannot be read as {kind.name} ({first_line}); copy or make the file again")
