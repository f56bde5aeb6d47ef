"""Cuts on the stars: before training, and before they are ranked."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import FiducialSettings, SelectionSettings
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.masks import circles_of, masked_by
from viamachinae.stars.extinction import RAW, photometry
from viamachinae.stars.quality import corrected_flux_excess, flux_excess_scatter, require_columns
from viamachinae.stars.zeropoint import corrected_parallax

__all__ = ["fiducial", "select"]


def select(stars: pd.DataFrame, settings: SelectionSettings) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which stars are kept for training, and how many each cut removed.

    A star without a value fails the cut on it. Cuts that are not set remove nothing. All of them
    use the photometry as measured.

    Parameters
    ----------
    stars : DataFrame
        With ``parallax`` (mas), ``phot_g_mean_mag`` (mag) and what the cuts that are set need
        (``quality.needed_columns``).
    settings : SelectionSettings
        Upper limits, all exclusive: parallax < ``parallax_max`` and so on.

    Returns
    -------
    kept : ndarray of bool, (n,)
    counts : dict
        Stars removed by ``parallax``, then ``g`` of those left, then ``ruwe``, then ``flux_excess``;
        with ``zero_point`` also ``uncorrected_parallax``: stars, removed or not, whose parallax was cut on
        as it is, since its zero-point is not known.

    Raises
    ------
    ConfigError
        The package that a cut needs is not installed.
    DataError
        A cut is set and the stars lack a column of it.
    """
    require_columns(settings, list(stars.columns), "the stars")
    kept = np.ones(len(stars), dtype=np.bool_)
    counts: dict[str, int] = {}
    extra: dict[str, int] = {}
    parallax = _numbers(stars, "parallax")
    if settings.zero_point:
        parallax, extra["uncorrected_parallax"] = corrected_parallax(stars)
    cuts: tuple[tuple[str, float | None, Callable[[], NDArray[np.float64]]], ...] = (
        ("parallax", settings.parallax_max, lambda: parallax),
        ("g", settings.g_max, lambda: _numbers(stars, "phot_g_mean_mag")),
        ("ruwe", settings.ruwe_max, lambda: _numbers(stars, "ruwe")),
        ("flux_excess", settings.flux_excess_sigma, lambda: _flux_excess(stars)),
    )
    for cut, limit, values in cuts:
        passed = kept if limit is None else kept & (values() < limit)
        counts[cut] = int(kept.sum() - passed.sum())
        kept = passed
    return kept, counts | extra


def _numbers(stars: pd.DataFrame, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = stars[name].to_numpy(np.float64)
    return values


def _flux_excess(stars: pd.DataFrame) -> NDArray[np.float64]:
    """Return the size of the corrected flux excess of the stars, in its scatter at their G."""
    excess = corrected_flux_excess(stars["bp_rp"], stars["phot_bp_rp_excess_factor"])
    return np.asarray(np.abs(excess) / flux_excess_scatter(stars["phot_g_mean_mag"]))


def fiducial(
    stars: pd.DataFrame, settings: FiducialSettings, frame: PatchFrame, masks: pd.DataFrame
) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """Return which stars of a patch are ranked (Shih et al. 2021, section 3.3; 2023), and what was masked.

    Parameters
    ----------
    stars : DataFrame
        With ``ra``, ``dec`` (deg), ``phot_g_mean_mag``, ``bp_rp`` (mag), perhaps ``g_0``, ``bp_rp_0``
        (mag), and the patch-frame proper motions ``pm_phi_coslambda``, ``pm_lambda`` (mas/yr).
    settings : FiducialSettings
        The cuts: inner circle by angular separation; magnitude and colour, corrected for extinction
        where the stars have that unless ``photometry`` is "raw"; a proper motion away from zero in
        either coordinate.
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
    light = RAW if settings.photometry == "raw" else photometry(stars)
    g, colour = (stars[name].to_numpy(np.float64) for name in light)
    motions = np.abs(stars[["pm_phi_coslambda", "pm_lambda"]].to_numpy(np.float64))
    passed: NDArray[np.bool_] = (
        (frame.separation(ra, dec) <= settings.radius)
        & (g < settings.g_max)
        & (colour >= settings.colour[0])
        & (colour <= settings.colour[1])
        & (motions > settings.pm_min).any(axis=1)
    )
    by = masked_by(ra, dec, circles_of(masks))
    counts = np.bincount(by[passed & (by >= 0)], minlength=len(masks))
    names = masks["name"].astype(str).to_numpy()
    return passed & (by < 0), {str(names[i]): int(counts[i]) for i in np.flatnonzero(counts)}
