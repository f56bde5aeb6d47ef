"""What a killed run leaves ends with it, and nothing else does."""

from __future__ import annotations

import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from viamachinae.scan.leftovers import end_all, ended_with_us

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")  # noqa: PTH112

NAME = "VIAMACHINAE_TEST_RUN"
#: Starts a process with the entry, says its number, and leaves the block when nothing more is said to it.
_HOLDER = """
import os, subprocess, sys
from viamachinae.scan.leftovers import ended_with_us
name, value = sys.argv[1].split("=")
with ended_with_us(sys.argv[1]):
    below = subprocess.Popen(["sleep", "60"], env={**os.environ, name: value}, start_new_session=True)
    print(below.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def entry() -> str:
    return f"{NAME}={secrets.token_hex(8)}"


@pytest.fixture
def sleeper(entry: str) -> Iterator[subprocess.Popen[bytes]]:
    name, _, value = entry.partition("=")
    with subprocess.Popen(["sleep", "60"], env={**os.environ, name: value}) as process:
        yield process
        process.kill()


def test_only_processes_with_the_entry_end(entry: str, sleeper: subprocess.Popen[bytes]) -> None:
    assert end_all(f"{entry}0") == 0
    assert sleeper.poll() is None
    assert end_all(entry) == 1
    assert sleeper.wait(10) == -signal.SIGKILL
    assert end_all(entry) == 0


def test_what_is_left_ends_with_the_block(entry: str, sleeper: subprocess.Popen[bytes]) -> None:
    with ended_with_us(entry):
        assert sleeper.poll() is None
    assert sleeper.wait(10) == -signal.SIGKILL


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_left_ends_with_the_process_that_started_it(entry: str, killed: bool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, entry], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        below = int(holder.stdout.readline())
        descriptor = os.pidfd_open(below)
        if killed:
            holder.kill()
        else:
            holder.communicate(timeout=30)
    assert holder.returncode == (-signal.SIGKILL if killed else 0)
    try:
        assert select.select([descriptor], [], [], 10)[0], "it lives still"
    finally:
        os.close(descriptor)
