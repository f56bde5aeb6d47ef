"""FITS binary tables."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from viamachinae.errors import DataError
from viamachinae.stars.files.columns import LoadedColumns, TableHead

__all__ = ["head", "load"]


def head(path: Path) -> TableHead:
    """Return columns, units, keywords and rows of the first binary table."""
    with _table(path) as (hdus, table):
        units = {c.name: c.unit for c in table.columns if c.unit}
        headers = (hdus[0].header, table.header)
        meta = {k.lower(): str(v) for h in headers for k, v in h.items() if isinstance(v, str | int | float)}
        return TableHead(path, tuple(table.columns.names), units, meta, int(table.header["NAXIS2"]))


def load(path: Path, names: list[str], dec_range: tuple[float, float] | None) -> LoadedColumns:  # noqa: ARG001
    """Read the columns ``names`` of the first binary table, every row."""
    with _table(path) as (_, table):
        values: dict[str, NDArray[Any]] = {}
        for name in names:
            column = np.array(table.data[name])
            null = table.columns[name].null
            values[name] = np.ma.masked_equal(column, null) if isinstance(null, int) else column
        return LoadedColumns(values, int(table.header["NAXIS2"]))


@contextmanager
def _table(path: Path) -> Iterator[tuple[Any, Any]]:
    from astropy.io import fits

    with warnings.catch_warnings():
        # astropy reads a torn file to its end and only warns
        warnings.filterwarnings("error", message=".*truncated.*")
        warnings.filterwarnings("ignore", category=fits.verify.VerifyWarning)
        with fits.open(path, memmap=path.suffix.lower() != ".gz") as hdus:
            tables = [h for h in hdus if isinstance(h, fits.BinTableHDU)]
            if not tables:
                msg = f"{path}: no binary table in {len(hdus)} FITS extensions; it is no table, or cut short"
                raise DataError(msg)
            yield hdus, tables[0]
