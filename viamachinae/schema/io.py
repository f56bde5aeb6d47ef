"""Parquet with page checksums, and astropy tables with units, for declared tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from viamachinae.errors import DataError
from viamachinae.schema.core import TableSchema

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["read_table", "table_metadata", "to_astropy", "write_table"]


def write_table(
    frame: pd.DataFrame, schema: TableSchema, path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write ``frame`` as Parquet; the same rows give the same bytes.

    Publishing it atomically is the caller's work.
    """
    table = schema.to_arrow(frame, metadata)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_table(path: Path, schema: TableSchema, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a declared table, verifying every page checksum.

    Raises
    ------
    DataError
        The file is missing, torn, corrupt, or lacks declared columns.
    """
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet ({error}); run `viamachinae run` again to make it anew"
        raise DataError(msg) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame if columns is not None else schema.conform(frame)


def table_metadata(path: Path) -> dict[str, str]:
    """Return the text metadata of a Parquet file's schema."""
    meta = pq.read_schema(path).metadata or {}
    return {k.decode(): v.decode() for k, v in meta.items() if k != b"ARROW:schema"}


def to_astropy(frame: pd.DataFrame, schema: TableSchema) -> Table:
    """Return an astropy table with units and descriptions; missing floats are masked."""
    from astropy.table import Column as AstropyColumn  # noqa: PLC0415  slow, and few need it
    from astropy.table import MaskedColumn, Table  # noqa: PLC0415

    frame = schema.conform(frame)
    declared = {c.name: c for c in schema.columns}
    table = Table()
    for name in frame:
        values = frame[name].to_numpy()
        if values.dtype == object:
            values = values.astype(str)
        column = declared.get(str(name))
        meta = {"unit": column.unit or None, "description": column.description} if column else {}
        mask = pd.isna(frame[name]).to_numpy()
        table[name] = MaskedColumn(values, mask=mask, **meta) if mask.any() else AstropyColumn(values, **meta)
    return table
