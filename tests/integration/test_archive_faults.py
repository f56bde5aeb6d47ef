"""Downloads from a service that does everything wrong that archives do, and what must come of it."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import requests
from tap_fake import FakeTap, Fault, gaia_like

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError, ResumeError, TaskError
from viamachinae.schema import CELLS
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.fetch import Fetched, check_service, fetch_cell
from viamachinae.stars.archive.patience import Clock
from viamachinae.stars.archive.workplace import Workplace

CELL = Cell(4, 217)
ROWS = 2_400
SKY = gaia_like(ROWS, CELL.id_range, seed=11)
TABLE = "gaiadr3.gaia_source"


class Quick:
    """A clock on which waiting takes no time but polls of a running job."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return stop.wait(0.002)

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now, wait=self.wait, draw=lambda: 0.5)


@pytest.fixture
def tap() -> Iterator[FakeTap]:
    with FakeTap({TABLE: SKY}) as service:
        yield service


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@contextmanager
def stop_when(tap: FakeTap, step: str, times: int = 1) -> Iterator[threading.Event]:
    """Hand out an event that is set once the service was asked for a step."""
    stop, over = threading.Event(), threading.Event()

    def watch() -> None:
        while tap.log.count(step) < times and not over.wait(0.005):
            pass
        over.wait(0.1)
        stop.set()

    thread = threading.Thread(target=watch)
    thread.start()
    yield stop
    over.set()
    thread.join()


def settings(tap: FakeTap, source: str = "gaia-dr3", **sections: Any) -> Settings:
    archive = {"url": tap.url, "chunk_rows": 1000, "timeout": 1.0, **sections.pop("archive", {})}
    return Settings.model_validate({"stars": {"source": source}, "archive": archive, **sections})


def fetch(tap: FakeTap, folder: Path, **more: Any) -> Fetched:
    options = more.pop("settings", None) or settings(tap)
    more.setdefault("clock", Quick().clock)
    return fetch_cell(options, CELL, folder, **more)


def expected(limit: float = 1.15) -> pa.Table:
    """Return the sources of the cell that pass the cuts, as declared, with room for the zero-point."""
    kept = SKY.filter(pc.less(SKY["parallax"], limit)).sort_by("source_id")
    columns = [c for c in CELLS.columns if c.name in SKY.column_names]
    return pa.table({c.name: kept[c.name].cast(c.arrow().type) for c in columns})


def fingerprint(table: pa.Table) -> str:
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


WHOLE = fingerprint(expected())


def assert_whole(got: Fetched) -> None:
    assert got.table.num_rows == got.report["rows"] == expected().num_rows
    assert fingerprint(got.table) == WHOLE


# What is right when nothing goes wrong


def test_a_cell_comes_in_parts_sorted_and_whole(tap, tmp_path):
    heard: list[tuple[int, int]] = []
    got = fetch(tap, tmp_path, heard=lambda rows, size: heard.append((rows, size)))
    assert_whole(got)
    assert got.table.schema.names == [c.name for c in CELLS.columns if c.name != "popid"]
    assert got.report["chunks"] == 4
    assert (got.report["retries"], got.report["attached"], got.report["lacks"]) == (0, 0, [])
    assert (got.report["release"], got.report["table"], got.report["url"]) == ("gaia-dr3", TABLE, tap.url)
    assert tuple(map(sum, zip(*heard, strict=True))) == (got.report["rows"], got.report["bytes"])
    assert not tap.jobs


@pytest.mark.parametrize("serialization", ["BINARY", "TABLEDATA"])
def test_other_forms_of_votables_give_the_same(tmp_path, serialization):
    with FakeTap({TABLE: SKY}, serialization=serialization) as tap:
        assert_whole(fetch(tap, tmp_path))


def test_cuts_are_made_by_the_archive_and_none_when_none_is_set(tap, tmp_path):
    everything = fetch(tap, tmp_path / "a", settings=settings(tap, selection={"parallax_max": None}))
    assert everything.table.num_rows == ROWS
    both = settings(tap, selection={"parallax_max": 0.5, "g_max": 18.0})
    kept = pc.and_(pc.less(SKY["parallax"], 0.65), pc.less(SKY["phot_g_mean_mag"], 18.0))
    assert fetch(tap, tmp_path / "b", settings=both).table.num_rows == SKY.filter(kept).num_rows


