"""The page that lists every table of a scan with its columns, made from the schema."""

from __future__ import annotations

import sys
from pathlib import Path

from viamachinae.schema import TABLES, Column, TableSchema

__all__ = ["outputs_page"]

_INTRODUCTION = """\
# Tables

Every table that a scan writes, with its columns. This page is made from `viamachinae.schema`, the one
place where tables are declared, by `python -m viamachinae.catalog.columns docs/outputs.md`.

Inside a scan the tables are Parquet with page checksums; the unit and the description of a column stand
in the metadata of its field, and null means missing. `viamachinae export` writes `streams`, `members`
and `tracks` as ECSV, FITS and Parquet, each with units, descriptions, the version of viamachinae, the
hash of the settings, the Gaia release, the number of rows and a hash of the content (`rows`,
`content_sha256`; in FITS `VMROWS`, `VMSHA256`). `viamachinae.catalog.read(path)` checks both;
`astropy.table.Table.read(path)` reads all three formats. In an exported table a missing number is masked
or NaN, and a missing text is empty.

Further columns may follow the declared ones: those that `stars.carry` names travel from the input to
`members`.
"""


def outputs_page() -> str:
    """Return the Markdown page of all tables and their columns."""
    return _INTRODUCTION + "".join(_section(schema) for schema in TABLES)


def _section(schema: TableSchema) -> str:
    rows = "\n".join(_row(column) for column in schema.columns)
    return (
        f"\n## {schema.name}\n\n{schema.description[:1].upper()}{schema.description[1:]}.\n\n"
        f"| column | type | unit | meaning |\n|---|---|---|---|\n{rows}\n"
    )


def _row(column: Column) -> str:
    # A bar would end the cell.
    meaning = column.description.replace("|", "\\|") + (" (optional)" if column.optional else "")
    return f"| `{column.name}` | {column.dtype} | {column.unit} | {meaning} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(outputs_page(), encoding="utf-8")
