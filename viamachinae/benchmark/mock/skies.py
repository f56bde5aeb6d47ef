"""The skies that are compared: a file's stars, its footprint, and the mock sky's stars in the same cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from viamachinae.config.mocksky import MockSettings
from viamachinae.errors import DataError
from viamachinae.stars.mock.cells import CELL_ORDER, cell_stars

__all__ = ["COLUMNS", "MOTIONS", "Footprint", "latitude", "mock_stars", "read_stars"]

#: Columns that are compared.
COLUMNS = ("phot_g_mean_mag", "bp_rp", "pmra", "pmdec", "parallax")
#: Columns of real stars without photometry.
MOTIONS = ("pmra", "pmdec", "parallax", "parallax_error")

_ORDERS = (7, 6, 5)  # HEALPix orders of the footprint's cells, finest first: 0.46 to 1.8 deg
_MANY = 30  # stars of a middling cell: none within a sky is nearly empty by chance
_FULL = 0.3  # part of these stars with which a cell counts as full: those cut by the rim have fewer


@dataclass(frozen=True)
class Footprint:
    """Where a file has all its stars: HEALPix cells that are full, as are all eight around each.

    Parameters
    ----------
    order : int
        HEALPix order of the cells.
    cells : ndarray of int64, (n,)
        The cells, sorted (NESTED, ICRS).
    """

    order: int
    cells: NDArray[np.int64]

    @classmethod
    def of(cls, stars: pd.DataFrame, path: Path) -> Footprint:
        """Return the footprint of a table of stars.

        Raises
        ------
        DataError
            The stars are too few or too scattered to have an inside.
        """
        import healpy

        for order in _ORDERS:
            occupied, counts = np.unique(_cells(stars, order), return_counts=True)
            if len(occupied) and np.median(counts) >= _MANY:
                full = occupied[counts >= _FULL * np.median(counts)]
                around = healpy.get_all_neighbours(1 << order, full, nest=True)
                inner = full[np.isin(around, [-1, *full]).all(axis=0)]  # -1: no cell, at eight corners
                if len(inner):
                    return cls(order, inner)
        msg = (
            f"{path}: {len(stars)} stars within the cuts are too few, or too scattered, to cover a part "
            "of the sky without gaps; give a table of all stars of a field"
        )
        raise DataError(msg)

    @property
    def area(self) -> float:
        """Area (deg^2)."""
        return float(len(self.cells) * np.pi / (3.0 * 4.0**self.order) * np.degrees(1.0) ** 2)

    def cut(self, stars: pd.DataFrame) -> pd.DataFrame:
        """Return the stars that lie in it."""
        return stars[np.isin(_cells(stars, self.order), self.cells)]


def _cells(stars: pd.DataFrame, order: int) -> NDArray[np.int64]:
    import healpy

    pixels = healpy.ang2pix(
        1 << order, stars["ra"].to_numpy(), stars["dec"].to_numpy(), nest=True, lonlat=True
    )
    return np.asarray(pixels, dtype=np.int64)


def read_stars(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return ``ra``, ``dec`` and other columns of a Parquet table, without incomplete rows.

    Raises
    ------
    DataError
        The file is no Parquet table or lacks columns.
    """
    wanted = ["ra", "dec", *columns]
    try:
        missing = [name for name in wanted if name not in pq.read_schema(path).names]
        if not missing:
            return pd.read_parquet(path, columns=wanted).astype(np.float64).dropna(ignore_index=True)
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{path}: cannot be read as a Parquet table ({error}); give a Parquet table of stars"
        raise DataError(msg) from error
    msg = f"{path}: columns {', '.join(missing)} are missing; needed: {', '.join(wanted)}"
    raise DataError(msg)


def mock_stars(mock: MockSettings, seed: int, footprint: Footprint) -> pd.DataFrame:
    """Return the mock sky's stars in a footprint.

    Parameters
    ----------
    mock : MockSettings
        Limit in G, release imitated.
    seed : int
        Of the sky.
    footprint : Footprint
        Where.
    """
    parents = np.unique(footprint.cells >> 2 * (footprint.order - CELL_ORDER))
    tables = [footprint.cut(cell_stars(mock, seed, int(cell))) for cell in parents]
    return pd.concat(tables, ignore_index=True)


def latitude(stars: pd.DataFrame) -> NDArray[np.float64]:
    """Return the Galactic latitude of stars (deg)."""
    from astropy.coordinates import SkyCoord

    place = SkyCoord(stars["ra"].to_numpy(), stars["dec"].to_numpy(), unit="deg")
    return np.asarray(place.galactic.b.deg)
