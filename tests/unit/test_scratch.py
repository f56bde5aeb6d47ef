"""Temporary folders go with their process, and after it when it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from viamachinae.scan import scratch
from viamachinae.scan.scratch import sweep_scratch

_HOLDER = """
import sys, time
from viamachinae.scan.scratch import Scratch
folder = Scratch()
(folder.path / "inside").mkdir()
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scratch, "_base", lambda: str(tmp_path))
    return tmp_path


def test_a_lent_folder_is_taken_back(base: Path) -> None:
    with scratch.scratch() as folder:
        (folder / "file").write_text("x")
        assert sweep_scratch() == 0
        assert folder.parent == base
    assert list(base.iterdir()) == []


def test_folders_of_killed_processes_go_and_those_of_living_ones_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = Path(tempfile.mkdtemp(prefix="t", dir=scratch._base()))
    monkeypatch.setenv("TMPDIR", str(short))
    monkeypatch.setattr("tempfile.tempdir", str(short))
    try:
        with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            folder = Path(holder.stdout.readline().strip())
            assert folder.parent == short
            assert sweep_scratch() == 0
            assert (folder / "inside").is_dir()
            holder.send_signal(signal.SIGKILL)
        assert folder.is_dir()
        (short / "vm-of-others").mkdir()
        assert sweep_scratch() == 1
        assert [path.name for path in short.iterdir()] == ["vm-of-others"]
    finally:
        (short / "vm-of-others").rmdir()
        short.rmdir()


@pytest.mark.parametrize("length", [5, 27, 28, 90])
def test_the_sockets_of_ray_have_short_paths(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    with scratch.scratch() as folder:
        name = folder.name
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/" + "x" * (length - 1))
    base = Path(scratch._base())
    socket = "session_2026-11-22_03-38-13_596128_4194304/sockets/plasma_store"
    assert len(str(base / name / socket)) <= 103
    assert (len(str(base)) == length) == (length <= 27)


def test_a_folder_whose_removal_was_killed_goes_with_the_next_sweep(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    def killed(*args: object, **kwargs: object) -> None:
        raise KilledError

    folder = scratch.Scratch()
    for name in ("a", "b", "z"):
        (folder.path / name).mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(scratch.shutil, "rmtree", killed)
        with pytest.raises(KilledError):
            folder.remove()
    assert sweep_scratch() == 0  # its process lives
    os.close(folder._lock)
    assert sweep_scratch() == 1
    assert list(base.iterdir()) == []


def test_what_cannot_be_removed_keeps_its_lock(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scratch.Scratch()
    (folder.path / "busy").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(scratch.shutil, "rmtree", lambda *args, **kwargs: None)
        folder.remove()
    assert sweep_scratch() == 1
    assert list(base.iterdir()) == []
