"""Stars from tables with Gaia column names."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import StarSettings
from viamachinae.errors import DataError
from viamachinae.schema import STARS
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.coverage import covered_fraction
from viamachinae.stars.files.columns import ERRORS, REQUIRED, TableHead, plain
from viamachinae.stars.files.formats import read_columns, read_head
from viamachinae.stars.files.identifiers import check_identifiers
from viamachinae.stars.files.release import Release, agreed, declared_in
from viamachinae.stars.files.units import unit_factor

__all__ = ["Source", "examine", "read"]

_log = logging.getLogger(__name__)

_OPTIONAL = (*ERRORS, "ruwe", "ref_epoch", "release")
#: columns a star cannot be without; a missing parallax only fails the parallax cut
_FINITE = ("pmra", "pmdec", "phot_g_mean_mag", "bp_rp")
_COMPUTED = tuple(n for n in STARS.names if n not in (*REQUIRED, *ERRORS))


@dataclass(frozen=True)
class Source:
    """A file whose head was found usable.

    Parameters
    ----------
    head : TableHead
        What the file says about itself.
    names : dict
        The file's own name of every column that will be read.
    factors : dict
        What columns are multiplied with, for those not in the unit of the stars table.
    release : Release
        What its keywords say about the Gaia release.
    """

    head: TableHead
    names: dict[str, str]
    factors: dict[str, float]
    release: Release


def examine(settings: StarSettings) -> list[Source]:
    """Check the heads of all files, without reading their rows.

    Raises
    ------
    DataError
        A file cannot be read, lacks a column, has a wrong unit or no rows, or
        the files are of different releases.
    """
    sources = [_source(Path(path), settings.carry) for path in settings.paths]
    agreed([Release.make("stars.release", settings.release), *(s.release for s in sources)])
    return sources


def read(settings: StarSettings, ra: float, dec: float, radius: float) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the stars of a patch, and what was read, left out and found.

    Parameters
    ----------
    settings : StarSettings
        Files, columns to carry, release, ``min_coverage``.
    ra, dec, radius : float
        Centre (deg, ICRS) and radius (deg) of the patch.

    Returns
    -------
    stars : DataFrame
        Gaia columns in the units of ``schema.STARS``, then ``ruwe`` where all files have it,
        then the carried columns; sorted by ``source_id``, each star once.
    report : dict
        Counts ``read, outside, nan, duplicates``, the ``coverage`` (0 to 1), ``release``,
        ``ref_epoch`` and ``converted`` (column: units).

    Raises
    ------
    DataError
        A fault of the files that would make the search wrong (see the modules of this room).
    """
    sources = examine(settings)
    shared = set.intersection(*(set(s.names) for s in sources))
    wanted = [n for n in dict.fromkeys([*REQUIRED, *_OPTIONAL, *settings.carry]) if n in shared]
    report: dict[str, Any] = {"read": 0, "outside": 0, "nan": 0, "duplicates": 0}
    releases = [Release.make("stars.release", settings.release)]
    parts, reached = [], []
    for source in sources:
        frame, rows = _load(source, (dec - radius, dec + radius))
        releases += [source.release, *_released_rows(source, frame)]
        report["read"] += rows
        usable = np.isfinite(frame[["ra", "dec", *_FINITE]].to_numpy(np.float64)).all(axis=1)
        report["nan"] += int((~usable).sum())
        near = PatchFrame(ra, dec).separation(frame["ra"], frame["dec"]) <= radius
        parts.append(frame.loc[usable & near, wanted])
        reached.append(_reach(source, frame.loc[usable, ["ra", "dec"]]))
    stars = pd.concat(parts, ignore_index=True)
    report["outside"] = report["read"] - report["nan"] - len(stars)
    if stars.empty:
        raise _empty(reached, (ra, dec), radius, report["nan"])
    total = len(stars)
    stars = _once(stars)
    report["duplicates"] = total - len(stars)
    report["coverage"] = _covered(stars, (ra, dec), radius, settings.min_coverage)
    release = agreed(releases)
    report |= {"release": release.name, "ref_epoch": release.ref_epoch, "converted": _conversions(sources)}
    dropped = [n for n in ("ref_epoch", "release") if n not in settings.carry]
    return stars.drop(columns=dropped, errors="ignore"), report


def _source(path: Path, carry: Sequence[str]) -> Source:
    head = read_head(path)
    lower = {name.lower(): name for name in reversed(head.columns)}
    names = {n: n if n in head.columns else lower.get(n.lower(), "") for n in (*REQUIRED, *_OPTIONAL, *carry)}
    missing = [n for n in (*REQUIRED, *carry) if not names[n]]
    if missing:
        near = {n: difflib.get_close_matches(n, head.columns, n=3, cutoff=0.5) for n in missing}
        hints = "; ".join(f"{n} (like {', '.join(found)})" if found else n for n, found in near.items())
        msg = (
            f"{path}: missing columns: {hints}. It has {', '.join(head.columns)}. Rename the columns to "
            f"Gaia's names; needed are {', '.join((*REQUIRED, *carry))}"
        )
        raise DataError(msg)
    computed = [n for n in carry if n in _COMPUTED]
    if computed:
        msg = (
            f"stars.carry: {computed} are computed by the scan; rename these columns of {path} to carry them"
        )
        raise DataError(msg)
    if head.rows == 0:
        msg = f"{path}: the table has no rows; leave it out of stars.paths"
        raise DataError(msg)
    names = {n: own for n, own in names.items() if own}
    factors = {n: unit_factor(head, n, own) for n, own in names.items() if n != "source_id"}
    return Source(head, names, {n: f for n, f in factors.items() if f != 1.0}, declared_in(head))


