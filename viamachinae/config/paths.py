"""The tables that ``stars.paths`` names, as files that exist and can be read."""

from __future__ import annotations

import glob
from pathlib import Path

__all__ = ["TABLE_SUFFIXES", "resolve"]

#: What a folder named in ``stars.paths`` is searched for.
TABLE_SUFFIXES = (
    *(".parquet", ".pq", ".fits", ".fit", ".fits.gz", ".ecsv"),
    *(".vot", ".votable", ".xml", ".csv", ".csv.gz"),
)

_MAGIC = "*?["


def resolve(paths: tuple[Path, ...], folder: Path) -> tuple[list[Path], dict[int, str]]:
    """Return the files that paths, patterns and folders stand for.

    Parameters
    ----------
    paths : tuple of Path
        Files, patterns (``gaia/*.parquet``) and folders; relative ones start at
        ``folder``.
    folder : Path
        Folder of the TOML file.

    Returns
    -------
    files : list of Path
        Absolute, each once; sorted within each of ``paths``.
    problems : dict
        From the position of a path to what is wrong with it.
    """
    files: dict[Path, None] = {}
    problems: dict[int, str] = {}
    for i, path in enumerate(paths):
        full = Path(folder, path.expanduser()).absolute()
        matches = _matches(full)
        if isinstance(matches, str):
            problems[i] = matches
            continue
        faults = [fault for fault in map(_unreadable, matches) if fault]
        if faults:
            problems[i] = faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
        files.update(dict.fromkeys(matches))
    return list(files), problems


def _matches(path: Path) -> list[Path] | str:
    """Return the files of one path, or what is wrong with it."""
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.is_file() and p.name.lower().endswith(TABLE_SUFFIXES))
        return inside or f"folder {path} holds no table; looked for {' '.join(TABLE_SUFFIXES)}"
    if path.exists():
        return [path]
    if any(c in str(path) for c in _MAGIC):
        hits = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())  # noqa: PTH207
        return hits or f"no file matches {path}"
    near = f"; the folder {path.parent} does not exist either" if not path.parent.is_dir() else ""
    return f"no file {path}{near}"


def _unreadable(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        return f"cannot read {path}: {error.strerror}"
    return f"{path} is empty (0 bytes)" if empty else None
