"""VOTables decoded by numpy: what astropy reads, and never a wrong or a missing row in silence."""

from __future__ import annotations

import base64
import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from astropy.io.votable import from_table, parse
from astropy.table import MaskedColumn, Table

from viamachinae.schema import CELLS
from viamachinae.stars.archive.faults import BadAnswerError, FaultError, TransientError
from viamachinae.stars.archive.sources import empty, sources
from viamachinae.stars.archive.votable import read_bytes, read_file
from viamachinae.stars.archive.words import said

N = 300
OK = b'<INFO name="QUERY_STATUS" value="OK"/>'


def made_up(n: int = N) -> Table:
    rng = np.random.default_rng(3)
    table = Table()
    table["source_id"] = rng.permutation(n).astype(np.int64) + (1 << 60)
    table["SHORT"] = MaskedColumn(rng.integers(0, 99, n).astype(np.int16), mask=rng.random(n) < 0.2)
    table["byte"] = rng.integers(0, 255, n).astype(np.uint8)
    table["whole"] = MaskedColumn(rng.integers(-9, 9, n).astype(np.int32), mask=rng.random(n) < 0.2)
    table["single"] = MaskedColumn(rng.normal(size=n).astype(np.float32), mask=rng.random(n) < 0.2)
    table["double"] = rng.normal(size=n)
    table["double"][::7] = np.nan
    table["ninth"] = MaskedColumn(rng.normal(size=n), mask=rng.random(n) < 0.5)
    for i in range(4):
        table[f"more{i}"] = rng.normal(size=n).astype(np.float32)
    return table


def document(table: Table, form: str, status: bytes = OK) -> bytes:
    out = io.BytesIO()
    votable = from_table(table)
    for field in votable.get_first_table().fields:
        if field.datatype in ("short", "int") and form == "binary":
            field.values.null = -32768
    votable.to_xml(out, tabledata_format=form)
    text = out.getvalue()
    assert b"<TABLE" in text
    place = text.index(b"<TABLE")
    return text[:place] + status + text[place:]


@pytest.mark.parametrize("form", ["binary2", "binary", "tabledata"])
def test_values_and_nulls_are_those_that_astropy_reads(form):
    body = document(made_up(), form)
    got = read_bytes(body)
    wanted = parse(io.BytesIO(body)).get_first_table().array
    assert got.rows == N
    assert list(got.columns) == [name.lower() for name in made_up().colnames]
    for name, values in got.columns.items():
        theirs = wanted["SHORT" if name == "short" else name]
        mask = got.missing.get(name, np.zeros(N, bool))
        gone = np.ma.getmaskarray(theirs)
        if values.dtype.kind == "f":  # NaN is missing, however it is written
            mask, gone = mask | np.isnan(values), gone | np.isnan(np.ma.getdata(theirs))
        np.testing.assert_array_equal(mask, gone)
        np.testing.assert_array_equal(values[~mask], np.ma.getdata(theirs)[~mask])


@pytest.mark.parametrize("width", [1, 3, 64, 76])
def test_base64_may_be_broken_into_lines(width):
    body = document(made_up(), "binary2")
    begin = body.index(b'encoding="base64">') + len(b'encoding="base64">')
    end = body.index(b"</STREAM>")
    text = b"".join(body[begin:end].split())
    lines = b"\r\n".join(text[i : i + width] for i in range(0, len(text), width))
    np.testing.assert_array_equal(
        read_bytes(body[:begin] + lines + body[end:]).columns["double"], made_up()["double"]
    )


def test_compressed_files_prefixes_and_a_table_without_rows_are_read(tmp_path):
    body = document(made_up(), "binary2")
    path = tmp_path / "a.vot"
    path.write_bytes(gzip.compress(body))
    assert read_file(path).rows == N
    assert [p.name for p in tmp_path.iterdir()] == ["a.vot"]
    path.write_bytes(gzip.compress(body)[:-100])
    with pytest.raises(TransientError, match="cut short"):
        read_file(path)
    assert read_bytes(document(made_up(0), "binary2")).rows == 0


def test_a_column_of_text_is_left_to_astropy():
    table = made_up()
    table["name"] = [f"star {i}" for i in range(N)]
    got = read_bytes(document(table, "binary2"))
    np.testing.assert_array_equal(got.columns["source_id"], made_up()["source_id"])
    assert got.columns["name"][5] == "star 5"


