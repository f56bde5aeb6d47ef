"""Measure what reading one patch of a large catalogue takes: memory, bytes, time.

Usage::

    python docs/make_files_memory.py FOLDER --rows 60000000

A made-up sky in the order of Gaia's identifiers is written below FOLDER (75 bytes a row), read, and
deleted. Every reading runs in a process of its own. Prints the table of docs/stars_files.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import healpy
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from viamachinae.config.settings import StarSettings
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.tables import examine, read

CENTRE, RADIUS = (148.6, 24.2), 15.0
#: Ways to write the sky, and the part of its rows that is enough to show them.
LAYOUTS = {"parquet": 1, "parquet without statistics": 4, "csv.gz": 20}
_ORDER, _GROUP = 2, 131_072  # one file a HEALPix cell of this order; rows of a row group


def stars(cell: int, n: int) -> pa.Table:
    """Return ``n`` stars of a HEALPix cell (NESTED, order 2), sorted as Gaia's are."""
    rng = np.random.default_rng(cell)
    width = 1 << 2 * (29 - _ORDER)
    index = np.sort(rng.integers(cell * width, (cell + 1) * width, n))
    ra, dec = healpy.pix2ang(2**29, index, nest=True, lonlat=True)
    normal = {
        "pmra": (0, 5), "pmdec": (-2, 5), "parallax": (0.3, 0.3), "phot_g_mean_mag": (18, 1.5),
        "bp_rp": (0.9, 0.3), "pmra_error": (0.2, 0.02), "pmdec_error": (0.2, 0.02), "ruwe": (1, 0.1),
    }  # fmt: skip
    columns = {"source_id": ((index >> 34) << 35) + rng.integers(1, 2**27, n) * 128, "ra": ra, "dec": dec}
    columns |= {k: (m + s * rng.standard_normal(n, np.float32)) for k, (m, s) in normal.items()}
    return pa.table(columns)


def make(folder: Path, rows: int, layout: str) -> None:
    """Write the sky in one layout."""
    folder.mkdir(parents=True)
    cells = 12 << 2 * _ORDER
    for cell in range(cells):
        table = stars(cell, rows // cells)
        if layout == "csv.gz":
            first, last = (table.column("source_id")[i].as_py() >> 43 for i in (0, -1))
            path = folder / f"GaiaSource_{first:06d}-{last:06d}.csv.gz"
            with pa.output_stream(str(path), compression="gzip") as file:
                pacsv.write_csv(table, file)
        else:
            path = folder / f"part-{cell:03d}.parquet"
            pq.write_table(table, path, row_group_size=_GROUP, write_statistics=layout == "parquet")


def measure(folder: Path, way: str) -> dict[str, float]:
    """Read one patch in this process; return stars, seconds, bytes read and growth of the peak memory."""
    paths = tuple(sorted(map(str, folder.iterdir())))
    settings = StarSettings(source="files", paths=paths)
    import_peak, bytes_before = memory("VmRSS"), read_bytes()
    began = time.perf_counter()
    if way == "patch":
        n = len(read(settings, *CENTRE, RADIUS)[0])
    elif way == "heads":
        n = len(examine(settings))
    else:
        frame = pq.read_table(list(paths), columns=list(REQUIRED)).to_pandas()
        n = int((PatchFrame(*CENTRE).separation(frame.ra, frame.dec) <= RADIUS).sum())
    seconds = time.perf_counter() - began
    return {
        "n": n,
        "seconds": seconds,
        "bytes": read_bytes() - bytes_before,
        "memory": memory("VmHWM") - import_peak,
    }


def memory(kind: str) -> int:
    """Return the memory that this process has (``VmRSS``) or has had at most (``VmHWM``; bytes)."""
    rows = Path("/proc/self/status").read_text(encoding="ascii").split()
    return int(rows[rows.index(f"{kind}:") + 1]) * 1024


def read_bytes() -> int:
    """Return the bytes that this process has read, from disk or its cache."""
    rows = Path("/proc/self/io").read_text(encoding="ascii").split()
    return int(rows[rows.index("rchar:") + 1])


def main() -> None:
    """Write, measure, delete."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=60_000_000)
    parser.add_argument("--measure", choices=["patch", "heads", "whole"])
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.folder, options.measure)))
        return
    sys.stdout.write(
        "| catalogue | size | read | stars | bytes read | memory | time |\n" + "|---" * 7 + "|\n"
    )
    for layout, part in LAYOUTS.items():
        rows, sky = options.rows // part, options.folder / layout
        try:
            make(sky, rows, layout)
            size = sum(p.stat().st_size for p in sky.iterdir())
            for way in ("heads", "patch", "whole") if layout != "csv.gz" else ("heads", "patch"):
                command = [sys.executable, __file__, str(sky), "--measure", way]
                done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
                got = json.loads(done.stdout)
                size_read, memory_used = (f"{got[k] / 1e6:.0f} MB" for k in ("bytes", "memory"))
                cells = [f"{layout}, {rows / 1e6:.0f} million rows", f"{size / 1e9:.2f} GB", way]
                cells += [f"{got['n']:.0f}", size_read, memory_used, f"{got['seconds']:.1f} s"]
                sys.stdout.write(f"| {' | '.join(cells)} |\n")
                sys.stdout.flush()
        finally:
            shutil.rmtree(sky, ignore_errors=True)


if __name__ == "__main__":
    main()
