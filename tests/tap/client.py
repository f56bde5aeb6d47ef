"""A download in a process of its own, which can be killed, and waiting for things to happen."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.stars.archive.cells import Cell

__all__ = ["Download", "wait_for"]


class Download:
    """The download of one cell in a process of its own, in a folder that outlives it."""

    def __init__(self, folder: Path, settings: Settings, cell: Cell) -> None:
        self.workplace = folder / "workplace"
        self._rows = folder / "rows.parquet"
        toml = folder / "scan.toml"
        toml.write_text(dump(settings), encoding="utf-8")
        driver = Path(__file__).with_name("one_cell.py")
        self._command = [
            sys.executable,
            str(driver),
            str(toml),
            cell.name,
            str(self.workplace),
            str(self._rows),
        ]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> tuple[pa.Table, str]:
        """Run to the end; return the rows and the report, as JSON."""
        done = subprocess.run(self._command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return pq.read_table(self._rows), done.stdout


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something has come to be."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)
