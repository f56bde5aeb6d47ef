"""What every format hands over: the head of a table, and columns as plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "ERRORS",
    "NUMBERS",
    "REQUIRED",
    "LoadedColumns",
    "TableHead",
    "from_arrow",
    "plain",
]

REQUIRED = ("source_id", "ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp")
ERRORS = ("pmra_error", "pmdec_error", "parallax_error")
#: columns that are real numbers whatever their text looks like
NUMBERS = (*REQUIRED[1:], *ERRORS, "ruwe", "ref_epoch")


@dataclass(frozen=True)
class TableHead:
    """What a file says about its table before a row is read.

    Parameters
    ----------
    path : Path
        The file.
    columns : tuple of str
        Names of its columns, in order.
    units : mapping
        Unit of each column that declares one.
    meta : mapping
        Keywords of the table in lower case, as text.
    rows : int, optional
        Number of rows, where the format says so.
    dec_range : (float, float), optional
        Least and largest value of ``dec`` in the file's unit, where statistics are kept.
    """

    path: Path
    columns: tuple[str, ...]
    units: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    rows: int | None = None
    dec_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class LoadedColumns:
    """Columns of a file, possibly masked, and the number of rows that the file holds.

    ``rows`` exceeds the length of the columns where parts of the file were
    skipped because they lie outside the declinations asked for.
    """

    values: Mapping[str, NDArray[Any]]
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


def _text(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").rstrip(" \0")
    if isinstance(value, str):
        return value.rstrip(" \0")
    return "" if value is None or value != value else value  # noqa: PLR0124 - NaN is what differs from itself
