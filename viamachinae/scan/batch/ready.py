"""Whether a scan can go to nodes where nobody is asked, and nothing can be downloaded."""

from __future__ import annotations

from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.scan import plan
from viamachinae.scan.batch.submit import queued
from viamachinae.scan.changes import changes
from viamachinae.scan.offline import lacking, tables_of_stars
from viamachinae.scan.options import accept
from viamachinae.scan.prepare import agreed, prepare
from viamachinae.scan.results import read_settings
from viamachinae.scan.store import Store

__all__ = ["accept_changes", "refuse_changes", "refuse_twice", "require_fetched"]


def refuse_changes(settings: Settings, out: Path) -> None:
    """Refuse settings that would redo what a scan's folder holds.

    Parameters
    ----------
    settings : Settings
        The scan, as it is to be run.
    out : Path
        Its folder, which may have been begun with others.

    Raises
    ------
    ConfigError
        Finished tasks would be made anew.
    """
    if not (out / "scan.toml").is_file():
        return
    store = Store(out)
    tables = tables_of_stars(settings, store, offline=True) or ()
    if agreed(settings, store, tables):
        return
    found = changes(store, read_settings(out), settings, tables)
    if found.redone:
        msg = f"{found}; add --yes to have that, or give another --out folder"
        raise ConfigError(msg)


def accept_changes(settings: Settings, out: Path) -> None:
    """Agree to settings that redo what a scan's folder holds: its jobs ask nobody, and refuse others.

    Parameters
    ----------
    settings : Settings
        The scan, as it is to be run.
    out : Path
        Its folder, which is there.
    """
    store = Store(out)
    prepare(settings, store, tables_of_stars(settings, store, offline=True) or (), accept)


def refuse_twice(_settings: Settings, out: Path) -> None:
    """Refuse a second submission while jobs of the first wait or run: both would do the same work.

    Raises
    ------
    ConfigError
        Jobs of this folder are in the queue.
    """
    jobs = queued(out)
    if jobs:
        msg = (
            f"{out}: jobs of this folder are in the queue ({', '.join(jobs)}), which come back until it "
            f"is done; others would do the same work. `scancel {' '.join(jobs)}` first, or add --yes"
        )
        raise ConfigError(msg)


def require_fetched(settings: Settings, out: Path) -> None:
    """Refuse a scan whose jobs would find that the stars of a patch are still on another machine.

    Parameters
    ----------
    settings : Settings
        The scan.
    out : Path
        Its folder; it need not exist.

    Raises
    ------
    DataError
        Cells, tables or maps are missing here, or the tables cannot be read.
    """
    from viamachinae.sky.patches import make_patches

    store, patches = Store(out), make_patches(settings.patches)
    tables = tables_of_stars(settings, store, offline=True)
    cells = {task.name: task for task in plan.cell_tasks(settings, patches)}
    stars = plan.star_tasks(settings, patches, tables or (), cells)
    left = stars if tables is None else [task for task in stars if not store.done(task)]
    found = lacking(settings, store, left)
    if found:
        msg = f"the nodes of a cluster have no network, and {found}; then submit again"
        raise DataError(msg)
