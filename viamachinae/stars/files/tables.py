"""Stars from tables with Gaia column names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import StarSettings
from viamachinae.errors import DataError
from viamachinae.schema import STARS
from viamachinae.stars.files.columns import (
    NUMBERS,
    OPTIONAL,
    REQUIRED,
    Chunk,
    check_scalars,
    numbers,
    plain,
)
from viamachinae.stars.files.formats import read_columns
from viamachinae.stars.files.identifiers import check_identifiers
from viamachinae.stars.files.region import Region
from viamachinae.stars.files.release import Release, agreed
from viamachinae.stars.files.sources import Source, examine
from viamachinae.stars.gathered import Origin, covered, nothing, once

__all__ = ["Source", "examine", "read"]

#: columns a star cannot be without; a missing parallax only fails the parallax cut
_FINITE = ("pmra", "pmdec", "phot_g_mean_mag", "bp_rp")
_LIMITS = {"ra": (0.0, 360.0), "dec": (-90.0, 90.0)}  # deg
_LISTED = 5  # files that an error names one by one
_FILES = Origin(
    "the files",
    repeated="give files of one origin, each star once",
    uncovered="add the files that cover it, choose a smaller patches.radius",
    empty="correct patches.centres or stars.paths",
)
_Columns = dict[str, NDArray[Any]]


@dataclass
class _Found:
    """What came of a file, or of several: stars of the patch, and what was met on the way."""

    stars: list[_Columns] = field(default_factory=list)
    rows: int = 0
    nan: int = 0
    releases: dict[Release, None] = field(default_factory=dict)
    reach: dict[str, tuple[float, float]] = field(default_factory=dict)

    def add(self, other: _Found) -> None:
        self.stars += other.stars
        self.rows += other.rows
        self.nan += other.nan
        self.releases |= other.releases
        for name, (low, high) in other.reach.items():
            mine = self.reach.get(name, (low, high))
            self.reach[name] = (min(low, mine[0]), max(high, mine[1]))


def read(settings: StarSettings, ra: float, dec: float, radius: float) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the stars of a patch, and what was read, left out and found.

    No table is ever in memory as a whole, unless it is FITS or VOTable: rows away from the patch are
    skipped where file name or statistics tell, and dropped as they are read elsewhere.

    Parameters
    ----------
    settings : StarSettings
        Files, columns to carry, release, ``min_coverage``.
    ra, dec, radius : float
        Centre (deg, ICRS) and radius (deg) of the patch.

    Returns
    -------
    stars : DataFrame
        Gaia columns in the units of ``schema.STARS``, then those of ``columns.OPTIONAL`` that all files
        have, then the carried columns; sorted by ``source_id``, each star once.
    report : dict
        Counts ``read`` (rows of all files, as far as they are known), ``outside`` (with those never read),
        ``nan`` (of the rows that were read), ``duplicates``; the ``coverage`` (0 to 1), ``release``,
        ``ref_epoch`` and ``converted`` (column: units).

    Raises
    ------
    DataError
        A fault of the files that would make the search wrong (see the modules of this room).
    """
    sources = examine(settings)
    region = Region(ra, dec, radius)
    shared = set.intersection(*(set(s.names) for s in sources))
    wanted = [n for n in dict.fromkeys([*REQUIRED, *OPTIONAL, *settings.carry]) if n in shared]
    found = [_gather(source, region) for source in sources]
    frames = [_joined(source, f, wanted) for source, f in zip(sources, found, strict=True) if f.stars]
    report: dict[str, Any] = {"read": sum(f.rows for f in found), "nan": sum(f.nan for f in found)}
    total = sum(map(len, frames))
    report["outside"] = report["read"] - report["nan"] - total
    if not total:
        raise _empty(sources, found, region, report["nan"])
    stars = pd.concat(frames, ignore_index=True)
    frames.clear()
    stars = once(stars, _FILES)
    report["duplicates"] = total - len(stars)
    report["coverage"] = covered(stars, (ra, dec), radius, settings.min_coverage, _FILES)
    release = agreed(
        [
            Release.make("stars.release", settings.release),
            *(r for source, f in zip(sources, found, strict=True) for r in (source.release, *f.releases)),
        ]
    )
    report |= {"release": release.name, "ref_epoch": release.ref_epoch, "converted": _conversions(sources)}
    dropped = [n for n in ("ref_epoch", "release") if n not in settings.carry]
    return stars.drop(columns=dropped, errors="ignore"), report


