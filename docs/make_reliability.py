"""Inject every fault of tests/chaos into small scans and write what came of it into docs/reliability.md.

Run from the repository's root, in an environment with pytest:

    python docs/make_reliability.py

It takes an hour on two cores; ``--log FILE`` takes the log of an earlier run instead. It ends with another
code than 0 when a test failed or a fault was not survived, and names those.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from viamachinae.schema.provenance import git_commit, versions

DOCS = Path(__file__).parent
BEGIN, END = "<!-- faults -->", "<!-- end of faults -->"
#: What the tests that inject faults are told to write to.
LOG = "VIAMACHINAE_CHAOS_LOG"


def inject(log: Path) -> int:
    """Run all tests of tests/chaos, the long ones too; return the exit code of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", str(DOCS.parent / "tests" / "chaos")]
    return subprocess.run(command, env={**os.environ, LOG: str(log)}, check=False).returncode  # noqa: S603


def table(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table of the faults, a kind a row."""
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        kinds[row["kind"]].append(row)
    lines = [
        "| fault | injected | survived | commands until done, at most | seconds, median |",
        "|---|---|---|---|---|",
    ]
    for kind, found in kinds.items():
        seconds = sorted(row["seconds"] / row["times"] for row in found)
        lines.append(
            f"| {kind} | {_count(found)} | {_count(r for r in found if r['survived'])} "
            f"| {max(row['commands'] for row in found)} | {seconds[len(seconds) // 2]:.1f} |"
        )
    survived = _count(row for row in rows if row["survived"])
    lines.append(f"| **all** | **{_count(rows)}** | **{survived}** | | |")
    return "\n".join(lines)


def _count(rows: Any) -> int:
    return sum(row["times"] for row in rows)


def main() -> int:
    """Write the page; return 0 when every test passed and every fault was survived."""
    parser = argparse.ArgumentParser(description="Write the table of docs/reliability.md.")
    parser.add_argument("--log", type=Path, help="log of an earlier run")
    log = parser.parse_args().log
    code = 0
    if log is None:
        log = Path(tempfile.mkdtemp()) / "faults.jsonl"
        code = inject(log)
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lost = [row for row in rows if not row["survived"]]
    for row in lost:
        sys.stderr.write(f"not survived: {row['kind']}: {row['what']}\n")
    found = versions()
    made = (
        f"Made by `python docs/make_reliability.py` with Python {found['python']}, "
        f"pyarrow {found['pyarrow']}, {platform.system()}, commit {git_commit()[:12] or 'unknown'}."
    )
    page = DOCS / "reliability.md"
    text = page.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{table(rows)}\n\n{made}\n{END}{after}", encoding="utf-8")
    return code or int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
