"""The process above a run: when it starts another one, and when it does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from viamachinae.errors import ExitCode

#: A supervisor whose run is a few lines of Python: they see how often they were started.
_SUPERVISOR = """
import sys
from viamachinae.cli import supervise
supervise._command = lambda arguments: [sys.executable, "-c", {run!r}, *arguments]
sys.exit(supervise.supervise(sys.argv[1:], print))
"""


@pytest.fixture
def started(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    def start(run: str, *arguments: str, before: str = "") -> subprocess.Popen[str]:
        begin = f"import os, signal, sys, time; open({str(tmp_path / 'runs')!r}, 'a').write('x')\n"
        script = before + _SUPERVISOR.format(run=begin + textwrap.dedent(run))
        return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True)

    return start


def ended(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=60)
    return process.returncode


def runs(tmp_path: Path) -> int:
    path = tmp_path / "runs"
    return path.stat().st_size if path.exists() else 0


def wait_for_runs(tmp_path: Path, n: int) -> None:
    end = time.monotonic() + 60
    while runs(tmp_path) < n:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.3)


@pytest.mark.parametrize("code", list(ExitCode))
def test_codes_of_ours_are_handed_up(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, code: int
) -> None:
    assert ended(started(f"sys.exit({int(code)})")) == code
    assert runs(tmp_path) == 1


def test_a_lost_run_is_started_again_and_not_for_ever(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = started(
        "os.kill(os.getpid(), signal.SIGKILL)",
        before="from viamachinae.cli import supervise\nsupervise._HARDLY = 0\n",
    )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.RESUME
    assert runs(tmp_path) == 4
    assert said.count("it is started again") == 3


def test_runs_that_all_die_at_once_do_not_come_back(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = started("os.kill(os.getpid(), signal.SIGSEGV)")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == ExitCode.FAILED
    assert runs(tmp_path) == 4
    assert "does not come back" in said


def test_a_signal_between_two_runs_is_no_way_out_of_our_codes(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    slow = """
from viamachinae.cli import supervise
import time
supervise.end_all = lambda entry: time.sleep(3)
"""
    process = started("os.kill(os.getpid(), signal.SIGKILL)", before=slow)
    wait_for_runs(tmp_path, 1)
    process.send_signal(signal.SIGTERM)
    assert ended(process) == ExitCode.RESUME
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP])
def test_a_run_that_was_asked_to_end_stays_away(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, number: int
) -> None:
    """Also when it dies of the signal, not having begun to listen."""
    process = started("time.sleep(60)")
    wait_for_runs(tmp_path, 1)
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.RESUME
    assert runs(tmp_path) == 1
    assert "ended by a signal" in said


def test_nohup_stays_in_force(started: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = started("time.sleep(2); sys.exit(0)", before=ignoring)
    wait_for_runs(tmp_path, 1)
    process.send_signal(signal.SIGHUP)
    assert ended(process) == ExitCode.COMPLETE


@pytest.mark.parametrize("form", ["two", "one"])
def test_a_stop_file_is_judged_by_when_the_command_was_given(
    started: Callable[..., subprocess.Popen[str]], tmp_path: Path, form: str
) -> None:
    stop = tmp_path / "stop"
    stop.touch()
    arguments = ("--stop-file", str(stop)) if form == "two" else (f"--stop-file={stop}",)
    # The first run is lost; the file is touched before the second looks for the first time.
    run = f"""
    from pathlib import Path
    from viamachinae.scan.interrupt import Stop
    with Stop(5.0, Path({str(stop)!r})) as stop:
        asked = stop.asked
    if os.path.getsize({str(tmp_path / "runs")!r}) == 1:
        os.utime({str(stop)!r}, (1, 1))
        os.kill(os.getpid(), signal.SIGKILL if not asked else signal.SIGTERM)
    sys.exit(75 if asked else 70)
    """
    assert ended(started(run, *arguments)) == ExitCode.RESUME
    assert runs(tmp_path) == 2


def test_the_run_takes_no_module_from_the_folder_it_is_given_in(tmp_path: Path) -> None:
    (tmp_path / "viamachinae").mkdir()
    (tmp_path / "viamachinae" / "__init__.py").write_text("raise SystemExit(99)\n")
    program = Path(sys.executable).with_name("viamachinae")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [program, "run", "missing.toml", "--out", "x"], cwd=tmp_path, capture_output=True, text=True,
        check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == ExitCode.CONFIG
    assert "missing.toml" in done.stderr
