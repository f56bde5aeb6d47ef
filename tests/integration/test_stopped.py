"""A scan on Ray that is stopped, by whatever means, loses nothing that was done and goes on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ExitCode
from viamachinae.scan.drive import run_scan
from viamachinae.scan.ray_runner import RayRunner
from viamachinae.scan.runner import InlineRunner
from viamachinae.schema.publish import file_sha256

#: One patch and six short trainings: the signal comes when some are done and some are not.
TREE: dict[str, Any] = {
    "scan": {"name": "stopped", "seed": 3},
    "patches": {"centres": [[148.6, 24.2]], "radius": 5.0},
    "fiducial": {"radius": 4.0},
    "regions": {"coordinates": ["pm_lambda"], "limits": [-17.0, -6.0], "min_stars": 10, "group_size": 1},
    "roi": {"stride": 3.0, "n_top": 20, "min_stars": 30},
    "scorer": {"name": "anode"},
    "density": {"blocks": 1, "hidden": 16, "max_epochs": 10, "batch_size": 64},
    "trunk": {"density": 0.05, "max_star_steps": 20_000},
    "mock": {"density": 0.05},
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_scan(Settings.model_validate(TREE), out, runner=InlineRunner())
    return out


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()


def _terminate(process: subprocess.Popen[bytes]) -> None:
    process.terminate()


def _warn(process: subprocess.Popen[bytes]) -> None:
    """Warn as Slurm does before the wall-time ends: every process of the job step is told."""
    os.killpg(process.pid, signal.SIGUSR2)


def _ctrl_c(process: subprocess.Popen[bytes]) -> None:
    """Interrupt as a terminal does: every process of the group is told."""
    os.killpg(process.pid, signal.SIGINT)


def _scores(out: Path) -> dict[str, str]:
    receipts = (out / "receipts" / "scores").rglob("*.json")
    return {path.relative_to(out).as_posix(): file_sha256(path) for path in receipts}


def _wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.02)


def _lose(process: subprocess.Popen[bytes], program: str) -> None:
    """Kill a process below a run, as a kernel short of memory does."""
    listed = subprocess.run(["ps", "-wweo", "pid,ppid,args"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()[1:]]
    below = {str(process.pid)}
    for _ in range(3):
        below |= {pid for pid, parent, _ in rows if parent in below}
    (victim,) = [pid for pid, _, arguments in rows if pid in below and program in arguments.split()[0]]
    os.kill(int(victim), signal.SIGKILL)


@pytest.mark.heavy
def test_a_run_that_loses_its_ray_starts_again_by_itself(undisturbed: Path, tmp_path: Path) -> None:
    toml, out = tmp_path / "scan.toml", shutil.copytree(undisturbed, tmp_path / "out")
    toml.write_text(dump(Settings.model_validate(TREE)), encoding="utf-8")
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
    command = [sys.executable, "-m", "viamachinae", "run", str(toml), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        _wait_for(lambda: _scores(out), process)
        kept = _scores(out)
        _lose(process, "raylet/raylet")
        _, stderr = process.communicate(timeout=180)
    assert process.returncode == ExitCode.COMPLETE, stderr.decode()
    assert b"the run was lost (exit code 1" in stderr
    assert kept.items() <= _scores(out).items()
    for name in ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv"):
        assert file_sha256(out / name) == file_sha256(undisturbed / name)


@pytest.mark.parametrize("stop", [_kill, _terminate, _warn, pytest.param(_ctrl_c, marks=pytest.mark.heavy)])
def test_a_scan_on_ray_that_is_stopped_goes_on_to_the_same_result(
    undisturbed: Path,
    tmp_path: Path,
    ray_runner: RayRunner,
    stop: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    toml, out = tmp_path / "scan.toml", shutil.copytree(undisturbed, tmp_path / "out")
    toml.write_text(dump(Settings.model_validate(TREE)), encoding="utf-8")
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
        shutil.rmtree(out / stage, ignore_errors=True)
    command = [sys.executable, "-m", "viamachinae", "run", str(toml), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        _wait_for(lambda: _scores(out), process)
        stop(process)
        _, stderr = process.communicate(timeout=60)
    if stop is not _kill:
        assert process.returncode == ExitCode.RESUME, stderr.decode()
        assert b"run the same command again" in stderr
        assert b"Traceback" not in stderr
    if stop in (_terminate, _warn):
        assert b"of 6 tasks of scores are left" in stderr
        assert b"lost its" not in stderr  # the workers that ran were let end
    kept = _scores(out)
    assert 0 < len(kept) < len(_scores(undisturbed))
    again = run_scan(Settings.model_validate(TREE), out, runner=ray_runner)
    assert again.done_before["scores"] >= len(kept)
    assert kept.items() <= _scores(out).items()
    for name in ("members.parquet", "tracks.parquet", "streams.parquet", "streams.ecsv"):
        assert file_sha256(out / name) == file_sha256(undisturbed / name)
    for path in sorted((undisturbed / "scores").rglob("*.parquet")):
        assert file_sha256(out / path.relative_to(undisturbed)) == file_sha256(path)
    # A worker can outlive its killed scan for a moment: what it leaves half written goes with the next run.
    run_scan(Settings.model_validate(TREE), out, runner=ray_runner)
    assert not list(out.rglob("*.tmp"))


def test_workers_take_no_module_from_the_folder_that_a_run_is_started_in(
    undisturbed: Path, tmp_path: Path
) -> None:
    for name in ("viamachinae/__init__.py", "random.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('not this one')\n")
    out, toml = shutil.copytree(undisturbed, tmp_path / "out"), tmp_path / "scan.toml"
    for stage in ("scores", "lines", "fragments", "streams", "report"):
        shutil.rmtree(out / "receipts" / stage)
    toml.write_text(dump(Settings.model_validate({**TREE, "runner": {"workers": 1}})), encoding="utf-8")
    program = Path(sys.executable).with_name("viamachinae")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [program, "run", "scan.toml", "--out", "out"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == ExitCode.COMPLETE, done.stderr
    assert file_sha256(out / "members.parquet") == file_sha256(undisturbed / "members.parquet")
