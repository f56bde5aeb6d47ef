"""Cuts on the quality of a star's measurement, and what they need of a table.

The corrected BP/RP flux excess follows Riello et al. (2021, A&A 649, A3), section 9.4.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike, NDArray

from viamachinae.config.settings import SelectionSettings
from viamachinae.errors import ConfigError, DataError

__all__ = [
    "corrected_flux_excess",
    "flux_excess_scatter",
    "needed_columns",
    "require_columns",
    "require_release",
]

Array = NDArray[np.float64]

#: Setting -> the columns that its cut needs beyond those that every table has.
_NEEDS = {
    "ruwe_max": ("ruwe",),
    "flux_excess_sigma": ("phot_bp_rp_excess_factor",),
    "zero_point": (
        "nu_eff_used_in_astrometry",
        "pseudocolour",
        "ecl_lat",
        "astrometric_params_solved",
    ),
}
#: Settings whose formulae hold for Gaia DR3 alone.
_DR3_ALONE = {
    "flux_excess_sigma": "the corrected BP/RP flux excess of Riello et al. (2021)",
    "zero_point": "the parallax zero-point of Lindegren et al. (2021)",
}


def corrected_flux_excess(bp_rp: ArrayLike, excess: ArrayLike) -> Array:
    """Return C* = C - f(BP-RP), which scatters about zero for well-behaved sources (eq. 6, table 2).

    Parameters
    ----------
    bp_rp : array_like, (n,)
        BP-RP as measured (mag).
    excess : array_like, (n,)
        ``phot_bp_rp_excess_factor`` of Gaia DR3.
    """
    x = np.asarray(bp_rp, np.float64)
    blue = 1.154360 + 0.033772 * x + 0.032277 * x**2
    middle = 1.162004 + 0.011464 * x + 0.049255 * x**2 - 0.005879 * x**3
    red = 1.057572 + 0.140537 * x
    expected = np.where(x < 0.5, blue, np.where(x < 4.0, middle, red))
    return np.asarray(excess, np.float64) - expected


def flux_excess_scatter(g: ArrayLike) -> Array:
    """Return the standard deviation of C* for isolated sources of good photometry (eq. 18).

    Parameters
    ----------
    g : array_like, (n,)
        G magnitude as measured (mag).
    """
    return np.asarray(0.0059898 + 8.817481e-12 * np.asarray(g, np.float64) ** 7.618399)


def needed_columns(settings: SelectionSettings) -> tuple[str, ...]:
    """Return the columns that the cuts which are set need beyond parallax and G."""
    return tuple(column for setting in _set(settings) for column in _NEEDS[setting])


def require_columns(settings: SelectionSettings, columns: Collection[str], where: str) -> None:
    """Refuse a cut on what the stars do not have.

    Parameters
    ----------
    settings : SelectionSettings
        The cuts.
    columns : collection of str
        What the stars have.
    where : str
        What the message calls them, for example ``the stars of sky.parquet``.

    Raises
    ------
    ConfigError
        The package that a cut needs is not installed.
    DataError
        A cut is set and a column of it is not there.
    """
    for setting in _set(settings):
        missing = [name for name in _NEEDS[setting] if name not in columns]
        if missing:
            value = getattr(settings, setting)
            shown = str(value).lower() if isinstance(value, bool) else value
            hint = " (Gaia DR2 keeps it in a table of its own)" if setting == "ruwe_max" else ""
            msg = (
                f"selection.{setting} = {shown}, but {where} have no column {', '.join(missing)}{hint}; "
                f"add the column or leave {setting} out. Found: {', '.join(columns)}"
            )
            raise DataError(msg)
    if settings.zero_point and importlib.util.find_spec("zero_point") is None:
        msg = (
            "selection.zero_point = true needs the package gaiadr3-zeropoint, which is not installed: "
            "pip install 'viamachinae[zeropoint]'"
        )
        raise ConfigError(msg)


def require_release(settings: SelectionSettings, release: str, where: str) -> None:
    """Refuse a cut whose formula was made for another release than the stars'.

    Parameters
    ----------
    settings : SelectionSettings
        The cuts.
    release : str
        ``gaia-dr2``, ``gaia-dr3`` or ``unknown``.
    where : str
        What the message calls the stars.

    Raises
    ------
    DataError
        A cut is set that holds for Gaia DR3 alone, and the stars are not known to be of it.
    """
    for setting in _set(settings):
        if setting in _DR3_ALONE and release != "gaia-dr3":
            msg = (
                f"selection.{setting}: {_DR3_ALONE[setting]} holds for Gaia DR3 alone, and {where} are of "
                f"release {release}; leave {setting} out, or correct stars.release"
            )
            raise DataError(msg)


def _set(settings: SelectionSettings) -> list[str]:
    """Return the settings of :data:`_NEEDS` that ask for a cut."""
    return [name for name in _NEEDS if getattr(settings, name) not in (None, False)]