def _gather(source: Source, region: Region) -> _Found:
    """Read the stars of a patch from one source."""
    found, near = _Found(), source.near(region)
    for file in source.files(region):
        part = _Found()
        for chunk in read_columns(file, source.names, near):
            if chunk.start == 0:
                part = _Found()
            part.add(_taken(source, file, chunk, region))
        found.add(part)
    found.rows = max(found.rows, source.head.rows or 0)
    return found


def _taken(source: Source, file: str, chunk: Chunk, region: Region) -> _Found:
    """Return the stars of a patch among some rows of a file, in the units of the stars table."""
    columns: _Columns = {}
    for name, its in source.names.items():
        if its not in chunk.values:
            continue
        values = chunk.values[its]
        if name == "source_id":
            check_scalars(file, its, values)
            columns[name] = check_identifiers(file, values)
        elif name in NUMBERS and name != "ref_epoch":
            columns[name] = numbers(file, its, values) * source.factors.get(name, 1.0)
        else:
            check_scalars(file, its, values)
            columns[name] = plain(values)
    found = _Found(rows=chunk.rows)
    if "ra" not in columns:
        return found
    _check_positions(file, columns, chunk.start)
    usable = np.isfinite(columns["ra"]) & np.isfinite(columns["dec"])
    if "source_id" in columns:
        for name in _FINITE:
            usable &= np.isfinite(columns[name])
        found.nan = int((~usable).sum())
        found.releases = dict.fromkeys(_stated(file, columns))
        inside = usable & region.holds(columns["ra"], columns["dec"])
        if inside.any():
            found.stars = [{name: values[inside] for name, values in columns.items()}]
    if usable.any():
        found.reach = {
            name: (float(columns[name][usable].min()), float(columns[name][usable].max())) for name in _LIMITS
        }
    return found


def _check_positions(file: str, columns: _Columns, start: int) -> None:
    for name, (low, high) in _LIMITS.items():
        wrong = (columns[name] < low) | (columns[name] > high)
        if wrong.any():
            msg = (
                f"{file}: {name} of {int(wrong.sum())} rows is outside {low:g} to {high:g} deg, "
                f"first {columns[name][wrong][0]} in row {start + int(wrong.argmax())}; correct it"
            )
            raise DataError(msg)


def _stated(file: str, columns: _Columns) -> list[Release]:
    """Return what the rows of a file say about the release, one statement a distinct value."""
    found = [Release.make(file, str(r)) for r in pd.unique(columns.get("release", np.array([], object)))]
    epochs = pd.unique(columns.get("ref_epoch", np.array([])))
    return found + [Release.make(file, None, y) for y in epochs if pd.notna(y)]


def _joined(source: Source, found: _Found, wanted: Sequence[str]) -> pd.DataFrame:
    columns = {name: np.concatenate([stars[name] for stars in found.stars]) for name in wanted}
    found.stars.clear()
    # rounding that a few rows cannot show, all of them may
    check_identifiers(source.head.path, columns["source_id"])
    return pd.DataFrame(columns)


def _conversions(sources: list[Source]) -> dict[str, str]:
    return {
        name: f"{s.head.units[s.names[name]]} -> {STARS[name].unit}" for s in sources for name in s.factors
    }


def _reach(source: Source, found: _Found) -> str:
    """Say which part of the sky a source covers, as far as it is known."""
    reach = found.reach or {
        name: (span[0] * source.factors.get(name, 1.0), span[1] * source.factors.get(name, 1.0))
        for name in _LIMITS
        if (span := source.head.spans.get(source.names[name]))
    }
    if reach.keys() != _LIMITS.keys():
        return source.head.path
    ra, dec = reach["ra"], reach["dec"]
    like_radians = 0.0 <= ra[0] <= ra[1] <= 2.0 * np.pi and max(map(abs, dec)) <= 0.5 * np.pi
    hint = ": these look like radians, and degrees are needed" if like_radians else ""
    return f"{source.head.path} (ra {ra[0]:g} to {ra[1]:g}, dec {dec[0]:g} to {dec[1]:g}{hint})"


def _empty(sources: Sequence[Source], found: Sequence[_Found], region: Region, nan: int) -> DataError:
    reached = [_reach(source, f) for source, f in zip(sources, found, strict=True)]
    more = f" and {len(reached) - _LISTED} more" if len(reached) > _LISTED else ""
    where = f"{', '.join(reached[:_LISTED])}{more}"
    return nothing((region.ra, region.dec), region.radius, where, nan, _FILES)
