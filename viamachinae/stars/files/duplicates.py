"""Each star once, though files may repeat it."""

from __future__ import annotations

import pandas as pd

from viamachinae.errors import DataError

__all__ = ["once"]


def once(stars: pd.DataFrame) -> pd.DataFrame:
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
            f"source_id {first['source_id'].iloc[0]} stands in the files more than once with different "
            f"{', '.join(columns)}, as do {clash['source_id'].nunique() - 1} other stars; give files of one "
            "origin, each star once"
        )
        raise DataError(msg)
    return pd.concat([stars[~repeated], kept]).sort_values("source_id", ignore_index=True)
