"""Measure the download of a million rows: bytes, seconds, rows a second, memory.

``tests/tap/setup run --big python tests/tap/measure.py`` with the Python of the project.
"""

# ruff: noqa: T201 - a command

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from service import Service
from skies import BIG, CENTRE, RADIUS
from truth import digest, expected_patch, settings_for

from viamachinae.config.settings import Settings
from viamachinae.stars.archive.cells import Cell, cells_of_patch
from viamachinae.stars.archive.fetch import fetch_cell


def main() -> int:
    """Download, compare with what was loaded, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--chunk-rows", type=int, default=500_000, help="archive.chunk_rows")
    parser.add_argument("--parallel", type=int, default=3, help="archive.parallel")
    parser.add_argument("--cell-order", type=int, default=4, help="archive.cell_order")
    options = parser.parse_args()
    if "VIAMACHINAE_TAP" not in os.environ:
        parser.error("no service: run it under tests/tap/setup run --big")
    service = Service(Path(os.environ["VIAMACHINAE_TAP"]))
    if not service.has_big:
        parser.error("the service lacks the table: tests/tap/setup up --big")
    archive = {
        "chunk_rows": options.chunk_rows,
        "parallel": options.parallel,
        "cell_order": options.cell_order,
    }
    settings = settings_for("gaia-dr3", service.url, cuts=False, table=BIG.name, **archive)
    cells = cells_of_patch(*CENTRE, RADIUS + 0.1, options.cell_order)
    folder = Path(tempfile.mkdtemp())
    try:
        before, begun, cpu = _peak(), time.monotonic(), time.process_time()
        with ThreadPoolExecutor(options.parallel) as pool:
            reports = list(pool.map(lambda cell: _fetch(settings, cell, folder), cells))
        seconds, busy, peak = time.monotonic() - begun, time.process_time() - cpu, _peak()
        same = digest(_all(folder)) == digest(expected_patch("gaia-dr3", cuts=False, big=True))
    finally:
        shutil.rmtree(folder)
    rows, size = sum(report["rows"] for report in reports), sum(report["bytes"] for report in reports)
    print(
        f"{len(cells)} cells, {sum(report['chunks'] for report in reports)} jobs, {options.parallel} at once"
    )
    print(f"{rows:,} rows, {size / 1e6:.1f} MB ({size / max(rows, 1):.0f} bytes a row)")
    print(f"{seconds:.1f} s: {rows / seconds:,.0f} rows/s, {size / seconds / 1e6:.2f} MB/s")
    print(f"the client used {busy:.1f} s of CPU")
    print(f"peak memory {peak:,.0f} MB, {peak - before:,.0f} MB above the start")
    print("every value as loaded" if same else "NOT WHAT WAS LOADED")
    return 0 if same else 1


def _fetch(settings: Settings, cell: Cell, folder: Path) -> dict[str, Any]:
    got = fetch_cell(settings, cell, folder / cell.name)
    pq.write_table(got.table, folder / f"{cell.name}.parquet")
    return got.report


def _all(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in folder.glob("*.parquet")]).sort_by("source_id")


def _peak() -> float:
    """Return the largest memory of this process so far (MB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    sys.exit(main())