def test_sources_of_other_cells_stay_where_they_are(tmp_path):
    beside = [gaia_like(50, Cell(4, CELL.pixel + step).id_range, seed=step + 5) for step in (-1, 1)]
    with FakeTap({TABLE: pa.concat_tables([beside[0], SKY, beside[1]])}) as tap:
        assert_whole(fetch(tap, tmp_path))


def test_cells_come_side_by_side(tmp_path):
    cells = [Cell(4, CELL.pixel + i) for i in range(4)]
    skies = [gaia_like(1_500, cell.id_range, seed=cell.pixel) for cell in cells]
    with FakeTap({TABLE: pa.concat_tables(skies)}) as tap, ThreadPoolExecutor(4) as pool:
        tap.play(Fault("cut", "result", times=3), Fault("status", "any", times=3, skip=9))

        def one(cell: Cell) -> Fetched:
            return fetch_cell(settings(tap), cell, tmp_path / cell.name, clock=Quick().clock)

        for got, sky in zip(pool.map(one, cells), skies, strict=True):
            kept = sky.filter(pc.less(sky["parallax"], 1.15))
            assert got.table["source_id"].to_pylist() == kept["source_id"].to_pylist()
    assert not tap.jobs


def test_an_empty_cell_is_an_empty_table(tap, tmp_path):
    got = fetch_cell(settings(tap), Cell(4, 218), tmp_path, clock=Quick().clock)
    assert (got.table.num_rows, got.report["chunks"]) == (0, 0)
    assert got.table.schema.names[:3] == ["source_id", "ra", "dec"]


def test_ruwe_of_dr2_comes_from_the_table_beside(tmp_path):
    sky = SKY.drop_columns(["ruwe", "matched_transits", "nu_eff_used_in_astrometry", "pseudocolour"])
    sky = sky.append_column("matched_observations", SKY["matched_transits"])
    has = pc.is_valid(SKY["ruwe"])
    ruwe = SKY.select(["source_id", "ruwe"]).filter(has)
    with FakeTap({"gaiadr2.gaia_source": sky, "gaiadr2.ruwe": ruwe}) as tap:
        got = fetch(tap, tmp_path / "a", settings=settings(tap, "gaia-dr2"))
    wanted = expected()
    by_id = dict(zip(got.table["source_id"].to_pylist(), got.table["ruwe"].to_pylist(), strict=True))
    assert by_id == dict(zip(wanted["source_id"].to_pylist(), wanted["ruwe"].to_pylist(), strict=True))
    assert got.table["matched_transits"].equals(wanted["matched_transits"])
    assert "pseudocolour" in got.report["lacks"]
    with FakeTap({"gaiadr2.gaia_source": sky}) as tap:
        got = fetch(tap, tmp_path / "b", settings=settings(tap, "gaia-dr2"))
        assert "ruwe" in got.report["lacks"]
        assert got.table.num_rows == wanted.num_rows


def test_the_margin_of_a_mock_is_asked_for(tmp_path):
    popid = pa.array([i % 12 for i in range(ROWS)], pa.int16())
    with FakeTap({"gedr3mock.main": SKY.append_column("popid", popid)}) as tap:
        got = fetch(tap, tmp_path, settings=settings(tap, "galaxia-dr3"))
    limit = pc.add(1.0, pc.multiply(6.0, SKY["parallax_error"]))
    assert got.table.num_rows == SKY.filter(pc.less(SKY["parallax"], limit)).num_rows > expected().num_rows
    assert got.table["popid"].type == pa.int32()
    assert "ruwe" not in got.table.schema.names


# Every fault alone

