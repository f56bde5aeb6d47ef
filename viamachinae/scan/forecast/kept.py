"""What was measured for a forecast, kept in the scan folder: loading and timing take half a minute.

``forecast.json`` serves as long as its key is that of the question: the settings that
matter, the tables of stars, versions, this machine. The sums made from it stand
beside it under a key of their own, since they need libraries that load slowly. A file
that is damaged or answers another question is as good as none, and deleting it loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from viamachinae.config.settings import Settings
from viamachinae.scan.forecast.counting import Counted
from viamachinae.scan.forecast.machine import Machine, workers_of
from viamachinae.scan.forecast.scaling import Samples
from viamachinae.scan.ray_runner import cores
from viamachinae.scan.task import fingerprint
from viamachinae.schema.provenance import processor, versions
from viamachinae.schema.publish import atomic_text

__all__ = ["FILE", "Kept", "Measured", "counted_key", "keep", "measured_key", "read_kept"]

FILE = "forecast.json"
#: Raised by hand when the file has another layout, or its numbers another meaning.
_FORMAT = 1
#: Settings that nothing is loaded or timed by. Of ``patches`` the radius matters, of ``runner`` and ``scan``
#: what :func:`measured_key` adds.
_UNREAD = {"scan", "archive", "patches", "fragments", "streams", "members", "runner"}


@dataclass(frozen=True)
class Measured:
    """What was loaded and timed.

    Parameters
    ----------
    at : str
        When, by the clock of this machine (ISO 8601, UTC).
    samples : Samples
        The loaded patches.
    machine : Machine
        The rates.
    """

    at: str
    samples: Samples
    machine: Machine


@dataclass(frozen=True)
class Kept:
    """What the file holds.

    Parameters
    ----------
    measured_key : str
        What was asked when it was measured.
    measured : Measured
        What was measured.
    counted_key : str
        What was asked beyond that when it was counted.
    counted : Counted
        What follows for the whole scan.
    """

    measured_key: str
    measured: Measured
    counted_key: str
    counted: Counted


def measured_key(settings: Settings, fingerprints: Sequence[str]) -> str:
    """Return the hash of all that decides what is measured, but for the list of patches.

    Parameters
    ----------
    settings : Settings
        The scan.
    fingerprints : sequence of str
        Of its tables of stars; where they lie does not matter.
    """
    tree = settings.model_dump(mode="json", exclude={**dict.fromkeys(_UNREAD, True), "stars": {"paths"}})
    runner = settings.runner
    return fingerprint(
        {
            "format": _FORMAT,
            "settings": tree,
            "scan": [settings.scan.seed, settings.scan.keep_models, settings.patches.radius],
            "runner": [workers_of(settings), runner.inline, runner.device, runner.mixed_precision],
            "tables": sorted(fingerprints),
            "versions": versions(),
            # Not a name that a restart or another container changes: it would measure the same again.
            "machine": [socket.gethostname(), processor(), cores(), *_gpus(runner.device)],
        }
    )


def counted_key(
    settings: Settings, patches: pd.DataFrame, counts: Mapping[str, int] | None, measured: Measured
) -> str:
    """Return the hash of all that decides the sums, beside the key of what was measured.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : DataFrame
        PATCHES table.
    counts : mapping or None
        Patch -> its stars, where all are known.
    measured : Measured
        What they are made from.
    """
    tree = settings.model_dump(mode="json", exclude={"stars": {"paths"}})
    rows = patches[["patch", "ra", "dec", "radius"]].astype(object).to_numpy().tolist()
    return fingerprint([tree, rows, dict(counts) if counts else None, measured.at])


def read_kept(out: Path, key: str) -> Kept | None:
    """Return what a scan folder keeps, ``None`` when there is nothing, or it is damaged or of another key."""
    try:
        body = json.loads((out / FILE).read_bytes())
        seal = body.pop("seal")
        if (body["format"], body["measured_key"], seal) != (_FORMAT, key, _seal(body)):
            return None
        return TypeAdapter(Kept).validate_python(body)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError):
        return None


def keep(out: Path, kept: Kept) -> None:
    """Write the file, where the folder holds a scan; one that cannot be written costs the next call time."""
    if not (out / "scan.toml").is_file():
        return
    # As it is read back: the seal covers what JSON keeps.
    body = json.loads(json.dumps({"format": _FORMAT, **asdict(kept)}))
    text = json.dumps({**body, "seal": _seal(body)}, separators=(",", ":")) + "\n"
    with contextlib.suppress(OSError):
        atomic_text(out / FILE, text, durable=False)


def _seal(body: Mapping[str, Any]) -> str:
    """Return the sha256 (hex) of everything that the file says, but for the seal."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _gpus(device: str) -> list[str]:
    """Return what tells the GPUs of this machine apart without the seconds that PyTorch takes to load."""
    if device == "cpu":
        return []
    return [os.environ.get("CUDA_VISIBLE_DEVICES", ""), *sorted(map(str, Path("/dev").glob("nvidia[0-9]*")))]
