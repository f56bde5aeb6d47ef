"""Print what a scan will take before it starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError

if TYPE_CHECKING:
    from viamachinae.scan.forecast.remaining import Estimate, Seen

__all__ = ["duration", "plan", "size"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
#: Part of a core that a process gets on a machine with little else to do.
_IDLE = 0.9


def plan(
    settings: Settings, out: Path | None, json_file: Path | None, sample: int, *, measure: bool = False
) -> None:
    """Predict hours, memory and disk of a scan, and print them.

    Raises
    ------
    ConfigError
        The JSON file cannot be written.
    """
    from viamachinae.cli.commands import shown_log
    from viamachinae.scan.forecast.estimate import estimate
    from viamachinae.schema.publish import atomic_text

    with shown_log():
        found = estimate(settings, out, sample, measure=measure)
    console = Console()
    console.print(_work(found))
    console.print(_stages(found))
    console.print(_needs(found))
    seen = () if found.seen is None else (_seen(found.seen),)
    for line in (*_sureness(found), *seen, *found.notes):
        console.print(line, soft_wrap=True, highlight=False)
    if json_file is not None:
        try:
            atomic_text(json_file, json.dumps(found.as_dict(), indent=1) + "\n")
        except OSError as error:
            msg = f"{json_file}: cannot be written ({error.strerror}); name another --json file"
            raise ConfigError(msg) from error


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.1f} s"


def size(n: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n >= unit:
            return f"{n / unit:.1f} {name}"
    return f"{n / 1e3:.1f} kB"


def _work(found: Estimate) -> Table:
    table = Table(title=f"{found.name}: what there is to do", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("patches", "stars", "signal regions", "score tasks", "trainings", "ROIs"):
        table.add_column(heading, justify="right")
    work = found.work
    counts = (work.patches, work.stars, work.regions, work.tasks, work.trainings, work.rois)
    table.add_row(*(f"{n:,}" for n in counts))
    return table


def _stages(found: Estimate) -> Table:
    title = f"what is left, with {found.machine.workers} worker{'s' * (found.machine.workers != 1)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_footer=True)
    total = (
        "all",
        str(sum(stage.tasks for stage in found.stages)),
        str(sum(stage.done for stage in found.stages)),
        duration(found.core),
        duration(found.wall),
        duration(found.longest),
    )
    headings = ("stage", "tasks", "done", "of one core", "wall clock", "longest task")
    for heading, footer in zip(headings, total, strict=True):
        table.add_column(heading, footer, justify="left" if heading == "stage" else "right")
    if found.start:
        table.add_row("start", "", "", "", duration(found.start), "")
    for stage in found.stages:
        times = (duration(t) for t in (stage.core, stage.wall, stage.longest))
        table.add_row(stage.stage, str(stage.tasks), str(stage.done), *times)
    return table


def _needs(found: Estimate) -> Table:
    table = Table(title="memory at its peak, and disk", title_justify="left", box=SIMPLE_HEAD)
    for heading in ("a worker", "all workers and driver", "folder when done", "in it now"):
        table.add_column(heading, justify="right")
    memory, disk = found.memory, found.disk
    table.add_row(*(size(n) for n in (memory.worker, memory.total, disk.total, disk.there)))
    return table


def _sureness(found: Estimate) -> list[str]:
    """Say what was measured and what was scaled."""
    machine, work = found.machine, found.work
    scaled = "" if len(found.sampled) == work.patches else ", the others scaled from them"
    counted = (
        f"from {len(found.sampled)} of {work.patches} patches ({', '.join(found.sampled)}){scaled}; "
        f"{work.presentations:.2e} star presentations, {work.evaluations:.2e} evaluations"
    )
    earlier = (
        f"measured here at {found.measured_at} (--measure measures again)" if found.kept else "measured here"
    )
    timed = (
        f"{earlier} with {machine.processes} process{'es' * (machine.processes != 1)} at work, each: "
        f"training {machine.training:,.0f} stars/s, evaluation {machine.evaluation:,.0f} stars/s; "
        f"loading a patch {duration(found.load)}, a region of interest {1e3 * found.roi:.1f} ms"
    )
    if machine.share >= _IDLE or not found.wall:
        return [counted, timed]
    busy = (
        f"the times are those of an idle machine, and this one {'was' if found.kept else 'is'} busy: each "
        f"process got {machine.share:.0%} of a core; as long as that lasts, the wall clock is about "
        f"{duration(found.wall / machine.share)}"
    )
    return [counted, timed, busy]


def _seen(seen: Seen) -> str:
    """Say how long score tasks really took."""
    took = (
        f"{seen.tasks:,} score task{'s' * (seen.tasks != 1)} took {duration(seen.seconds)} on average where "
        f"they ran, the forecast said {duration(seen.forecast)}"
    )
    if seen.scale == 1.0:
        return took
    # The longest may be unlike the mean: it is never scaled down.
    longest = "" if seen.scale > 1.0 else ", but for the longest"
    return f"{took}: the time of those left is multiplied by {seen.scale:.3g}{longest}"
