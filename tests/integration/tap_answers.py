"""The answers of a small TAP service: the queries of a download over tables in memory, as VOTables."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

__all__ = ["complaint", "gaia_like", "select", "votable"]

_TYPES = {
    pa.int16(): ("short", ">i2"),
    pa.int32(): ("int", ">i4"),
    pa.int64(): ("long", ">i8"),
    pa.float32(): ("float", ">f4"),
    pa.float64(): ("double", ">f8"),
}


def select(
    tables: Mapping[str, pa.Table], query: str, most: int
) -> tuple[list[str], list[pa.Array], np.ndarray]:
    """Return names and columns of the answer to a query, and which of their rows it has."""
    top = re.fullmatch(r"SELECT TOP (\d+) \* FROM (\S+)", query)
    if top:
        table = _named(tables, top[2])
        return table.column_names, _arrays(table), np.arange(min(int(top[1]), len(table), most))
    form = re.fullmatch(
        r"SELECT (?P<what>.+?) FROM (?P<table>\S+) AS s"
        r"(?: LEFT OUTER JOIN (?P<beside>\S+) AS r ON s\.source_id = r\.source_id)?"
        r" WHERE s\.source_id BETWEEN (?P<low>\d+) AND (?P<high>\d+)(?P<cuts>(?: AND .+)?)",
        query,
    )
    if form is None:
        msg = f"Could not parse your query: {query}"
        raise ValueError(msg)
    table = _named(tables, form["table"])
    ids = table["source_id"].to_numpy()
    rows = np.arange(np.searchsorted(ids, int(form["low"])), np.searchsorted(ids, int(form["high"]), "right"))
    for cut in filter(None, form["cuts"].split(" AND ")):
        left, right = cut.split(" < ")
        with np.errstate(invalid="ignore"):
            rows = rows[_value(table, left, rows) < _value(table, right, rows)]
    if form["what"] == "COUNT(*) AS n_rows":
        return ["n_rows"], [pa.array([len(rows)], pa.int64())], np.arange(1)
    names, columns = [], []
    for item in form["what"].split(", "):
        expression, _, name = item.partition(" AS ")
        names.append(name or expression.partition(".")[2])
        if expression.startswith("r."):
            columns.append(_beside(_named(tables, form["beside"]), expression[2:], ids))
        elif re.fullmatch(r"s\.\w+", expression):
            columns.append(_column(table, expression[2:]))
        else:
            columns.append(pa.array(_value(table, expression, np.arange(len(table))), from_pandas=True))
    return names, columns, rows[:most]


def _named(tables: Mapping[str, pa.Table], name: str) -> pa.Table:
    if name not in tables:
        msg = f"Could not locate table '{name}'"
        raise ValueError(msg)
    return tables[name]


def _arrays(table: pa.Table) -> list[pa.Array]:
    return [_column(table, name) for name in table.column_names]


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        msg = f"No such field known: {name}"
        raise ValueError(msg)
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _beside(table: pa.Table, name: str, ids: np.ndarray) -> pa.Array:
    """Return a column of a joined table in the order of ``ids``, null where it has no such row."""
    theirs = table["source_id"].to_numpy()
    places = np.searchsorted(theirs, ids)
    found = places < len(theirs)
    found[found] = theirs[places[found]] == ids[found]
    return _column(table, name).take(pa.array(np.where(found, places, 0), mask=~found))


def _value(table: pa.Table, expression: str, rows: np.ndarray) -> Any:
    """Return the value of an arithmetic expression of columns, NaN where a column is null."""
    if not re.fullmatch(r"[\w\s.+*()-]+", expression):
        msg = f"Could not parse {expression}"
        raise ValueError(msg)
    columns = {}
    for name in set(re.findall(r"s\.(\w+)", expression)):
        values = _column(table, name).to_numpy(zero_copy_only=False)
        columns[name] = values[rows]
    return eval(re.sub(r"\bs\.", "", expression), {"__builtins__": {}}, columns)  # noqa: S307 - checked above


def votable(
    names: list[str], columns: list[pa.Array], serialization: str = "BINARY2", *, overflow: bool = False
) -> bytes:
    """Return a table as VOTable; after an overflow its status says OK before and OVERFLOW behind it."""
    fields = "".join(
        f'<FIELD ID="{name}" name="{name}" datatype="{_TYPES[column.type][0]}">'
        + ("" if pa.types.is_floating(column.type) else '<VALUES null="-32768"/>')
        + "</FIELD>"
        for name, column in zip(names, columns, strict=True)
    )
    if serialization == "TABLEDATA":
        texts = [["" if v is None else repr(v) for v in column.to_pylist()] for column in columns]
        rows = zip(*texts, strict=True)
        trs = "".join("<TR>" + "".join(f"<TD>{text}</TD>" for text in row) + "</TR>" for row in rows)
        data = f"<TABLEDATA>{trs}</TABLEDATA>".encode()
    else:
        text = base64.b64encode(_rows(columns, masked=serialization == "BINARY2"))
        data = b"".join(
            (
                f'<{serialization}>\n<STREAM encoding="base64">'.encode(),
                text,
                f"</STREAM></{serialization}>".encode(),
            )
        )
    after = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>' if overflow else ""
    before = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        '<INFO name="QUERY_STATUS" value="OK">Query successful</INFO><TABLE name="result">'
    )
    end = f"</DATA></TABLE>{after}</RESOURCE></VOTABLE>"
    return b"".join((before.encode(), fields.encode(), b"<DATA>", data, end.encode()))


def _rows(columns: list[pa.Array], *, masked: bool) -> bytes:
    """Return rows of fixed width, big-endian; in BINARY2 with the bits of what is null before each."""
    n = len(columns[0])
    n_mask = (len(columns) + 7) // 8 if masked else 0
    layout = [(f"f{i}", _TYPES[column.type][1]) for i, column in enumerate(columns)]
    out = np.zeros(n, np.dtype([("mask", "u1", (n_mask,)), *layout]))
    for i, column in enumerate(columns):
        null = np.nan if pa.types.is_floating(column.type) else -32768
        out[f"f{i}"] = column.fill_null(null).to_numpy(zero_copy_only=False)
        if masked and column.null_count:
            gone = column.is_null().to_numpy(zero_copy_only=False)
            out["mask"][:, i // 8] |= gone.astype(np.uint8) << (7 - i % 8)
    return out.tobytes()


def complaint(words: str) -> bytes:
    """Return the VOTable that reports an error."""
    return (
        '<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE type="results">'
        f'<INFO name="QUERY_STATUS" value="ERROR">{html.escape(words)}</INFO></RESOURCE></VOTABLE>'
    ).encode()


@dataclass
class _Nulls:
    rng: np.random.Generator
    n: int
    columns: dict[str, pa.Array] = field(default_factory=dict)

    def add(self, name: str, values: np.ndarray, kind: pa.DataType, share: float = 0.0) -> None:
        gone = self.rng.random(self.n) < share
        self.columns[name] = pa.array(values.astype(kind.to_pandas_dtype()), type=kind, mask=gone)


def gaia_like(rows: int, id_range: tuple[int, int], seed: int = 0) -> pa.Table:
    """Return sources with the columns of Gaia DR3, and nulls, evenly over a range of identifiers."""
    rng = np.random.default_rng(seed)
    low, high = id_range
    step = (high - low) // rows
    ids = low + np.arange(rows, dtype=np.int64) * step + rng.integers(0, step, rows)
    made = _Nulls(rng, rows)
    made.add("source_id", ids, pa.int64())
    for name in ("ra", "dec", "ref_epoch", "ecl_lat"):
        made.add(name, rng.uniform(10.0, 60.0, rows), pa.float64())
    for name in ("pmra", "pmdec"):
        made.add(name, rng.normal(0.0, 5.0, rows), pa.float64(), 0.05)
    made.add("parallax", rng.normal(0.6, 0.6, rows), pa.float64(), 0.05)
    for name in ("ra_error", "dec_error", "pmra_error", "pmdec_error", "parallax_error"):
        made.add(name, rng.gamma(2.0, 0.1, rows), pa.float32(), 0.05)
    for name in ("pmra_pmdec_corr", "parallax_pmra_corr", "parallax_pmdec_corr"):
        made.add(name, rng.uniform(-1.0, 1.0, rows), pa.float32(), 0.05)
    g = rng.uniform(13.0, 21.0, rows)
    made.add("phot_g_mean_mag", g, pa.float32(), 0.002)
    for name in ("phot_bp_mean_mag", "phot_rp_mean_mag"):
        made.add(name, g + rng.normal(0.0, 0.5, rows), pa.float32(), 0.01)
    for name in ("bp_rp", "phot_bp_rp_excess_factor", "ruwe"):
        made.add(name, rng.normal(1.0, 0.2, rows), pa.float32(), 0.01)
    for name in ("visibility_periods_used", "matched_transits", "astrometric_params_solved"):
        made.add(name, rng.integers(3, 96, rows), pa.int16(), 0.01)
    for name in ("nu_eff_used_in_astrometry", "pseudocolour"):
        made.add(name, rng.uniform(1.2, 1.8, rows), pa.float32(), 0.5)
    for name in ("radial_velocity", "radial_velocity_error"):
        made.add(name, rng.normal(0.0, 50.0, rows), pa.float32(), 0.8)
    return pa.table(made.columns)
