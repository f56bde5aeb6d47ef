"""VOTables, as the Gaia archive sends them."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping

from viamachinae.config.paths import is_url, local_path
from viamachinae.errors import DataError
from viamachinae.stars.files.columns import Chunk, TableHead
from viamachinae.stars.files.places import streamed
from viamachinae.stars.files.region import Near

__all__ = ["head", "load"]


def head(place: str) -> TableHead:
    """Return columns, units and keywords of the first table, without parsing its data.

    A ``COOSYS`` with an epoch, which is how the archive states it, counts as ``ref_epoch``.
    """
    from astropy.utils.xml.iterparser import get_xml_iterator

    names: list[str] = []
    units: dict[str, str] = {}
    meta: dict[str, str] = {}
    with get_xml_iterator(_whole(place)) as elements:
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
        msg = f"{place}: no table with FIELD elements; it is empty, cut short or no VOTable"
        raise DataError(msg)
    return TableHead(place, tuple(names), units, meta)


def load(place: str, names: Mapping[str, str], near: Near | None) -> Iterator[Chunk]:  # noqa: ARG001
    """Read columns (our name -> the file's) of the first table, every row at once."""
    from astropy.io.votable import parse_single_table
    from astropy.io.votable.exceptions import VOWarning

    own = list(dict.fromkeys(names.values()))
    with warnings.catch_warnings():
        # services break the standard in harmless ways all the time; what matters is checked by name and unit
        warnings.simplefilter("ignore", VOWarning)
        table = parse_single_table(_whole(place), columns=own).to_table(use_names_over_ids=True)
    yield Chunk({name: table[name].data for name in own}, 0, len(table))


def _whole(place: str) -> str | io.BytesIO:
    """Return what astropy reads: a path, or the content of a URL."""
    if not is_url(place):
        return str(local_path(place))
    with streamed(place) as body:
        return io.BytesIO(body.read())
