"""Whether an archive can serve a scan, asked before any long work."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError, TaskError
from viamachinae.stars.archive.catalogues import catalogue_for
from viamachinae.stars.archive.connection import Connection, UnreachableError
from viamachinae.stars.archive.errands import Errands
from viamachinae.stars.archive.faults import FaultError
from viamachinae.stars.archive.login import log_in
from viamachinae.stars.archive.patience import Clock, Patience
from viamachinae.stars.archive.planning import columns_of
from viamachinae.stars.archive.service import Service
from viamachinae.stars.archive.workplace import Workplace
from viamachinae.stars.quality import require_columns

__all__ = ["check_service"]

_BUDGET = 60.0  # s
_CALLS = 2  # tries to reach a host


class _Brief(Patience):
    """A patience for as long as somebody is there; where nobody is, two tries are enough."""

    _unreached = 0

    def endure(self, fault: FaultError) -> None:
        """Wait as a fault demands, but not for a host that cannot be reached."""
        self._unreached += isinstance(fault, UnreachableError)
        if self._unreached >= _CALLS:
            raise fault
        super().endure(fault)


def check_service(settings: Settings, *, clock: Clock | None = None) -> dict[str, Any]:
    """Find what is wrong with the service of a scan; takes a second or two when all is well.

    Parameters
    ----------
    settings : Settings
        Sections ``stars``, ``archive`` and ``selection`` are used.
    clock : Clock, optional
        Time, for tests.

    Returns
    -------
    dict
        ``url``, ``table``, ``release``, ``columns`` that will be downloaded, and ``lacks``: those of the
        catalogue that the service does not have.

    Raises
    ------
    DataError
        The service cannot be reached, does not have the table, or not the columns that are needed.
    ConfigError
        The source does not download, or the login does not work.
    """
    catalogue = catalogue_for(settings)
    what = f"{catalogue.table} at {catalogue.url}"
    hint = 'correct archive.url or archive.table, or wait; the sources "files" and "mock" need no network'
    budget = min(settings.archive.budget, _BUDGET)
    patience = _Brief(what, budget, threading.Event(), clock or Clock(), bad_answers=2)
    with (
        closing(Connection(catalogue.url, settings.archive)) as connection,
        TemporaryDirectory() as folder,
    ):
        errands = Errands(Service(connection), Workplace(Path(folder)), patience.clock, lambda _: None)
        try:
            if settings.archive.login:
                log_in(connection, patience)
            query = columns_of(catalogue, errands, patience)
        except FaultError as fault:
            # a redirection says itself what to correct
            msg = f"{what}: {fault.words}" + ("" if "archive.url" in fault.words else f"; {hint}")
            raise DataError(msg) from None
        except TaskError:
            msg = f"{what}: no answer for {budget:g} s, the last fault: {patience.last}; {hint}"
            raise DataError(msg) from None
    require_columns(settings.selection, query.columns, what)
    # without it, what was added to this mock cannot be told from its smooth Milky Way
    needed = (*settings.stars.carry, "popid") if catalogue.name == "galaxia-dr3" else settings.stars.carry
    lacking = [name for name in dict.fromkeys(needed) if name not in query.columns]
    if lacking:
        msg = f"{what} has no {', '.join(lacking)}; correct archive.table or stars.carry"
        raise DataError(msg)
    return {
        "url": catalogue.url,
        "table": catalogue.table,
        "release": catalogue.release,
        "columns": list(query.columns),
        "lacks": [name for name in catalogue.columns if name not in query.columns],
    }
