"""How long the commands take that look at the folder of a large scan, each in a process of its own."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from viamachinae.errors import TaskError
from viamachinae.scan.overhead.folder import Fake, fake_scan

__all__ = ["commands_of", "roomy_folder", "time_commands"]

_IN_MEMORY = Path("/dev/shm")  # noqa: S108  used for a folder of its own
_TIMES = 3

logger = logging.getLogger(__name__)


def time_commands(tasks: int) -> dict[str, float]:
    """Time the commands on a finished scan of so many score tasks.

    Returns
    -------
    dict
        Name -> time from the start of Python to its end (s), of three calls the shortest:
        ``status_first_s`` is a single call without an index of receipts.

    Raises
    ------
    TaskError
        A command failed.
    """
    with roomy_folder() as folder:
        out = folder / "scan"
        fake_scan(out, Fake(tasks))
        commands = commands_of(out)
        shutil.rmtree(out / "index", ignore_errors=True)
        found = {"status_first_s": _seconds(commands["status_s"])}
        for name, words in commands.items():
            # The first plan measures this machine, and the others read what it kept.
            found[name] = min(_seconds(words) for _ in range(_TIMES))
            logger.info("%s: %.1f s", words[0], found[name])
        return found


def commands_of(out: Path) -> dict[str, list[str]]:
    """Return what is timed on a scan folder: name of the result -> words of the command line."""
    scan = str(out / "scan.toml")
    return {
        "status_s": ["status", str(out)],
        "status_json_s": ["status", str(out), "--json"],
        "status_map_s": ["status", str(out), "--map", str(out.with_suffix(".png"))],
        "retry_s": ["retry", str(out)],
        "clean_s": ["clean", str(out)],
        "plan_s": ["plan", scan, "--out", str(out)],
        # A site that asks for nothing, so that no account is missing.
        "submit_s": ["submit", scan, "--out", str(out), "--site", "generic", "--dry-run"],
        "run_again_s": ["run", scan, "--out", str(out)],
    }


@contextmanager
def roomy_folder() -> Iterator[Path]:
    """Give a folder for 50,000 files that nobody keeps: in memory, since a disk would flush each of them."""
    where = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="vm-overhead-", dir=where) as folder:
        yield Path(folder)


def _seconds(words: list[str]) -> float:
    began = time.perf_counter()
    command = [sys.executable, "-m", "viamachinae", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if ended.returncode:
        msg = f"`viamachinae {' '.join(words)}` failed: {ended.stderr[-2000:]}; try it by hand"
        raise TaskError(msg)
    return time.perf_counter() - began
