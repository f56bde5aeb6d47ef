"""Which known objects a scan masks, and what of that enters the keys of its patches."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import pandas as pd

from viamachinae.config.section import Circle
from viamachinae.config.settings import MaskSettings, Settings
from viamachinae.scan.task import fingerprint

__all__ = ["all_masks_key", "masks_key", "masks_near", "masks_of"]


def masks_of(settings: Settings) -> pd.DataFrame:
    """Return all masks of a scan, anywhere on the sky (``schema.MASKS``)."""
    return _known(settings.masks, settings.fiducial.masks)


@lru_cache(maxsize=4)
def _known(masks: MaskSettings, circles: tuple[Circle, ...]) -> pd.DataFrame:
    from viamachinae.sky.known import known_masks

    return known_masks(masks, circles)


def masks_near(settings: Settings, patch: Mapping[Hashable, Any]) -> pd.DataFrame:
    """Return the masks that touch the searched inner circle of a patch, a row of ``schema.PATCHES``."""
    from viamachinae.sky.known import near

    return near(masks_of(settings), float(patch["ra"]), float(patch["dec"]), settings.fiducial.radius)


def all_masks_key(settings: Settings) -> str:
    """Return a hash of everything that is known of the masks: what the table of masks depends on."""
    rows = masks_of(settings).astype(object)
    return fingerprint(rows.where(rows.notna(), None).to_numpy().tolist())


def masks_key(settings: Settings, patch: Mapping[Hashable, Any]) -> str:
    """Return a hash of the circles that touch a patch: all that the stars depend on.

    So neither another table of facts nor another radius far away redoes a patch.
    """
    place = (float(patch["ra"]), float(patch["dec"]), settings.fiducial.radius)
    return _circles_key(settings.masks, settings.fiducial.masks, *place)


@lru_cache(maxsize=4096)
def _circles_key(
    masks: MaskSettings, circles: tuple[Circle, ...], ra: float, dec: float, radius: float
) -> str:
    """Return :func:`masks_key`, which several parts of a command ask for, of every patch."""
    from viamachinae.sky.known import near

    touching = near(_known_circles(masks, circles), ra, dec, radius)
    return fingerprint(sorted(touching.to_numpy().tolist()))


@lru_cache(maxsize=4)
def _known_circles(masks: MaskSettings, circles: tuple[Circle, ...]) -> pd.DataFrame:
    """Return the masks of a scan without what is known of the objects: ``ra, dec, radius`` (deg)."""
    return _known(masks, circles)[["ra", "dec", "radius"]].reset_index(drop=True)
