"""Commands, their help, their messages and their exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.main import get_command

from viamachinae import __version__
from viamachinae.cli import main as cli
from viamachinae.cli.commands import candidates_table, settings_of
from viamachinae.cli.demo import compare
from viamachinae.cli.run import options_of
from viamachinae.config.settings import MockStream, Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ExitCode, ResumeError, TaskError
from viamachinae.scan.changes import Changes
from viamachinae.scan.drive import run_scan
from viamachinae.scan.notes import write_note
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.stages import DEFAULT_STAGES
from viamachinae.scan.task import Products

COMMANDS = ("demo", "init", "plan", "fetch", "run", "submit", "report", "calibrate", "export", "status",
            "verify", "retry", "clean", "pack", "merge", "data fetch", "benchmark engine", "benchmark mock",
            "benchmark runner", "benchmark scorers")  # fmt: skip


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def command_names(group: Any, above: str = "") -> Iterator[str]:
    """Yield the name of every command, with those of the groups above it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from command_names(command, f"{above}{name} ")
        else:
            yield f"{above}{name}"


def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(command_names(get_command(cli.app))) == set(COMMANDS)
    for name in COMMANDS:
        assert code_of(*name.split(), "--help") == ExitCode.COMPLETE
        assert f"Example: viamachinae {name}" in " ".join(capsys.readouterr().out.split())


def test_the_title_of_the_candidates_says_how_many_are_shown() -> None:
    row = {"stream_id": "a", "significance": 5.0, "n_members": 9, "n_patches": 1}
    row |= dict.fromkeys(("ra", "dec", "pmra", "pmdec"), 1.0)
    titles = [candidates_table(pd.DataFrame([row] * n)).title for n in (1, 10, 25)]
    assert titles == ["1 stream candidate", "10 stream candidates", "25 stream candidates, the first 10"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("--version") == ExitCode.COMPLETE
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("run",),
        ("run", "scan.toml"),
        ("run", "demo", "--out", "x", "--workers", "-1"),
        ("status", "a", "--no-such-option"),
        ("calibrate", "a"),
    ],
)
def test_wrong_usage_is_bad_configuration(arguments: tuple[str, ...]) -> None:
    assert code_of(*arguments) == ExitCode.CONFIG


