"""Disks that are full or read-only. Needs the right to mount a small one; skipped elsewhere."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_scan import Fault, assert_same_catalogue, code_of, command, undo_behind

from viamachinae.errors import ExitCode
from viamachinae.scan.status import scan_status


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _size(folder: Path) -> int:
    return int(
        subprocess.run(["du", "-s", "-k", str(folder)], check=True, capture_output=True).stdout.split()[0]
    )


@pytest.mark.parametrize(
    ("stage", "room"),
    [
        pytest.param(
            stage, k, marks=[] if (stage, k) in (("patches", 0), ("scores", 40)) else [pytest.mark.heavy]
        )
        for stage in ("patches", "plan", "scores")
        for k in (0, 4, 12, 40, 80, 120, 200, 300)
    ],
)
def test_a_full_disk(
    undisturbed: Path, disk: Path, fault: Fault, get_over: Callable[..., None], stage: str, room: int
) -> None:
    """The scan finds ``room`` KiB behind a stage; then the quota is raised."""
    fault.of("full disk", f"{room} KiB left after {stage}")
    out = shutil.copytree(undisturbed, disk / "scan")
    undo_behind(out, stage)
    command(out)
    _mount("-o", f"remount,size={_size(disk) + room}k", str(disk))
    code = code_of(out)
    fault.commands += 1
    assert code in (ExitCode.FAILED, ExitCode.CONFIG)  # not "resume me": somebody has to make room
    scan_status(out)
    _mount("-o", "remount,size=64m", str(disk))
    get_over(out)


@pytest.mark.parametrize(
    "stage",
    [pytest.param("plan", marks=pytest.mark.heavy), pytest.param("fragments"), pytest.param("report")],
)
def test_a_folder_that_is_read_only(
    undisturbed: Path, disk: Path, fault: Fault, get_over: Callable[..., None], stage: str
) -> None:
    fault.of("read-only folder", f"after {stage}")
    out = shutil.copytree(undisturbed, disk / "scan")
    if stage != "report":
        undo_behind(out, stage)
    command(out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    _mount("-o", "remount,ro", str(disk))
    code = code_of(out)
    fault.commands += 1
    assert code == ExitCode.CONFIG
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    found = scan_status(out)
    assert found.stages[0].done == 1
    if stage == "report":
        assert_same_catalogue(out, undisturbed)
    _mount("-o", "remount,rw", str(disk))
    get_over(out)
