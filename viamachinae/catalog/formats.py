"""One writer a file format; all of them read back by ``astropy.table.Table.read``."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Column, Table
from astropy.table.meta import get_yaml_from_table

__all__ = ["WRITERS", "read_meta"]

# FITS keywords have eight letters; metadata without one of its own goes into VMMETA as JSON.
_FITS_KEYS: Mapping[str, str] = {
    "table": "EXTNAME",
    "viamachinae_version": "VMVERS",
    "settings_hash": "VMHASH",
    "release": "VMREL",
    "rows": "VMROWS",
    "content_sha256": "VMSHA256",
}


def _write_ecsv(table: Table, path: Path) -> None:
    table.write(path, format="ascii.ecsv", overwrite=True)


def _write_fits(table: Table, path: Path) -> None:
    bare = table.copy(copy_data=False)
    bare.meta.clear()
    buffer = io.BytesIO()
    bare.write(buffer, format="fits")
    buffer.seek(0)
    with fits.open(buffer) as hdus:
        header = hdus[1].header
        rest = {}
        for key, value in table.meta.items():
            if key in _FITS_KEYS:
                header[_FITS_KEYS[key]] = value
            else:
                rest[key] = value
        header["VMMETA"] = json.dumps(rest, sort_keys=True)
        # astropy keeps descriptions in comments of its own; other readers look for TCOMMn.
        for number, name in enumerate(table.colnames, start=1):
            if table[name].description:
                header[f"TCOMM{number}"] = table[name].description
        hdus.writeto(path, overwrite=True)


def _write_parquet(table: Table, path: Path) -> None:
    fields, arrays, lengths = [], [], {}
    for name in table.colnames:
        column = table[name]
        array = _arrow_array(column)
        meta = {"unit": str(column.unit or ""), "description": column.description or ""}
        fields.append(pa.field(name, array.type, metadata=meta))
        arrays.append(array)
        if column.dtype.kind == "U":
            lengths[f"table::len::{name}"] = str(column.dtype.itemsize // 4)
    metadata = {
        **{key: str(value) for key, value in table.meta.items()},
        **lengths,
        # astropy finds units, descriptions and the typed metadata here.
        "table_meta_yaml": "\n".join(get_yaml_from_table(table)),
    }
    arrow = pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata))
    pq.write_table(arrow, path, compression="zstd", write_page_checksum=True)


def _arrow_array(column: Column) -> pa.Array:
    """Return the values with everything missing as null, the one way Parquet readers agree on."""
    values = np.asarray(column)
    if values.dtype.kind == "f":
        return pa.array(np.ma.filled(np.ma.asarray(column), np.nan), from_pandas=True)
    return pa.array(values)


#: Writer of each format, by name (also the ending of the file).
WRITERS: Mapping[str, Callable[[Table, Path], None]] = {
    "ecsv": _write_ecsv,
    "fits": _write_fits,
    "parquet": _write_parquet,
}


def read_meta(table: Table) -> dict[str, object]:
    """Return the catalogue metadata of a table read back, whatever format it came from.

    Parameters
    ----------
    table : astropy.table.Table
        A table as read by astropy.
    """
    meta = dict(table.meta)
    if "VMMETA" not in meta:
        return meta
    own = {key: meta[card] for key, card in _FITS_KEYS.items() if card in meta}
    return {**json.loads(meta["VMMETA"]), **own}
