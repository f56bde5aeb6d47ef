"""What a receipt says, and whether its file is one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viamachinae.scan.sections import SKY
from viamachinae.scan.task import Task, TaskRef
from viamachinae.schema.publish import file_sha256

__all__ = ["ABSENT", "Receipt", "amiss", "parse_receipt", "receipt_text"]

#: What the system says of a file that is not there. Any other error says nothing about the file: a server
#: that does not answer, a lost mount, too many open files.
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)

#: Layout of the receipt file itself. Fields may be added; none that is there changes its meaning.
_FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """What a receipt says; ``body`` is the whole of it, as read from its JSON file."""

    body: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """Stage of its task."""
        return str(self.body["stage"])

    @property
    def name(self) -> str:
        """Name of its task inside the stage."""
        return str(self.body["name"])

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
    def gone(self) -> dict[str, dict[str, Any]]:
        """The same of outputs that vanished when nothing needed them any more."""
        gone: dict[str, dict[str, Any]] = self.body.get("gone", {})
        return gone

    @property
    def promised(self) -> dict[str, dict[str, Any]]:
        """All that was published once, whether it vanished or not."""
        return {**self.outputs, **self.gone}

    def tells(self, other: Receipt) -> bool:
        """Say whether another receipt, which may lack the provenance, is a copy of this one."""
        unsealed = {name: value for name, value in other.body.items() if name != "seal"}
        return all(name in self.body and self.body[name] == value for name, value in unsealed.items())

    @property
    def info(self) -> dict[str, Any]:
        """Facts that the stage noted."""
        info: dict[str, Any] = self.body["info"]
        return info

    @property
    def ref(self) -> TaskRef:
        """The task as an input of others."""
        return TaskRef(self.stage, self.name, self.key)

    @property
    def task(self) -> Task:
        """The task itself, to be done again."""
        return Task(self.stage, self.name, self.key, self.inputs, self.body["work"])


def receipt_text(body: Mapping[str, Any]) -> str:
    """Return the text of a receipt, sealed with the hash of what it says."""
    # As it is read back: the seal covers what JSON keeps.
    kept = json.loads(json.dumps(dict(body)))
    return json.dumps({**kept, "seal": _seal(kept)}, indent=1, sort_keys=True) + "\n"


def parse_receipt(text: bytes | str) -> Receipt | None:
    """Return the receipt that a file holds; ``None`` when it is torn, altered or of another layout.

    Receipts of earlier versions have no seal.
    """
    try:
        body = json.loads(text)
        if body["format"] != _FORMAT:
            return None
        for entry in (*body["outputs"].values(), *body.get("gone", {}).values()):
            int(entry["size"]), str(entry["sha256"])
        _, _ = body["info"], body["work"]
        if not all(isinstance(body[name], str) for name in ("stage", "name", "key")):
            return None
        if not all("/" in name for name in body["inputs"]):
            return None
        if "seal" in body and _seal(body) != body["seal"]:
            return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return Receipt(body)


def _seal(body: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of everything that a receipt says, but for the seal."""
    unsealed = {name: value for name, value in body.items() if name != "seal"}
    return hashlib.sha256(json.dumps(unsealed, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def amiss(root: Path, receipt: Receipt) -> str:
    """Return which output of a receipt is not there or has another size; empty when none is.

    Of the sky's own tasks, whose files end up with the user, the bytes are compared too.

    Parameters
    ----------
    root : Path
        The scan folder.
    receipt : Receipt
        What vouches for the outputs.

    Raises
    ------
    OSError
        The file system did not answer, which says nothing about the outputs.
    """
    for relative, entry in receipt.outputs.items():
        path = f"{root}/{relative}"
        try:
            size = os.stat(path).st_size  # noqa: PTH116  asked 25,000 times
            if size != entry["size"]:
                return f"{relative} has {size} bytes instead of {entry['size']}"
            if receipt.name == SKY and file_sha256(Path(path)) != entry["sha256"]:
                return f"the bytes of {relative} are not those that were published"
        except ABSENT:
            return f"{relative} is not there"
    return ""
