"""The folder of a scan: results published atomically, and the receipts that say what is done."""

from __future__ import annotations

import json
import logging
import os
import platform
import socket
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from viamachinae import __version__
from viamachinae.errors import DataError
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.schema.core import TableSchema
from viamachinae.schema.publish import atomic_text, file_sha256, place

__all__ = ["Receipt", "Store"]

logger = logging.getLogger(__name__)

#: Layout of the receipt file itself.
_FORMAT = 1
_PACKAGES = ("numpy", "pandas", "pyarrow", "scipy", "torch", "astropy", "ray")


@cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "viamachinae": __version__}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an optional package of a smaller installation
            continue
    return found


@dataclass(frozen=True)
class Receipt:
    """What a receipt says; ``body`` is the whole of it, as read from its JSON file."""

    body: dict[str, Any]

    @property
    def key(self) -> str:
        """Key of the task whose results these are."""
        return str(self.body["key"])

    @property
    def inputs(self) -> tuple[TaskRef, ...]:
        """The tasks whose results were read."""
        pairs = ((*id_.split("/", 1), key) for id_, key in self.body["inputs"].items())
        return tuple(TaskRef(*parts) for parts in pairs)

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """Path inside the scan folder -> size, sha256, rows."""
        outputs: dict[str, dict[str, Any]] = self.body["outputs"]
        return outputs

    @property
    def info(self) -> dict[str, Any]:
        """Facts that the stage noted."""
        info: dict[str, Any] = self.body["info"]
        return info


@dataclass(frozen=True)
class Store:
    """Results and receipts of one scan folder.

    Parameters
    ----------
    root : Path
        The scan folder.
    """

    root: Path

    def receipt_path(self, task: Task | TaskRef) -> Path:
        """Return where the receipt of a task lies."""
        return self.root / "receipts" / task.stage / f"{task.name}.json"

    def receipt(self, task: Task | TaskRef) -> Receipt | None:
        """Return the receipt under the task's name, whatever its key; ``None`` when absent or unreadable."""
        try:
            body = json.loads(self.receipt_path(task).read_text(encoding="utf-8"))
            if body["format"] != _FORMAT:
                return None
            outputs, _ = body["outputs"], body["info"]
            for entry in outputs.values():
                int(entry["size"]), str(entry["sha256"])
            str(body["key"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Receipt(body)

    def done(self, task: Task | TaskRef) -> bool:
        """Say whether a valid receipt with the task's key stands, and its outputs with their sizes."""
        receipt = self.receipt(task)
        if receipt is None or receipt.key != task.key:
            return False
        for relative, entry in receipt.outputs.items():
            try:
                if (self.root / relative).stat().st_size != entry["size"]:
                    return False
            except OSError:
                return False
        return True

    def publish(self, task: Task, products: Products, *, started: float, attempt: int = 1) -> Receipt:
        """Write every product, then the receipt.

        The receipt of an earlier result under the same name goes first, so
        that no moment exists in which it vouches for files that it did not see.

        Parameters
        ----------
        task : Task
            Whose results these are.
        products : Products
            Writers and facts.
        started : float
            Unix time (s) at which the work began.
        attempt : int
            Which try of this run succeeded.
        """
        place_of_receipt = self.receipt_path(task)
        place_of_receipt.unlink(missing_ok=True)
        outputs = {}
        for relative, writer in products.writers.items():
            rows, size, digest = place(self.root / relative, writer)
            outputs[relative] = {"size": size, "sha256": digest, "rows": rows}
        body = {
            "format": _FORMAT,
            "stage": task.stage,
            "name": task.name,
            "key": task.key,
            "inputs": {ref.id: ref.key for ref in task.inputs},
            "work": dict(task.work),
            "outputs": outputs,
            "info": dict(products.info),
            "attempt": attempt,
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "versions": _versions(),
        }
        atomic_text(place_of_receipt, json.dumps(body, indent=1, sort_keys=True) + "\n")
        return Receipt(body)

    def verified(self, task: Task | TaskRef, relative: str) -> Path:
        """Return the path of a task's output after comparing its bytes with the receipt.

        A damaged result loses its receipt, so that the next run makes it anew.

        Raises
        ------
        DataError
            The task is not done, does not own the file, or the file is damaged.
        """
        path, receipt = self.root / relative, self.receipt(task)
        if receipt is None or receipt.key != task.key or relative not in receipt.outputs:
            msg = f"{path}: no valid receipt of {task.id} vouches for it; run `viamachinae run` again"
            raise DataError(msg)
        try:
            intact = file_sha256(path) == receipt.outputs[relative]["sha256"]
        except OSError:
            intact = False
        if not intact:
            self.receipt_path(task).unlink(missing_ok=True)
            logger.warning("%s is damaged; its receipt is withdrawn", path)
            msg = (
                f"{path}: missing, or its bytes are not those that were published (result of {task.id}); "
                "run the same `viamachinae run` command again: it makes this result anew"
            )
            raise DataError(msg)
        return path

    def read(
        self, task: Task | TaskRef, relative: str, schema: TableSchema, columns: list[str] | None = None
    ) -> pd.DataFrame:
        """Return a published table, verified.

        Raises
        ------
        DataError
            As :meth:`verified`, or the table is not one of ``schema``.
        """
        from viamachinae.schema.io import read_table

        return read_table(self.verified(task, relative), schema, columns)

    def receipts(self, stage: str) -> list[Receipt]:
        """Return every readable receipt of a stage, sorted by name."""
        folder = self.root / "receipts" / stage
        found = []
        for path in sorted(folder.rglob("*.json")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            receipt = self.receipt(TaskRef(stage, name, ""))
            if receipt is not None:
                found.append(receipt)
        return found
