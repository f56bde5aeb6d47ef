"""Drivers of the commands that look after a scan folder: verify, retry, clean, pack, merge."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from viamachinae.cli.plan import size
from viamachinae.errors import ConfigError, DataError, ResumeError

if TYPE_CHECKING:
    from viamachinae.scan.verify import Verdict

__all__ = ["clean", "merge", "pack", "retry", "verify"]

#: Names that are printed of a list.
_SHOWN = 10
#: Files between two lines of progress.
_EVERY = 2000


def verify(path: Path, *, dry_run: bool = False) -> None:
    """Read every published byte of a scan folder, or of an archive of one, and say what is wrong.

    Raises
    ------
    DataError
        Something is damaged or suspect.
    ResumeError
        Results are not there that a run makes.
    """
    if path.is_file():
        from viamachinae.scan.pack import check_archive

        packed = check_archive(path)
        print(f"{path}: {packed.files} files, {size(packed.bytes)}, all as they were published")
        return
    from viamachinae.scan.verify import verify as verify_folder

    verdict = verify_folder(path, dry_run=dry_run, heard=_heard)
    print(f"{path}: read {verdict.files} files, {size(verdict.bytes)}")
    for line in _findings(verdict, dry_run):
        print(line)
    redone = f"`viamachinae run` makes {len(verdict.redo)} results anew"
    if not verdict.sound:
        withdrawn = "" if dry_run else "; the damaged ones are withdrawn, with copies in suspects/"
        again = f"; {redone}" if verdict.redo else ""
        msg = f"{path}: not all is as it was published{withdrawn}{again}" + (
            "; `viamachinae retry SUSPECT` settles the suspects" if verdict.suspects else ""
        )
        raise DataError(msg)
    if verdict.redo or verdict.undone:
        missing = len({*verdict.redo, *verdict.undone})
        msg = f"{path}: sound, but not complete: `viamachinae run` makes {missing} results, and what follows"
        raise ResumeError(msg)
    print("every file that is needed is there, and as it was published")


def retry(folder: Path, state: str, patterns: Sequence[str]) -> None:
    """Clear the tasks of a state for another run."""
    from viamachinae.scan.retry import retry as clear

    cleared = clear(folder, state, patterns)
    for line in _listed(f"{len(cleared)} tasks cleared; run the scan again", cleared):
        print(line)


def clean(folder: Path, *, all_hosts: bool, dry_run: bool, yes: bool) -> None:
    """Delete what dead processes left.

    Raises
    ------
    ConfigError
        Files of other hosts were to go, and nobody agreed.
    """
    import typer

    from viamachinae.scan.clean import clean as delete

    if all_hosts and not dry_run and not yes:
        warning = (
            "nobody can say from here whether processes of other hosts still write these files; "
            "a run that is at work on them would lose tasks"
        )
        if not sys.stdin.isatty() or not typer.confirm(f"{warning}. Is no run at work on {folder} anywhere?"):
            msg = f"{warning}: when no run is at work on {folder} anywhere, say --yes"
            raise ConfigError(msg)
    cleaned = delete(folder, all_hosts=all_hosts, dry_run=dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    for line in _listed(f"{len(cleaned.paths)} leftovers {verb}, {size(cleaned.bytes)}", cleaned.paths):
        print(line)


def pack(folder: Path, to: Path | None, extra: Sequence[str], *, replace: bool = False) -> None:
    """Write a finished scan into one archive."""
    from viamachinae.scan.pack import ENDING
    from viamachinae.scan.pack import pack as write

    named = to or folder.resolve().with_name(folder.resolve().name + ENDING)
    packed = write(folder, named, extra, replace=replace)
    small = size(packed.path.stat().st_size)
    print(f"wrote {packed.path}: {packed.files} files, {size(packed.bytes)}, packed {small}")
    print(f"unpack it with: mkdir FOLDER && tar --zstd -xf {shlex.quote(str(packed.path))} -C FOLDER")


def merge(folders: Sequence[Path], out: Path, scan: str | None) -> None:
    """Bring the patches of several folders together."""
    from viamachinae.cli.commands import settings_of
    from viamachinae.scan.merge import merge as bring

    merged = bring(folders, out, None if scan is None else settings_of(scan))
    for stage, n in merged.tasks.items():
        print(f"{stage}: {n} taken")
    print(f"{out}: {merged.linked} files linked, {merged.copied} copied, {merged.twice} tasks were there")
    for folder, n in merged.left.items():
        print(
            f"{folder}: {n} results were not taken: of other settings or of another version of viamachinae, "
            f"or missing; `viamachinae run {folder / 'scan.toml'} --out {folder}` makes them anew"
        )
    if merged.different:
        title = f"{len(merged.different)} suspect: results of the folders differ, and the first ones stand"
        for line in _listed(title, merged.different):
            print(line)
    print(f"finish it with: viamachinae run {out / 'scan.toml'} --out {out}")


def _heard(files: int, n_bytes: int) -> None:
    if files % _EVERY == 0:
        print(f"read {files} files, {size(n_bytes)}", file=sys.stderr)


def _findings(verdict: Verdict, dry_run: bool) -> list[str]:
    again = "needed, would be withdrawn" if dry_run else "withdrawn, the next run makes them anew"
    found = {
        "damaged": verdict.damaged,
        "receipts unreadable": verdict.unreadable,
        "vanished": verdict.vanished,
        again: verdict.redo,
        "gone and not needed: what was made from them stays": verdict.gone,
        "tasks have no result: not done yet, or their receipts vanished": verdict.undone,
        "suspect": [f"{suspect.id}: {suspect.why}" for suspect in verdict.suspects],
    }
    lines = [
        line for what, names in found.items() if names for line in _listed(f"{len(names)} {what}", names)
    ]
    if verdict.left:
        lines.append(f"{verdict.left} results of other settings, not read")
    return lines


def _listed(title: str, names: Sequence[str]) -> list[str]:
    """Return a title and the first names."""
    more = [f"  and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [title, *(f"  {name}" for name in names[:_SHOWN]), *more]
