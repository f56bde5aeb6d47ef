"""Drivers of the commands that look after a scan folder: verify, retry, clean, pack, merge."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from viamachinae.cli.plan import size
from viamachinae.cli.words import counted, listed
from viamachinae.errors import ConfigError, DataError, ResumeError
from viamachinae.scan.results import run_again

if TYPE_CHECKING:
    from viamachinae.scan.verify import Verdict

__all__ = ["clean", "merge", "pack", "retry", "verify"]

#: Files between two lines of progress.
_EVERY = 2000


def verify(path: Path, *, dry_run: bool = False) -> None:
    """Read every published byte of a scan folder, or of an archive of one, and say what is wrong.

    Raises
    ------
    ConfigError
        It is neither the one nor the other.
    DataError
        Something is damaged or suspect.
    ResumeError
        Results are not there that a run makes, or the file system does not answer.
    """
    if path.is_file():
        _verify_archive(path)
        return
    from viamachinae.scan.verify import verify as verify_folder

    verdict = verify_folder(path, dry_run=dry_run, heard=_heard)
    print(f"{path}: read {counted(verdict.files, 'file')}, {size(verdict.bytes)}")
    for line in _findings(verdict, dry_run):
        print(line)
    if not verdict.sound:
        msg = f"{path}: not all is as it was published; {_remedy(path, verdict, dry_run=dry_run)}"
        raise DataError(msg)
    if verdict.unanswered:
        msg = f"{path}: the file system does not answer; run the same command again"
        raise ResumeError(msg)
    if verdict.redo or verdict.undone:
        missing = counted(len({*verdict.redo, *verdict.undone}), "result")
        msg = f"{path}: sound, but not complete: {missing} to make, and what follows; {_next(path)}"
        raise ResumeError(msg)
    print("every file that is needed is there, and as it was published")


def _verify_archive(path: Path) -> None:
    from viamachinae.scan.pack import ENDING, check_archive

    if not path.name.endswith(ENDING):
        msg = f"{path}: neither the folder of a scan nor an archive of one ({ENDING}); name one of them"
        raise ConfigError(msg)
    packed = check_archive(path)
    print(f"{path}: {counted(packed.files, 'file')}, {size(packed.bytes)}, all as they were published")


def _remedy(path: Path, verdict: Verdict, *, dry_run: bool) -> str:
    """Say what was done about what is damaged, and what is to be typed next."""
    made = {*verdict.redo, *verdict.undone}
    lasting = [s for s in verdict.suspects if s.kind != "damaged" or s.id not in made]
    done = []
    if verdict.damaged and not dry_run:
        done.append(f"withdrawn, copied to suspects/: {counted(len(verdict.damaged), 'damaged file')}")
    if lasting:
        retried = shlex.join(["viamachinae", "retry", str(path), "SUSPECT"])
        done.append(f"to settle the suspects: {retried}")
    return "; ".join([*done, _next(path)])


def _next(path: Path) -> str:
    return f"next: {run_again(path)}"


def retry(folder: Path, state: str, patterns: Sequence[str]) -> None:
    """Clear the tasks of a state for another run."""
    from viamachinae.scan.retry import retry as clear

    cleared = clear(folder, state, patterns)
    if not cleared:
        alike = f" like {' or '.join(map(repr, patterns))}" if patterns else ""
        print(f"no task{alike} is {state}: nothing to clear")
        return
    for line in listed(f"{counted(len(cleared), 'task')} cleared; {_next(folder)}", cleared):
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
    if not cleaned.paths:
        print("no leftovers: nothing to delete")
        return
    leftovers = counted(len(cleaned.paths), "leftover")
    for line in listed(f"{leftovers} {verb}, {size(cleaned.bytes)}", cleaned.paths):
        print(line)


def pack(folder: Path, to: Path | None, extra: Sequence[str], *, replace: bool = False) -> None:
    """Write a finished scan into one archive."""
    from viamachinae.scan.pack import ENDING
    from viamachinae.scan.pack import pack as write

    named = to or folder.resolve().with_name(folder.resolve().name + ENDING)
    packed = write(folder, named, extra, replace=replace)
    small = size(packed.path.stat().st_size)
    print(f"wrote {packed.path}: {counted(packed.files, 'file')}, {size(packed.bytes)}, packed {small}")
    print(f"unpack it with: mkdir FOLDER && tar --zstd -xf {shlex.quote(str(packed.path))} -C FOLDER")


def merge(folders: Sequence[Path], out: Path, scan: str | None) -> None:
    """Bring the patches of several folders together."""
    from viamachinae.cli.commands import settings_of
    from viamachinae.scan.merge import merge as bring

    merged = bring(folders, out, None if scan is None else settings_of(scan))
    for stage, n in merged.tasks.items():
        print(f"{stage}: {n} taken")
    there = f"{counted(merged.twice, 'task')} {'was' if merged.twice == 1 else 'were'} there already"
    print(f"{out}: {counted(merged.linked, 'file')} linked, {merged.copied} copied, {there}")
    for folder, n in merged.left.items():
        print(
            f"{folder}: not taken: {counted(n, 'result')} of other settings or of another version of "
            f"viamachinae, or missing; to make them anew: {run_again(folder)}"
        )
    if merged.different:
        title = f"{len(merged.different)} suspect: results of the folders differ, and the first ones stand"
        for line in listed(title, merged.different):
            print(line)
    print(f"finish it with: {run_again(out)}")


def _heard(files: int, n_bytes: int) -> None:
    if files % _EVERY == 0:
        print(f"read {files} files, {size(n_bytes)}", file=sys.stderr)


def _findings(verdict: Verdict, dry_run: bool) -> list[str]:
    again = "needed, would be withdrawn" if dry_run else "withdrawn, made anew by the next run"
    found = {
        "damaged": verdict.damaged,
        "receipts unreadable": verdict.unreadable,
        "vanished": verdict.vanished,
        "could not be read: look at the file system; one that never can is made anew once it is deleted": (
            verdict.unanswered
        ),
        again: verdict.redo,
        "gone and not needed: what was made from them stays": verdict.gone,
        "without a result: not done yet, or the receipt vanished": verdict.undone,
        "suspect": [suspect.said for suspect in verdict.suspects],
    }
    lines = [line for what, names in found.items() if names for line in listed(f"{len(names)} {what}", names)]
    if verdict.left:
        lines.append(f"{counted(verdict.left, 'result')} of other settings, not read")
    return lines
