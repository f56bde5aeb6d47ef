"""The folder in which a cell is put together, and which a killed process leaves for the next one.

===================  =============================================================================
``plan.json``        what was asked, of which columns, in which parts
``LOW-HIGH.parquet`` a finished part, by its range of identifiers
``LOW-HIGH.json``    its receipt, written last: rows, sha256, bytes downloaded; no part is finished without
``NAME.job``         the journal of a job on the server, written before the job runs
===================  =============================================================================
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from viamachinae.schema.publish import atomic_text, file_sha256, place, sweep, temporary

__all__ = ["Workplace"]


class Workplace:
    """The private folder of a cell.

    Parameters
    ----------
    folder : Path
        Made when it is not there; nobody else writes to it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)

    def scratch(self, name: str) -> Path:
        """Return an unused name for a file that is swept away if it stays."""
        return temporary(self._folder / name)

    def plan(self) -> dict[str, Any] | None:
        """Return what was planned, None when there is no plan that can be read."""
        return _read(self._folder / "plan.json")

    def keep_plan(self, plan: dict[str, Any]) -> None:
        """Publish a plan."""
        atomic_text(self._folder / "plan.json", json.dumps(plan, indent=1))

    def part(self, name: str) -> pa.Table | None:
        """Return a finished part, None when it is not finished or damaged."""
        receipt = _read(self._folder / f"{name}.json")
        path = self._folder / f"{name}.parquet"
        try:
            if receipt is None or file_sha256(path) != receipt.get("sha256"):
                return None
            table = pq.read_table(path, page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            return None
        return table if table.num_rows == receipt.get("rows") else None

    def size(self, name: str) -> int:
        """Return the bytes that were downloaded for a finished part."""
        size = (_read(self._folder / f"{name}.json") or {}).get("bytes")
        return size if isinstance(size, int) else 0

    def publish(self, name: str, table: pa.Table, size: int) -> None:
        """Keep a part, for which ``size`` bytes were downloaded: its rows, then its receipt."""

        def write(path: Path) -> int:
            pq.write_table(table, path, compression="zstd", write_page_checksum=True)
            return int(table.num_rows)

        rows, _, digest = place(self._folder / f"{name}.parquet", write)
        receipt = {"rows": rows, "sha256": digest, "bytes": size}
        atomic_text(self._folder / f"{name}.json", json.dumps(receipt))

    def job(self, name: str) -> str | None:
        """Return the URL of the job that brings ``name``, None when none is known."""
        url = (_read(self._folder / f"{name}.job") or {}).get("url")
        return url if isinstance(url, str) else None

    def jobs(self) -> dict[str, str]:
        """Return the URLs of all known jobs by name."""
        found = {path.stem: self.job(path.stem) for path in sorted(self._folder.glob("*.job"))}
        return {name: url for name, url in found.items() if url is not None}

    def keep_job(self, name: str, url: str, query: str) -> None:
        """Write a job into the journal."""
        atomic_text(self._folder / f"{name}.job", json.dumps({"url": url, "query": query}))

    def forget_job(self, name: str) -> None:
        """Strike a job out of the journal."""
        (self._folder / f"{name}.job").unlink(missing_ok=True)

    def clear(self) -> None:
        """Forget plan, parts and journal."""
        for pattern in ("*.json", "*.parquet", "*.job"):
            for path in self._folder.glob(pattern):
                path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a JSON file holds, None when it is missing or holds no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
