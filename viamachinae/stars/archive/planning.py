"""Before a download: which columns there are, how many rows, in which parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from viamachinae.errors import DataError
from viamachinae.schema import CELLS
from viamachinae.stars.archive.catalogues import Catalogue
from viamachinae.stars.archive.errands import Errands
from viamachinae.stars.archive.faults import BadAnswerError, FaultError, RefusedError, SlowError
from viamachinae.stars.archive.patience import Patience
from viamachinae.stars.archive.queries import Query
from viamachinae.stars.archive.votable import Table

__all__ = ["Part", "columns_of", "count", "cut", "errors_of"]

_WAYS = 4  # HEALPix cells of the next order, and the parts that a range of identifiers is cut into


@dataclass(frozen=True)
class Part:
    """Sources that are asked for at once: ``low <= source_id < high``, ``rows`` of them when counted."""

    low: int
    high: int
    rows: int

    @property
    def name(self) -> str:
        """The part as its files are called."""
        return f"{self.low}-{self.high}"


@contextmanager
def errors_of(what: str) -> Iterator[None]:
    """Turn faults that cannot be helped into errors, in the service's own words.

    Raises
    ------
    DataError
        The service refuses, or its answers stay wrong.
    """
    try:
        yield
    except FaultError as fault:
        msg = f"{what}: {fault.words}"
        raise DataError(msg) from None


def columns_of(catalogue: Catalogue, errands: Errands, patience: Patience) -> Query:
    """Return the query for the columns that the table has; optional ones that it lacks are left out.

    A row of the table is asked for and only its head is read: that works for every service, whatever its
    ``TAP_SCHEMA`` calls the table.

    Raises
    ------
    DataError
        Required columns are missing.
    """
    present = _head(catalogue.table, errands, patience)
    if len(catalogue.expressions(present)) < len(catalogue.columns):
        # a column left out by mistake would be missed much later: it must lack twice
        present |= _head(catalogue.table, errands, patience)
    expressions = catalogue.expressions(present)
    required = [column.name for column in CELLS.columns if not column.optional]
    lacking = [name for name in required if name not in expressions]
    if lacking:
        msg = (
            f"{catalogue.table} at {catalogue.url} lacks the columns {', '.join(lacking)}; "
            f"correct archive.table. It has {', '.join(sorted(present)[:20])}"
        )
        raise DataError(msg)
    beside = bool(catalogue.ruwe_table) and "ruwe" not in expressions and "ruwe" in catalogue.columns
    if beside:
        try:
            beside = {"source_id", "ruwe"} <= _head(catalogue.ruwe_table, errands, patience.with_few_tries())
        except (BadAnswerError, RefusedError):
            beside = False  # the service has no such table
    return Query(catalogue, expressions, beside)


def count(query: Query, low: int, high: int, errands: Errands, patience: Patience) -> int:
    """Return the number of sources in a range of identifiers, as the service counts them.

    A count that takes longer than a request may is left to a job.
    """
    adql = query.count(low, high)
    try:
        return _number(errands.ask(adql, patience))
    except SlowError:
        return errands.bring(f"count-{low}-{high}", adql, 10, _number, patience)


def cut(
    query: Query, id_range: tuple[int, int], most: int, errands: Errands, patience: Patience
) -> list[Part]:
    """Return the parts of a range that hold sources, in order, of at most ``most`` rows each.

    Parameters
    ----------
    query : Query
        What is asked for.
    id_range : (int, int)
        Lowest identifier, and the lowest one behind the range.
    most : int
        Rows; a part with more is cut in four, as HEALPix cells are.
    errands, patience : Errands, Patience
        Who counts, and for how long.
    """
    return patience.persist(partial(_cut, query, id_range, most, errands, patience))


def _cut(
    query: Query, id_range: tuple[int, int], most: int, errands: Errands, patience: Patience
) -> list[Part]:
    low, high = id_range
    rows = count(query, low, high, errands, patience)
    step = (high - low) // _WAYS
    if rows <= most or step == 0:
        return [Part(low, high, rows)] if rows else []
    parts: list[Part] = []
    for first in range(low, high, step):
        parts += cut(query, (first, min(first + step, high)), most, errands, patience)
    total = sum(part.rows for part in parts)
    if total != rows:
        msg = f"count(*) says {rows} rows at once, and {total} in parts"
        raise BadAnswerError(msg)
    return parts


def _head(table: str, errands: Errands, patience: Patience) -> set[str]:
    """Return the columns of a table, in lower case."""
    adql = f"SELECT TOP 1 * FROM {table}"  # noqa: S608 - a name that the settings have checked
    return set(patience.persist(partial(errands.ask, adql, patience)).columns)


def _number(table: Table) -> int:
    """Return the one number of an answer."""
    if table.rows != 1 or len(table.columns) != 1 or table.missing:
        msg = f"the answer to count(*) has {table.rows} rows and {len(table.columns)} columns"
        raise BadAnswerError(msg)
    return int(next(iter(table.columns.values()))[0])
