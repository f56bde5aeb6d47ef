"""Write and read the published catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
from astropy.table import Table

from viamachinae import __version__
from viamachinae.catalog.content import content_hash
from viamachinae.catalog.formats import WRITERS, read_meta
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import MEMBERS, STREAMS, TRACKS, TableSchema
from viamachinae.schema.io import to_astropy
from viamachinae.schema.provenance import git_commit, versions
from viamachinae.schema.publish import place

__all__ = ["FORMATS", "catalogue_paths", "read", "write"]

#: File formats of a catalogue.
FORMATS = tuple(WRITERS)

_REQUIRED_META = ("settings_hash", "release")
_ASTROPY_FORMAT = {"ecsv": "ascii.ecsv", "fits": "fits", "parquet": "parquet"}


def catalogue_paths(folder: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Return the files of a catalogue in ``folder``, table by table.

    Raises
    ------
    ConfigError
        A format is unknown.
    """
    wanted = list(formats)
    unknown = [name for name in wanted if name not in WRITERS]
    if unknown or not wanted:
        msg = f"cannot export as {unknown or 'no format'}; valid formats: {', '.join(FORMATS)}"
        raise ConfigError(msg)
    return [folder / f"{schema.name}.{name}" for schema in (STREAMS, MEMBERS, TRACKS) for name in wanted]


def write(
    streams: pd.DataFrame,
    members: pd.DataFrame,
    tracks: pd.DataFrame,
    folder: Path,
    meta: Mapping[str, str],
    formats: Iterable[str] = FORMATS,
) -> list[Path]:
    """Write streams, members and tracks, each in every format.

    Parameters
    ----------
    streams, members, tracks : DataFrame
        STREAMS, MEMBERS and TRACKS tables; zero rows are fine. Columns beyond
        the declared ones are written too, without unit.
    folder : Path
        Where the files go; made when it does not exist.
    meta : mapping of str to str
        Provenance: ``settings_hash`` and ``release`` must be there, anything
        else is kept. The versions of the software, the commit of a checkout
        (``-dirty``: with changes), the table's name and description, its number
        of rows and the hash of its content
        (:func:`viamachinae.catalog.content_hash`) are added.
    formats : iterable of str
        Some of ``ecsv``, ``fits``, ``parquet``.

    Returns
    -------
    list of Path
        The files, table by table. Each appears whole or not at all.

    Raises
    ------
    ConfigError
        A format is unknown.
    DataError
        ``meta`` lacks provenance, or a table does not conform to its schema, or
        a member or track belongs to no candidate.
    """
    wanted = list(formats)
    paths = catalogue_paths(folder, wanted)
    lacking = [key for key in _REQUIRED_META if key not in meta]
    if lacking:
        msg = f"the catalogue's metadata lack {lacking}; a catalogue must say where it comes from"
        raise DataError(msg)
    _check_ids(streams, members, tracks)
    tables = [
        _catalogue_table(frame, schema, meta)
        for frame, schema in ((streams, STREAMS), (members, MEMBERS), (tracks, TRACKS))
    ]
    for (table, name), path in zip(product(tables, wanted), paths, strict=True):
        place(path, partial(WRITERS[name], table))
    return paths


def read(path: Path) -> tuple[Table, dict[str, object]]:
    """Read one file of a catalogue and check that it is whole.

    Parameters
    ----------
    path : Path
        A file that :func:`write` made.

    Returns
    -------
    table : astropy.table.Table
        The table with units and descriptions.
    meta : dict
        Its metadata, under the same names in every format.

    Raises
    ------
    DataError
        The file cannot be read, carries no content hash, or its rows are not
        those that were written (an ECSV file cut at a line end reads well).
    """
    kind = path.suffix.lstrip(".")
    if kind not in _ASTROPY_FORMAT:
        msg = f"{path}: not a catalogue file; valid endings: {', '.join('.' + f for f in FORMATS)}"
        raise DataError(msg)
    try:
        table = Table.read(path, format=_ASTROPY_FORMAT[kind])
    except Exception as error:  # readers of three libraries raise anything on a torn file
        msg = f"{path}: cannot be read as {kind} ({error}); export the catalogue again"
        raise DataError(msg) from error
    meta = read_meta(table)
    if meta.get("rows") != len(table) or meta.get("content_sha256") != content_hash(table):
        msg = (
            f"{path}: not as it was written ({len(table)} rows, {meta.get('rows')} declared; "
            "content hash differs or is missing); export the catalogue again"
        )
        raise DataError(msg)
    return table, meta


def _check_ids(streams: pd.DataFrame, members: pd.DataFrame, tracks: pd.DataFrame) -> None:
    known = set(STREAMS.conform(streams)["stream_id"])
    if len(known) != len(streams):
        msg = f"streams hold {len(streams)} rows but {len(known)} different stream_id; ids must be unique"
        raise DataError(msg)
    for schema, frame in ((MEMBERS, members), (TRACKS, tracks)):
        orphans = sorted(set(schema.conform(frame)["stream_id"]) - known)
        if orphans:
            msg = f"{schema.name} name the candidates {orphans[:5]}, which streams do not hold"
            raise DataError(msg)


def _catalogue_table(frame: pd.DataFrame, schema: TableSchema, meta: Mapping[str, str]) -> Table:
    frame = schema.conform(frame)
    for name in frame:
        if pd.api.types.is_string_dtype(frame[name]) or frame[name].dtype == object:
            # The formats share no way to tell a missing string from an empty one.
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "")
    table = to_astropy(frame, schema)
    table.meta.update(meta)
    table.meta.setdefault("versions", " ".join(f"{k}={v}" for k, v in sorted(versions().items())))
    if git_commit():
        table.meta.setdefault("git_commit", git_commit())
    table.meta.update(
        table=schema.name,
        description=schema.description,
        viamachinae_version=__version__,
        rows=len(table),
        content_sha256=content_hash(table),
    )
    return table