STEPS = ("sync", "create", "run", "phase", "result", "delete")
EVERYWHERE = (
    Fault("status", "any", status=503),
    Fault("status", "any", status=429, retry_after="7"),
    Fault("status", "any", status=500),
    Fault("reset", "any"),
    Fault("html", "any"),
)
RESULTS = tuple(
    Fault(kind, "result")
    for kind in ("cut", "short", "error", "missing", "doubled", "overflow", "moved", "nameless")
)
ONE_PART = (
    *(
        Fault(f.kind, step, times=2, status=f.status, retry_after=f.retry_after)
        for f in EVERYWHERE
        for step in STEPS
    ),
    *RESULTS,
)
SINGLE = (
    *(Fault(kind, "sync", skip=1) for kind in ("cut", "short", "error", "missing", "doubled", "miscount")),
    Fault("miscount", "sync", skip=2),
    Fault("failed", "phase"),
    Fault("failed", "phase", skip=2),
    Fault("lost", "phase"),
    Fault("lost", "run"),
    Fault("lost", "result"),
    Fault("lost", "delete"),
    Fault("error", "create"),
    Fault("refused", "run"),
)


@pytest.mark.parametrize(
    ("fault", "chunk_rows"),
    [*((fault, 10_000) for fault in ONE_PART), *((fault, 1000) for fault in SINGLE)],
    ids=lambda p: f"{p.kind}-{p.step}-{p.status}-{p.skip}" if isinstance(p, Fault) else str(p),
)
def test_each_fault_alone_changes_nothing(tap, tmp_path, fault, chunk_rows):
    tap.play(Fault(**vars(fault)))
    got = fetch(tap, tmp_path, settings=settings(tap, archive={"chunk_rows": chunk_rows}))
    assert_whole(got)
    assert tap.played[fault.kind] >= 1
    harmless = fault.step == "delete" or (fault.step == "run" and fault.kind in ("html", "refused"))
    assert got.report["retries"] >= (0 if harmless else 1)
    assert not tap.jobs
    assert not list(tmp_path.glob("*.job"))


@pytest.mark.parametrize("step", STEPS)
def test_a_service_that_stalls_is_left_after_the_time_limit(tap, tmp_path, step):
    tap.play(Fault("stall", step, seconds=20.0))
    options = settings(tap, archive={"timeout": 0.3})
    begun = time.monotonic()
    assert_whole(fetch(tap, tmp_path, settings=options))
    assert time.monotonic() - begun < 8.0
    assert not tap.jobs


def test_a_count_that_takes_too_long_is_left_to_a_job(tap, tmp_path):
    tap.play(Fault("status", "sync", times=10**6, skip=1, status=504))
    assert_whole(fetch(tap, tmp_path))
    assert sum("COUNT" in query for query in tap.runs) == 5
    assert not tap.jobs


@pytest.mark.parametrize("seed", range(12))
def test_any_mixture_of_faults_ends_in_the_whole_table_or_in_a_clear_error(tmp_path, seed):
    draws = random.Random(seed)  # noqa: S311 - a test
    kinds = [f.kind for f in RESULTS] + ["status", "reset", "html", "failed", "lost", "error"]
    left = 30

    def draw(step: str) -> Fault | None:
        nonlocal left
        if left <= 0 or draws.random() > 0.25:
            return None
        left -= 1
        status, after = draws.choice([(503, ""), (429, "3"), (502, "")])
        # a service that says twice that it lacks a column is believed
        kind = draws.choice([kind for kind in kinds if (kind, step) != ("nameless", "sync")])
        return Fault(kind, step, status=status, retry_after=after)

    with FakeTap({TABLE: SKY}) as tap:
        tap.draw, said = draw, []
        for _ in range(10):
            try:
                got = fetch(tap, tmp_path)
                break
            except (DataError, TaskError) as error:
                said.append(str(error))
        assert_whole(got)
        assert all(f"cell {CELL.name} of {TABLE} at {tap.url}" in text for text in said)
        assert not tap.jobs


# Faults that stay


