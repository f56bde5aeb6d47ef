"""What the faults share: a scan that was never disturbed, and a log of what was survived."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_scan import LOG, Fault, assert_same_catalogue, code_of, results

from viamachinae.errors import ExitCode
from viamachinae.scan.status import scan_status
from viamachinae.scan.verify import verify
from viamachinae.schema.provenance import git_commit


@pytest.fixture(scope="session", autouse=True)
def _no_commit() -> Iterator[None]:
    """Let no run find a commit: catalogues name it, and the checkout may change between two runs."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GIT_DIR", os.devnull)
        git_commit.cache_clear()
        yield
    git_commit.cache_clear()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert code_of(out) == ExitCode.COMPLETE
    return out


@pytest.fixture
def out(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the finished scan, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "scan")


@pytest.fixture
def fault() -> Iterator[Fault]:
    """Describe the fault with ``fault.of``; a test that passes has survived it."""
    found = Fault()
    yield found
    if found.kind and LOG in os.environ:
        row = {
            "kind": found.kind,
            "what": found.what,
            "times": found.times,
            "commands": found.commands,
            "seconds": time.monotonic() - found.began,
            "survived": found.survived,
        }
        with Path(os.environ[LOG]).open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")


@pytest.fixture
def get_over(undisturbed: Path, fault: Fault) -> Callable[..., None]:
    """Return what must hold after every fault: the same command completes, with the same catalogue."""

    def same_command(out: Path, *, sound: bool = True) -> None:
        code = code_of(out)
        fault.commands += 1
        assert code == ExitCode.COMPLETE
        assert_same_catalogue(out, undisturbed)
        if sound:
            # What no task read again may still be damaged: it is found, and the same command mends it.
            verify(out)
            assert code_of(out) == ExitCode.COMPLETE
            assert verify(out).sound
            assert_same_catalogue(out, undisturbed)
            ours, theirs = results(out), results(undisturbed)
            assert ours.items() <= theirs.items()
            assert all(stage.done == stage.total for stage in scan_status(out).stages)
        assert not list(out.rglob("*.tmp"))
        fault.survived = True

    return same_command
