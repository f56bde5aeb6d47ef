"""Results that cannot be trusted: damaged ones, and second results that differ from the first.

A note in ``suspects/STAGE/NAME/`` says what was found; the bytes in question are
kept beside it, in the folder of the same name that ends in ``.files``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from viamachinae.scan.notes import read_notes, stamp, write_note
from viamachinae.scan.receipt import Receipt
from viamachinae.scan.task import Task, TaskRef
from viamachinae.schema.provenance import processor
from viamachinae.schema.publish import Staged, make_folder

__all__ = ["TOLERANCE", "Suspect", "compare_twice", "drop_suspects", "keep_damaged", "suspects"]

logger = logging.getLogger(__name__)

#: Relative and absolute difference that floats of two types of processors may have.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Suspect:
    """One finding.

    Parameters
    ----------
    path : Path
        Its note.
    id : str
        Stage and name of the task.
    kind : str
        ``damaged``: bytes are not those that were published; ``different``: a task done twice gave
        two results, the first of which stands.
    why : str
        What was found, for people.
    """

    path: Path
    id: str
    kind: str
    why: str

    @property
    def said(self) -> str:
        """Task and reason in one line; the reason of a damaged file begins with its name."""
        return self.why if self.kind == "damaged" else f"{self.id}: {self.why}"


def suspects(root: Path) -> list[Suspect]:
    """Return every finding of a scan folder."""
    found = []
    for path, body in read_notes(root / "suspects"):
        with contextlib.suppress(KeyError):
            found.append(Suspect(path, f"{body['stage']}/{body['name']}", body["kind"], body["why"]))
    return found


def keep_damaged(root: Path, receipt: Receipt, relative: str, found: str) -> None:
    """Move a file aside whose bytes are not those of its receipt, and write down why."""
    why = f"{relative}: its bytes are not those that were published"
    facts = {"sha256": receipt.promised[relative]["sha256"], "found_sha256": found}
    with contextlib.suppress(OSError):
        _keep(root, receipt.ref, "damaged", why, {relative: root / relative}, facts)


def compare_twice(
    root: Path, earlier: Receipt, files: Mapping[str, Staged], made_on: str | None = None
) -> bool:
    """Compare a second result of a task with the first, which stands; say whether they agree, which is quiet.

    On one type of processor equal means every byte, between two types numbers may differ by
    :data:`TOLERANCE`. A second result that differs is kept aside, and the task is suspect.

    Parameters
    ----------
    root : Path
        The scan folder.
    earlier : Receipt
        Of the first result.
    files : mapping
        Path inside the scan folder -> the second result's file.
    made_on : str, optional
        Type of the processor that made it; by default this one.
    """
    made_on = processor() if made_on is None else made_on
    first = {**earlier.outputs, **earlier.gone}
    differing = [r for r in sorted(files) if r not in first or files[r].sha256 != first[r]["sha256"]]
    differing += sorted(first.keys() - files.keys())
    elsewhere = earlier.body.get("processor", "") != made_on
    if not differing or (
        elsewhere and all(r in files and _close(root / r, files[r].temp) for r in differing)
    ):
        return True
    task = earlier.ref
    why = f"done twice with different results: {', '.join(differing)}"
    logger.warning("%s is suspect: %s; the first result stands, the second is kept aside", task.id, why)
    aside = {relative: files[relative].temp for relative in differing if relative in files}
    facts = {"processor": made_on, "first_processor": earlier.body.get("processor", "")}
    _keep(root, task, "different", why, aside, facts)
    return False


def drop_suspects(root: Path, task: Task | TaskRef) -> None:
    """Forget the findings about a task, with the files that were kept."""
    shutil.rmtree(root / "suspects" / task.stage / task.name, ignore_errors=True)


def _keep(
    root: Path, task: TaskRef, kind: str, why: str, files: Mapping[str, Path], facts: Mapping[str, Any]
) -> None:
    tag = f"{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}"
    folder = root / "suspects" / task.stage / task.name
    for relative, path in files.items():
        place = folder / f"{tag}.files" / relative
        make_folder(place.parent)
        path.replace(place)
    body = {"stage": task.stage, "name": task.name, "key": task.key, "kind": kind, "why": why}
    write_note(folder / f"{tag}.json", {**body, **facts, **stamp()})


def _close(first: Path, second: Path) -> bool:
    """Say whether two tables hold the same rows, numbers within the tolerance."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    if first.suffix != ".parquet":
        return False
    try:
        ours, theirs = (
            pq.read_table(path, page_checksum_verification=True).to_pandas() for path in (first, second)
        )
    except (OSError, pa.ArrowException):
        return False
    if list(ours) != list(theirs) or len(ours) != len(theirs):
        return False
    for name in ours:
        if pd.api.types.is_float_dtype(ours[name]):
            a, b = (frame[name].to_numpy(np.float64, na_value=np.nan) for frame in (ours, theirs))
            if not np.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                return False
        elif not ours[name].astype(str).equals(theirs[name].astype(str)):
            return False
    return True
