"""FITS binary tables."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viamachinae.config.paths import is_url, local_path
from viamachinae.errors import DataError
from viamachinae.stars.files.columns import Chunk, TableHead
from viamachinae.stars.files.places import opened
from viamachinae.stars.files.region import Near

__all__ = ["head", "load"]


def head(place: str) -> TableHead:
    """Return columns, units, keywords and rows of the first binary table."""
    with _table(place) as (hdus, table):
        units = {c.name: c.unit for c in table.columns if c.unit}
        headers = (hdus[0].header, table.header)
        meta = {k.lower(): str(v) for h in headers for k, v in h.items() if isinstance(v, str | int | float)}
        return TableHead(place, tuple(table.columns.names), units, meta, int(table.header["NAXIS2"]))


def load(place: str, names: Mapping[str, str], near: Near | None) -> Iterator[Chunk]:  # noqa: ARG001
    """Read columns (our name -> the file's) of the first binary table, every row at once."""
    with _table(place) as (_, table):
        values: dict[str, NDArray[Any]] = {}
        for name in dict.fromkeys(names.values()):
            column = np.array(table.data[name])
            null = table.columns[name].null
            values[name] = np.ma.masked_equal(column, null) if isinstance(null, int) else column
        rows = int(table.header["NAXIS2"])
    yield Chunk(values, 0, rows)


@contextmanager
def _table(place: str) -> Iterator[tuple[Any, Any]]:
    from astropy.io import fits

    with warnings.catch_warnings(), ExitStack() as stack:
        # astropy reads a torn file to its end and only warns
        warnings.filterwarnings("error", message=".*truncated.*")
        warnings.filterwarnings("ignore", category=fits.verify.VerifyWarning)
        remote = is_url(place)
        source = stack.enter_context(opened(place)) if remote else local_path(place)
        with fits.open(source, memmap=not remote and not place.lower().endswith(".gz")) as hdus:
            tables = [h for h in hdus if isinstance(h, fits.BinTableHDU)]
            if not tables:
                msg = f"{place}: no binary table in {len(hdus)} FITS extensions; it is no table, or cut short"
                raise DataError(msg)
            yield hdus, tables[0]
