"""A real service that gives too little, goes away, forgets, or whose client is stopped or killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from client import Download, wait_for
from service import Service
from truth import digest, expected, settings_for

from viamachinae.errors import DataError, ResumeError, TaskError
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.fetch import fetch_cell

pytestmark = pytest.mark.tap

FULL = Cell(4, 285)
TABLE = "gaiadr3.gaia_source"


def _hold(stack: ExitStack, service: Service, workplace: Path) -> None:
    """Make the first job of a download wait, from the moment its plan is made to the end of the stack."""
    wait_for((workplace / "plan.json").exists)
    stack.enter_context(service.locked(TABLE))
    wait_for(service.executing)


@pytest.fixture
def stingy(service: Service) -> Iterator[Service]:
    """The service, which gives 700 rows at most, whatever is asked for."""
    service.stop_server()
    service.start(hard_maxrec=700)
    yield service
    service.stop_server()
    service.start()


def test_fewer_rows_than_there_are_is_an_error(stingy: Service, tmp_path: Path) -> None:
    assert expected("gaia-dr3", 4, FULL.pixel).num_rows > 700
    with pytest.raises(DataError) as caught:
        fetch_cell(settings_for("gaia-dr3", stingy.url, chunk_rows=1000), FULL, tmp_path)
    assert "OVERFLOW" in str(caught.value)
    assert "archive.chunk_rows" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stingy.jobs() == {}


def test_stopped_in_mid_job_it_leaves_at_once_and_goes_on_later(service: Service, tmp_path: Path) -> None:
    settings = settings_for("gaia-dr3", service.url, chunk_rows=1000)
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        running = pool.submit(fetch_cell, settings, FULL, tmp_path, stop=stop)
        _hold(held, service, tmp_path)
        begun = time.monotonic()
        stop.set()
        error = running.exception(timeout=60)
        assert isinstance(error, ResumeError)
        assert time.monotonic() - begun < 2.0
        assert len(service.jobs()) == 1
    again = fetch_cell(settings, FULL, tmp_path)
    assert again.report["attached"] == 1
    assert digest(again.table) == digest(expected("gaia-dr3", 4, FULL.pixel))
    assert service.jobs() == {}


def _interrupted(service: Service, running: Download) -> str:
    """Kill a download while its job runs, and return the job."""
    with ExitStack() as held, running.start() as process:
        _hold(held, service, running.workplace)
        wait_for(lambda: list(running.workplace.glob("*.job")))
        process.kill()
        process.wait()
        (job,) = service.jobs()
        (journal,) = running.workplace.glob("*.job")
        assert job in journal.read_text()
        return job


def test_killed_in_mid_job_the_next_one_takes_the_job_up(service: Service, tmp_path: Path) -> None:
    running = Download(tmp_path, settings_for("gaia-dr3", service.url, chunk_rows=1000), FULL)
    job = _interrupted(service, running)
    wait_for(lambda: service.jobs()[job] == "COMPLETED")
    table, report = running.finish()
    assert json.loads(report)["attached"] == 1
    assert digest(table) == digest(expected("gaia-dr3", 4, FULL.pixel))
    assert service.jobs() == {}


def test_killed_and_the_job_deleted_meanwhile_it_asks_anew(service: Service, tmp_path: Path) -> None:
    running = Download(tmp_path, settings_for("gaia-dr3", service.url, chunk_rows=1000), FULL)
    job = _interrupted(service, running)
    service.delete(job)
    assert service.jobs() == {}
    table, _ = running.finish()
    assert digest(table) == digest(expected("gaia-dr3", 4, FULL.pixel))
    assert service.jobs() == {}


def test_a_service_that_restarts_in_mid_job_is_waited_for(service: Service, tmp_path: Path) -> None:
    settings = settings_for("gaia-dr3", service.url, chunk_rows=1000)
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as held:
            running = pool.submit(fetch_cell, settings, FULL, tmp_path)
            _hold(held, service, tmp_path)
            service.stop_server(jobs=False)
            time.sleep(1.0)
        service.start()
        got = running.result(timeout=120)
    assert got.report["retries"] > 0
    assert digest(got.table) == digest(expected("gaia-dr3", 4, FULL.pixel))
    assert service.jobs() == {}


def test_a_job_that_takes_too_long_is_given_up(service: Service, tmp_path: Path) -> None:
    settings = settings_for("gaia-dr3", service.url, chunk_rows=1000, budget=6.0)
    with ThreadPoolExecutor(1) as pool, ExitStack() as held:
        running = pool.submit(fetch_cell, settings, FULL, tmp_path)
        _hold(held, service, tmp_path)
        error = running.exception(timeout=60)
        assert isinstance(error, TaskError)
        assert "archive.budget" in str(error)
        assert "\n" not in str(error)
        assert service.jobs() == {}