@pytest.mark.parametrize("form", ["binary2", "tabledata"])
def test_an_overflow_behind_the_table_is_seen_although_ok_stands_before(form):
    body = document(made_up(), form)
    place = body.index(b"</TABLE>") + len(b"</TABLE>")
    late = b'<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
    with pytest.raises(BadAnswerError, match=r"OVERFLOW.*chunk_rows"):
        read_bytes(body[:place] + late + body[place:])


def test_an_error_says_what_the_service_said():
    words = b'<INFO name="QUERY_STATUS" value="ERROR">No such field: &lt;pmfoo&gt;</INFO>'
    body = b'<VOTABLE version="1.4"><RESOURCE type="results">' + words + b"</RESOURCE></VOTABLE>"
    with pytest.raises(BadAnswerError, match="reports an error: No such field: <pmfoo>"):
        read_bytes(body)
    assert said(body) == "No such field: <pmfoo>"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no VOTable: it is empty"),
        (b"<html><title>x</title><body>Down for <b>repair</b></body></html>", "Down for repair"),
        (b'{"error": "busy"}', "busy"),
        (b"<VOTABLE></VOTABLE>", "no table"),
        (b"<VOTABLE><RESOURCE></TABLE></VOTABLE>", "cannot be parsed"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(body, words):
    with pytest.raises(TransientError, match=words):
        read_bytes(body)


@pytest.mark.parametrize("form", ["binary2", "binary", "tabledata"])
def test_a_body_cut_anywhere_is_never_taken_for_a_whole_one(form):
    body = document(made_up(40), form)
    for length in np.linspace(1, len(body.rstrip()) - 1, 60).astype(int):
        with pytest.raises(TransientError):
            read_bytes(body[:length])


def test_rows_that_were_lost_inside_the_stream_are_noticed():
    body = document(made_up(), "binary2")
    begin = body.index(b'encoding="base64">') + len(b'encoding="base64">')
    end = body.index(b"</STREAM>")
    raw = base64.b64decode(body[begin:end])
    with pytest.raises(TransientError, match="cut short"):
        read_bytes(body[:begin] + base64.b64encode(raw[:-5]) + body[end:])
    with pytest.raises(TransientError, match="damaged"):
        read_bytes(body[:begin] + b"*" + body[begin:])


def cell(ids: list[int]) -> Table:
    table = Table({"source_id": np.array(ids, np.int64)})
    for column in CELLS.columns[1:]:
        kind = "f8" if column.dtype.startswith("float") else "i2"
        table[column.name] = MaskedColumn(
            np.arange(len(ids)).astype(kind), mask=[False] * (len(ids) - 1) + [True]
        )
    return table


def test_sources_are_sorted_typed_and_null_where_missing():
    got = sources(read_bytes(document(cell([30, 10, 20]), "binary2")), CELLS.names, (0, 100))
    assert got.schema.types == [c.arrow().type for c in CELLS.columns]
    assert got["source_id"].to_pylist() == [10, 20, 30]
    assert got["ra"].to_pylist() == [1.0, None, 0.0]
    assert got["matched_transits"].to_pylist() == [1, None, 0]
    assert got.schema.metadata[b"table"] == b"cells"
    assert got.schema.equals(empty(CELLS.names).schema, check_metadata=True)
    assert got["ruwe"].type == pa.float32()


@pytest.mark.parametrize(
    ("ids", "columns", "words"),
    [
        ([3, 5, 3], ["source_id"], r"1 sources twice, among them source_id 3"),
        ([3, 5, 100], ["source_id"], "source_id 100, asked were 0 to 99"),
        ([-1, 5], ["source_id"], "source_id -1, asked were 0 to 99"),
        ([1, 2], ["source_id", "pmfoo"], "lacks the columns pmfoo"),
    ],
)
def test_sources_twice_or_not_asked_for_or_columns_missing_are_faults(ids, columns, words):
    with pytest.raises(BadAnswerError, match=words):
        sources(read_bytes(document(cell(ids), "binary2")), columns, (0, 100))


def test_identifiers_must_be_whole_numbers():
    table = cell([1, 2])
    table["source_id"] = [1.0, 2.0]
    with pytest.raises(FaultError, match="without a whole number"):
        sources(read_bytes(document(table, "binary2")), ["source_id"], (0, 100))