@pytest.mark.parametrize("kind", ["missing", "doubled", "overflow", "moved", "nameless", "error"])
def test_an_answer_that_stays_wrong_is_an_error_that_says_what_and_no_job_is_left(tap, tmp_path, kind):
    tap.play(Fault(kind, "result", times=10**6))
    words = {
        "missing": rf"cell {CELL.name} of {TABLE} at http.*: \d+ rows came, but count\(\*\) says \d+",
        "doubled": "1 sources twice",
        "overflow": r"left rows out \(OVERFLOW.*archive.chunk_rows",
        "moved": "source_id 4611686018427387905, asked were",
        "nameless": "lacks the columns radial_velocity_error",
        "error": "the database has gone away",
    }
    with pytest.raises(DataError, match=words[kind]):
        fetch(tap, tmp_path)
    assert not tap.jobs
    assert tap.played[kind] == 5


def test_a_limit_of_the_service_below_the_parts_is_no_silent_loss(tmp_path):
    with FakeTap({TABLE: SKY}, hard_limit=200) as tap:
        with pytest.raises(DataError, match=r"OVERFLOW.*lower it"):
            fetch(tap, tmp_path)
        assert not tap.jobs


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", "create", status=400), "HTTP 400: busy"),
        (Fault("status", "create", status=401), "HTTP 401"),
        (Fault("status", "create", status=403), "HTTP 403"),
        (Fault("status", "create", status=404), "there is no TAP service: HTTP 404"),
        (Fault("status", "sync", status=404), "there is no TAP service: HTTP 404"),
    ],
)
def test_refusals_fail_at_once_with_the_services_words(tap, tmp_path, fault, words):
    tap.play(fault)
    quick = Quick()
    with pytest.raises(DataError, match=words):
        fetch(tap, tmp_path, clock=quick.clock)
    assert quick.waits == []


def test_a_job_that_fails_for_ever_is_an_error_with_the_services_words(tap, tmp_path):
    tap.play(Fault("failed", "phase", times=10**6))
    with pytest.raises(DataError, match=r"the job ended in phase ERROR: the disk of the server is full"):
        fetch(tap, tmp_path)
    assert not tap.jobs


@pytest.mark.parametrize("step", ["sync", "create", "phase", "result"])
def test_the_budget_ends_a_part_and_finished_ones_are_kept(tap, tmp_path, step):
    skip = {"sync": 3, "create": 1, "phase": 2, "result": 1}[step]
    tap.play(Fault("status", step, times=10**6, skip=skip, status=503))
    quick = Quick()
    options = settings(tap, archive={"budget": 500.0})
    with pytest.raises(TaskError, match=r"archive.budget = 500 s, the last fault: HTTP 503.*same command"):
        fetch(tap, tmp_path, clock=quick.clock, settings=options)
    assert sum(quick.waits) < 2 * 500.0
    assert not tap.jobs
    tap.faults.clear()
    created = tap.log.count("create")
    assert_whole(fetch(tap, tmp_path, settings=options))
    assert tap.log.count("create") - created == (4 if step == "sync" else 3)


def test_retry_after_is_honoured_as_seconds_and_as_date(tap, tmp_path):
    quick = Quick()
    tap.play(Fault("status", "create", status=429, retry_after="120"))
    tap.play(Fault("status", "result", status=503, retry_after="Wed, 21 Oct 2105 07:28:00 GMT"))
    with pytest.raises(TaskError, match="HTTP 503"):  # it asks for 80 years
        fetch(tap, tmp_path, clock=quick.clock)
    assert max(quick.waits) == pytest.approx(120.75)
    assert not tap.jobs


def test_a_job_that_fails_twice_in_the_same_fatal_way_is_not_submitted_again(tap, tmp_path):
    tap.play(Fault("fatal", "phase", times=10**6))
    quick = Quick()
    with pytest.raises(DataError, match=r"the job ended in phase ERROR: the disk of the server is full"):
        fetch(tap, tmp_path, clock=quick.clock)
    assert tap.log.count("create") == 2
    assert not tap.jobs


def test_a_job_that_fails_once_in_a_fatal_way_is_submitted_again(tap, tmp_path):
    tap.play(Fault("fatal", "phase"))
    assert_whole(fetch(tap, tmp_path))
    assert not tap.jobs


# Redirections


