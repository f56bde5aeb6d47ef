"""What a download has to bring: the rows that were loaded, cut and renamed here, past any service."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from skies import BIG, SKIES, in_cell

from viamachinae.config.settings import Settings
from viamachinae.schema import CELLS

__all__ = ["G_MAX", "PARALLAX_MAX", "digest", "expected", "expected_patch", "settings_for"]

PARALLAX_MAX = 1.0  # mas
G_MAX = 20.5  # mag

#: How the archives spell what CELLS calls otherwise.
_SPELLINGS = {
    "gaia-dr2": {"matched_transits": "matched_observations", "pseudocolour": "astrometric_pseudo_colour"},
    "galaxia-dr2": {"visibility_periods_used": "visiblilty_periods_used"},
}
# A star of a mock gets its noise after the download: none may be left behind that this could bring in.
_NOISE_SIGMAS = 6
# A star of Gaia may have its parallax corrected, by less than this.
_ZERO_POINT = 0.15  # mas


def settings_for(source: str, url: str, *, cuts: bool = True, **archive: Any) -> Settings:
    """Return settings that download a source from a service."""
    return Settings.model_validate(
        {
            "scan": {"name": "made-up", "seed": 5},
            "stars": {"source": source},
            "selection": {"parallax_max": PARALLAX_MAX if cuts else None, "g_max": G_MAX if cuts else None},
            "patches": {"centres": [[148.6, 24.2]], "radius": 4.0},
            "fiducial": {"radius": 3.0},
            "archive": {"url": url, "budget": 300.0, **archive},
        }
    )


@cache
def expected_patch(source: str, *, cuts: bool = True, big: bool = False) -> pa.Table:
    """Return all rows of a source (that pass the cuts) as CELLS, sorted by identifier."""
    sky, *beside = (BIG,) if big else SKIES[source]
    table = sky.build()
    for other in beside:
        table = _joined(table, other.build())
    if cuts:
        table = table.filter(_passes(table, mock=source.startswith("galaxia")))
    table = table.take(pc.sort_indices(table["source_id"]))
    spelled = _SPELLINGS.get(source, {})
    columns = {}
    for column in CELLS.columns:
        name = spelled.get(column.name, column.name)
        if name in table.column_names:
            columns[column.name] = table[name].cast(pa.type_for_alias(column.dtype)).combine_chunks()
    return pa.table(columns)


def expected(source: str, order: int, pixel: int, *, cuts: bool = True) -> pa.Table:
    """Return the rows of one cell."""
    return in_cell(expected_patch(source, cuts=cuts), order, pixel)


def digest(table: pa.Table) -> str:
    """Return a hash of every name, type, value and null, whatever the chunks and metadata."""
    table = table.combine_chunks()
    found = hashlib.sha256()
    for name in table.column_names:
        column = table[name]
        found.update(f"{name} {column.type} {len(column)};".encode())
        missing = column.is_null().to_numpy()
        values = column.fill_null(0).to_numpy()
        found.update(np.packbits(missing).tobytes() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _joined(table: pa.Table, other: pa.Table) -> pa.Table:
    """Return the table with the columns of another one, null where that has no row."""
    own, theirs = table["source_id"].to_numpy(), other["source_id"].to_numpy()
    order = np.argsort(theirs)
    place = np.minimum(np.searchsorted(theirs[order], own), len(theirs) - 1)
    found = theirs[order][place] == own
    rows = pa.array(order[place], mask=~found)
    for name in other.column_names:
        if name != "source_id":
            table = table.append_column(name, other[name].take(rows))
    return table


def _passes(table: pa.Table, *, mock: bool) -> np.ndarray:
    """Return which rows pass, in double precision as databases compare; a null passes no cut."""
    parallax = table["parallax"].to_numpy()
    g = table["phot_g_mean_mag"].to_numpy().astype(np.float64)
    error = table["parallax_error"].to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore"):
        if mock:
            return (parallax < PARALLAX_MAX + _NOISE_SIGMAS * error) & (g < G_MAX)
        return (parallax < PARALLAX_MAX + _ZERO_POINT) & (g < G_MAX)
