"""What the stars of a patch must be, wherever they were gathered: there, each once, and all over it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import pandas as pd

from viamachinae.errors import DataError
from viamachinae.stars.coverage import covered_fraction

__all__ = ["Origin", "covered", "nothing", "once"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where stars were gathered, as errors speak of it.

    Parameters
    ----------
    name : str
        What they were gathered from, in the plural, for example "the files".
    repeated, uncovered, empty : str
        What to do when a star comes twice with different values, when part of the patch is without
        stars, and when all of it is.
    """

    name: str
    repeated: str
    uncovered: str
    empty: str


def once(stars: pd.DataFrame, origin: Origin) -> pd.DataFrame:
    """Return the stars sorted by ``source_id``, rows that repeat another one removed.

    Raises
    ------
    DataError
        A star comes twice with different values.
    """
    stars = stars.sort_values("source_id", kind="stable", ignore_index=True)
    repeated = stars["source_id"].duplicated(keep=False)
    if not repeated.any():
        return stars
    kept = stars[repeated].drop_duplicates()
    clash = kept[kept["source_id"].duplicated(keep=False)]
    if not clash.empty:
        first = clash[clash["source_id"] == clash["source_id"].iloc[0]].iloc[:2]
        columns = [str(n) for n in first if first[n].drop_duplicates().size > 1]
        msg = (
            f"source_id {first['source_id'].iloc[0]} stands in {origin.name} more than once with different "
            f"{', '.join(columns)}, as do {clash['source_id'].nunique() - 1} other stars; {origin.repeated}"
        )
        raise DataError(msg)
    return pd.concat([stars[~repeated], kept]).sort_values("source_id", ignore_index=True)


def covered(
    stars: pd.DataFrame, centre: tuple[float, float], radius: float, least: float, origin: Origin
) -> float:
    """Return the part of a patch that has stars (0 to 1).

    Parameters
    ----------
    stars : DataFrame
        With ``ra``, ``dec`` (deg) inside the patch.
    centre : (float, float)
        Centre of the patch (ra, dec; deg, ICRS).
    radius : float
        Its radius (deg).
    least : float
        The smallest part that will do (0 to 1).
    origin : Origin
        Where the stars come from.

    Raises
    ------
    DataError
        It is less.
    """
    fraction = covered_fraction(stars["ra"], stars["dec"], centre, radius)
    where = f"the patch of {radius} deg around (ra, dec) = {centre} deg"
    if fraction < least:
        msg = (
            f"{where}: {origin.name} have stars in only {100.0 * fraction:.0f} % of it, at least "
            f"{100.0 * least:.0f} % are needed; {origin.uncovered}, or lower stars.min_coverage"
        )
        raise DataError(msg)
    if fraction < 1.0:
        _log.warning("%s: %s have stars in %.1f %% of it", where, origin.name, 100.0 * fraction)
    return fraction


def nothing(centre: tuple[float, float], radius: float, where: str, nan: int, origin: Origin) -> DataError:
    """Return the error of a patch without a star.

    Parameters
    ----------
    centre, radius
        As for :func:`covered`.
    where : str
        What was searched.
    nan : int
        Rows that lacked a value that every star needs.
    origin : Origin
        Where stars were looked for.
    """
    return DataError(
        f"no usable star within {radius} deg of (ra, dec) = {centre} deg in {where} ({nan} rows were left "
        f"out for want of a value that every star needs); {origin.empty}"
    )
