"""The tables that ``stars.paths`` names, as files that exist and can be read."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["HATS_FILES", "TABLE_SUFFIXES", "is_hats", "is_table", "is_url", "local_path", "resolve"]

#: What a folder named in ``stars.paths`` is searched for.
TABLE_SUFFIXES = (
    *(".parquet", ".pq", ".fits", ".fit", ".fits.gz", ".ecsv"),
    *(".vot", ".votable", ".xml", ".csv", ".csv.gz"),
)
#: Any of these makes a folder a HATS catalogue, or a collection with one.
HATS_FILES = ("hats.properties", "properties", "collection.properties")

_MAGIC = "*?["
_PARQUET = (".parquet", ".pq")
#: A folder with this file holds the results of a scan, which are no input.
_SCAN = "scan.toml"


def is_url(place: str) -> bool:
    """Return whether a place is a URL of another machine; ``file://`` is this one."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", place) is not None and not place.startswith("file://")


def is_table(name: str) -> bool:
    """Return whether a path or URL has the ending of a table."""
    path = urlsplit(name).path if is_url(name) else name
    return path.lower().endswith(TABLE_SUFFIXES)


def is_hats(folder: Path) -> bool:
    """Return whether a folder of this machine is a HATS catalogue or collection."""
    return any((folder / name).is_file() for name in HATS_FILES)


def local_path(place: str) -> Path:
    """Return the path of a place on this machine, ``~`` and ``file://`` spelt out."""
    text = unquote(urlsplit(place).path) if place.startswith("file://") else place
    return Path(text).expanduser()


def resolve(paths: tuple[str, ...], folder: Path) -> tuple[list[str], dict[int, str]]:
    """Return the files that paths, patterns and folders stand for.

    Parameters
    ----------
    paths : tuple of str
        Files, patterns (``gaia/*.parquet``), folders and URLs; relative ones start at
        ``folder``. A folder stands for the tables in it and for the Parquet files at any depth
        below it, without folders that hold a scan and without names that start with ``.`` or ``_``.
    folder : Path
        Folder of the TOML file.

    Returns
    -------
    files : list of str
        Absolute paths, each once; sorted within each of ``paths``. The folder of a HATS catalogue
        stays a folder, a URL stays as it is.
    problems : dict
        From the position of a path to what is wrong with it.
    """
    files: dict[str, None] = {}
    problems: dict[int, str] = {}
    for i, path in enumerate(paths):
        if is_url(path):
            files[path] = None
            continue
        matches = _matches(Path(folder, local_path(path)).absolute())
        if isinstance(matches, str):
            problems[i] = matches
            continue
        faults = [fault for fault in map(_unreadable, matches) if fault]
        if faults:
            problems[i] = faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
        files.update(dict.fromkeys(map(str, matches)))
    return list(files), problems


def _matches(path: Path) -> list[Path] | str:
    """Return the files of one path, or what is wrong with it."""
    if path.is_dir():
        inside = sorted(_tables(path))
        return inside or f"folder {path} holds no table; looked for {' '.join(TABLE_SUFFIXES)}"
    if path.exists():
        return [path]
    if any(c in str(path) for c in _MAGIC):
        found = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207
        hits = sorted(p for p in found if p.is_file() or is_hats(p))
        return hits or f"no file matches {path}"
    near = f"; the folder {path.parent} does not exist either" if not path.parent.is_dir() else ""
    return f"no file {path}{near}"


def _tables(top: Path) -> Iterator[Path]:
    for name, folders, files in os.walk(top, followlinks=True):
        here = Path(name)
        if is_hats(here):
            folders.clear()
            yield here
            continue
        if here != top and _SCAN in files:
            folders.clear()
            continue
        folders[:] = [f for f in folders if not f.startswith((".", "_"))]
        endings = TABLE_SUFFIXES if here == top else _PARQUET
        for file in files:
            if file.lower().endswith(endings) and not (here != top and file.startswith((".", "_"))):
                yield here / file


def _unreadable(path: Path) -> str | None:
    if path.is_dir():
        return None
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return f"{path} is empty (0 bytes)" if empty else None
