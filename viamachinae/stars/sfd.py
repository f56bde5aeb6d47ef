"""The dust map of Schlegel, Finkbeiner & Davis (1998): where its files lie, and E(B-V) from them."""

# ruff: noqa: PLC0415 - dustmaps and astropy are slow to import: only where they are needed

from __future__ import annotations

import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from viamachinae.config.settings import ExtinctionSettings
from viamachinae.errors import ConfigError, DataError

__all__ = ["DATASET", "FILES", "folder_of", "reddening", "require_maps"]

#: Persistent identifier of the maps at Harvard's Dataverse, and the files of them that are used.
DATASET = "doi:10.7910/DVN/EWCNL5"
FILES = ("SFD_dust_4096_ngp.fits", "SFD_dust_4096_sgp.fits")


def folder_of(settings: ExtinctionSettings | None = None) -> Path:
    """Return the folder of the maps: that of the settings, or where users' data lie on this machine."""
    if settings is not None and settings.folder is not None:
        return settings.folder.expanduser()
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    data = given if given.is_absolute() else Path("~/.local/share").expanduser()
    return data / "viamachinae/sfd"


def require_maps(folder: Path) -> None:
    """Refuse to start without the maps, or without the package that reads them.

    Raises
    ------
    ConfigError
        The package dustmaps is not installed.
    DataError
        A file of the map is not there, or is no FITS file.
    """
    if importlib.util.find_spec("dustmaps") is None:
        msg = (
            'extinction.map = "sfd" needs the package dustmaps, which is not installed: '
            "pip install 'viamachinae[dust]'"
        )
        raise ConfigError(msg)
    for name in FILES:
        try:
            with (folder / name).open("rb") as stream:
                begin = stream.read(9)
        except OSError as error:
            msg = (
                f'extinction.map = "sfd": {folder / name} cannot be read ({error.strerror}); '
                "`viamachinae data fetch sfd` downloads the maps, or set extinction.folder to where they lie"
            )
            raise DataError(msg) from error
        if begin != b"SIMPLE  =":
            msg = f"{folder / name} is no FITS file; delete it and run `viamachinae data fetch sfd`"
            raise DataError(msg)


def reddening(ra: ArrayLike, dec: ArrayLike, folder: Path) -> NDArray[np.float64]:
    """Return E(B-V) of the map (mag), as tabulated, between its pixels linearly.

    Parameters
    ----------
    ra, dec : array_like, (n,)
        Positions (deg, ICRS).
    folder : Path
        Folder of the maps.

    Raises
    ------
    ConfigError
        The package dustmaps is not installed.
    DataError
        The maps are not there, cannot be read, or have no value for a position.
    """
    require_maps(folder)
    from astropy.coordinates import SkyCoord

    with warnings.catch_warnings():
        # dustmaps misses its file ~/.dustmapsrc, which only says where maps lie: the folder is given here.
        warnings.simplefilter("ignore")
        from dustmaps.sfd import SFDQuery

        try:
            ebv = SFDQuery(map_dir=str(folder))(SkyCoord(ra, dec, unit="deg", frame="icrs"))
        except (OSError, ValueError, TypeError) as error:
            msg = f"{folder}: the maps cannot be read ({error}); delete them, `viamachinae data fetch sfd`"
            raise DataError(msg) from error
    found = np.asarray(ebv, np.float64)
    if not np.isfinite(found).all():
        bad = int(np.argmin(np.isfinite(found)))
        msg = (
            f"{folder}: the map has no value at (ra, dec) = ({np.asarray(ra)[bad]:g}, "
            f"{np.asarray(dec)[bad]:g}) deg; delete the maps and run `viamachinae data fetch sfd`"
        )
        raise DataError(msg)
    return found
