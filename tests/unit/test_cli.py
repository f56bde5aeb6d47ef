"""Commands, their help, their messages and their exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from viamachinae import __version__
from viamachinae.cli import main as cli
from viamachinae.cli.commands import candidates_table, settings_of
from viamachinae.cli.demo import compare
from viamachinae.config.settings import MockStream, Settings
from viamachinae.config.toml import dump
from viamachinae.errors import DataError, ExitCode, ResumeError, TaskError

COMMANDS = ("demo", "init", "plan", "fetch", "run", "report", "calibrate", "export", "status")


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def test_help_of_every_command_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    registered = {command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    assert registered == set(COMMANDS)
    for name in COMMANDS:
        assert code_of(name, "--help") == ExitCode.COMPLETE
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


@pytest.mark.parametrize("command", [("status",), ("report",), ("export", "--to", "x")])
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
    assert stages[0] == {"stage": "patches", "done": 0, "total": 1, "seconds": 0, "rows": None, "bytes": None}
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

    monkeypatch.setattr("viamachinae.cli.commands.status", fail)
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
