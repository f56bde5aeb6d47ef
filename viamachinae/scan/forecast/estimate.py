"""What a scan will take before it starts: hours, memory and disk, from rates measured on this machine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.scan import plan
from viamachinae.scan.forecast.counting import Counted, count
from viamachinae.scan.forecast.done import Done, done_tasks
from viamachinae.scan.forecast.footprint import folder_size
from viamachinae.scan.forecast.kept import Kept, Measured, counted_key, keep, measured_key, read_kept
from viamachinae.scan.forecast.machine import Machine, measure_machine
from viamachinae.scan.forecast.remaining import Estimate, remaining
from viamachinae.scan.forecast.scaling import load_samples, scale, stand_for, weigh
from viamachinae.scan.forecast.workload import PatchWork
from viamachinae.scan.garbage import uncollected
from viamachinae.scan.notes import when
from viamachinae.scan.outside import files_fingerprint
from viamachinae.scan.store import Store

__all__ = ["estimate"]


def estimate(
    settings: Settings, out: Path | None = None, sample: int = 2, *, measure: bool = False
) -> Estimate:
    """Predict what a scan takes.

    A few patches are loaded as a run would load them, the rates of training and
    evaluation are measured with as many processes as there will be workers, and
    the rest is arithmetic. Trainings are counted at their full length: the time
    is an upper bound as far as they stop gaining earlier. Times hold for a
    machine that does nothing else; :attr:`Machine.share` says how busy it was.
    In the folder of a scan what was measured is kept, and serves later calls
    (:mod:`viamachinae.scan.forecast.kept`).

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path, optional
        Its folder, to leave out what is done there.
    sample : int
        Most patches to load.
    measure : bool
        Whether to measure again what an earlier call measured.

    Raises
    ------
    ConfigError
        The patches, the mock sky or the device that the settings ask for do not exist.
    DataError
        The stars cannot be used.
    """
    patches = _patches(settings, out)
    fingerprints = files_fingerprint(settings.stars.paths if settings.stars.source == "files" else ())
    cells = plan.cell_tasks(settings, patches)
    done = Done.nothing()
    if out is not None:
        with uncollected():
            done = done_tasks(settings, Store(out), patches, fingerprints, cells)
    known = done.stars if len(done.stars) == len(patches) else {}
    asked = _Asked(settings, patches, sample, len(cells), known)
    held, earlier = _held(asked, measured_key(settings, fingerprints), out, measure=measure)
    left = remaining(settings, held.counted, held.measured.machine, done, [task.name for task in cells])
    there = 0.0 if out is None else folder_size(out)
    disk = left.disk.of_folder(sum(stage.tasks for stage in left.stages), there)
    return replace(left, disk=disk, measured_at=held.measured.at, kept=earlier)


@dataclass(frozen=True)
class _Asked:
    """The question: a scan, its patches, how many to load, its cells, and the stars where all are known."""

    settings: Settings
    patches: pd.DataFrame
    sample: int
    cells: int
    known: Mapping[str, int]

    def key(self, measured: Measured) -> str:
        return counted_key(self.settings, self.patches, self.known, measured)

    def counted(self, works: Sequence[PatchWork], machine: Machine) -> Counted:
        return count(self.settings, works, machine, self.cells)


def _patches(settings: Settings, out: Path | None) -> pd.DataFrame:
    """Return the patches: as they were published, since laying them out needs libraries that load slowly."""
    from viamachinae.schema import PATCHES
    from viamachinae.schema.io import read_table
    from viamachinae.sky.patches import make_patches

    if out is not None:
        task, store, name = plan.patch_task(settings), Store(out), "patches.parquet"
        with contextlib.suppress(OSError, DataError):
            receipt = store.receipt(task)
            if receipt is not None and receipt.key == task.key and store.intact(receipt, name):
                return read_table(out / name, PATCHES)
    return make_patches(settings.patches)


def _held(asked: _Asked, key: str, out: Path | None, *, measure: bool) -> tuple[Kept, bool]:
    """Return what was measured, here or at an earlier call, and whether it was earlier."""
    kept = None if out is None or measure else read_kept(out, key)
    reused = None if kept is None else _reused(asked, kept)
    held = _measured(asked, key) if reused is None else reused
    if out is not None and held is not kept:
        keep(out, held)
    return held, reused is not None


def _measured(asked: _Asked, key: str) -> Kept:
    """Load, time and count."""
    from viamachinae.stars.load import check_inputs

    check_inputs(asked.settings, asked.patches)
    samples = load_samples(asked.settings, asked.patches, asked.sample, asked.known)
    measured = Measured(when(time.time()), samples, measure_machine(asked.settings))
    works = scale(asked.settings, asked.patches, samples, asked.known)
    return Kept(key, measured, asked.key(measured), asked.counted(works, measured.machine))


def _reused(asked: _Asked, kept: Kept) -> Kept | None:
    """Return what was kept, counted anew where the question is another one; ``None``: it does not serve."""
    measured = kept.measured
    loaded = measured.samples.loaded
    if len(loaded) < min(asked.sample, len(asked.patches)):
        return None
    if kept.counted_key == asked.key(measured):
        return kept
    weights = weigh(asked.settings, asked.patches, len(loaded), measured.samples.weights, asked.known)
    measured = replace(measured, samples=replace(measured.samples, weights=weights))
    if not stand_for(asked.patches, measured.samples):
        return None
    works = scale(asked.settings, asked.patches, measured.samples, asked.known)
    return replace(
        kept,
        measured=measured,
        counted_key=asked.key(measured),
        counted=asked.counted(works, measured.machine),
    )
