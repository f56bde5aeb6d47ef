"""A fingerprint of what a table says, the same in every file format."""

from __future__ import annotations

import hashlib

import numpy as np
from astropy.table import Column, MaskedColumn, Table
from astropy.units import Unit
from numpy.typing import NDArray

from viamachinae.errors import DataError

__all__ = ["content_hash"]


def content_hash(table: Table) -> str:
    """Return the SHA-256 of a table's rows, columns and units.

    Parameters
    ----------
    table : astropy.table.Table
        A table of booleans, integers, floats and strings.

    Returns
    -------
    str
        64 hexadecimal digits. Equal tables give equal digits whether they come
        from memory, ECSV, FITS or Parquet: byte order, the widths of strings and
        integers, trailing blanks (FITS drops them) and the way to say "missing"
        (mask or NaN, mask or empty string) do not matter; order of rows and
        columns, names, units, float precision and every bit of a value do.

    Raises
    ------
    DataError
        A column is of another type.
    """
    digest = hashlib.sha256(f"{len(table)} rows".encode())
    for name in table.colnames:
        column = table[name]
        kind, content = _content(name, column)
        unit = str(Unit(column.unit)) if column.unit is not None else ""
        for part in (name.encode(), kind.encode(), unit.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _content(name: str, column: Column) -> tuple[str, bytes]:
    values = np.asarray(column)
    missing = _missing(column)
    kind = values.dtype.kind
    if kind == "f":
        width = values.dtype.itemsize
        values = values.astype(f"<f{width}")
        values[missing | np.isnan(values)] = np.nan
        return f"f{width}", values.tobytes()
    if kind in "USO":
        texts = ["" if gone else _text(v) for v, gone in zip(values.tolist(), missing, strict=True)]
        return "U", b"".join(len(t.encode()).to_bytes(4, "big") + t.encode() for t in texts)
    if kind in "iub":
        filled = np.where(missing, 0, values)
        return ("b" if kind == "b" else "i"), filled.astype("<i8").tobytes() + missing.tobytes()
    msg = f"column {name!r} of type {values.dtype} has no fingerprint; valid: bool, int, float and string"
    raise DataError(msg)


def _text(value: object) -> str:
    return (value.decode() if isinstance(value, bytes) else str(value)).rstrip(" ")


def _missing(column: Column) -> NDArray[np.bool_]:
    if isinstance(column, MaskedColumn):
        return np.asarray(np.ma.getmaskarray(column), dtype=np.bool_)
    return np.zeros(len(column), dtype=np.bool_)
