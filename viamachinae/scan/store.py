"""The folder of a scan: results published atomically, and the receipts that say what is done."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.scan.failures import clear_failure
from viamachinae.scan.index import note_published, note_withdrawn
from viamachinae.scan.notes import when
from viamachinae.scan.provenance import provenance
from viamachinae.scan.receipt import ABSENT, Receipt, amiss, parse_receipt, receipt_text
from viamachinae.scan.suspects import compare_twice, drop_suspects
from viamachinae.scan.task import Products, Task, TaskRef
from viamachinae.schema.publish import commit, file_sha256, flush_folder, place, staged

if TYPE_CHECKING:
    from viamachinae.schema.core import TableSchema

__all__ = ["ABSENT", "DamagedError", "Receipt", "Store"]

logger = logging.getLogger(__name__)

#: Stages whose results tell how long others took, so that a second result may differ and replaces the first.
_REDRAWN = ("report",)


class DamagedError(DataError):
    """A published result is missing or damaged, and its receipt is withdrawn.

    Parameters
    ----------
    message : str
        What, where, what to do.
    task : Task
        What to do again, rebuilt from the receipt; without inputs and work where that is gone already.
    """

    def __init__(self, message: str, task: Task) -> None:
        super().__init__(message)
        self.task = task


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
        """Return the receipt under the task's name, whatever its key; ``None`` when absent or torn.

        Raises
        ------
        OSError
            The file system did not answer, which says nothing about the result.
        """
        try:
            found = parse_receipt(self.receipt_path(task).read_bytes())
        except ABSENT:
            return None
        # A receipt that was copied under another name is not this task's.
        return found if found is not None and found.stage == task.stage and found.name == task.name else None

    def done(self, task: Task | TaskRef) -> bool:
        """Say whether a valid receipt with the task's key stands, and its outputs with their sizes.

        Of the sky's own tasks, whose files end up with the user, the bytes are compared too.
        """
        return self._standing(task) is not None

    def _standing(self, task: Task | TaskRef) -> Receipt | None:
        """Return the receipt of a task that is done."""
        receipt = self._keyed(task)
        return None if receipt is None or amiss(self.root, receipt) else receipt

    def amiss(self, task: Task | TaskRef) -> str:
        """Say which file of a task is not as its receipt says; empty when none is, or it has no receipt."""
        receipt = self._keyed(task)
        return "" if receipt is None else amiss(self.root, receipt)

    def _keyed(self, task: Task | TaskRef) -> Receipt | None:
        receipt = self.receipt(task)
        return receipt if receipt is not None and receipt.key == task.key else None

    def publish(
        self,
        task: Task,
        products: Products,
        *,
        started: float,
        attempt: int = 1,
        settings: Settings | None = None,
    ) -> Receipt:
        """Write every product, then the receipt.

        All products lie whole under temporary names before the first takes its
        own. The receipt of an earlier result under the same name goes before
        that, so that no moment exists in which it vouches for files that it did
        not see. Where the same task is done already, by a second run on the
        folder, the first result stands, and the second is compared with it.

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
        settings : Settings, optional
            The scan, for the provenance.
        """
        paths = {self.root / relative: writer for relative, writer in products.writers.items()}
        with staged(paths) as by_path:
            files = dict(zip(products.writers, by_path.values(), strict=True))
            earlier = None if task.stage in _REDRAWN else self._standing(task)
            if earlier is not None:
                compare_twice(self.root, earlier, files)
                return earlier
            self.withdraw(task)
            commit(by_path)
        outputs = {r: {"size": f.size, "sha256": f.sha256, "rows": f.rows} for r, f in files.items()}
        seconds = round(max(time.time() - started, 0.0), 3)
        receipt = Receipt(
            {
                "format": 1,
                "stage": task.stage,
                "name": task.name,
                "key": task.key,
                "inputs": {ref.id: ref.key for ref in task.inputs},
                "work": dict(task.work),
                "outputs": outputs,
                "info": dict(products.info),
                "attempt": attempt,
                "started": when(started),
                "seconds": seconds,
                **provenance(settings),
            }
        )
        self.put_receipt(receipt)
        with contextlib.suppress(OSError):
            clear_failure(self.root, task)
            drop_suspects(self.root, task)
        return receipt

    def put_receipt(self, receipt: Receipt) -> None:
        """Publish a receipt; its results must be there."""
        path, text = self.receipt_path(receipt.ref), receipt_text(receipt.body)

        def write(temp: Path) -> None:
            temp.write_text(text, encoding="utf-8")

        place(path, write)
        with contextlib.suppress(OSError):
            note_published(self.root, [(path.stat().st_ino, text.encode())])

    def withdraw(self, task: Task | TaskRef, receipt: Receipt | None = None) -> bool:
        """Take back the receipt of a task, so that the next run does it anew; say whether there was one.

        Parameters
        ----------
        task : Task or TaskRef
            The task.
        receipt : Receipt, optional
            Only this one: another process may have published the result anew meanwhile.
        """
        text = self._text(task, receipt)
        if text is None:
            return False
        path = self.receipt_path(task)
        note_withdrawn(self.root, text)
        path.unlink(missing_ok=True)
        flush_folder(path.parent)
        return True

    def amend(self, receipt: Receipt, **changes: Any) -> bool:
        """Put a receipt in the place of another, in one step; say whether that one stood until now.

        Parameters
        ----------
        receipt : Receipt
            The one to replace.
        **changes
            Parts of its body that become others.
        """
        text = self._text(receipt.ref, receipt)
        if text is None:
            return False
        note_withdrawn(self.root, text)
        self.put_receipt(Receipt({**json.loads(text), **changes}))
        return True

    def _text(self, task: Task | TaskRef, receipt: Receipt | None) -> bytes | None:
        """Return the bytes of a task's receipt, ``None`` where there is none or another than is meant."""
        try:
            text = self.receipt_path(task).read_bytes()
        except ABSENT:
            return None
        if receipt is None:
            return text
        found = parse_receipt(text)
        return text if found is not None and found.tells(receipt) else None

    def verified(self, task: Task | TaskRef, relative: str) -> Path:
        """Return the path of a task's output after comparing its bytes with the receipt.

        A damaged or missing result loses its receipt, so that the next run makes it anew.

        Raises
        ------
        DamagedError
            The file is damaged, or vanished, or its receipt is withdrawn.
        OSError
            It cannot be read now; nothing is withdrawn for that.
        DataError
            The task does not own the file.
        """
        path, receipt = self.root / relative, self.receipt(task)
        msg = f"{path}: no valid receipt of {task.id} vouches for it; run `viamachinae run` again"
        if receipt is None or receipt.key != task.key:
            # Another task that reads it may have met it first, and withdrawn it.
            raise DamagedError(msg, Task(task.stage, task.name, task.key))
        if relative not in receipt.promised:
            raise DataError(msg)
        if not self.intact(receipt, relative):
            with contextlib.suppress(OSError):  # nothing can be withdrawn in a folder that is read-only
                self.withdraw(task, receipt)
                logger.warning("%s is missing or damaged; its receipt is withdrawn", path)
            msg = (
                f"{path}: missing, or its bytes are not those that were published (result of {task.id}); "
                "run the same `viamachinae run` command again: it makes this result anew"
            )
            raise DamagedError(msg, receipt.task)
        return path

    def intact(self, receipt: Receipt, relative: str) -> bool:
        """Say whether an output's bytes are those of the receipt; nothing is withdrawn.

        One that vanished and came back, as a mount does, is intact again.

        Raises
        ------
        OSError
            The file is there, or may be, and cannot be read.
        """
        entry = receipt.promised.get(relative)
        try:
            return entry is not None and file_sha256(self.root / relative) == entry["sha256"]
        except ABSENT:
            return False

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
        names = (path.relative_to(folder).with_suffix("") for path in folder.rglob("*.json"))
        found = (self.receipt(TaskRef(stage, name.as_posix(), "")) for name in sorted(names))
        return [receipt for receipt in found if receipt is not None]
