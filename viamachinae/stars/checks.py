"""What can be known to be wrong with the stars of a scan before any long work."""

# ruff: noqa: PLC0415 - sources are loaded only by scans that use them

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import STARS
from viamachinae.stars.extinction import coefficients
from viamachinae.stars.files import tables
from viamachinae.stars.files.release import Release, agreed
from viamachinae.stars.quality import require_columns, require_release
from viamachinae.stars.sfd import folder_of, require_maps

__all__ = ["check_inputs"]

_LISTED = 5  # ranges that an error names one by one


def check_inputs(settings: Settings, patches: pd.DataFrame) -> None:
    """Find what is wrong with the inputs before any long work; reads heads of files only, asks no server.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : DataFrame
        ``schema.PATCHES``.

    Raises
    ------
    ConfigError
        Settings exclude each other, a column to carry is not in the archive, or a package is not installed.
    DataError
        A file is missing or unreadable, lacks a column, has a wrong unit or no rows; releases
        are mixed; a cut needs a column or a release that is not there; the dust maps are missing; or,
        where the files keep statistics, no file reaches a patch in declination.
    """
    _check_photometry(settings)
    if settings.stars.source == "mock":
        require_columns(settings.selection, STARS.names, "the stars of the mock sky")
    elif settings.stars.downloads:
        _check_archive(settings)
    else:
        _check_files(settings, patches)


def _check_photometry(settings: Settings) -> None:
    """Refuse a correction for extinction that cannot be made, or that steps of the scan cannot agree on."""
    if settings.extinction.map == "none":
        return
    if settings.stars.source == "mock":
        msg = 'extinction.map = "sfd": the mock sky has no dust to correct for; set extinction.map = "none"'
        raise ConfigError(msg)
    drawn = settings.scorer.name == "cathode" and settings.trees.stars == "fiducial"
    if drawn and settings.fiducial.photometry == "raw":
        msg = (
            'fiducial.photometry = "raw" with scorer.name = "cathode" and trees.stars = "fiducial": the '
            "background that CATHODE draws has corrected photometry alone, on which raw cuts cannot be made; "
            'set fiducial.photometry = "corrected", or trees.stars = "all"'
        )
        raise ConfigError(msg)
    require_maps(folder_of(settings.extinction))


def _check_archive(settings: Settings) -> None:
    from viamachinae.stars.archive.catalogues import catalogue_for

    catalogue = catalogue_for(settings)
    where = f"the stars of {settings.stars.source}"
    require_columns(settings.selection, list(catalogue.columns), where)
    require_release(settings.selection, catalogue.release, where)
    unknown = [name for name in settings.stars.carry if name not in catalogue.columns]
    if unknown:
        msg = (
            f"stars.carry: {settings.stars.source} gives no column {', '.join(unknown)}; "
            f"it gives {', '.join(catalogue.columns)}"
        )
        raise ConfigError(msg)


def _check_files(settings: Settings, patches: pd.DataFrame) -> None:
    sources = tables.examine(settings.stars)
    release = agreed([Release.make("stars.release", settings.stars.release), *(s.release for s in sources)])
    for source in sources:
        where = f"the stars of {source.head.path}"
        require_columns(settings.selection, list(source.names), where)
        require_release(settings.selection, release.name, where)
    if settings.extinction.map == "sfd":
        coefficients([], [], release.name)
    spans = []
    for source in sources:
        if source.head.dec_range is None:
            return
        low, high = (float(dec) * source.factors.get("dec", 1.0) for dec in source.head.dec_range)
        spans.append((low, high))
    reached = _merged(spans)
    for name, dec, radius in zip(patches["patch"], patches["dec"], patches["radius"], strict=True):
        if all(low > dec + radius or high < dec - radius for low, high in reached):
            listed = [f"{low:g} to {high:g}" for low, high in reached[:_LISTED]]
            listed += [f"{len(reached) - _LISTED} ranges more"] if len(reached) > _LISTED else []
            msg = (
                f"patch {name}: no file has stars between dec {dec - radius:g} and {dec + radius:g} deg; the "
                f"files cover dec {', '.join(listed)} deg; correct patches.centres or stars.paths"
            )
            raise DataError(msg)


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the ranges that some ranges cover together, ascending."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found
