"""Parquet tables: only the columns needed, only the row groups that can hold the patch."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from viamachinae.stars.files.columns import LoadedColumns, TableHead, from_arrow

__all__ = ["head", "load"]


def head(path: Path) -> TableHead:
    """Return columns, units, keywords, rows and the range of ``dec`` from the footer."""
    footer = pq.read_metadata(path)
    schema = footer.schema.to_arrow_schema()
    units, meta = _astropy_header(schema.metadata or {})
    for item in schema:
        for key in (b"unit", b"units"):
            if item.metadata and item.metadata.get(key):
                units[item.name] = item.metadata[key].decode()
    for key, value in (schema.metadata or {}).items():
        if len(value) < 200:
            meta[key.decode().lower()] = value.decode("utf-8", "replace")
    ranges = [_dec_range(footer, i) for i in range(footer.num_row_groups)]
    known = [r for r in ranges if r is not None]
    span = (
        (min(r[0] for r in known), max(r[1] for r in known)) if known and len(known) == len(ranges) else None
    )
    return TableHead(path, tuple(schema.names), units, meta, footer.num_rows, span)


def load(path: Path, names: list[str], dec_range: tuple[float, float] | None) -> LoadedColumns:
    """Read ``names``; row groups whose statistics place them outside ``dec_range`` are skipped.

    ``dec_range`` is in the unit of the file; None reads everything.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = list(range(file.metadata.num_row_groups))
        if dec_range is not None:
            groups = [i for i in groups if _overlaps(_dec_range(file.metadata, i), dec_range)]
        table = file.read_row_groups(groups, columns=names)
        rows = file.metadata.num_rows
    return LoadedColumns({name: from_arrow(table.column(name)) for name in names}, rows)


def _overlaps(span: tuple[float, float] | None, wanted: tuple[float, float]) -> bool:
    return span is None or (span[0] <= wanted[1] and span[1] >= wanted[0])


def _dec_range(footer: pq.FileMetaData, group: int) -> tuple[float, float] | None:
    """Return the range of ``dec`` of a row group, None where it is not known."""
    for i in range(footer.num_columns):
        column = footer.row_group(group).column(i)
        if column.path_in_schema.lower() == "dec":
            found = column.statistics
            if found is None or not found.has_min_max or not isinstance(found.min, int | float):
                return None
            return float(found.min), float(found.max)
    return None


def _astropy_header(metadata: dict[bytes, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """Return units and keywords that astropy's Parquet writer keeps in one YAML text."""
    text = metadata.get(b"table_meta_yaml")
    if text is None:
        return {}, {}
    from viamachinae.stars.files.text import yaml_header

    return yaml_header(text.decode().splitlines())[:2]
