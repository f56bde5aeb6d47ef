"""Writers of declared tables, to hand to the store."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from viamachinae.schema.core import TableSchema
from viamachinae.schema.publish import Writer

__all__ = ["table_writer", "text_writer"]


def table_writer(frame: pd.DataFrame, schema: TableSchema) -> Writer:
    """Return a writer of ``frame`` as Parquet with page checksums."""
    frame = schema.conform(frame)

    def write(path: Path) -> int:
        from viamachinae.schema.io import write_table

        write_table(frame, schema, path)
        return len(frame)

    return write


def text_writer(text: str) -> Writer:
    """Return a writer of a UTF-8 text."""

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    return write