def test_jobs_may_lie_elsewhere_on_the_same_host(tmp_path):
    with FakeTap({TABLE: SKY}, jobs_at="/__system__/tap/run/async") as tap:
        assert_whole(fetch(tap, tmp_path))
        assert not tap.jobs


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("step", ["create", "run"])
def test_a_service_that_has_moved_is_an_error_and_its_list_of_jobs_stays(tap, tmp_path, step, status):
    with FakeTap({TABLE: SKY}) as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        leads = f"{elsewhere}/async" + ("/{job}/phase" if step == "run" else "")
        tap.play(Fault("redirect", step, times=10**6, status=status, location=leads))
        with pytest.raises(DataError, match=rf"it redirects to {elsewhere}/async.*; correct archive.url"):
            fetch(tap, tmp_path)
        assert other.log == []
    assert "delete all" not in tap.log
    assert not tap.jobs


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_question_that_is_redirected_is_not_asked_elsewhere(tap, tmp_path, status):
    with FakeTap({TABLE: SKY}) as other:
        tap.play(Fault("redirect", "sync", times=10**6, status=status, location=f"{other.url}/sync"))
        for ask in (lambda: fetch(tap, tmp_path), lambda: check_service(settings(tap))):
            with pytest.raises(DataError, match=rf"it redirects to {other.url}/sync; correct archive.url$"):
                ask()
        assert other.log == []


def test_a_job_whose_deletion_is_redirected_is_deleted_in_the_other_way(tap, tmp_path):
    tap.play(Fault("redirect", "delete", times=1, status=301, location=f"{tap.url}/async"))
    assert_whole(fetch(tap, tmp_path))
    assert not tap.jobs


# Interruptions


class KilledError(BaseException):
    """As if the process ended here: nothing below catches it."""


@contextmanager
def killed_after(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[Callable[[], int]]:
    """End the download behind its n-th step: a request, or something written down."""
    seen = 0

    def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **options: Any) -> Any:
            nonlocal seen
            result = function(*args, **options)
            seen += 1
            if seen == number:
                getattr(result, "close", lambda: None)()
                raise KilledError
            return result

        return step

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "request", wrap(requests.Session.request))
        for name in ("keep_plan", "publish", "keep_job", "forget_job"):
            patch.setattr(Workplace, name, wrap(getattr(Workplace, name)))
        yield lambda: seen


