"""Print what the running of tasks costs beside their work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.benchmark.options import check_writable

if TYPE_CHECKING:
    from viamachinae.scan.overhead.measure import Options

__all__ = ["benchmark", "rows"]

#: Commands that are timed on a large folder.
_COMMANDS = {
    "status_s": "status, with an index",
    "status_json_s": "status --json",
    "status_map_s": "status --map",
    "retry_s": "retry",
    "clean_s": "clean",
    "submit_s": "submit --dry-run",
    "plan_s": "plan, after the first",
    "run_again_s": "run, with nothing to do",
}


def benchmark(options: Options, json_file: Path | None = None) -> None:
    """Measure the runner, print the table, and write the numbers.

    Raises
    ------
    ConfigError
        The folder of the file does not exist.
    TaskError
        A fake task failed.
    """
    from viamachinae.scan.overhead.measure import measure

    check_writable(json_file)
    result = measure(options)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("measured", "value"):
        table.add_column(heading, justify="left" if heading == "measured" else "right")
    for row in rows(result):
        table.add_row(*row)
    Console().print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"wrote {json_file}")


def rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of the table: what, and how much with its unit."""
    n, workers, published = result["tasks"], result["workers"], result["published_tasks"]

    def memory(prefix: str) -> str:
        first, last = (result[f"{prefix}_memory_{when}"] / 1e6 for when in ("first", "last"))
        return f"{first:.0f} MB, {last:.0f} MB"

    return [
        (f"{n:,} empty tasks in one process", f"{result['inline_rate']:,.0f} tasks/s"),
        (f"{n:,} empty tasks on Ray, {workers} workers", f"{result['ray_rate']:,.0f} tasks/s"),
        ("  driver's peak memory after a tenth, after all", memory("ray")),
        (f"{published:,} published tasks in one process", f"{result['inline_published_rate']:,.0f} tasks/s"),
        (f"{published:,} published tasks on Ray", f"{result['ray_published_rate']:,.0f} tasks/s"),
        ("  driver's peak memory after a tenth, after all", memory("published")),
        (f"efficiency of {workers} workers on Ray, tasks that wait", f"{result['wait_efficiency']:.2f}"),
        (f"efficiency of {workers} workers on Ray, tasks that compute", f"{result['efficiency']:.2f}"),
        (f"efficiency of {workers} plain processes", f"{result['bare_efficiency']:.2f}"),
        ("from kill -9 of the driver to the next result", f"{result['kill_to_work_s']:.1f} s"),
        ("results before the kill untouched, all tasks done", "yes" if result["kill_kept"] else "NO"),
        (f"status of {n:,} score tasks, without an index", f"{result['status_first_s']:.1f} s"),
        *((f"  {what}", f"{result[name]:.1f} s") for name, what in _COMMANDS.items()),
        (f"reading a patch of {result['patch_stars']:,} stars", f"{result['patch_read_s']:.2f} s"),
        ("  the first time, not from the page cache", f"{result['patch_first_read_s']:.2f} s"),
    ]
