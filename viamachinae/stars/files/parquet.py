"""Parquet tables: only the columns needed, only the row groups that can hold the patch."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import lru_cache, partial

import pyarrow as pa
import pyarrow.parquet as pq

from viamachinae.config.paths import is_url, local_path
from viamachinae.stars.files.columns import Chunk, TableHead, from_arrow, numbers
from viamachinae.stars.files.places import opened, stamp
from viamachinae.stars.files.region import Near, Span, agreement

__all__ = ["head", "head_of_schema", "load"]

_BATCH = 1 << 17  # rows decoded at once
_SAMPLE = 4096  # rows that show whether identifiers hold cells
_AGREEING = 0.99


def head(place: str, telling: Sequence[str]) -> TableHead:
    """Return columns, units, keywords, rows and the ranges of some columns from the footer.

    Parameters
    ----------
    place : str
        The file.
    telling : sequence of str
        Columns whose ranges are wanted, the declination last; capitals do not matter where no
        column has the very name.
    """
    with _parquet(place) as file:
        footer = file.metadata
        found = head_of_schema(place, footer.schema.to_arrow_schema(), footer.num_rows)
    own = {name.lower(): name for name in reversed(found.columns)}
    wanted = [name if name in found.columns else own.get(name.lower(), "") for name in telling]
    columns = _places_of(footer, wanted)
    parts = [_spans(footer, i, columns) for i in range(footer.num_row_groups)]
    spans = {
        name: (min(part[name][0] for part in parts), max(part[name][1] for part in parts))
        for name in wanted
        if parts and all(name in part for part in parts)
    }
    return replace(found, spans=spans, dec_range=spans.get(wanted[-1]))


def head_of_schema(place: str, schema: pa.Schema, rows: int | None) -> TableHead:
    """Return columns, units and keywords that an Arrow schema declares."""
    units, meta = _astropy_header(schema.metadata or {})
    for item in schema:
        for key in (b"unit", b"units"):
            if item.metadata and item.metadata.get(key):
                units[item.name] = item.metadata[key].decode()
    for key, value in (schema.metadata or {}).items():
        if len(value) < 200:
            meta[key.decode().lower()] = value.decode("utf-8", "replace")
    return TableHead(place, tuple(schema.names), units, meta, rows)


def load(place: str, names: Mapping[str, str], near: Near | None) -> Iterator[Chunk]:
    """Read columns row group by row group, of groups without a row near the patch the positions at most.

    A group is not read at all where its statistics place it elsewhere. Of the others, the positions
    are decoded first, and the other columns only where one of them lies in the patch.

    Parameters
    ----------
    place : str
        The file.
    names : mapping
        Our name of every column -> the file's.
    near : Near, optional
        The patch; left out: every row is read.
    """
    own = list(dict.fromkeys(names.values()))
    with _parquet(place) as file:
        columns = _places_of(file.metadata, near.telling if near else ())
        start = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if near and near.excludes(_spans(file.metadata, group, columns), partial(_gaia_ids, place, near)):
                yield Chunk({}, start, rows)
            else:
                yield from _group(place, file, group, (own, start), near)
            start += rows


def _group(
    place: str, file: pq.ParquetFile, group: int, asked: tuple[list[str], int], near: Near | None
) -> Iterator[Chunk]:
    """Read the columns of one row group, ``asked``, of which the first row has the number beside them."""
    names, start = asked
    if near is not None:
        table = file.read_row_group(group, columns=[near.ra, near.dec])
        positions = {name: from_arrow(table.column(name)) for name in (near.ra, near.dec)}
        if not near.holds(place, positions).any():
            yield Chunk(positions, start, len(table))
            return
        del table, positions
    for batch in file.iter_batches(_BATCH, row_groups=[group], columns=names):
        table = pa.Table.from_batches([batch])
        yield Chunk({name: from_arrow(table.column(name)) for name in names}, start, len(table))
        start += len(table)


@contextmanager
def _parquet(place: str) -> Iterator[pq.ParquetFile]:
    remote = is_url(place)
    with (
        opened(place) if remote else nullcontext(local_path(place)) as source,
        # a remote column chunk is fetched in one request, and neighbouring ones together
        pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=remote) as file,
    ):
        yield file


def _places_of(footer: pq.FileMetaData, names: Iterable[str]) -> dict[str, int]:
    """Return where columns stand in the row groups."""
    every = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    return {name: every[name] for name in names if name in every}


def _spans(footer: pq.FileMetaData, group: int, columns: Mapping[str, int]) -> dict[str, Span]:
    """Return the ranges of columns in a row group, as far as statistics tell them."""
    spans: dict[str, Span] = {}
    part = footer.row_group(group)
    for name, at in columns.items():
        found = part.column(at).statistics
        if found is None or not found.has_min_max or not isinstance(found.min, int | float):
            continue
        if math.isfinite(found.min) and math.isfinite(found.max):
            spans[name] = (found.min, found.max)
    return spans


def _gaia_ids(place: str, near: Near) -> bool:
    names = (near.source_id, near.ra, near.dec)
    return _ids_hold_cells(place, stamp(place), names, near.factors)


@lru_cache(maxsize=100_000)
def _ids_hold_cells(
    place: str,
    _stamp: tuple[int, int] | None,
    names: tuple[str, str, str],
    factors: tuple[float, float],
) -> bool:
    """Return whether the identifiers of the first rows hold the HEALPix cells where these lie."""
    with _parquet(place) as file:
        batch = next(file.iter_batches(_SAMPLE, row_groups=[0], columns=list(names)))
    table = pa.Table.from_batches([batch])
    if table.column(names[0]).null_count or not pa.types.is_integer(table.schema.field(names[0]).type):
        return False
    ids = from_arrow(table.column(names[0])).astype("int64")
    ra, dec = (
        numbers(place, name, from_arrow(table.column(name))) * factor
        for name, factor in zip(names[1:], factors, strict=True)
    )
    return agreement(ids, ra, dec) >= _AGREEING


def _astropy_header(metadata: dict[bytes, bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """Return units and keywords that astropy's Parquet writer keeps in one YAML text."""
    text = metadata.get(b"table_meta_yaml")
    if text is None:
        return {}, {}
    from viamachinae.stars.files.text import yaml_header

    units, meta, _ = yaml_header(text.decode())
    return dict(units), dict(meta)
