"""Every source, as a real ADQL parser and a real database give it: value by value what was loaded."""

from __future__ import annotations

import dataclasses
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from service import Service
from skies import CENTRE, RADIUS, SKIES
from truth import digest, expected, expected_patch, settings_for

from viamachinae.errors import DataError, TaskError, ViaMachinaeError
from viamachinae.schema import CELLS
from viamachinae.stars.archive import fetch
from viamachinae.stars.archive.cells import Cell, cells_of_patch
from viamachinae.stars.archive.fetch import fetch_cell
from viamachinae.stars.archive.preflight import check_service

pytestmark = pytest.mark.tap

#: The fullest cell of the patch.
FULL = Cell(4, 285)


@pytest.mark.parametrize("source", SKIES)
def test_a_patch_is_what_the_table_holds(service: Service, tmp_path: Path, source: str) -> None:
    settings = settings_for(source, service.url)
    check_service(settings)
    cells = cells_of_patch(*CENTRE, RADIUS + 0.1, 4)
    with ThreadPoolExecutor(3) as pool:
        fetched = list(pool.map(lambda cell: fetch_cell(settings, cell, tmp_path / cell.name), cells))
    for cell, got in zip(cells, fetched, strict=True):
        wanted = expected(source, 4, cell.pixel)
        assert got.table.schema.names == wanted.schema.names
        assert digest(got.table) == digest(wanted), cell
        assert got.report["rows"] == wanted.num_rows
        CELLS.conform(got.table.to_pandas())
    everything = pa.concat_tables([got.table for got in fetched]).sort_by("source_id")
    assert digest(everything) == digest(expected_patch(source))
    assert service.jobs() == {}


@pytest.mark.parametrize("source", SKIES)
def test_without_cuts_every_row_comes_with_its_nulls(service: Service, tmp_path: Path, source: str) -> None:
    settings = settings_for(source, service.url, cuts=False)
    got = fetch_cell(settings, FULL, tmp_path).table
    wanted = expected(source, 4, FULL.pixel, cuts=False)
    assert wanted.num_rows > expected(source, 4, FULL.pixel).num_rows
    assert wanted["phot_g_mean_mag"].null_count > 0
    assert (wanted["pmra"].null_count > 0) == source.startswith("gaia")
    assert digest(got) == digest(wanted)


def test_a_full_cell_comes_in_parts(service: Service, tmp_path: Path) -> None:
    settings = settings_for("gaia-dr3", service.url, chunk_rows=1000)
    heard: list[tuple[int, int]] = []
    got = fetch_cell(settings, FULL, tmp_path, heard=lambda rows, size: heard.append((rows, size)))
    wanted = expected("gaia-dr3", 4, FULL.pixel)
    assert got.report["chunks"] >= wanted.num_rows / 1000
    assert digest(got.table) == digest(wanted)
    assert sum(rows for rows, _ in heard) == wanted.num_rows
    assert sum(size for _, size in heard) == got.report["bytes"] > wanted.num_rows * 100
    assert service.jobs() == {}


def test_an_empty_cell_is_an_empty_table(service: Service, tmp_path: Path) -> None:
    got = fetch_cell(settings_for("gaia-dr3", service.url), Cell(4, 3), tmp_path)
    assert got.table.num_rows == 0
    assert got.table.schema.names == expected("gaia-dr3", 4, 3).schema.names
    assert service.jobs() == {}


def test_the_words_of_the_parser_reach_the_user(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for("gaia-dr3", service.url)
    wrong = dataclasses.replace(fetch.catalogue_for(settings), cuts=("no_such_column < 3",))
    monkeypatch.setattr(fetch, "catalogue_for", lambda settings: wrong)
    with pytest.raises(DataError, match="no_such_column") as caught:
        fetch_cell(settings, FULL, tmp_path)
    assert "\n" not in str(caught.value)
    assert service.url in str(caught.value)
    assert service.jobs() == {}


def test_the_words_of_a_failed_job_reach_the_user(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parser takes it, the count too, and the database trips over it when the job runs."""
    settings = settings_for("gaia-dr3", service.url)
    known = fetch.catalogue_for(settings)
    columns = {**known.columns, "ruwe": ("ruwe / (phot_g_mean_mag - phot_g_mean_mag)",)}
    wrong = dataclasses.replace(known, columns=columns)
    monkeypatch.setattr(fetch, "catalogue_for", lambda settings: wrong)
    with pytest.raises(DataError, match="division by zero") as caught:
        fetch_cell(settings, FULL, tmp_path)
    assert "\n" not in str(caught.value)
    assert service.jobs() == {}


def test_a_table_that_is_not_there_is_named(service: Service, tmp_path: Path) -> None:
    settings = settings_for("gaia-dr3", service.url, table="gaiadr3.no_such_table")
    with pytest.raises(DataError, match=r"gaiadr3\.no_such_table") as caught:
        check_service(settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"gaiadr3\.no_such_table"):
        fetch_cell(settings, FULL, tmp_path)


def test_a_service_that_is_down_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/tap"
        settings = settings_for("gaia-dr3", url, budget=2.0)
        with pytest.raises((TaskError, DataError)) as caught:
            fetch_cell(settings, FULL, tmp_path)
    _one_line(caught.value, url)


def _one_line(error: ViaMachinaeError, url: str) -> None:
    assert "\n" not in str(error)
    assert url in str(error)
