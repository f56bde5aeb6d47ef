"""What every format hands over: the head of a table, and chunks of columns as plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from viamachinae.config.field import STAR_COLUMNS
from viamachinae.errors import DataError

__all__ = [
    "NUMBERS",
    "OPTIONAL",
    "REQUIRED",
    "Chunk",
    "TableHead",
    "check_scalars",
    "from_arrow",
    "numbers",
    "plain",
]

REQUIRED = ("source_id", "ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp")
#: columns that are read where all tables have them
OPTIONAL = tuple(name for name in STAR_COLUMNS if name not in REQUIRED)
#: columns that are real numbers whatever their text looks like
NUMBERS = tuple(name for name in STAR_COLUMNS if name not in ("source_id", "release"))


@dataclass(frozen=True)
class TableHead:
    """What a file says about its table before a row is read.

    Parameters
    ----------
    path : str
        The file, or the folder of a catalogue; a path or a URL.
    columns : tuple of str
        Names of its columns, in order.
    units : mapping
        Unit of each column that declares one.
    meta : mapping
        Keywords of the table in lower case, as text.
    rows : int, optional
        Number of rows, where the format says so.
    spans : mapping
        Least and largest value of positions, identifiers and HEALPix cells, by the file's own names
        and in its units, where statistics are kept for every row.
    dec_range : (float, float), optional
        That of the declination.
    """

    path: str
    columns: tuple[str, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dec_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, one behind the other.

    Parameters
    ----------
    values : mapping
        Columns by the file's own names, possibly masked. Rows that cannot be near the patch may come
        with their positions alone, or without any column.
    start : int
        Number of the first row in the file. A chunk that starts at 0 replaces those that came before:
        text is read anew when a late row shows what type a column has.
    rows : int
        Number of rows.
    """

    values: Mapping[str, NDArray[Any]]
    start: int
    rows: int


def from_arrow(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return an Arrow column as NumPy array; masked where integers are null, NaN where floats are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count and pa.types.is_integer(column.type):
        data = pc.fill_null(column, 0).to_numpy()
        return np.ma.masked_array(data, mask=pc.is_null(column).to_numpy())
    values: NDArray[Any] = column.to_numpy()
    return values


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` unmasked, in this machine's byte order, text as Python strings.

    Missing numbers become NaN, missing text becomes empty: text formats cannot
    tell the two apart, and equal tables shall give equal results in any format.
    """
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    data = np.asarray(np.ma.getdata(values))
    if data.dtype.kind in "SUO":
        texts = [_text(v) for v in data.tolist()]
        data = np.array(texts, dtype=object)
        if mask is not None:
            data[mask] = ""
        return data
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    if mask is not None and mask.any():
        data = np.where(mask, np.nan, data.astype(np.result_type(data.dtype, np.float32)))
    return data


def check_scalars(place: str, name: str, values: NDArray[Any]) -> None:
    """Refuse a column that holds more than one value a row.

    Raises
    ------
    DataError
        It does.
    """
    data = np.ma.getdata(values)
    nested = data.dtype == object and any(isinstance(v, list | dict | np.ndarray) for v in data)
    if data.ndim != 1 or nested:
        msg = f"{place}: column {name} holds arrays; give one value a star, or leave it out of stars.carry"
        raise DataError(msg)


def numbers(place: str, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return a column ``(n,)`` as floating point, NaN where it is missing.

    Raises
    ------
    DataError
        It holds arrays or text.
    """
    check_scalars(place, name, values)
    try:
        return plain(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{place}: column {name} holds text, not numbers ({error}); store it as floating point"
        raise DataError(msg) from error


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip(" \0")
    if isinstance(value, str):
        return value.rstrip(" \0")
    return "" if value is None or value != value else value  # noqa: PLR0124 - NaN is what differs from itself
