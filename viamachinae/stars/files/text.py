"""CSV and ECSV tables, plain or gzipped, and the YAML head of ECSV.

The Gaia archive's bulk files are ECSV under a ``.csv.gz`` name, so the content
decides, not the name. Arrow parses the body in blocks: astropy's reader takes minutes
for a million rows.
"""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from viamachinae.errors import DataError
from viamachinae.stars.files.columns import NUMBERS, Chunk, TableHead, from_arrow
from viamachinae.stars.files.places import streamed
from viamachinae.stars.files.region import Near

__all__ = ["head", "load", "yaml_header"]

_NULLS = ["", "null", "NULL", "nan", "NaN", "NAN", "--"]
_BLOCK = 16 << 20  # bytes of text parsed at once


def head(place: str) -> TableHead:
    """Return columns, and units and keywords where the file is ECSV."""
    with streamed(place) as body:
        names, (units, meta, _) = _opening(place, body)
    return TableHead(place, names, units, meta)


def load(place: str, names: Mapping[str, str], near: Near | None) -> Iterator[Chunk]:  # noqa: ARG001
    """Read columns block by block; text has no statistics, so every row is read.

    Parameters
    ----------
    place : str
        The file.
    names : mapping
        Our name of every column -> the file's.
    near : Near, optional
        Not used.
    """
    types: dict[str, pa.DataType] = {own: pa.float64() for n, own in names.items() if n in NUMBERS}
    # read as text, since a parser that guesses would round an identifier that looks like a float
    identifier = names.get("source_id", "")
    types |= {identifier: pa.string()} if identifier else {}
    guessed = [own for own in dict.fromkeys(names.values()) if own not in types]
    try:
        yield from _chunks(place, guessed, types, identifier)
    except pa.ArrowInvalid:
        if not guessed:
            raise
        # the first block decides the type of such a column; the whole file knows better
        yield from _chunks(place, [], types | _settled(place, guessed), identifier)


@lru_cache(maxsize=64)
def yaml_header(text: str) -> tuple[Mapping[str, str], Mapping[str, str], str]:
    """Return units, keywords (lower case) and delimiter of an ECSV head without its ``#``."""
    from astropy.table import meta as table_meta

    header: dict[str, Any] = table_meta.get_header_from_yaml(text.splitlines())
    units = {c["name"]: str(c["unit"]) for c in header.get("datatype", []) if c.get("unit")}
    meta = {
        str(k).lower(): str(v) for k, v in dict(header.get("meta") or {}).items() if not isinstance(v, dict)
    }
    return units, meta, str(header.get("delimiter", " "))


def _opening(
    place: str, body: io.BufferedReader
) -> tuple[tuple[str, ...], tuple[Mapping[str, str], Mapping[str, str], str]]:
    """Read up to the line with the column names; return these, and units, keywords and delimiter."""
    comments: list[str] = []
    while line := body.readline().decode("utf-8-sig"):
        if line.startswith("#"):
            comments.append(line[1:].removeprefix(" ").rstrip("\r\n"))
            continue
        declared = yaml_header("\n".join(comments)) if _is_ecsv(comments) else ({}, {}, ",")
        names = next(csv.reader([line], delimiter=declared[2]))
        return tuple(sys.intern(name.strip()) for name in names), declared
    msg = f"{place}: no line with column names; it is empty or cut short"
    raise DataError(msg)


def _is_ecsv(comments: list[str]) -> bool:
    return any("%ECSV" in line for line in comments[:1])


def _chunks(
    place: str, guessed: list[str], types: Mapping[str, pa.DataType], identifier: str
) -> Iterator[Chunk]:
    start = 0
    for batch in _batches(place, [*types, *guessed], types):
        table = pa.Table.from_batches([batch])
        yield Chunk(
            {
                name: _identifiers(place, name, table.column(name)) if name == identifier
                else from_arrow(table.column(name))
                for name in table.column_names
            },
            start,
            len(table),
        )  # fmt: skip
        start += len(table)


def _batches(place: str, names: list[str], types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Parse the columns ``names`` block by block; those without a type have the one of the first block."""
    with streamed(place) as body:
        columns, (_, _, delimiter) = _opening(place, body)
        if not body.peek(1):
            return
        options = {
            "read_options": pacsv.ReadOptions(column_names=columns, block_size=_BLOCK),
            "parse_options": pacsv.ParseOptions(delimiter=delimiter),
            "convert_options": pacsv.ConvertOptions(
                include_columns=names, column_types=types, null_values=_NULLS, strings_can_be_null=True
            ),
        }
        with pacsv.open_csv(body, **options) as reader:
            yield from reader


def _settled(place: str, names: list[str]) -> dict[str, pa.DataType]:
    """Return the type of columns that every row agrees with."""
    types = dict.fromkeys(names, 0)
    ladder = (pa.int64(), pa.float64(), pa.string())
    for batch in _batches(place, names, dict.fromkeys(names, pa.string())):
        for name in names:
            types[name] += _steps_up(batch.column(name), ladder[types[name] :])
    return {name: ladder[step] for name, step in types.items()}


def _steps_up(column: pa.Array, ladder: tuple[pa.DataType, ...]) -> int:
    """Return how many types of a ladder, from narrow to wide, cannot hold a column of text."""
    for step, kind in enumerate(ladder):
        try:
            column.cast(kind)
        except pa.ArrowInvalid:
            continue
        return step
    return len(ladder) - 1


def _identifiers(place: str, name: str, column: pa.ChunkedArray) -> Any:
    try:
        return from_arrow(column.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        number = pc.match_substring_regex(column, r"^[+-]?[0-9]*\.?[0-9]+\.?([eE][+-]?[0-9]+)?$")
        wrong = column.filter(pc.match_substring_regex(column, r"[^0-9+-]"))
        first = wrong[0].as_py() if len(wrong) else "a number beyond 64 bits"
        if pc.all(number).as_py() and len(wrong):
            return from_arrow(column.cast(pa.float64()))
        msg = f"{place}: column {name} holds {first!r}, which is no integer; give Gaia's 64-bit source_id"
        raise DataError(msg) from error
