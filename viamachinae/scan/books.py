"""What the receipts of a folder say of a scan, and which of its results are gone that are needed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from viamachinae.config.settings import Settings
from viamachinae.scan.ledger import Ledger
from viamachinae.scan.needs import needed
from viamachinae.scan.standing import Standing, standings
from viamachinae.scan.store import Store

__all__ = ["Books"]


class Books:
    """The receipts of a folder under some settings.

    Parameters
    ----------
    store : Store
        The scan folder.
    settings : Settings
        The scan.
    ledger : Ledger
        The receipts.
    presume : bool
        Whether a result whose receipt is missing is presumed to come back under its key, so that what was
        made from it stands.

    Attributes
    ----------
    found : list of Standing
        Where each stage stands by its receipts, whether the files are there or not.
    holding : dict
        Id -> receipt, of every receipt that holds.
    vanished : set of str
        Ids of results of which a file is not there.
    cut : set of str
        Ids of results of which a file has another size.
    """

    def __init__(self, store: Store, settings: Settings, ledger: Ledger, *, presume: bool = True) -> None:
        receipts = [receipt for stage in ledger.receipts.values() for receipt in stage.values()]
        there = {receipt.ref.id for receipt in receipts}
        wanted = {ref.id: ref.key for receipt in receipts for ref in receipt.inputs} if presume else {}
        presumed = {name: key for name, key in wanted.items() if name not in there}
        self.ledger = ledger
        self.found = standings(store, settings, ledger=ledger, presumed=presumed)
        self.holding = {r.ref.id: r for standing in self.found for r in standing.receipts.values()}
        self.holding |= {r.ref.id: r for r in ledger.of("calibration").values()}
        self.vanished: set[str] = set()
        self.cut: set[str] = set()
        for name, receipt in self.holding.items():
            sizes = {relative: ledger.size(relative) for relative in receipt.promised}
            if None in sizes.values():
                self.vanished.add(name)
            elif any(sizes[relative] != entry["size"] for relative, entry in receipt.promised.items()):
                self.cut.add(name)

    @property
    def undone(self) -> list[str]:
        """The tasks of the scan that are known and have no receipt; cells are needed by stars alone."""
        return [
            f"{standing.stage}/{name}"
            for standing in self.found
            for name in sorted(standing.known - standing.receipts.keys())
            if standing.stage != "cells"
        ]

    def lost(self, damaged: Iterable[str] = ()) -> set[str]:
        """Return the ids of results that are gone or damaged, and that a run makes anew.

        What vanished and no task left to do reads is not among them.

        Parameters
        ----------
        damaged : iterable of str
            Ids of results that were found to be damaged.
        """
        broken = self.cut.union(damaged)
        return (self.vanished | broken) & needed(self.found, self.vanished, broken)

    def standing(self) -> list[Standing]:
        """Return where each stage stands as a run would find it: results that it makes anew are not done."""
        lost = self.lost()
        return [
            replace(s, receipts={n: r for n, r in s.receipts.items() if f"{s.stage}/{n}" not in lost})
            for s in self.found
        ]
