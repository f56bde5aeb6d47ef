"""Units that files declare, against the units of the stars table."""

# ruff: noqa: PLC0415 - astropy is slow to import: only where it is needed

from __future__ import annotations

import re
from functools import lru_cache

from viamachinae.errors import DataError
from viamachinae.schema import STARS
from viamachinae.stars.files.columns import TableHead

__all__ = ["unit_factor"]


def unit_factor(head: TableHead, column: str, name: str) -> float:
    """Return what a column of a file is multiplied with to have the unit of the stars table.

    Parameters
    ----------
    head : TableHead
        The file.
    column, name : str
        Name of the column in ``schema.STARS`` and in the file. A column without
        a declared unit is taken as it is.

    Raises
    ------
    DataError
        The declared unit is unknown, or cannot be converted.
    """
    text = head.units.get(name, "")
    expected = STARS[column].unit if column in STARS.names else ""
    if not text or not expected:
        return 1.0
    factor = _factor(text, expected)
    if factor is None:
        msg = (
            f"{head.path}: column {name} has the unit {text!r}, which is not convertible to {expected!r}; "
            "correct the column or its unit"
        )
        raise DataError(msg)
    return factor


@lru_cache(maxsize=256)
def _factor(text: str, expected: str) -> float | None:
    """Return what turns numbers of a unit into numbers of another, None where nothing does."""
    import astropy.units as u

    try:
        return float(u.Unit(_bare(text)).to(u.Unit(expected)))
    except (ValueError, TypeError, u.UnitConversionError):
        return None


def _bare(text: str) -> str:
    """Return the unit inside quotes or inside Gaia's ``Angle[deg]``."""
    inner = re.search(r"\[(.+)\]$", text.strip())
    return (inner.group(1) if inner else text).replace("'", "").strip()
