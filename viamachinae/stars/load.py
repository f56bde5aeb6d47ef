"""The stars of a patch, whatever their source."""

# ruff: noqa: PLC0415 - the mock sky is loaded only by scans that use it

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.schema import MASKS, STARS
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.cuts import fiducial, require_ruwe, select
from viamachinae.stars.files import tables

__all__ = ["PatchStars", "check_inputs", "load_patch"]


@dataclass(frozen=True)
class PatchStars:
    """The stars of a patch, and how they came about.

    Parameters
    ----------
    table : DataFrame
        ``schema.STARS``, carried columns (``truth`` of a mock sky) behind; sorted by ``source_id``.
    report : dict
        ``read``: rows of the source; ``nan``, ``outside``, ``duplicates``, ``parallax``, ``g``,
        ``ruwe``: stars left out, each counted once and in this order (``outside`` holds all rows
        of the parts of a file that were skipped for their declination); ``kept``, and of these
        ``fiducial``; ``masked`` (name of a known object: stars that its mask left out); ``coverage`` (0 to 1); ``release``; ``ref_epoch`` (yr or None);
        ``converted`` (column: units).
    """

    table: pd.DataFrame
    report: dict[str, Any]


def load_patch(
    settings: Settings,
    patch: Mapping[Hashable, Any] | pd.Series,
    cells: Sequence[Path] = (),
    masks: pd.DataFrame | None = None,
) -> PatchStars:
    """Return the selected stars of one patch with their patch-frame columns.

    Parameters
    ----------
    settings : Settings
        Sections ``stars``, ``mock``, ``selection``, ``fiducial`` and the scan's seed are used.
    patch : mapping
        A row of ``schema.PATCHES``.
    cells : sequence of Path
        Downloaded cells (``schema.CELLS``) that hold the patch, for sources that download.
    masks : DataFrame, optional
        Known objects (``schema.MASKS``); left out: none.

    Raises
    ------
    DataError
        The source cannot be used, or no star of the patch is left.
    """
    frame = PatchFrame(float(patch["ra"]), float(patch["dec"]))
    radius = float(patch["radius"])
    if settings.stars.source == "files":
        stars, report = tables.read(settings.stars, frame.ra, frame.dec, radius)
        carried = [name for name in dict.fromkeys(settings.stars.carry) if name not in STARS.names]
    else:
        stars, report = _mock(settings, frame, radius)
        carried = ["truth"]
    kept, removed = select(stars, settings.selection)
    if not kept.any():
        msg = (
            f"patch {patch['patch']}: none of {len(stars)} stars passes the selection "
            f"(removed by cut: {removed}); loosen [selection]"
        )
        raise DataError(msg)
    columns = [c.name for c in STARS.columns if c.name in stars] + carried
    table = stars.loc[kept, columns].sort_values("source_id", kind="stable", ignore_index=True)
    table["phi"], table["lambda"] = frame.to_frame(table["ra"], table["dec"])
    table["pm_phi_coslambda"], table["pm_lambda"] = frame.rotate_pm(
        table["ra"], table["dec"], table["pmra"], table["pmdec"]
    )
    table["fiducial"] = False
    table = STARS.conform(table)
    # judged on the values as they are published, so that a reader of the table finds the same stars
    table["fiducial"], left_out = fiducial(
        table, settings.fiducial, frame, MASKS.empty() if masks is None else masks
    )
    report = (
        report
        | removed
        | {"masked": left_out}
        | {"kept": len(table), "fiducial": int(table["fiducial"].sum())}
    )
    return PatchStars(table, report)


def check_inputs(settings: Settings, patches: pd.DataFrame) -> None:
    """Find what is wrong with the inputs before any long work; reads heads of files only.

    Parameters
    ----------
    settings : Settings
        The scan.
    patches : DataFrame
        ``schema.PATCHES``.

    Raises
    ------
    DataError
        A file is missing or unreadable, lacks a column, has a wrong unit or no rows; releases
        are mixed; a cut needs a column that is not there; or, where the files
        keep statistics, no file reaches a patch in declination.
    """
    if settings.stars.source == "mock":
        require_ruwe(settings.selection, list(STARS.names), "the stars of the mock sky")
        return
    sources = tables.examine(settings.stars)
    for source in sources:
        require_ruwe(settings.selection, list(source.names), f"the stars of {source.head.path}")
    spans = [
        None if s.head.dec_range is None else [v * s.factors.get("dec", 1.0) for v in s.head.dec_range]
        for s in sources
    ]
    for name, dec, radius in zip(patches["patch"], patches["dec"], patches["radius"], strict=True):
        if all(s is not None and (s[0] > dec + radius or s[1] < dec - radius) for s in spans):
            msg = (
                f"patch {name}: no file has stars between dec {dec - radius:g} and {dec + radius:g} deg; the "
                f"files cover {spans}; correct patches.centres or stars.paths"
            )
            raise DataError(msg)


def _mock(settings: Settings, frame: PatchFrame, radius: float) -> tuple[pd.DataFrame, dict[str, Any]]:
    from viamachinae.stars.mock.sky import mock_sky

    stars = mock_sky(settings.mock, settings.scan.seed, frame.ra, frame.dec, radius)
    report: dict[str, Any] = {
        "read": len(stars),
        "outside": 0,
        "nan": 0,
        "duplicates": 0,
        "coverage": 1.0,
        "release": settings.mock.release,
        "ref_epoch": {"gaia-dr2": 2015.5, "gaia-dr3": 2016.0}[settings.mock.release],
        "converted": {},
    }
    return stars, report
