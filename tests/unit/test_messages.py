"""What a run and `status` say of results that are gone, and of what a killed run left behind."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from fake_scan import NAMES, STAGES, run, settings

from viamachinae.cli.words import counted, listed
from viamachinae.errors import ResumeError
from viamachinae.scan.log import tell_of
from viamachinae.scan.merge import merge
from viamachinae.scan.options import RunOptions
from viamachinae.scan.results import run_again
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.writers import text_writer
from viamachinae.schema.publish import make_folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out"
    run(out)
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


def claim(out: Path, host: str, *tasks: str) -> Path:
    """Leave the claim of a process that is gone, where the host is this one."""
    body = {"format": 1, "host": host, "pid": 4194305, "at": "2001-01-01T00:00:00Z", "beat": 1}
    path = out / "claims" / f"{host}~4194305~{len(tasks)}.json"
    make_folder(path.parent)
    path.write_text(json.dumps({**body, "tasks": [{"id": task} for task in tasks]}))
    return path


def test_a_claim_that_a_killed_run_left_of_a_done_task_is_not_shown_and_goes_with_the_next_run(
    out: Path,
) -> None:
    task = f"scores/{NAMES[0]}/pm_lambda/+000"
    ours = claim(out, socket.gethostname(), task)
    theirs = claim(out, "elsewhere", task)
    assert [found.host for found in scan_status(out).claims] == ["elsewhere"]
    half = claim(out, socket.gethostname(), task, "scores/unknown")
    assert {found.path for found in scan_status(out).claims} == {half, theirs}
    assert not run(out)
    assert not ours.exists()
    assert not half.exists()
    assert theirs.exists()


def test_results_that_are_gone_or_cut_short_have_a_line_a_stage_and_their_names_in_the_log(
    out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(out / "scores")
    for name in NAMES:
        (out / "rois" / f"{name}.parquet").write_text("cut")
    assert run(out)["scores"] == 6
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    first = ", ".join(f"scores/{NAMES[0]}/pm_lambda/+00{i}" for i in range(3))
    assert [line for line in warned if "gone or cut short" in line] == [
        f"2 of lines gone or cut short, and needed again (lines/{NAMES[0]}, lines/{NAMES[1]})",
        f"6 of scores gone or cut short, and needed again ({first}, ...)",
    ]
    log = (out / "log" / "run.log").read_text()
    assert f"scores/{NAMES[1]}/pm_lambda/+002\n" in log


def test_changed_bytes_of_the_candidates_are_spoken_of(out: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = out.glob("streams/*.parquet")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert run(out)["streams"] == 1
    said = f"streams/sky: the bytes of {path.relative_to(out)} are not those that were published"
    assert f"1 of streams not as their receipts say, and made anew ({said})" in caplog.text


def test_what_is_wrong_with_a_result_is_said_with_its_size(tmp_path: Path) -> None:
    store, task = Store(tmp_path), Task("stars", "p1", "k")
    assert store.amiss(task) == ""
    path = tmp_path / "stars" / "p1.txt"
    store.publish(task, Products({"stars/p1.txt": text_writer("12345")}), started=0.0)
    assert store.amiss(task) == ""
    path.write_text("123")
    assert store.amiss(task) == "stars/p1.txt has 3 bytes instead of 5"
    assert not store.done(task)
    path.unlink()
    assert store.amiss(task) == "stars/p1.txt is not there"
    assert store.amiss(Task("stars", "p1", "another")) == ""


def test_many_names_go_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "viamachinae")
    tell_of(["a", "b", "c"], "of x lost")
    assert [record.getMessage() for record in caplog.records] == ["3 of x lost (a, b, c)"]
    caplog.clear()
    tell_of(["a", "b", "c", "d"], "of x lost")
    levels = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert levels[0] == ("WARNING", "4 of x lost (a, b, c, ...)")
    assert levels[1:] == [("DEBUG", f"of x lost: {name}") for name in "abcd"]


def test_a_sky_that_downloads_nothing_has_no_cells(out: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    merge([out], both)
    stages = [stage.stage for stage in scan_status(both).stages]
    assert "cells" not in stages
    assert "stars" in stages
    given = settings(patches={"centres": [[200.0, 20.0]]})
    with pytest.raises(ResumeError) as ended:
        run(tmp_path / "new", given, RunOptions(end=1.0), STAGES)
    assert "stars" in str(ended.value)
    assert "cells" not in str(ended.value)


def test_wordings() -> None:
    assert [counted(n, "file") for n in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert run_again(Path("a b")) == "viamachinae run 'a b/scan.toml' --out 'a b'"
    assert len(listed("title", list("abcdefghij"))) == 11
    assert listed("title", list("abcdefghijkl"))[-1] == "  and 2 more"
