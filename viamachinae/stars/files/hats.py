"""HATS catalogues: Parquet files by HEALPix cell, found through the package hats."""

# ruff: noqa: PLC0415 - hats is slow to import, and may be missing

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from viamachinae.config.paths import is_url, local_path
from viamachinae.errors import DataError
from viamachinae.stars.files.columns import TableHead
from viamachinae.stars.files.parquet import head_of_schema
from viamachinae.stars.files.places import reason, unreachable
from viamachinae.stars.files.region import Region
from viamachinae.stars.healpix import MARGIN

__all__ = ["Catalogue", "catalogue"]

_REFUSED: tuple[type[BaseException], ...] = (NotImplementedError, TypeError)


@dataclass(frozen=True)
class Catalogue:
    """A HATS catalogue whose head was read.

    Parameters
    ----------
    head : TableHead
        What it says about its table.
    positions : dict
        Its names of ``ra`` and ``dec``.
    healpix : (str, int)
        Its column of HEALPix cells (NESTED), and their order.
    opened : hats.catalog.Catalog
        The catalogue of the library.
    """

    head: TableHead
    positions: dict[str, str]
    healpix: tuple[str, int]
    opened: Any

    def partitions(self, region: Region | None) -> list[str]:
        """Return the paths or URLs of the Parquet files that can hold stars of a patch; of all, without one.

        Raises
        ------
        DataError
            A partition that the catalogue lists is missing.
        """
        from hats.io import paths

        suffix = self.opened.catalog_info.npix_suffix
        chosen = self.opened
        if region is not None:
            chosen = chosen.filter_by_cone(region.ra, region.dec, (region.radius + MARGIN) * 3600.0)
        files: list[str] = []
        for pixel in chosen.get_healpix_pixels():
            file = paths.pixel_catalog_file(self.opened.catalog_base_dir, pixel, npix_suffix=suffix)
            inside = sorted(file.glob("*.parquet")) if suffix == "/" else [file]
            if not inside or not (is_url(self.head.path) or local_path(str(file)).exists()):
                msg = (
                    f"{self.head.path}: the HATS catalogue lists the partition {pixel}, but there is no "
                    f"{file}; copy the catalogue again"
                )
                raise DataError(msg)
            files += map(str, inside)
        return files


@lru_cache(maxsize=64)
def catalogue(place: str) -> Catalogue:
    """Return the catalogue in a folder or at a URL; of a collection, its main catalogue.

    Raises
    ------
    DataError
        The package hats is missing, the catalogue cannot be read, or it holds no stars.
    """
    try:
        from hats.catalog.catalog import Catalog
        from hats.catalog.catalog_collection import CatalogCollection
        from hats.loaders.read_hats import read_hats
    except ImportError as error:
        msg = f"{place} is a HATS catalogue, and reading it needs a package: pip install 'viamachinae[hats]'"
        raise DataError(msg) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has no list of partitions, or no common schema
            found = read_hats(place if is_url(place) else local_path(place), read_moc=False)
    except (*_REFUSED, *unreachable()) as error:
        msg = (
            f"{place}: cannot be read as a HATS catalogue ({reason(error)}); copy it again, or name its files"
        )
        raise DataError(msg) from error
    main = found.main_catalog if isinstance(found, CatalogCollection) else found
    if not isinstance(main, Catalog):
        kind = getattr(getattr(main, "catalog_info", None), "catalog_type", type(main).__name__)
        msg = f"{place}: a HATS catalogue of type {kind}; name one of type object or source"
        raise DataError(msg)
    info = main.catalog_info
    if main.schema is None:
        msg = f"{place}: the HATS catalogue has no dataset/_common_metadata; copy it again, or name its files"
        raise DataError(msg)
    return Catalogue(
        head_of_schema(place, main.schema, info.total_rows),
        {"ra": info.ra_column or "ra", "dec": info.dec_column or "dec"},
        (info.healpix_column or "_healpix_29", 29 if info.healpix_order is None else info.healpix_order),
        main,
    )
