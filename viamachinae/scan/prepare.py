"""The folder of a scan before a run: its settings, and what changed ones redo."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError
from viamachinae.scan.attempt import Fault
from viamachinae.scan.changes import Changes, changes, other_files
from viamachinae.scan.claims import sweep_claims
from viamachinae.scan.faults import fault_of
from viamachinae.scan.results import read_settings
from viamachinae.scan.scratch import sweep_scratch
from viamachinae.scan.store import Store
from viamachinae.scan.terms import Terms
from viamachinae.schema.publish import atomic_text, sweep, temporary

__all__ = ["agreed", "prepare"]

logger = logging.getLogger(__name__)


def prepare(
    settings: Settings, store: Store, tables: Sequence[str], agree: Callable[[Changes], bool]
) -> None:
    """Make a scan folder, or make sure that the run may go on in one that is there.

    Parameters
    ----------
    settings : Settings
        The scan.
    store : Store
        Its folder.
    tables : sequence of str
        Fingerprints of the tables of stars.
    agree : callable
        Asked before finished tasks are made anew.

    Raises
    ------
    ConfigError
        The folder is a file or cannot be written, or what changed was not agreed to.
    """
    out = store.root
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file, not a folder; give another --out folder"
        raise ConfigError(msg)
    try:
        out.mkdir(parents=True, exist_ok=True)
        text, terms = dump(settings), Terms.of(settings, tables)
        if not _claimed(out / "scan.toml", text) or Terms.read(out) is not None:
            _compare(settings, store, tables, agree)
        # Before the settings: they say what was agreed to.
        terms.keep(out)
        if (out / "scan.toml").read_bytes() != text.encode():
            atomic_text(out / "scan.toml", text)
        (out / "log").mkdir(exist_ok=True)
        _probe(out)
        sweep(out)
        sweep_claims(out)
        sweep_scratch()
    except OSError as error:
        if fault_of(error) is Fault.STORAGE and error.errno != errno.EROFS:
            raise
        msg = (
            f"{out}: cannot be written ({error}); mend that, or give another --out folder "
            "(`viamachinae status` and `viamachinae export` only read)"
        )
        raise ConfigError(msg) from error


def _probe(out: Path) -> None:
    """Make a file and delete it: in a folder that takes none everything else may stand already."""
    probe = temporary(out / "log" / "run.log")
    probe.touch()
    probe.unlink()


def _claimed(path: Path, text: str) -> bool:
    """Write the settings where there are none; of several processes that try at once one succeeds."""
    if path.exists():
        return False
    temp = temporary(path)
    try:
        temp.write_text(text, encoding="utf-8")
        os.link(temp, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        atomic_text(path, text)
    finally:
        temp.unlink(missing_ok=True)
    return True


def _compare(
    settings: Settings, store: Store, tables: Sequence[str], agree: Callable[[Changes], bool]
) -> None:
    """Say what changed since the folder was last run, and whether that may be."""
    before = _before(store.root)
    same = before is None or _content(before) == _content(settings)
    standing = agreed(settings, store, tables)
    if same and standing:
        return
    found = changes(store, before, settings, tables)
    if not found.redone and (standing or not found.at_work):
        if found.settings or found.files:
            logger.info("%s", found)
        return
    if not agree(found):
        msg = (
            f"{found}. Nothing was changed: add --yes to go on like this, give another "
            "--out folder, or take the old settings again"
        )
        raise ConfigError(msg)
    logger.warning("%s", found)


def agreed(settings: Settings, store: Store, tables: Sequence[str]) -> bool:
    """Return whether a folder is run for these settings and tables of stars, its results done or not."""
    found = Terms.read(store.root)
    return (
        found is not None
        and found.agree(Terms.of(settings, tables))
        and (bool(found.tables) or not other_files(store, tables))
    )


def _before(out: Path) -> Settings | None:
    """Return the settings that a folder was run with, ``None`` when its file is damaged."""
    try:
        found = read_settings(out)
        # What is cut at the end of a line is TOML still; the last section is written in any case.
        whole = f"[{list(Settings.model_fields)[-1]}]" in (out / "scan.toml").read_text(encoding="utf-8")
    except (ConfigError, DataError, ValueError) as error:
        logger.warning("%s/scan.toml cannot be read (%s)", out, error)
        return None
    return found if whole else None


def _content(settings: Settings) -> dict[str, object]:
    return settings.model_dump(mode="json", exclude={"runner"})
