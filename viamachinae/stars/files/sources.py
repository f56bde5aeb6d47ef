"""The tables that a scan reads: what they call their columns, and whether they go together."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from viamachinae.config.paths import is_url, local_path, resolve
from viamachinae.config.settings import StarSettings
from viamachinae.errors import DataError
from viamachinae.schema import STARS
from viamachinae.stars.files.columns import OPTIONAL, REQUIRED, TableHead
from viamachinae.stars.files.formats import read_head
from viamachinae.stars.files.hats import Catalogue, catalogue
from viamachinae.stars.files.partition import cells_named
from viamachinae.stars.files.places import hats_at, remote_tables
from viamachinae.stars.files.region import Near, Region
from viamachinae.stars.files.release import Release, agreed, declared_in
from viamachinae.stars.files.units import unit_factor

__all__ = ["Source", "examine"]

_COMPUTED = tuple(n for n in STARS.names if n not in (*REQUIRED, *OPTIONAL))


@dataclass(frozen=True)
class Source:
    """A file or a HATS catalogue whose head was found usable.

    Parameters
    ----------
    head : TableHead
        What it says about itself.
    names : dict
        Its own name of every column that will be read.
    factors : dict
        What columns are multiplied with, for those not in the unit of the stars table.
    release : Release
        What its keywords say about the Gaia release.
    catalogue : Catalogue, optional
        The HATS catalogue, where it is one.
    """

    head: TableHead
    names: dict[str, str]
    factors: dict[str, float]
    release: Release
    catalogue: Catalogue | None = None

    def near(self, region: Region) -> Near:
        """Return a patch in the terms of this table."""
        factors = (self.factors.get("ra", 1.0), self.factors.get("dec", 1.0))
        names = self.names
        healpix = ("_healpix_29", 29) if self.catalogue is None else self.catalogue.healpix
        return Near(region, names["ra"], names["dec"], names["source_id"], factors, healpix)

    def files(self, region: Region | None = None) -> list[str]:
        """Return the paths or URLs of the files that can hold stars of a patch; of all, without one.

        Judged by the partitions of a HATS catalogue, by the name of a bulk file of
        Gaia's archive, and by the ranges in the head, but for identifiers.
        """
        if self.catalogue is not None:
            return self.catalogue.partitions(region)
        if region is None:
            return [self.head.path]
        named = cells_named(self.head.path)
        if named is not None and not region.reaches_cells(*named):
            return []
        return [] if self.near(region).excludes(self.head.spans, lambda: False) else [self.head.path]


def examine(settings: StarSettings) -> list[Source]:
    """Check the heads of all files, without reading their rows.

    Raises
    ------
    DataError
        A file cannot be read, lacks a column, has a wrong unit or no rows, or
        the files are of different releases.
    """
    sources = [source for path in settings.paths for source in _sources(path, settings)]
    agreed([Release.make("stars.release", settings.release), *(s.release for s in sources)])
    return sources


def _sources(place: str, settings: StarSettings) -> Iterator[Source]:
    """Return the tables that one of ``stars.paths`` stands for."""
    if hats_at(place):
        found = catalogue(place)
        yield _source(found.head, settings, {**found.positions, **settings.columns}, found)
        return
    telling = ("_healpix_29", *(settings.columns.get(n, n) for n in ("source_id", "ra", "dec")))
    for file in _files(place):
        yield _source(read_head(file, telling), settings, settings.columns)


def _files(place: str) -> Sequence[str]:
    if is_url(place):
        return remote_tables(place)
    if not local_path(place).is_dir():
        return [str(local_path(place))]
    files, problems = resolve((place,), local_path("."))
    if problems:
        msg = f"{problems[0]}; correct stars.paths"
        raise DataError(msg)
    return files


def _source(
    head: TableHead, settings: StarSettings, renamed: Mapping[str, str], found: Catalogue | None = None
) -> Source:
    place, carry = head.path, settings.carry
    lower = {name.lower(): name for name in reversed(head.columns)}
    asked = {n: renamed.get(n, n) for n in (*REQUIRED, *OPTIONAL, *carry)}
    names = {n: its if its in head.columns else lower.get(its.lower(), "") for n, its in asked.items()}
    missing = [n for n in names if not names[n] and (n in (*REQUIRED, *carry) or n in settings.columns)]
    if missing:
        near = {n: difflib.get_close_matches(asked[n], head.columns, n=3, cutoff=0.5) for n in missing}
        hints = "; ".join(
            (n if asked[n] == n else f"{asked[n]}, for {n}") + (f" (like {', '.join(like)})" if like else "")
            for n, like in near.items()
        )
        msg = (
            f"{place}: missing columns: {hints}. It has {', '.join(head.columns)}. Say in stars.columns what "
            f"the file calls them; needed are {', '.join((*REQUIRED, *carry))}"
        )
        raise DataError(msg)
    computed = [n for n in carry if n in _COMPUTED]
    if computed:
        msg = (
            f"stars.carry: {computed} are computed by the scan; give those of {place} another name in carry "
            "and stars.columns"
        )
        raise DataError(msg)
    if head.rows == 0:
        msg = f"{place}: the table has no rows; leave it out of stars.paths"
        raise DataError(msg)
    names = {n: own for n, own in names.items() if own}
    factors = {n: unit_factor(head, n, own) for n, own in names.items() if n != "source_id"}
    return Source(head, names, {n: f for n, f in factors.items() if f != 1.0}, declared_in(head), found)
