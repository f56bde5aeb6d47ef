"""From an answer of an archive to rows of ``schema.CELLS``: types, order, and nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from viamachinae.schema import CELLS
from viamachinae.stars.archive.faults import BadAnswerError
from viamachinae.stars.archive.votable import Table

__all__ = ["empty", "sources"]


def sources(table: Table, columns: Sequence[str], id_range: tuple[int, int]) -> pa.Table:
    """Return the sources of an answer, sorted by ``source_id``.

    Parameters
    ----------
    table : Table
        The answer.
    columns : sequence of str
        Columns of ``schema.CELLS`` that it must have.
    id_range : (int, int)
        Lowest identifier that was asked for, and the lowest one behind.

    Returns
    -------
    Table
        ``columns`` as declared; a value that is missing or NaN is null.

    Raises
    ------
    BadAnswerError
        A column is missing, an identifier is missing, twice there or was not asked for.
    """
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        msg = f"the answer lacks the columns {', '.join(lacking)}; it has {', '.join(table.columns)}"
        raise BadAnswerError(msg)
    ids = table.columns["source_id"]
    if ids.dtype.kind not in "iu" or "source_id" in table.missing:
        msg = "the answer has sources without a whole number as source_id"
        raise BadAnswerError(msg)
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    low, high = id_range
    if len(ids) and (ids[0] < low or ids[-1] >= high):
        wrong = ids[0] if ids[0] < low else ids[-1]
        msg = f"the answer has source_id {wrong}, asked were {low} to {high - 1}"
        raise BadAnswerError(msg)
    twice = ids[1:][ids[1:] == ids[:-1]]
    if len(twice):
        msg = f"the answer has {len(twice)} sources twice, among them source_id {twice[0]}"
        raise BadAnswerError(msg)
    arrays = [
        _array(name, table.columns[name][order], _taken(table.missing.get(name), order)) for name in columns
    ]
    return pa.Table.from_arrays(arrays, schema=_schema(columns))


def empty(columns: Sequence[str]) -> pa.Table:
    """Return the table without rows."""
    return _schema(columns).empty_table()


def _schema(columns: Sequence[str]) -> pa.Schema:
    meta = {"table": CELLS.name, "description": CELLS.description}
    return pa.schema([CELLS[name].arrow() for name in columns], metadata=meta)


def _taken(mask: NDArray[np.bool_] | None, order: NDArray[Any]) -> NDArray[np.bool_] | None:
    return None if mask is None else mask[order]


def _array(name: str, values: NDArray[Any], gone: NDArray[np.bool_] | None) -> pa.Array:
    """Return a column in its declared type; NaN is null, the one way a table says "missing"."""
    kind = CELLS[name].arrow().type
    if values.dtype.kind == "f":
        nan = np.isnan(values)
        gone = nan if gone is None else nan | gone
    elif values.dtype.kind not in "iub":
        msg = f"the answer's column {name} holds no numbers"
        raise BadAnswerError(msg)
    if gone is not None and values.dtype.kind == "f":
        values = np.where(gone, 0.0, values).astype(values.dtype)
    return pa.array(values.astype(kind.to_pandas_dtype()), type=kind, mask=gone)