def test_a_download_killed_at_any_step_is_taken_up_and_no_job_runs_twice(monkeypatch, tmp_path):
    low, high = CELL.id_range
    sky = gaia_like(2_000, (low, (low + high) // 2), seed=3)  # two parts
    with FakeTap({TABLE: sky}) as tap, killed_after(monkeypatch, 0) as steps:
        whole = fetch(tap, tmp_path / "all", settings=settings(tap, archive={"chunk_rows": 1000}))
        n = steps()
    assert whole.report["chunks"] == 2
    attached = []
    for number in range(1, n + 1):
        folder = tmp_path / str(number)
        with FakeTap({TABLE: sky}) as tap:
            options = settings(tap, archive={"chunk_rows": 1000})
            with killed_after(monkeypatch, number), pytest.raises(KilledError):
                fetch(tap, folder, settings=options)
            got = fetch(tap, folder, settings=options)
            assert got.table.equals(whole.table)
            attached.append(got.report["attached"])
            assert max(tap.runs.values()) == 1
            # one that was made and not yet written down, and was never run
            assert len(tap.jobs) <= 1
            assert all(job.phase == "PENDING" for job in tap.jobs.values())
            assert not list(folder.glob("*.job"))
    assert sum(attached) >= n // 3


def test_stop_ends_a_blocked_read_within_a_second_and_the_job_is_taken_up(tap, tmp_path):
    tap.play(Fault("stall", "result", seconds=30.0))
    options = settings(tap, archive={"timeout": 60.0})
    begun = time.monotonic()
    with stop_when(tap, "result") as stop, pytest.raises(ResumeError, match=r"same command"):
        fetch_cell(options, CELL, tmp_path, stop=stop)
    assert time.monotonic() - begun < 3.0
    assert len(tap.jobs) == 1
    got = fetch(tap, tmp_path, settings=options)
    assert_whole(got)
    assert got.report["attached"] == 1
    assert max(tap.runs.values()) == 1
    assert not tap.jobs


def test_stop_ends_the_wait_for_a_job_and_a_long_back_off(tmp_path):
    with FakeTap({TABLE: SKY}, job_seconds=60.0) as tap:
        begun = time.monotonic()
        with stop_when(tap, "phase", 3) as stop, pytest.raises(ResumeError):
            fetch_cell(settings(tap), CELL, tmp_path / "job", stop=stop)
        tap.play(Fault("status", "create", status=503, retry_after="600"))
        with stop_when(tap, "create", 2) as stop, pytest.raises(ResumeError):
            fetch_cell(settings(tap), CELL, tmp_path / "wait", stop=stop)
        assert time.monotonic() - begun < 4.0


@pytest.mark.parametrize("phase", ["PENDING", "EXECUTING", "COMPLETED", "ABORTED", "gone"])
def test_a_job_in_the_journal_is_taken_up_in_whatever_phase_it_is(tap, tmp_path, phase):
    tap.play(Fault("stall", "result", seconds=30.0))
    with stop_when(tap, "result") as stop, pytest.raises(ResumeError):
        fetch_cell(settings(tap), CELL, tmp_path, stop=stop)
    (name,) = tap.jobs
    if phase == "gone":
        del tap.jobs[name]
    else:
        tap.jobs[name].phase = phase
        tap.jobs[name].ends = time.monotonic() + 0.3
    got = fetch(tap, tmp_path)
    assert_whole(got)
    assert got.report["attached"] == 1
    assert not tap.jobs


def test_other_cuts_start_anew_and_delete_the_old_job(tap, tmp_path):
    tap.play(Fault("stall", "result", seconds=30.0, skip=1))
    with stop_when(tap, "result", 2) as stop, pytest.raises(ResumeError):
        fetch_cell(settings(tap), CELL, tmp_path, stop=stop)
    assert len(tap.jobs) == 1
    other = settings(tap, selection={"parallax_max": 0.2})
    got = fetch(tap, tmp_path, settings=other)
    assert fingerprint(got.table) == fingerprint(expected(0.35))
    assert not tap.jobs


def test_the_correction_of_parallaxes_asks_for_nothing_new(tap, tmp_path):
    fetch(tap, tmp_path)
    asked = len(tap.log)
    assert_whole(fetch(tap, tmp_path, settings=settings(tap, selection={"zero_point": True})))
    assert len(tap.log) == asked


@pytest.mark.parametrize("skip", range(4))
def test_the_bytes_of_a_download_that_was_interrupted_are_those_of_all_its_parts(tap, tmp_path, skip):
    whole = fetch(tap, tmp_path / "whole").report
    calls = tap.log.count("result") + skip + 1
    tap.play(Fault("stall", "result", seconds=30.0, skip=skip))
    with stop_when(tap, "result", calls) as stop, pytest.raises(ResumeError):
        fetch_cell(settings(tap, archive={"timeout": 60.0}), CELL, tmp_path, stop=stop)
    heard: list[tuple[int, int]] = []
    got = fetch(tap, tmp_path, heard=lambda rows, size: heard.append((rows, size)))
    assert_whole(got)
    assert got.report["bytes"] == whole["bytes"] > 100 * whole["rows"]
    assert tuple(map(sum, zip(*heard, strict=True))) == (whole["rows"], whole["bytes"])


def test_damaged_parts_are_fetched_again(tap, tmp_path):
    fetch(tap, tmp_path)
    for path, damage in zip(sorted(tmp_path.glob("*-*.parquet")), (b"x", b"", None), strict=False):
        path.unlink() if damage is None else path.write_bytes(damage)
    jobs = tap.log.count("create")
    assert_whole(fetch(tap, tmp_path))
    assert tap.log.count("create") == jobs + 3


# Before a scan


def test_a_good_service_passes(tap):
    facts = check_service(settings(tap, selection={"ruwe_max": 1.4, "zero_point": True}))
    assert (facts["url"], facts["table"], facts["release"], facts["lacks"]) == (
        tap.url,
        TABLE,
        "gaia-dr3",
        [],
    )
    assert set(facts["columns"]) == set(expected().column_names)
    assert tap.log == ["sync"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", "sync", times=99, status=503), "no answer for 60 s, the last fault: HTTP 503"),
        (Fault("reset", "sync", times=99), "no answer for 60 s, the last fault: the connection failed"),
        (Fault("html", "sync", times=99), "no VOTable: Down for maintenance"),
        (Fault("status", "sync", status=403), "HTTP 403"),
        (Fault("error", "sync", times=99), "the database has gone away"),
    ],
)
def test_a_bad_service_is_named_in_one_line_before_the_scan(tap, fault, words):
    tap.play(fault)
    with pytest.raises(DataError, match=words) as caught:
        check_service(settings(tap), clock=Quick().clock)
    assert f"{TABLE} at {tap.url}: " in str(caught.value)
    assert '"files" and "mock" need no network' in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_host_that_is_not_there_a_table_or_a_column_that_is_missing_are_found(tap):
    with pytest.raises(DataError, match=r"need no network"):
        check_service(settings(tap, archive={"url": "http://127.0.0.1:9/tap"}))
    with pytest.raises(DataError, match=r"HTTP 400: Could not locate table 'other.stars'"):
        check_service(settings(tap, archive={"table": "other.stars"}))
    lacking = SKY.drop_columns(["pmra", "ruwe"])
    with FakeTap({TABLE: lacking}) as poor, pytest.raises(DataError, match="lacks the columns pmra; correct"):
        check_service(settings(poor))
    without = SKY.drop_columns(["ruwe"])
    with FakeTap({TABLE: without}) as poor:
        assert check_service(settings(poor))["lacks"] == ["ruwe"]
        with pytest.raises(DataError, match="no column ruwe"):
            check_service(settings(poor, selection={"ruwe_max": 1.4}))
    with FakeTap({"gedr3mock.main": SKY}) as poor, pytest.raises(DataError, match="has no popid"):
        check_service(settings(poor, "galaxia-dr3"))


@pytest.mark.parametrize("unknown", [True, False])
def test_without_a_network_two_tries_are_enough(tap, monkeypatch, unknown):
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if unknown:
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
    host = "archive.invalid" if unknown else "127.0.0.1:9"
    words = "Failed to resolve 'archive.invalid'" if unknown else "Connection refused"
    quick = Quick()
    with pytest.raises(DataError, match=rf"at http://{host}/tap: the connection failed: .*{words}"):
        check_service(settings(tap, archive={"url": f"http://{host}/tap"}), clock=quick.clock)
    assert len(quick.waits) == 1
    assert sum(quick.waits) <= 1.0


# Logins


GALILEO = ("galileo", "sidereus-nuncius")


@pytest.fixture
def _galileo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIAMACHINAE_GAIA_USER", GALILEO[0])
    monkeypatch.setenv("VIAMACHINAE_GAIA_PASSWORD", GALILEO[1])


@pytest.mark.usefixtures("_galileo")
def test_cells_side_by_side_share_one_login_and_renew_it_once(tmp_path):
    cells = [Cell(4, CELL.pixel + i) for i in range(4)]
    skies = [gaia_like(1_500, cell.id_range, seed=cell.pixel) for cell in cells]
    with FakeTap({TABLE: pa.concat_tables(skies)}, login=GALILEO) as tap, ThreadPoolExecutor(4) as pool:
        options = settings(tap, archive={"login": True})
        check_service(options)

        def one(cell: Cell) -> int:
            folder = tmp_path / f"{tap.logins}-{cell.name}"
            return fetch_cell(options, cell, folder, clock=Quick().clock).table.num_rows

        rows = [sky.filter(pc.less(sky["parallax"], 1.15)).num_rows for sky in skies]
        assert list(pool.map(one, cells)) == rows
        assert tap.logins == 1
        tap.logins += 1  # the service has forgotten the first one
        assert list(pool.map(one, cells)) == rows
        assert tap.logins == 3


@pytest.mark.usefixtures("_galileo")
def test_a_login_that_runs_out_in_the_middle_is_renewed_without_loss(tap, tmp_path):
    tap.login = GALILEO
    options = settings(tap, archive={"login": True})
    forgotten: list[str] = []

    def forget(step: str) -> None:
        with tap.lock:
            if step not in forgotten:
                forgotten.append(step)
                tap.logins += 1

    tap.draw = forget
    got = fetch(tap, tmp_path, settings=options)
    assert_whole(got)
    assert got.report["retries"] == 0
    assert sorted(forgotten) == ["create", "delete", "phase", "result", "run", "sync"]
    assert tap.logins == 1 + 2 * len(forgotten)  # the service forgets by counting one on
    assert not tap.jobs


@pytest.mark.usefixtures("_galileo")
def test_a_service_that_refuses_in_spite_of_a_login_is_asked_twice(tap, tmp_path):
    tap.login = GALILEO
    tap.play(Fault("status", "create", times=10**6, status=403))
    with pytest.raises(DataError, match="HTTP 403: busy"):
        fetch(tap, tmp_path, settings=settings(tap, archive={"login": True}))
    assert (tap.log.count("create"), tap.logins) == (2, 2)


@pytest.mark.usefixtures("_galileo")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_password_does_not_travel_on(tap, status):
    with FakeTap({TABLE: SKY}, login=GALILEO) as other:
        leads = other.url.replace("127.0.0.1", "localhost").removesuffix("/tap") + "/login"
        tap.login = GALILEO
        tap.play(Fault("redirect", "login", times=10**6, status=status, location=leads))
        with pytest.raises(ConfigError, match=f"refuses the login .it redirects to {leads}; correct"):
            check_service(settings(tap, archive={"login": True}))
        assert other.logins == 0


@pytest.mark.usefixtures("_galileo")
def test_a_login_where_nobody_listens_is_not_taken_for_wrong_credentials(tap):
    options = settings(tap, archive={"login": True, "url": "http://127.0.0.1:9/tap"})
    with pytest.raises(DataError, match="Connection refused"):
        check_service(options, clock=Quick().clock)


def test_a_login_is_made_with_the_environment_and_its_secrets_are_written_nowhere(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv("VIAMACHINAE_GAIA_USER", "galileo")
    monkeypatch.setenv("VIAMACHINAE_GAIA_PASSWORD", "sidereus-nuncius")
    caplog.set_level("DEBUG")
    with FakeTap({TABLE: SKY}, login=("galileo", "sidereus-nuncius")) as tap:
        options = settings(tap, archive={"login": True})
        check_service(options)
        assert_whole(fetch(tap, tmp_path, settings=options))
        with pytest.raises(DataError, match="HTTP 401: log in first"):
            check_service(settings(tap))
        monkeypatch.setenv("VIAMACHINAE_GAIA_PASSWORD", "wrong-secret")
        with pytest.raises(ConfigError, match=r"refuses the login \(HTTP 401: wrong password\)") as caught:
            check_service(options)
    assert "secret" not in str(caught.value)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"sidereus" not in written
    assert "sidereus" not in caplog.text


def test_a_login_takes_netrc_and_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.delenv("VIAMACHINAE_GAIA_USER", raising=False)
    monkeypatch.delenv("VIAMACHINAE_GAIA_PASSWORD", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with FakeTap({TABLE: SKY}, login=("galileo", "sidereus")) as tap:
        options = settings(tap, archive={"login": True})
        with pytest.raises(ConfigError, match="VIAMACHINAE_GAIA_USER"):
            check_service(options)
        netrc = tmp_path / ".netrc"
        netrc.write_text("machine 127.0.0.1 login galileo password sidereus\n")
        netrc.chmod(0o600)
        check_service(options)
        # without archive.login nothing of ~/.netrc is sent
        with pytest.raises(DataError, match="HTTP 401"):
            check_service(settings(tap))
        assert tap.secrets == []
    with pytest.raises(ConfigError, match="not https"):
        check_service(settings(tap, archive={"login": True, "url": "http://archive.example/tap"}))
