"""The download of one cell: all its sources, once, whatever the archive does."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from viamachinae.config.settings import Settings
from viamachinae.stars.archive.catalogues import Catalogue, catalogue_for
from viamachinae.stars.archive.cells import Cell
from viamachinae.stars.archive.connection import Connection
from viamachinae.stars.archive.errands import Errands
from viamachinae.stars.archive.faults import BadAnswerError
from viamachinae.stars.archive.login import log_in
from viamachinae.stars.archive.patience import Clock, Patience
from viamachinae.stars.archive.planning import Part, columns_of, count, cut, errors_of
from viamachinae.stars.archive.preflight import check_service
from viamachinae.stars.archive.queries import Query
from viamachinae.stars.archive.service import Service
from viamachinae.stars.archive.sources import empty, sources
from viamachinae.stars.archive.votable import Table
from viamachinae.stars.archive.workplace import Workplace

__all__ = ["Fetched", "check_service", "fetch_cell"]

_ABOVE = 1000  # rows by which MAXREC exceeds a count, so that a wrong count is not taken for an overflow


@dataclass(frozen=True)
class Fetched:
    """The sources of a cell, and how they came.

    Parameters
    ----------
    table : pyarrow.Table
        ``schema.CELLS``, sorted by ``source_id``.
    report : dict
        ``rows``; ``bytes`` downloaded for them, also by killed processes; ``chunks``: parts with rows;
        ``seconds``; ``retries`` after faults; ``attached``: jobs of a killed process taken up again;
        ``release``, ``table``, ``url``; ``lacks``: columns of the catalogue that the service does not have.
    """

    table: pa.Table
    report: dict[str, Any]


def fetch_cell(
    settings: Settings,
    cell: Cell,
    workplace: Path,
    *,
    stop: threading.Event | None = None,
    heard: Callable[[int, int], None] | None = None,
    clock: Clock | None = None,
) -> Fetched:
    """Download the sources of one cell that can pass the selection.

    Parameters
    ----------
    settings : Settings
        Sections ``stars``, ``archive`` and ``selection`` are used.
    cell : Cell
        The cell.
    workplace : Path
        Private folder of the cell. What a killed process left there is taken up; the caller deletes it when
        the cell is published.
    stop : threading.Event, optional
        Set: leave within about a second.
    heard : callable, optional
        Told rows and bytes that came since the last time; rows when a part is complete, and both at once
        of a part that an earlier process had finished.
    clock : Clock, optional
        Time, for tests.

    Raises
    ------
    ResumeError
        ``stop`` is set; the jobs on the server go on, and the same call takes them up.
    TaskError
        A part took longer than ``archive.budget``.
    DataError
        The service refuses, or its answers are wrong again and again.
    ConfigError
        The login does not work.
    """
    catalogue = catalogue_for(settings)
    what = f"cell {cell.name} of {catalogue.table} at {catalogue.url}"
    clock = clock or Clock()
    with errors_of(what), closing(Connection(catalogue.url, settings.archive)) as connection:
        download = _Download(settings, cell, Workplace(workplace), connection, heard or _deaf)
        return download.run(catalogue, what, stop or threading.Event(), clock)


def _deaf(rows: int, size: int) -> None:
    """Hear nothing."""


class _Download:
    """One run of :func:`fetch_cell`."""

    def __init__(
        self,
        settings: Settings,
        cell: Cell,
        place: Workplace,
        connection: Connection,
        heard: Callable[[int, int], None],
    ) -> None:
        self._archive = settings.archive
        self._cell = cell
        self._place = place
        self._connection = connection
        self._heard = heard

    def run(self, catalogue: Catalogue, what: str, stop: threading.Event, clock: Clock) -> Fetched:
        """Plan, fetch part by part, put together."""
        begun = clock.now()
        errands = Errands(Service(self._connection), self._place, clock, lambda size: self._heard(0, size))
        patience = Patience(what, self._archive.budget, stop, clock)
        if self._archive.login:
            log_in(self._connection, patience)
        query, parts, lacks, size = self._planned(catalogue, errands, patience)
        retries, tables = patience.retries, [empty(query.columns)]
        for part in parts:
            table = self._place.part(part.name)
            kept = 0 if table is None else self._place.size(part.name)
            if table is None:
                patience = Patience(f"{what}, part {part.name}", self._archive.budget, stop, clock)
                table = self._fetched(query, part, errands, patience)
                retries += patience.retries
            size += self._place.size(part.name)
            self._heard(table.num_rows, kept)
            tables.append(table)
        errands.tidy(patience)
        # the parts are in order, and sorted
        cell = pa.concat_tables(
            [table.replace_schema_metadata(tables[0].schema.metadata) for table in tables]
        )
        report = {
            "rows": cell.num_rows,
            "bytes": size,
            "chunks": len(parts),
            "seconds": clock.now() - begun,
            "retries": retries,
            "attached": errands.attached,
            "release": catalogue.release,
            "table": catalogue.table,
            "url": catalogue.url,
            "lacks": lacks,
        }
        return Fetched(cell.combine_chunks(), report)

    def _planned(
        self, catalogue: Catalogue, errands: Errands, patience: Patience
    ) -> tuple[Query, list[Part], list[str], int]:
        """Return what to ask for, in which parts, what lacks, and the bytes that planning took.

        A plan that was made before stands, if the same is asked for.
        """
        wanted = {
            "url": catalogue.url,
            "table": catalogue.table,
            "columns": {name: list(names) for name, names in catalogue.columns.items()},
            "cuts": list(catalogue.cuts),
            "cell": self._cell.name,
            "chunk_rows": self._archive.chunk_rows,
        }
        asked = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
        plan = self._place.plan()
        if plan is None or plan.get("asked") != asked:
            errands.tidy(patience)
            self._place.clear()
            query = columns_of(catalogue, errands, patience)
            parts = cut(query, self._cell.id_range, self._archive.chunk_rows, errands, patience)
            plan = {
                "asked": asked,
                "expressions": dict(query.expressions),
                "ruwe": query.ruwe,
                "parts": [[part.low, part.high, part.rows] for part in parts],
                "bytes": errands.bytes,
            }
            self._place.keep_plan(plan)
        query = Query(catalogue, plan["expressions"], plan["ruwe"])
        lacks = [name for name in catalogue.columns if name not in query.columns]
        return query, [Part(*numbers) for numbers in plan["parts"]], lacks, plan.get("bytes", 0)

    def _fetched(self, query: Query, part: Part, errands: Errands, patience: Patience) -> pa.Table:
        """Return a part, every source of it once; it is kept before the job that brought it is deleted."""
        before = errands.bytes

        def accept(table: Table) -> pa.Table:
            got = sources(table, query.columns, (part.low, part.high))
            if got.num_rows != part.rows:
                counted = count(query, part.low, part.high, errands, patience)
                if got.num_rows != counted:
                    msg = f"{got.num_rows} rows came, but count(*) says {counted}"
                    raise BadAnswerError(msg)
            self._place.publish(part.name, got, errands.bytes - before)
            return got

        return errands.bring(part.name, query.rows(part.low, part.high), part.rows + _ABOVE, accept, patience)
