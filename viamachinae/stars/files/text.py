"""CSV and ECSV tables, plain or gzipped, and the YAML head of ECSV.

The Gaia archive's bulk files are ECSV under a ``.csv.gz`` name, so the content
decides, not the name. Arrow parses the body: astropy's reader takes minutes
for a million rows.
"""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from viamachinae.errors import DataError
from viamachinae.stars.files.columns import NUMBERS, LoadedColumns, TableHead, from_arrow

__all__ = ["head", "load", "yaml_header"]

_NULLS = ["", "null", "NULL", "nan", "NaN", "NAN", "--"]
_BLOCK = 1 << 30


def head(path: Path) -> TableHead:
    """Return columns, and units and keywords where the file is ECSV."""
    comments, names, _ = _opening(path)
    units, meta = _ecsv(comments)[:2]
    return TableHead(path, tuple(names), units, meta)


def load(path: Path, names: list[str], dec_range: tuple[float, float] | None) -> LoadedColumns:  # noqa: ARG001
    """Read the columns ``names``; text has no statistics, so every row is read."""
    comments, _, delimiter = _opening(path)
    table = _parse(path, names, len(comments), delimiter)
    values = {
        name: _identifiers(path, column) if name.lower() == "source_id" else from_arrow(column)
        for name, column in zip(names, table.columns, strict=True)
    }
    return LoadedColumns(values, table.num_rows)


def yaml_header(lines: Iterable[str]) -> tuple[dict[str, str], dict[str, str], str]:
    """Return units, keywords (lower case) and delimiter of an ECSV head without its ``#``."""
    from astropy.table import meta as table_meta

    header: dict[str, Any] = table_meta.get_header_from_yaml(lines)
    units = {c["name"]: str(c["unit"]) for c in header.get("datatype", []) if c.get("unit")}
    meta = {
        str(k).lower(): str(v) for k, v in dict(header.get("meta") or {}).items() if not isinstance(v, dict)
    }
    return units, meta, str(header.get("delimiter", " "))


def _opening(path: Path) -> tuple[list[str], list[str], str]:
    """Return the comment lines, the column names and the delimiter."""
    comments: list[str] = []
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        for line in file:
            if not line.startswith("#"):
                delimiter = _ecsv(comments)[2]
                return comments, [n.strip() for n in next(csv.reader([line], delimiter=delimiter))], delimiter
            comments.append(line)
    msg = f"{path}: no line with column names; it is empty or cut short"
    raise DataError(msg)


def _ecsv(comments: list[str]) -> tuple[dict[str, str], dict[str, str], str]:
    if not any("%ECSV" in line for line in comments[:1]):
        return {}, {}, ","
    return yaml_header([line[1:].removeprefix(" ").rstrip("\r\n") for line in comments])


def _parse(path: Path, names: list[str], skipped: int, delimiter: str) -> pa.Table:
    types: dict[str, pa.DataType] = {n: pa.float64() for n in names if n.lower() in NUMBERS}
    # read as text, since a parser that guesses would round an identifier that looks like a float
    types |= {n: pa.string() for n in names if n.lower() == "source_id"}
    convert = pacsv.ConvertOptions(
        include_columns=names, column_types=types, null_values=_NULLS, strings_can_be_null=True
    )
    parse = pacsv.ParseOptions(delimiter=delimiter)
    try:
        return pacsv.read_csv(path, pacsv.ReadOptions(skip_rows=skipped), parse, convert)
    except pa.ArrowInvalid:
        # the first block decides the type of a carried column; a whole file of it may know better
        options = pacsv.ReadOptions(skip_rows=skipped, block_size=_BLOCK)
        return pacsv.read_csv(path, options, parse, convert)


def _identifiers(path: Path, column: pa.ChunkedArray) -> Any:
    try:
        return from_arrow(column.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        number = pc.match_substring_regex(column, r"^[+-]?[0-9]*\.?[0-9]+\.?([eE][+-]?[0-9]+)?$")
        wrong = column.filter(pc.match_substring_regex(column, r"[^0-9+-]"))
        first = wrong[0].as_py() if len(wrong) else "a number beyond 64 bits"
        if pc.all(number).as_py() and len(wrong):
            return from_arrow(column.cast(pa.float64()))
        msg = f"{path}: column source_id holds {first!r}, which is no integer; give Gaia's 64-bit source_id"
        raise DataError(msg) from error