def test_a_missing_file_is_named_with_the_packaged_scans(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("run", "nowhere", "--out", "x") == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert "nowhere" in error
    assert "demo" in error
    assert "Traceback" not in error


def test_a_folder_with_the_name_of_a_packaged_scan_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert settings_of("demo").scan.name == "demo"


def test_a_bad_setting_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toml = tmp_path / "scan.toml"
    toml.write_text("[patches]\nradius = -3\n")
    assert code_of("run", str(toml), "--out", str(tmp_path / "out")) == ExitCode.CONFIG
    assert "radius" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unwritable_folder_is_bad_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, blocked = tmp_path / "scan.toml", tmp_path / "file"
    toml.write_text(dump(Settings()))
    blocked.write_text("not a folder")
    assert code_of("run", str(toml), "--out", str(blocked / "out"), "--inline") == ExitCode.CONFIG
    assert "--out" in capsys.readouterr().err


def test_init_writes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scan.toml"
    assert code_of("init", str(path)) == ExitCode.COMPLETE
    assert path.read_text().startswith("#")
    assert code_of("init", str(path)) == ExitCode.CONFIG
    assert "--force" in capsys.readouterr().err
    assert code_of("init", str(path), "--force", "--preset", "nonsense") == ExitCode.CONFIG


@pytest.mark.parametrize(
    "command",
    [("status",), ("report",), ("export", "--to", "x"), ("verify",), ("retry",), ("clean",), ("pack",),
     ("merge", "--out", "x")],
)  # fmt: skip
def test_a_folder_without_a_scan_is_refused(
    tmp_path: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of(command[0], str(tmp_path), *command[1:]) == ExitCode.CONFIG
    assert "scan.toml" in capsys.readouterr().err


def test_a_scan_without_candidates_has_no_report_yet(tmp_path: Path) -> None:
    (tmp_path / "scan.toml").write_text(dump(Settings()))
    assert code_of("report", str(tmp_path)) == ExitCode.DATA


def test_status_of_a_scan_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scan.toml").write_text(dump(Settings()))
    (tmp_path / "log").mkdir()
    assert code_of("status", str(tmp_path), "--json") == ExitCode.COMPLETE
    stages = json.loads(capsys.readouterr().out)["stages"]
    states = {"SUSPECT": 0, "FAILED": 0, "RUNNING": 0, "BLOCKED": 0, "PENDING": 1, "DONE": 0}
    assert stages[0] == {
        "stage": "patches", "done": 0, "total": 1, "seconds": 0, "rows": None, "bytes": None, "states": states
    }  # fmt: skip
    assert stages[1]["total"] is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TaskError("x"), ExitCode.FAILED),
        (DataError("x"), ExitCode.DATA),
        (ResumeError("x"), ExitCode.RESUME),
        (KeyboardInterrupt(), ExitCode.RESUME),
        (ZeroDivisionError("x"), ExitCode.FAILED),
    ],
)
def test_every_end_has_its_code(
    error: BaseException, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("viamachinae.cli.status.status", fail)
    assert code_of("status", "somewhere") == code


def test_a_fault_of_the_machine_is_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "scan/report/index.html")

    monkeypatch.setattr("viamachinae.cli.commands.report", fail)
    assert code_of("report", "somewhere") == ExitCode.FAILED
    error = capsys.readouterr().err
    assert "No space left on device: 'scan/report/index.html'" in error
    assert "Traceback" not in error
    assert "defect" not in error


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    heavy = ("torch", "ray", "pandas", "numpy", "astropy", "matplotlib", "healpy", "pyarrow")
    program = (
        "import sys; from viamachinae.cli.main import _exit_code; code = _exit_code(['--help']);"
        f"found = [n for n in {heavy} if n in sys.modules]; sys.exit(str(found) if found or code else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


STREAM = MockStream(name="s", n_stars=10, start=(10.0, 0.0), end=(50.0, 0.0), pm_along=(1.0, 1.0))


def candidate(pole: tuple[float, float], middle: tuple[float, float]) -> pd.Series:
    names = ("stream_id", "pole_ra", "pole_dec", "ra", "dec")
    return pd.Series(dict(zip(names, ("A", *pole, *middle), strict=True)))


def members(n_true: int, n_false: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    truth = pd.DataFrame({"source_id": np.arange(100, dtype=np.int64)})
    ids = np.concatenate([np.arange(n_true), 1000 + np.arange(n_false), [99, 98]])
    frame = pd.DataFrame({"stream_id": "A", "source_id": ids, "membership": 0.9})
    # A doubtful member, and one of another candidate: neither counts.
    frame.loc[len(frame) - 2, "membership"] = 0.3
    frame.loc[len(frame) - 1, "stream_id"] = "B"
    return frame, truth


def test_the_demo_measures_purity_and_completeness() -> None:
    found, truth = members(60, 20)
    compared = compare(candidate((0.0, 90.0), (30.0, 0.2)), found, truth, STREAM)
    assert compared.purity == pytest.approx(0.75)
    assert compared.completeness == pytest.approx(0.60)
    assert compared.offset == pytest.approx(0.2)
    assert compared.angle == pytest.approx(0.0, abs=1e-5)
    assert compared.found


@pytest.mark.parametrize(
    ("pole", "middle", "counts"),
    [
        ((0.0, 90.0), (30.0, 1.0), (60, 20)),
        ((0.0, 80.0), (30.0, 0.0), (60, 20)),
        ((0.0, 90.0), (30.0, 0.0), (60, 80)),
        ((0.0, 90.0), (30.0, 0.0), (20, 5)),
    ],
)
def test_the_demo_tells_a_miss(
    pole: tuple[float, float], middle: tuple[float, float], counts: tuple[int, int]
) -> None:
    assert not compare(candidate(pole, middle), *members(*counts), STREAM).found


def test_a_pole_of_the_other_sign_is_the_same_circle() -> None:
    compared = compare(candidate((180.0, -90.0), (30.0, 0.0)), *members(60, 20), STREAM)
    assert compared.angle == pytest.approx(0.0, abs=1e-5)


@pytest.fixture
def half_done(tmp_path: Path) -> Path:
    """A scan whose patches are laid out, and whose stars could not be loaded."""
    out = tmp_path / "scan"
    settings = Settings.model_validate({"patches": {"centres": [[150.0, 20.0], [152.0, 24.0]]}})

    def unusable(*_: object) -> Products:
        msg = "no such stars"
        raise DataError(msg)

    with pytest.raises(DataError, match="no such stars"):
        run_scan(settings, out, runner=InlineRunner(), stages={**DEFAULT_STAGES, "stars": unusable})
    return out


def test_status_prints_failures_and_draws_a_map(
    half_done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "map.png"
    assert code_of("status", str(half_done), "--map", str(figure)) == ExitCode.COMPLETE
    shown = " ".join(capsys.readouterr().out.split())
    assert "FAILED stars/J1000.0+2000, try 1: no such stars" in shown
    assert "2 patches: 2 FAILED" in shown
    assert f"wrote {figure}" in shown
    again = f"viamachinae run {half_done / 'scan.toml'} --out {half_done}"
    assert f"no process is known to be at work; go on with: {again}" in shown
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert code_of("status", str(half_done), "--map", str(tmp_path / "map.txt")) == ExitCode.CONFIG
    assert code_of("status", str(half_done), "--map", str(tmp_path / "no" / "map.png")) == ExitCode.CONFIG
    assert "--map" in capsys.readouterr().err


def test_failures_are_cleared_by_the_command(half_done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("retry", str(half_done), "failed", "--only", "stars/J1000*") == ExitCode.COMPLETE
    assert "1 task cleared; next: viamachinae run" in capsys.readouterr().out
    assert code_of("retry", str(half_done), "--only", "nosuch*") == ExitCode.COMPLETE
    assert capsys.readouterr().out == "no task like 'nosuch*' is FAILED: nothing to clear\n"
    assert code_of("status", str(half_done), "--json") == ExitCode.COMPLETE
    assert list(json.loads(capsys.readouterr().out)["failures"]) == ["stars/J1008.0+2400"]
    assert code_of("retry", str(half_done), "PENDING") == ExitCode.CONFIG
    assert "FAILED, SUSPECT" in capsys.readouterr().err


def test_verify_says_whether_to_run_again_or_that_files_are_damaged(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert code_of("verify", str(half_done)) == ExitCode.RESUME
    assert "sound, but not complete" in capsys.readouterr().err
    table = half_done / "masks.parquet"
    content = table.read_bytes()
    table.unlink()
    assert code_of("verify", str(half_done), "--dry-run") == ExitCode.RESUME
    assert (half_done / "receipts" / "patches" / "sky.json").exists()
    table.write_bytes(content[:-1] + b"x")
    capsys.readouterr()
    assert code_of("verify", str(half_done)) == ExitCode.DATA
    captured = capsys.readouterr()
    assert "1 damaged" in captured.out
    assert "masks.parquet" in captured.out
    assert captured.out.count("masks.parquet") == 2  # damaged, suspect
    # What was withdrawn needs a run and no more.
    remedy = f"1 damaged file; next: viamachinae run {half_done / 'scan.toml'} --out {half_done}"
    assert captured.err.strip().endswith(remedy)
    assert not (half_done / "receipts" / "patches" / "sky.json").exists()
    assert code_of("verify", str(half_done)) == ExitCode.DATA
    assert "retry" not in capsys.readouterr().err


def test_two_results_of_one_task_are_settled_by_retry(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = half_done / "suspects" / "patches" / "sky" / "x~1~0.json"
    body = {"stage": "patches", "name": "sky", "key": "k", "kind": "different", "why": "done twice"}
    write_note(note, body)
    assert code_of("verify", str(half_done)) == ExitCode.DATA
    captured = capsys.readouterr()
    assert "  patches/sky: done twice\n" in captured.out
    assert f"viamachinae retry {half_done} SUSPECT; next: viamachinae run" in captured.err
    assert code_of("retry", str(half_done), "SUSPECT") == ExitCode.COMPLETE
    assert not note.exists()


def test_a_submitted_scan_that_no_job_has_begun_has_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scan"
    (out / "slurm").mkdir(parents=True)
    assert code_of("status", str(out)) == ExitCode.CONFIG
    capsys.readouterr()
    (out / "slurm" / "jobs.txt").write_text("11\n12\n")
    assert code_of("status", str(out)) == ExitCode.COMPLETE
    assert "no job has started yet (squeue --jobs 11,12)" in capsys.readouterr().out
    assert code_of("status", str(out), "--json") == ExitCode.COMPLETE
    assert json.loads(capsys.readouterr().out)["jobs"] == ["11", "12"]
    (out / "slurm" / "demo-11_1.out").write_text("")
    assert code_of("status", str(out)) == ExitCode.COMPLETE
    assert "not begun" in capsys.readouterr().out
    assert code_of("status", str(out), "--map", "map.png") == ExitCode.CONFIG


def test_a_wall_time_within_the_grace_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "demo", "--out", str(tmp_path / "out"), "--inline", "--until-walltime")
    assert code_of(*words, "60") == ExitCode.CONFIG
    assert "runner.grace (60 s)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_of_a_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.toml"
    path.write_text("x")
    assert code_of("run", "demo", "--out", str(path), "--inline") == ExitCode.CONFIG
    assert "is a file, not a folder" in capsys.readouterr().err
    assert code_of("verify", str(path)) == ExitCode.CONFIG
    assert "neither the folder of a scan nor an archive" in capsys.readouterr().err


def test_no_at_the_question_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    asked = []

    def answer(text: str, **_: object) -> bool:
        asked.append(text)
        return False

    monkeypatch.setattr("typer.confirm", answer)
    changes = Changes(Path("out"), {}, {"report": 1})
    with pytest.raises(ConfigError, match=r"^nothing was changed$"):
        options_of().agree(changes)
    assert str(changes) in asked[0]


def test_leftovers_of_other_hosts_go_only_when_that_is_agreed(
    half_done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = half_done / ".stars.parquet.elsewhere~1~0123abcd.tmp"
    left.write_text("half")
    assert code_of("clean", str(half_done)) == ExitCode.COMPLETE
    assert code_of("clean", str(half_done), "--all-hosts") == ExitCode.CONFIG
    assert "--yes" in capsys.readouterr().err
    assert left.exists()
    assert code_of("clean", str(half_done), "--all-hosts", "--dry-run") == ExitCode.COMPLETE
    assert left.name in capsys.readouterr().out
    assert code_of("clean", str(half_done), "--all-hosts", "--yes") == ExitCode.COMPLETE
    assert not left.exists()


def test_an_unfinished_scan_is_not_packed(half_done: Path) -> None:
    assert code_of("pack", str(half_done)) == ExitCode.DATA
    assert code_of("pack", str(half_done), "--to", "x.zip") == ExitCode.CONFIG


def test_a_file_that_is_no_archive_does_not_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scan.tar.zst"
    path.write_text("hello")
    assert code_of("verify", str(path)) == ExitCode.DATA
    assert "archive" in capsys.readouterr().err


def test_folders_are_merged_by_the_command(
    half_done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        code_of("merge", str(half_done), str(half_done), "--out", str(tmp_path / "both")) == ExitCode.COMPLETE
    )
    assert "viamachinae run" in capsys.readouterr().out
    assert (tmp_path / "both" / "scan.toml").read_bytes() == (half_done / "scan.toml").read_bytes()
