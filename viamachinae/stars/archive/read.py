"""The stars of a patch from downloaded cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from viamachinae.config import seed
from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.schema import CELLS
from viamachinae.schema.io import read_table
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.noise import CORRELATIONS, observed
from viamachinae.stars.epochs import REF_EPOCHS
from viamachinae.stars.gathered import Origin, covered, nothing, once
from viamachinae.stars.quality import needed_columns

__all__ = ["INSERTED", "read_cells"]

#: ``popid`` of what GeDR3mock adds to the smooth Milky Way: stars of the Magellanic Clouds and of open
#: clusters, which are made of particles and would be found as streams. Rybizki et al. (2020), section 2; the
#: numbers are those of the scripts that made it (github.com/jan-rybizki/Galaxia_wrap,
#: library/convert_to_recarray.py and notebook/[7]). GDR2mock has neither, nor the column.
INSERTED = {10: "Magellanic Clouds", 11: "open clusters"}

#: What is read of every cell, and what of those that have it.
_REQUIRED = tuple(c.name for c in CELLS.columns if not c.optional)
_OPTIONAL = ("pmra_pmdec_corr",)
#: What a star of the Galaxia catalogues needs besides, where a cell has it.
_FOR_NOISE = (*CORRELATIONS, "popid")
#: A star cannot be without these; a missing parallax only fails the parallax cut.
_FINITE = ("ra", "dec", "pmra", "pmdec", "phot_g_mean_mag", "bp_rp")
_CELLS = Origin(
    "the downloaded cells",
    repeated="remove the folder cells/ of the scan and run it again",
    uncovered="look at archive.table and the cuts of [selection]",
    empty="look at archive.table and the cuts of [selection]",
)


def read_cells(
    settings: Settings, cells: Sequence[Path], ra: float, dec: float, radius: float
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the stars of a patch, and what was read, left out and found.

    Stars of the Galaxia catalogues come without what was inserted into them, and with noise that
    depends on the scan's seed, the catalogue and the ``source_id`` alone: every patch sees the same star.

    Parameters
    ----------
    settings : Settings
        Sections ``stars`` and ``selection`` and the scan's seed are used.
    cells : sequence of Path
        Parquet files of ``schema.CELLS`` by the name of their cell; each is verified and read once.
    ra, dec, radius : float
        Centre (deg, ICRS) and radius (deg) of the patch.

    Returns
    -------
    stars : DataFrame
        Columns of ``schema.CELLS``: those that every cell has, then ``pmra_pmdec_corr`` where all have it,
        what the cuts need, and ``stars.carry``; sorted by ``source_id``, each star once.
    report : dict
        Counts ``read, outside, nan, duplicates`` and, for the Galaxia catalogues, ``inserted``; the
        ``coverage`` (0 to 1), ``release``, ``ref_epoch`` (yr) and ``converted``, which is empty.

    Raises
    ------
    DataError
        A cell is missing, damaged, of another release, lacks a column or holds what is not its own; the
        patch has no star, too little of it is covered, or the cells contradict each other.
    """
    frame = PatchFrame(ra, dec)
    heads = {path: _head(settings, path) for path in sorted(set(cells), key=lambda p: (p.stem, p))}
    wanted = _wanted(settings, heads)
    galaxia = settings.stars.source.startswith("galaxia-")
    noise = seed(settings.scan.seed, settings.stars.source, "noise")
    report: dict[str, Any] = {"read": 0, "outside": 0, "nan": 0, "duplicates": 0}
    report |= {"inserted": 0} if galaxia else {}
    parts = []
    for path, names in heads.items():
        besides = _FOR_NOISE if galaxia else ()
        stars = _load(path, [*wanted, *(n for n in besides if n in names and n not in wanted)])
        report["read"] += len(stars)
        if galaxia and len(stars):
            stars = observed(stars, noise)
            smooth = _smooth(stars, settings.stars.source, path)
            report["inserted"] += int(np.count_nonzero(~smooth))
            stars = stars[smooth]
        usable = np.isfinite(stars[list(_FINITE)].to_numpy(np.float64)).all(axis=1)
        report["nan"] += int(np.count_nonzero(~usable))
        stars = stars.loc[usable, wanted]
        near = frame.separation(stars["ra"], stars["dec"]) <= radius
        report["outside"] += int(np.count_nonzero(~near))
        parts.append(stars[near])
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        where = f"{len(heads)} downloaded cells of {report['read']} sources"
        raise nothing((ra, dec), radius, where, report["nan"], _CELLS)
    stars = once(table, _CELLS)
    report["duplicates"] = len(table) - len(stars)
    report["coverage"] = covered(stars, (ra, dec), radius, settings.stars.min_coverage, _CELLS)
    release = settings.stars.gaia_release
    return stars, report | {"release": release, "ref_epoch": REF_EPOCHS[release], "converted": {}}


