"""Cuts on the stars: before training, and before they are ranked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import FiducialSettings, SelectionSettings
from viamachinae.errors import DataError
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.masks import circles_of, masked_by

__all__ = ["fiducial", "require_ruwe", "select"]


def select(stars: pd.DataFrame, settings: SelectionSettings) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which stars are kept for training, and how many each cut removed.

    A star without a value fails the cut on it. Cuts that are not set remove nothing.

    Parameters
    ----------
    stars : DataFrame
        With ``parallax`` (mas), ``phot_g_mean_mag`` (mag) and, for its cut, ``ruwe``.
    settings : SelectionSettings
        Upper limits, all exclusive: parallax < ``parallax_max`` and so on.

    Returns
    -------
    kept : ndarray of bool, (n,)
    counts : dict
        Stars removed by ``parallax``, then ``g`` of those left, then ``ruwe``.

    Raises
    ------
    DataError
        ``ruwe_max`` is set and the stars have no ``ruwe``.
    """
    require_ruwe(settings, list(stars.columns), "the stars")
    kept = np.ones(len(stars), dtype=np.bool_)
    counts: dict[str, int] = {}
    cuts = (
        ("parallax", "parallax", settings.parallax_max),
        ("g", "phot_g_mean_mag", settings.g_max),
        ("ruwe", "ruwe", settings.ruwe_max),
    )
    for cut, column, limit in cuts:
        passed = kept if limit is None else kept & (stars[column].to_numpy(np.float64) < limit)
        counts[cut] = int(kept.sum() - passed.sum())
        kept = passed
    return kept, counts


def require_ruwe(settings: SelectionSettings, columns: list[str], where: str) -> None:
    """Refuse a cut on RUWE for stars that have none.

    Raises
    ------
    DataError
        ``ruwe_max`` is set and ``columns`` has no ``ruwe``.
    """
    if settings.ruwe_max is not None and "ruwe" not in columns:
        msg = (
            f"selection.ruwe_max = {settings.ruwe_max}, but {where} have no column ruwe (Gaia DR2 keeps it "
            f"in a table of its own); add the column or leave ruwe_max out. Found: {', '.join(columns)}"
        )
        raise DataError(msg)


def fiducial(
    stars: pd.DataFrame, settings: FiducialSettings, frame: PatchFrame, masks: pd.DataFrame
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which stars of a patch are ranked (Shih et al. 2021, section 3.3; 2023), and what was masked.

    Parameters
    ----------
    stars : DataFrame
        With ``ra``, ``dec`` (deg), ``phot_g_mean_mag``, ``bp_rp`` (mag) and the
        patch-frame proper motions ``pm_phi_coslambda``, ``pm_lambda`` (mas/yr).
    settings : FiducialSettings
        The cuts: inner circle by angular separation, magnitude, colour, a
        proper motion away from zero in either coordinate.
    frame : PatchFrame
        The patch.
    masks : DataFrame
        Known objects (``schema.MASKS``).

    Returns
    -------
    passed : ndarray of bool, (n,)
    masked : dict
        Name of a masked object -> stars that only its mask left out (the first that holds them).
    """
    ra, dec = stars["ra"].to_numpy(np.float64), stars["dec"].to_numpy(np.float64)
    colour = stars["bp_rp"].to_numpy(np.float64)
    motions = np.abs(stars[["pm_phi_coslambda", "pm_lambda"]].to_numpy(np.float64))
    passed: NDArray[np.bool_] = (
        (frame.separation(ra, dec) <= settings.radius)
        & (stars["phot_g_mean_mag"].to_numpy(np.float64) < settings.g_max)
        & (colour >= settings.colour[0])
        & (colour <= settings.colour[1])
        & (motions > settings.pm_min).any(axis=1)
    )
    by = masked_by(ra, dec, circles_of(masks))
    counts = np.bincount(by[passed & (by >= 0)], minlength=len(masks))
    names = masks["name"].astype(str).to_numpy()
    return passed & (by < 0), {str(names[i]): int(counts[i]) for i in np.flatnonzero(counts)}
