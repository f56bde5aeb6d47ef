"""Which addresses a service may announce for its jobs, and which answers mean that a job runs or is gone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from viamachinae.stars.archive.connection import Answer
from viamachinae.stars.archive.faults import FaultError, LostJobError, RefusedError, TransientError
from viamachinae.stars.archive.patience import Clock, Patience
from viamachinae.stars.archive.service import Service

HTTPS, HTTP = "https://archive.example/tap", "http://archive.example:8080/tap"
JOB = f"{HTTPS}/async/7"


class Said:
    """In place of a connection: gives answers in turn, and keeps what was asked."""

    def __init__(self, url: str, *answers: Answer | FaultError) -> None:
        self.url = url
        self.asked: list[tuple[str, str]] = []
        self._answers = list(answers)

    def ask(self, method: str, url: str, *_: Any, **__: Any) -> Answer:
        self.asked.append((method, url))
        answer = self._answers.pop(0)
        if isinstance(answer, FaultError):
            raise answer
        return answer


def patience() -> Patience:
    return Patience("a cell", 10.0, threading.Event(), Clock())


def service(connection: Said) -> Service:
    return Service(connection)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [303, 302, 301, 201])
@pytest.mark.parametrize(
    ("url", "location", "job"),
    [
        (HTTPS, "https://archive.example/tap/async/7", "https://archive.example/tap/async/7"),
        (HTTPS, "https://ARCHIVE.example/tap/async/7/?x=1#y", "https://ARCHIVE.example/tap/async/7"),
        (HTTPS, "https://archive.example/__system__/tap/run/async/7", "="),
        (HTTPS, "http://archive.example/tap/async/7", "https://archive.example/tap/async/7"),
        (HTTPS, "http://archive.example:8080/tap/async/7", "https://archive.example/tap/async/7"),
        (HTTP, "https://archive.example/tap/async/7", "http://archive.example:8080/tap/async/7"),
        (HTTP, "http://archive.example:8080/tap/async/7", "="),
    ],
)
def test_a_job_on_the_host_of_the_service_is_taken_by_the_scheme_of_its_url(url, location, job, status):
    said = Said(url, Answer(status, b"", location))
    assert service(said).create("SELECT 1", 10, patience()) == (location if job == "=" else job)


@pytest.mark.parametrize(
    "location",
    [
        "https://other.example/tap/async/7",
        "http://other.example/tap/async",
        "https://archive.example.evil/tap/async/7",
        "https://archive.example/tap/async",
        "https://archive.example/tap/async/",
        "https://archive.example/tap/async/..",
        "https://archive.example/tap/async/7/phase",
        "https://archive.example/login",
        "ftp://archive.example/tap/async/7",
    ],
)
def test_anything_else_is_no_job(location):
    said = Said(HTTPS, Answer(303, b"", location))
    with pytest.raises(RefusedError) as caught:
        service(said).create("SELECT 1", 10, patience())
    assert caught.value.words == f"it redirects to {location}; correct archive.url"


@pytest.mark.parametrize(
    ("answer", "asks"),
    [
        (Answer(303, b"", JOB), 1),
        (Answer(303, b"", "http://archive.example/__system__/tap/run/async/7"), 1),
        (Answer(200, b"", ""), 1),
        (Answer(301, b"", "https://other.example/tap/async/7/phase"), 2),
        (Answer(301, b"", "https://other.example/tap/async/7"), 2),
        (Answer(303, b"", "https://archive.example/tap/async/8"), 2),
        (Answer(303, b"", ""), 2),
    ],
)
def test_a_job_runs_when_the_service_leads_to_it_and_else_when_its_phase_says_so(answer, asks):
    running = Said(HTTPS, answer, Answer(200, b"EXECUTING", ""))
    service(running).run(JOB, patience())
    assert len(running.asked) == asks
    waiting = Said(HTTPS, answer, Answer(200, b"PENDING", ""))
    if asks == 1:
        service(waiting).run(JOB, patience())
    else:
        with pytest.raises(RefusedError, match="redirects to"):
            service(waiting).run(JOB, patience())


def test_a_deletion_counts_when_the_service_leads_to_its_list_or_knows_the_job_no_more():
    done = Said(HTTPS, Answer(303, b"", "http://archive.example/__system__/tap/run/async"))
    service(done).delete(JOB, patience())
    assert done.asked == [("DELETE", JOB)]
    moved = Answer(301, b"", "https://other.example/tap/async/7")
    gone = Said(HTTPS, moved, LostJobError("HTTP 404"))
    service(gone).delete(JOB, patience())
    assert gone.asked == [("DELETE", JOB), ("GET", f"{JOB}/phase")]
    there = Answer(200, b"COMPLETED", "")
    stays = Said(HTTPS, moved, there, moved, there)
    with pytest.raises(TransientError, match="still there"):
        service(stays).delete(JOB, patience())


@pytest.mark.parametrize("address", [f"{HTTPS}/async", f"{HTTPS}/async/", f"{HTTPS}", "nonsense"])
def test_what_is_no_job_is_never_deleted(address):
    nothing = Said(HTTPS)
    service(nothing).delete(address, patience())
    assert nothing.asked == []


def test_an_answer_that_is_kept_as_a_result_is_fetched_and_other_redirections_are_not_followed():
    table = b"<VOTABLE/>"
    kept = Said(HTTPS, Answer(303, b"", f"{JOB}/results/result"), Answer(200, table, ""))
    with pytest.raises(FaultError):
        service(kept).answer("SELECT 1", patience())  # no table in it
    assert kept.asked == [("POST", f"{HTTPS}/sync"), ("GET", f"{JOB}/results/result")]
    moved = Said(HTTPS, Answer(301, b"", "https://archive.example/new/sync"))
    with pytest.raises(RefusedError, match=r"redirects to https://archive.example/new/sync"):
        service(moved).answer("SELECT 1", patience())
    assert len(moved.asked) == 1