def _wanted(settings: Settings, heads: Mapping[Path, Sequence[str]]) -> list[str]:
    """Return the columns to hand on, from those that the cells have."""
    if not heads:
        msg = f'stars.source = "{settings.stars.source}": no downloaded cells were given; run the scan again'
        raise DataError(msg)
    needed = dict.fromkeys([*_REQUIRED, *needed_columns(settings.selection), *settings.stars.carry])
    shared = set(CELLS.names)
    for path, names in heads.items():
        missing = [name for name in needed if name not in names]
        if missing:
            msg = (
                f"{path}: the cell of {settings.stars.source} has no column {', '.join(missing)}, which a "
                f"cut or stars.carry needs; it has {', '.join(names)}"
            )
            raise DataError(msg)
        shared &= set(names)
    optional = [name for name in _OPTIONAL if name in shared and name not in needed]
    return [*_REQUIRED, *optional, *(name for name in needed if name not in _REQUIRED)]


def _head(settings: Settings, path: Path) -> list[str]:
    """Return the columns of a cell, whose release has to be that of the source.

    Raises
    ------
    DataError
        The file is missing or damaged, or of another release.
    """
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as Parquet ({error}); run `viamachinae run` again to download it anew"
        raise DataError(msg) from error
    source, needed = settings.stars.source, settings.stars.gaia_release
    release = (schema.metadata or {}).get(b"release", b"").decode()
    if release not in (source, needed):
        msg = (
            f'{path}: the cell is of release {release or "unknown"!r}, but stars.source = "{source}" needs '
            f'"{needed}": identifiers and errors of releases do not go together; remove the cell '
            "and run `viamachinae run` again"
        )
        raise DataError(msg)
    return list(schema.names)


def _load(path: Path, columns: list[str]) -> pd.DataFrame:
    """Return a cell, its pages verified, sorted by ``source_id``."""
    stars = read_table(path, CELLS, columns=columns)
    low, high = Cell.named(path.stem).id_range
    ids = stars["source_id"].to_numpy()
    if len(ids) and not (low <= ids.min() and ids.max() < high):
        msg = (
            f"{path}: holds identifiers from {ids.min()} to {ids.max()}, but its cell has {low} to "
            f"{high - 1}; remove the cell and run `viamachinae run` again"
        )
        raise DataError(msg)
    return stars.sort_values("source_id", kind="stable", ignore_index=True)


def _smooth(stars: pd.DataFrame, source: str, path: Path) -> NDArray[np.bool_]:
    """Return which stars of a Galaxia catalogue belong to its smooth Milky Way."""
    if "popid" in stars or source == "galaxia-dr2":
        popid = stars["popid"].to_numpy() if "popid" in stars else np.zeros(len(stars))
        return ~np.isin(popid, list(INSERTED))
    msg = (
        f"{path}: a cell of {source} without the column popid; its inserted "
        f"{' and '.join(INSERTED.values())} cannot be told from the Milky Way: choose an archive.table that "
        "has popid"
    )
    raise DataError(msg)
