"""Masks of known objects: globular clusters, dwarf galaxies, the Magellanic Clouds, open clusters."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

import numpy as np
import pandas as pd

from viamachinae.config.masks import MaskSettings
from viamachinae.config.resources import folder
from viamachinae.config.section import Circle
from viamachinae.errors import DataError
from viamachinae.schema import MASKS
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.vectors import FloatArray

__all__ = ["KINDS", "catalogue", "known_masks", "near"]

#: Kind of an object -> its table in ``catalogs/``. Where circles overlap, a star belongs to the first.
KINDS = {
    "globular cluster": "globular_clusters",
    "dwarf galaxy": "dwarf_galaxies",
    "Magellanic Cloud": "magellanic_clouds",
    "open cluster": "open_clusters",
}
#: Of the census of open clusters, whose table has no references row by row.
_CENSUS = "Hunt2024A&A...686A..42H"


def catalogue(name: str) -> pd.DataFrame:
    """Return a table of ``catalogs/`` (ECSV): numbers as float64, NaN where there is none.

    Read without astropy, whose import alone takes longer than a mask is worth.

    Raises
    ------
    DataError
        There is no such table, or it is no ECSV table.
    ConfigError
        The installation lacks the folder.
    """
    place = folder("catalogs").joinpath(f"{name}.ecsv")
    if not place.is_file():
        msg = f"no table {name!r} in {folder('catalogs')}; install viamachinae again"
        raise DataError(msg)
    lines = place.read_text(encoding="utf-8").splitlines(keepends=True)
    head = next((i for i, line in enumerate(lines) if not line.startswith("#")), 0)
    if head == 0:
        msg = f"{place}: not an ECSV table, which starts with lines of #; install viamachinae again"
        raise DataError(msg)
    frame = pd.read_csv(StringIO("".join(lines[head:])), keep_default_na=False, na_values=[""])
    words = [column for column in ("name", "other_name", "reference") if column in frame]
    return frame.assign(**{column: frame[column].fillna("").astype(str) for column in words})


def known_masks(masks: MaskSettings, circles: Iterable[Circle] = ()) -> pd.DataFrame:
    """Return the circles within which no star is ranked (``schema.MASKS``).

    The radius of a globular cluster or dwarf galaxy is ``half_light_radii`` times
    its half-light radius, of a globular cluster at least ``field_radii`` times the
    field in which Vasiliev & Baumgardt (2021) looked for its stars, within
    ``min_radius`` and ``max_radius``; without a known size it is ``min_radius``.
    Open clusters and the Magellanic Clouds have radii of their own.

    Parameters
    ----------
    masks : MaskSettings
        Which objects, and how much around them.
    circles : iterable of (ra, dec, radius)
        The user's own circles (deg, ICRS), ``fiducial.masks`` of the settings.

    Returns
    -------
    DataFrame
        By kind in the order of :data:`KINDS`, each in the order of its table; the
        user's circles last, as given, "user 1" first.
    """
    wanted = {
        "globular cluster": masks.globular_clusters,
        "dwarf galaxy": masks.dwarf_galaxies,
        "Magellanic Cloud": masks.magellanic_clouds,
        "open cluster": masks.open_clusters,
    }
    tables = [_objects(kind, masks) for kind in KINDS if wanted[kind]]
    return MASKS.stack([*tables, _user(circles)])


def near(masks: pd.DataFrame, ra: float, dec: float, radius: float) -> pd.DataFrame:
    """Return those of ``masks`` (``schema.MASKS``) that reach into a disc: ``ra, dec, radius`` (deg).

    The order stays, so that a star belongs to the same mask as among all of them.
    """
    separation = PatchFrame(ra, dec).separation(masks["ra"], masks["dec"])
    return masks[separation < radius + masks["radius"].to_numpy(np.float64)].reset_index(drop=True)


def _objects(kind: str, masks: MaskSettings) -> pd.DataFrame:
    frame = catalogue(KINDS[kind])
    if kind == "open cluster":
        radius = np.full(len(frame), masks.open_cluster_radius)
        frame = frame.assign(pmra=np.nan, pmdec=np.nan, reference=_CENSUS)
    elif kind == "Magellanic Cloud":
        radii = dict(zip(("LMC", "SMC"), masks.magellanic_radii, strict=True))
        radius = frame["name"].map(radii).to_numpy(np.float64)
    else:
        radius = _sized(frame, masks)
    return MASKS.conform(frame.assign(kind=kind, radius=radius)[list(MASKS.names)])


def _sized(frame: pd.DataFrame, masks: MaskSettings) -> FloatArray:
    """Return the radius (deg), ``(n,)``, of objects whose size is known or not."""
    radius = masks.half_light_radii * frame["half_light_radius"].to_numpy(np.float64)
    if "field_radius" in frame:
        radius = np.fmax(radius, masks.field_radii * frame["field_radius"].to_numpy(np.float64))
    sized: FloatArray = np.clip(np.nan_to_num(radius) / 60, masks.min_radius, masks.max_radius)
    return sized


def _user(circles: Iterable[Circle]) -> pd.DataFrame:
    frame = pd.DataFrame(list(circles), columns=["ra", "dec", "radius"], dtype=np.float64)
    name = [f"user {i}" for i in range(1, len(frame) + 1)]
    return MASKS.conform(
        frame.assign(name=name, kind="user", pmra=np.nan, pmdec=np.nan, reference="fiducial.masks")
    )
