"""Files of a data set at a Dataverse: downloaded, taken up again where they broke off, verified."""

# ruff: noqa: PLC0415 - requests is slow to import: only where something is downloaded

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from viamachinae.errors import DataError, ResumeError
from viamachinae.schema.publish import flush_folder

if TYPE_CHECKING:
    import requests

__all__ = ["HARVARD", "download"]

_LOG = logging.getLogger(__name__)

HARVARD = "https://dataverse.harvard.edu"

#: Seconds to connect, and between two bytes.
_PATIENCE = (15.0, 60.0)
_CHUNK = 1 << 16
_PARTIAL = 206  # the answer is the part that was asked for

T = TypeVar("T")


@dataclass(frozen=True)
class _Entry:
    """A file of a data set, as the Dataverse lists it."""

    name: str
    url: str
    md5: str
    size: int


def download(dataset: str, names: Sequence[str], folder: Path, server: str = HARVARD) -> list[Path]:
    """Bring files of a data set into a folder, each whole and verified or not there.

    Files that are there and right stay. What a download brought before it broke off lies in a hidden
    file beside, and the next one goes on from it.

    Parameters
    ----------
    dataset : str
        Persistent identifier, for example ``doi:10.7910/DVN/EWCNL5``.
    names : sequence of str
        Files of it.
    folder : Path
        Where they go; made where it does not exist.
    server : str
        Address of the Dataverse.

    Returns
    -------
    list of Path
        The files, in the order of ``names``.

    Raises
    ------
    DataError
        The data set has no such file, or what came is not the file.
    ResumeError
        The server could not be reached, or broke off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = _asked(server, partial(_entries, dataset, names, server))
    for entry in entries:
        path = folder / entry.name
        if path.is_file() and _md5(path) == entry.md5:
            _LOG.info("%s: there already, and whole", path)
            continue
        _LOG.info("%s: downloading %.0f MB from %s", path, entry.size / 1e6, entry.url)
        part = folder / f".{entry.name}.{entry.md5}.part"
        _asked(server, partial(_bring, entry, part))
        found = _md5(part)
        if found != entry.md5:
            part.unlink()
            msg = (
                f"{entry.url}: what came has the MD5 sum {found}, that of {entry.name} is {entry.md5}; it "
                "was deleted: run the same command again"
            )
            raise DataError(msg)
        part.replace(path)
        flush_folder(folder)
    return [folder / name for name in names]


def _entries(dataset: str, names: Sequence[str], server: str) -> list[_Entry]:
    import requests

    url = f"{server}/api/datasets/:persistentId/"
    with requests.get(url, params={"persistentId": dataset}, timeout=_PATIENCE) as answer:
        answer.raise_for_status()
        try:
            listed = [file["dataFile"] for file in answer.json()["data"]["latestVersion"]["files"]]
            found = {file["filename"]: file for file in listed}
            return [_entry(found[name], server) for name in names]
        except (ValueError, TypeError, KeyError) as error:
            msg = (
                f"{answer.url}: does not list {', '.join(names)} with size and MD5 sum ({error!r}); is this "
                "a Dataverse, and is the data set still there?"
            )
            raise DataError(msg) from error


def _entry(file: dict[str, Any], server: str) -> _Entry:
    url = f"{server}/api/access/datafile/{int(file['id'])}"
    return _Entry(str(file["filename"]), url, str(file["md5"]), int(file["filesize"]))


def _bring(entry: _Entry, part: Path) -> None:
    """Append to ``part`` what is missing of a file."""
    import requests

    there = part.stat().st_size if part.exists() else 0
    if there >= entry.size:
        return
    # Not packed on the way: the sizes are those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(entry.url, headers=headers, stream=True, timeout=_PATIENCE) as answer:
        answer.raise_for_status()
        goes_on = answer.status_code == _PARTIAL and _starts_at(answer, there)
        with part.open("ab" if goes_on else "wb") as stream:
            for chunk in answer.iter_content(_CHUNK):
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
    got = part.stat().st_size
    if got < entry.size:
        msg = f"{entry.url}: broke off after {got} of {entry.size} bytes; run the same command again to go on"
        raise ResumeError(msg)


def _starts_at(answer: requests.Response, offset: int) -> bool:
    """Return whether a partial answer is the part behind ``offset``."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _asked(server: str, question: Callable[[], T]) -> T:
    """Return the answer to a question, or say in one line why there is none."""
    import requests

    try:
        return question()
    except requests.HTTPError as error:
        msg = f"{server} refuses: {error}; try again later"
        raise ResumeError(msg) from error
    except requests.RequestException as error:
        msg = (
            f"{server} cannot be reached ({type(error).__name__}); what came is kept: run the same command "
            "again on a machine with network"
        )
        raise ResumeError(msg) from error


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
