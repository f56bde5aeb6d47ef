"""VOTables, as the Gaia archive sends them."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import warnings
from pathlib import Path

from viamachinae.errors import DataError
from viamachinae.stars.files.columns import LoadedColumns, TableHead

__all__ = ["head", "load"]


def head(path: Path) -> TableHead:
    """Return columns, units and keywords of the first table, without parsing its data.

    A ``COOSYS`` with an epoch, which is how the archive states it, counts as ``ref_epoch``.
    """
    from astropy.utils.xml.iterparser import get_xml_iterator

    names: list[str] = []
    units: dict[str, str] = {}
    meta: dict[str, str] = {}
    with get_xml_iterator(str(path)) as elements:
        for start, tag, data, _ in elements:
            kind = str(tag).rpartition(":")[2]
            if not start:
                continue
            if kind == "DATA":
                break
            if kind == "FIELD":
                names.append(data.get("name", data.get("ID", "")))
                if data.get("unit"):
                    units[names[-1]] = data["unit"]
            elif kind in ("PARAM", "INFO"):
                meta[data.get("name", "").lower()] = data.get("value", "")
            elif kind == "COOSYS" and data.get("epoch"):
                meta["ref_epoch"] = data["epoch"].lstrip("JBjb")
    if not names:
        msg = f"{path}: no table with FIELD elements; it is empty, cut short or no VOTable"
        raise DataError(msg)
    return TableHead(path, tuple(names), units, meta)


def load(path: Path, names: list[str], dec_range: tuple[float, float] | None) -> LoadedColumns:  # noqa: ARG001
    """Read the columns ``names`` of the first table, every row."""
    from astropy.io.votable import parse_single_table
    from astropy.io.votable.exceptions import VOWarning

    with warnings.catch_warnings():
        # services break the standard in harmless ways all the time; what matters is checked by name and unit
        warnings.simplefilter("ignore", VOWarning)
        table = parse_single_table(str(path), columns=names).to_table(use_names_over_ids=True)
    return LoadedColumns({name: table[name].data for name in names}, len(table))
