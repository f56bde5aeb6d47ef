"""One signal region scored: the unit of work of the scores stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from viamachinae.anomaly.anode import anode
from viamachinae.anomaly.base import RegionStars, Scorer, Window
from viamachinae.config import Settings, rng

__all__ = ["SCORERS", "score_region"]

#: Scorers by the name that ``scorer.name`` takes.
SCORERS: dict[str, Scorer] = {"anode": anode}


def score_region(
    stars: pd.DataFrame, window: Window, settings: Settings, patch: str, models: Path | None = None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Score the fiducial stars of one signal region.

    The random numbers follow from the scan's seed, the patch, the coordinate
    and the region alone.

    Parameters
    ----------
    stars : DataFrame
        Stars of the patch (schema STARS).
    window : Window
        The signal region.
    settings : Settings
        Uses ``scan.seed``, ``scorer``, ``density`` and ``patches.radius``.
    patch : str
        Name of the patch.
    models : Path, optional
        Folder to keep the fitted densities in.

    Returns
    -------
    scores : DataFrame
        Rows of the scores table (schema SCORES).
    summary : dict
        The region's row of the regions table (schema REGIONS).

    Raises
    ------
    DataError
        The region or its sideband is empty, or a feature is not finite.
    TaskError
        A training diverged.
    """
    region = RegionStars.of(stars, window, settings)
    generator = rng(settings.scan.seed, "score", patch, window.coordinate, window.index)
    scored = SCORERS[settings.scorer.name](region, settings, generator)
    if models is not None:
        scored.save_models(models)
    summary = {
        "patch": patch,
        "coordinate": window.coordinate,
        "region": window.index,
        "low": window.low,
        "high": window.high,
        "n_sr": int(region.inside.sum()),
        "n_sb": int((~region.inside).sum()),
        "n_fiducial": int(region.ranked.sum()),
        "ll_sr": scored.ll_sr,
        "ll_sb": scored.ll_sb,
        "statistic": scored.statistic,
        "epochs_sr": scored.epochs_sr,
        "epochs_sb": scored.epochs_sb,
    }
    return scored.table(region, window.index), summary
