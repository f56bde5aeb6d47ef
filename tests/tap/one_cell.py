"""Download one cell and write its rows: SCAN.toml CELL WORKPLACE ROWS.parquet. Made to be killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq

from viamachinae.config.toml import load
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.fetch import fetch_cell

if __name__ == "__main__":
    toml, cell, workplace, rows = sys.argv[1:]
    fetched = fetch_cell(load(toml), Cell.named(cell), Path(workplace))
    pq.write_table(fetched.table, rows)
    sys.stdout.write(json.dumps(fetched.report))