def _load(source: Source, dec_range: tuple[float, float]) -> tuple[pd.DataFrame, int]:
    """Return the columns of a file in the table's units, and the number of its rows."""
    own = list(dict.fromkeys(source.names.values()))
    scale = source.factors.get("dec", 1.0)
    loaded = read_columns(source.head.path, own, (dec_range[0] / scale, dec_range[1] / scale))
    columns: dict[str, NDArray[Any]] = {}
    for name, its in source.names.items():
        values = loaded.values[its]
        _check_scalars(source.head.path, its, values)
        if name == "source_id":
            columns[name] = check_identifiers(source.head.path, values)
        elif name in (*REQUIRED, *ERRORS, "ruwe"):
            columns[name] = _numbers(source.head.path, its, values) * source.factors.get(name, 1.0)
        else:
            columns[name] = plain(values)
    frame = pd.DataFrame(columns)
    for name, low, high in (("ra", 0.0, 360.0), ("dec", -90.0, 90.0)):
        wrong = (frame[name] < low) | (frame[name] > high)
        if wrong.any():
            msg = (
                f"{source.head.path}: {name} of {int(wrong.sum())} rows is outside {low:g} to {high:g} deg, "
                f"first {frame[name][wrong].iloc[0]} in row {int(wrong.to_numpy().argmax())}; correct it"
            )
            raise DataError(msg)
    return frame, loaded.rows


def _check_scalars(path: Path, name: str, values: NDArray[Any]) -> None:
    data = np.ma.getdata(values)
    nested = data.dtype == object and any(isinstance(v, list | dict | np.ndarray) for v in data)
    if data.ndim != 1 or nested:
        msg = f"{path}: column {name} holds arrays; give one value a star, or leave it out of stars.carry"
        raise DataError(msg)


def _numbers(path: Path, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
    try:
        return plain(values).astype(np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{path}: column {name} holds text, not numbers ({error}); store it as floating point"
        raise DataError(msg) from error


def _released_rows(source: Source, frame: pd.DataFrame) -> list[Release]:
    """Return what the rows of a file say about the release, one statement a distinct value."""
    path = str(source.head.path)
    found = [Release.make(path, str(r)) for r in pd.unique(frame.get("release", pd.Series(dtype=object)))]
    epochs = pd.unique(frame.get("ref_epoch", pd.Series(dtype=float)))
    return found + [Release.make(path, None, y) for y in epochs if pd.notna(y)]


def _once(stars: pd.DataFrame) -> pd.DataFrame:
    """Return the stars sorted by source_id, rows that repeat another one removed."""
    stars = stars.sort_values("source_id", kind="stable", ignore_index=True)
    repeated = stars["source_id"].duplicated(keep=False)
    if not repeated.any():
        return stars
    kept = stars[repeated].drop_duplicates()
    clash = kept[kept["source_id"].duplicated(keep=False)]
    if not clash.empty:
        first = clash[clash["source_id"] == clash["source_id"].iloc[0]].iloc[:2]
        columns = [str(n) for n in first if first[n].drop_duplicates().size > 1]
        msg = (
            f"source_id {first['source_id'].iloc[0]} stands in the files more than once with different "
            f"{', '.join(columns)}, as do {clash['source_id'].nunique() - 1} other stars; give files of one "
            "origin, each star once"
        )
        raise DataError(msg)
    return pd.concat([stars[~repeated], kept]).sort_values("source_id", ignore_index=True)


def _covered(stars: pd.DataFrame, centre: tuple[float, float], radius: float, least: float) -> float:
    fraction = covered_fraction(stars["ra"], stars["dec"], centre, radius)
    where = f"the patch of {radius} deg around (ra, dec) = {centre} deg"
    if fraction < least:
        msg = (
            f"{where}: the files have stars in only {100.0 * fraction:.0f} % of it, at least "
            f"{100.0 * least:.0f} % are needed; add the files that cover it, choose a smaller "
            "patches.radius, or lower stars.min_coverage"
        )
        raise DataError(msg)
    if fraction < 1.0:
        _log.warning("%s: the files have stars in %.1f %% of it", where, 100.0 * fraction)
    return fraction


def _conversions(sources: list[Source]) -> dict[str, str]:
    return {
        name: f"{s.head.units[s.names[name]]} -> {STARS[name].unit}" for s in sources for name in s.factors
    }


def _reach(source: Source, stars: pd.DataFrame) -> str:
    """Say which part of the sky the usable stars of a file cover, as far as it is known."""
    path, dec_range = source.head.path, source.head.dec_range
    if stars.empty:
        scale = source.factors.get("dec", 1.0)
        return (
            f"{path} (dec {dec_range[0] * scale:g} to {dec_range[1] * scale:g})" if dec_range else f"{path}"
        )
    low, high = stars.min(), stars.max()
    like_radians = 0.0 <= low["ra"] <= high["ra"] <= 2.0 * np.pi and stars["dec"].abs().max() <= 0.5 * np.pi
    hint = ": these look like radians, and degrees are needed" if like_radians else ""
    return f"{path} (ra {low['ra']:g} to {high['ra']:g}, dec {low['dec']:g} to {high['dec']:g}{hint})"


def _empty(reached: Sequence[str], centre: tuple[float, float], radius: float, nan: int) -> DataError:
    return DataError(
        f"no usable star within {radius} deg of (ra, dec) = {centre} deg in {', '.join(reached)} ({nan} rows "
        "were left out for want of a value that every star needs); correct patches.centres or stars.paths"
    )
