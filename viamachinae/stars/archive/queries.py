"""The queries of a download, in ADQL."""

# ruff: noqa: S608 - numbers, and names that the settings have checked

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from viamachinae.schema import CELLS
from viamachinae.stars.archive.catalogues import Catalogue, names_in

__all__ = ["Query"]


@dataclass(frozen=True)
class Query:
    """What is asked of a catalogue, whatever the range of identifiers.

    Parameters
    ----------
    catalogue : Catalogue
        The table and its cuts.
    expressions : mapping
        Column of ``schema.CELLS``: its ADQL, in the order of the result.
    ruwe : bool
        Take ``ruwe`` from the catalogue's table beside.
    """

    catalogue: Catalogue
    expressions: Mapping[str, str]
    ruwe: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the result's columns, in the order of ``schema.CELLS``."""
        found = {*self.expressions, "ruwe"} if self.ruwe else set(self.expressions)
        return tuple(name for name in CELLS.names if name in found)

    def rows(self, low: int, high: int) -> str:
        """Return the query for the sources with ``low <= source_id < high``."""
        asked = []
        for column, expression in self.expressions.items():
            adql = _of_s(expression)
            asked.append(adql if expression == column else f"{adql} AS {column}")
        join = ""
        if self.ruwe:
            asked.append("r.ruwe")
            join = f" LEFT OUTER JOIN {self.catalogue.ruwe_table} AS r ON s.source_id = r.source_id"
        return (
            f"SELECT {', '.join(asked)} FROM {self.catalogue.table} AS s{join} WHERE {self._where(low, high)}"
        )

    def count(self, low: int, high: int) -> str:
        """Return the query for their number."""
        return f"SELECT COUNT(*) AS n_rows FROM {self.catalogue.table} AS s WHERE {self._where(low, high)}"

    def _where(self, low: int, high: int) -> str:
        cell = f"s.source_id BETWEEN {low} AND {high - 1}"
        return " AND ".join((cell, *(_of_s(cut) for cut in self.catalogue.cuts)))


def _of_s(adql: str) -> str:
    """Return an expression with its columns marked as those of ``s``."""
    for name in names_in(adql):
        adql = re.sub(rf"\b{name}\b", f"s.{name}", adql)
    return adql
