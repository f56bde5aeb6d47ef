"""Gaia release and reference epoch: what files say, and that they agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from viamachinae.errors import DataError
from viamachinae.stars.epochs import REF_EPOCHS
from viamachinae.stars.files.columns import TableHead

__all__ = ["Release", "agreed", "declared_in"]

_RELEASE_KEYS = ("release", "gaia_release", "data_release")
_EPOCH_KEYS = ("ref_epoch", "refepoch")


@dataclass(frozen=True)
class Release:
    """A release and a reference epoch, and who says so.

    Parameters
    ----------
    name : str
        ``gaia-dr2``, ``gaia-dr3``, ... or ``unknown``.
    ref_epoch : float or None
        Reference epoch of the positions (Julian year), None when unknown.
    source : str
        File or setting that states it.
    """

    name: str
    ref_epoch: float | None
    source: str

    @classmethod
    def make(cls, source: str, name: str | None, epoch: object = None) -> Release:
        """Return a release with the half that is not stated filled in from the other.

        Raises
        ------
        DataError
            The epoch is no number, or belongs to another release.
        """
        try:
            year = None if epoch is None else float(str(epoch))
        except ValueError as error:
            msg = f"{source}: ref_epoch {epoch!r} is no year"
            raise DataError(msg) from error
        title = _normalised(name)
        of_epoch = next(
            (r for r, y in REF_EPOCHS.items() if year is not None and abs(y - year) < 1e-3), "unknown"
        )
        if year is not None and title in REF_EPOCHS and abs(REF_EPOCHS[title] - year) > 1e-3:
            msg = (
                f"{source}: release {title} has the reference epoch {REF_EPOCHS[title]}, but ref_epoch says "
                f"{year}; correct one of them"
            )
            raise DataError(msg)
        title = of_epoch if title == "unknown" else title
        return cls(title, REF_EPOCHS.get(title) if year is None else year, source)


def declared_in(head: TableHead) -> Release:
    """Return what the keywords of a file say about its release."""
    name = next((head.meta[k] for k in _RELEASE_KEYS if head.meta.get(k)), None)
    epoch = next((head.meta[k] for k in _EPOCH_KEYS if head.meta.get(k)), None)
    return Release.make(head.path, name, epoch)


def agreed(statements: Iterable[Release]) -> Release:
    """Return the one release that all statements are about.

    Raises
    ------
    DataError
        Two of them differ: identifiers, positions and errors do not go together.
    """
    result = Release("unknown", None, "")
    for one in statements:
        names = {one.name, result.name} - {"unknown"}
        epochs = {one.ref_epoch, result.ref_epoch} - {None}
        if len(names) > 1 or len(epochs) > 1:
            msg = (
                f"{result.source} is {result.name} (epoch {result.ref_epoch}) but {one.source} is {one.name} "
                f"(epoch {one.ref_epoch}): releases cannot be mixed; give files of one release and set "
                "stars.release to it"
            )
            raise DataError(msg)
        source = result.source or (one.source if names or epochs else "")
        result = Release(next(iter(names), "unknown"), next(iter(epochs), None), source)
    return result


def _normalised(name: str | None) -> str:
    """Return ``gaia-dr3`` for "Gaia EDR3", "DR3", "gaiadr3.gaia_source", ...; EDR3 has DR3's identifiers."""
    if name is None or name.strip().lower() in ("", "unknown"):
        return "unknown"
    found = re.search(r"e?dr\s*(\d)", name.lower())
    return f"gaia-dr{found.group(1)}" if found else name.strip().lower()
