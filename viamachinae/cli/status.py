"""Print where a scan stands, and draw it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.cli.plan import duration
from viamachinae.errors import ConfigError

if TYPE_CHECKING:
    from viamachinae.scan.status import ScanStatus

__all__ = ["status"]

#: Failures, suspects and claims that are printed; all of them are in the JSON.
_SHOWN = 10
_MAPS = (".png", ".pdf", ".svg")


def status(folder: Path, map_file: Path | None = None, *, as_json: bool = False) -> None:
    """Print where every stage of a scan stands, and draw a map of its patches.

    Raises
    ------
    ConfigError
        The folder holds no scan, or the map cannot be written.
    DataError
        A map was asked for before the patches were laid out.
    """
    from viamachinae.scan.status import scan_status

    found = scan_status(folder)
    if map_file is not None:
        _draw(folder, found, map_file)
    if as_json:
        print(json.dumps({"folder": str(folder), **found.as_dict()}, indent=1))
        return
    console = Console()
    console.print(_stages(folder, found))
    for line in (*_pace(found), *_patches(found), *_troubles(found)):
        console.print(line, soft_wrap=True, highlight=False, markup=False)


def _stages(folder: Path, found: ScanStatus) -> Table:
    table = Table(title=str(folder), title_justify="left", box=SIMPLE_HEAD)
    shown = [state for state in _states() if any(stage.states[state] for stage in found.stages)]
    downloads = any(stage.bytes is not None for stage in found.stages)
    headings = ["stage", "done", "of", *(state.lower() for state in shown), "time"]
    for heading in (*headings, "rows", "MB") if downloads else headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in found.stages:
        of = "?" if stage.total is None else str(stage.total)
        counts = [str(stage.states[state] or "") for state in shown]
        row = [stage.stage, str(stage.done), of, *counts, duration(stage.seconds)]
        if stage.bytes is not None:
            row += [f"{stage.rows:,}", f"{stage.bytes / 1e6:.1f}"]
        table.add_row(*row)
    return table


def _states() -> list[str]:
    from viamachinae.scan.status import STATES

    return [state for state in reversed(STATES) if state != "DONE"]


def _pace(found: ScanStatus) -> list[str]:
    if found.core_seconds_left is None:
        left = "time left: not known before every stage with tasks left has done one"
    elif not found.core_seconds_left:
        return []
    else:
        left = f"left: {duration(found.core_seconds_left)} of one worker"
    if found.seconds_left is not None:
        left += f", {duration(found.seconds_left)} with the {found.workers} at work"
    pace = f"; {found.rate:.3g} tasks an hour now" if found.rate else ""
    return [left + pace]


def _patches(found: ScanStatus) -> list[str]:
    counts: dict[str, int] = {}
    for patch in found.patches.values():
        counts[patch.state] = counts.get(patch.state, 0) + 1
    if not counts:
        return []
    said = ", ".join(f"{n} {state}" for state, n in sorted(counts.items()))
    return [f"{len(found.patches)} patch{'es' * (len(found.patches) != 1)}: {said}"]


def _troubles(found: ScanStatus) -> list[str]:
    lines = []
    for claim in found.claims[:_SHOWN]:
        ended = ", which is gone" if claim.alive is False else ""
        names = ", ".join(str(task["id"]) for task in claim.tasks if "id" in task)
        lines.append(
            f"{names}: claimed by {claim.host} {claim.pid}{ended}, last sign {claim.at} by its clock"
        )
    lines += _more(len(found.claims), "claims")
    for name, failure in list(found.failures.items())[:_SHOWN]:
        first = failure.error.partition("\n")[0]
        lines.append(f"FAILED {name}, try {failure.body.get('attempt', '?')}: {first}")
    lines += _more(len(found.failures), "failures")
    lines += [f"SUSPECT {suspect.id}: {suspect.why}" for suspect in found.suspects[:_SHOWN]]
    return lines + _more(len(found.suspects), "suspects")


def _more(n: int, what: str) -> list[str]:
    return [f"and {n - _SHOWN} more {what}, see --json"] if n > _SHOWN else []


def _draw(folder: Path, found: ScanStatus, map_file: Path) -> None:
    from viamachinae.report.progress_map import draw_progress
    from viamachinae.scan.results import read_settings
    from viamachinae.scan.status import read_patches_table

    if map_file.suffix not in _MAPS:
        msg = f"{map_file}: no figure; give --map a name that ends in {', '.join(_MAPS)}"
        raise ConfigError(msg)
    patches = read_patches_table(folder)
    states = {name: patch.state for name, patch in found.patches.items()}
    try:
        draw_progress(patches, states, read_settings(folder).fiducial.radius, map_file)
    except OSError as error:
        msg = f"{map_file}: cannot be written ({error.strerror}); name another --map file"
        raise ConfigError(msg) from error
