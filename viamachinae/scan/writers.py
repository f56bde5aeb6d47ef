"""Writers of declared tables, to hand to the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pyarrow as pa

from viamachinae.schema.core import TableSchema
from viamachinae.schema.publish import Writer

__all__ = ["arrow_writer", "table_writer", "text_writer"]


def table_writer(frame: pd.DataFrame, schema: TableSchema) -> Writer:
    """Return a writer of ``frame`` as Parquet with page checksums."""
    frame = schema.conform(frame)

    def write(path: Path) -> int:
        from viamachinae.schema.io import write_table

        write_table(frame, schema, path)
        return len(frame)

    return write


def arrow_writer(table: pa.Table, metadata: Mapping[str, str]) -> Writer:
    """Return a writer of an Arrow table as Parquet with page checksums, keywords added to its own."""
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **metadata})

    def write(path: Path) -> int:
        import pyarrow.parquet as pq

        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        return int(table.num_rows)

    return write


def text_writer(text: str) -> Writer:
    """Return a writer of a UTF-8 text."""

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return write
