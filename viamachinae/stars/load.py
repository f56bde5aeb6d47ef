"""The stars of a patch, whatever their source."""

# ruff: noqa: PLC0415 - sources are loaded only by scans that use them

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
from viamachinae.stars.checks import check_inputs
from viamachinae.stars.cuts import fiducial, select
from viamachinae.stars.epochs import REF_EPOCHS
from viamachinae.stars.extinction import corrected
from viamachinae.stars.files import tables
from viamachinae.stars.quality import require_release
from viamachinae.stars.sfd import folder_of, reddening

__all__ = ["PatchStars", "check_inputs", "load_patch"]


@dataclass(frozen=True)
class PatchStars:
    """The stars of a patch, and how they came about.

    Parameters
    ----------
    table : DataFrame
        ``schema.STARS``, carried columns (``truth`` of a mock sky) behind; sorted by ``source_id``.
    report : dict
        ``read``: rows of the source; ``nan``, ``outside``, ``duplicates``, ``inserted`` (Galaxia catalogues
        alone), ``parallax``, ``g``, ``ruwe``, ``flux_excess``: stars left out, each counted once
        (``outside`` holds all rows of the parts of a file that were skipped for their declination);
        ``kept``, and of these ``fiducial``; ``masked`` (name of a known object: stars that its mask left
        out); ``uncorrected_parallax``: stars without a zero-point, where that is corrected for;
        ``coverage`` (0 to 1); ``release``; ``ref_epoch`` (yr or None); ``converted`` (column: units).
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
        Sections ``stars``, ``mock``, ``extinction``, ``selection``, ``fiducial`` and the scan's seed
        are used.
    patch : mapping
        A row of ``schema.PATCHES``.
    cells : sequence of Path
        Downloaded cells (``schema.CELLS``) that hold the patch, for sources that download.
    masks : DataFrame, optional
        Known objects (``schema.MASKS``); left out: none.

    Raises
    ------
    ConfigError
        The package that a cut or the dust map needs is not installed.
    DataError
        The source cannot be used, or no star of the patch is left.
    """
    frame = PatchFrame(float(patch["ra"]), float(patch["dec"]))
    stars, report = _read(settings, frame, float(patch["radius"]), cells)
    require_release(settings.selection, report["release"], f"the stars of patch {patch['patch']}")
    kept, removed = select(stars, settings.selection)
    if not kept.any():
        msg = (
            f"patch {patch['patch']}: none of {len(stars)} stars passes the selection "
            f"(removed by cut: {removed}); loosen [selection]"
        )
        raise DataError(msg)
    columns = [c.name for c in STARS.columns if c.name in stars] + _carried(settings)
    table = stars.loc[kept, columns].sort_values("source_id", kind="stable", ignore_index=True)
    table["phi"], table["lambda"] = frame.to_frame(table["ra"], table["dec"])
    table["pm_phi_coslambda"], table["pm_lambda"] = frame.rotate_pm(
        table["ra"], table["dec"], table["pmra"], table["pmdec"]
    )
    # The mock sky has no dust; as a scan's stars it is refused with a map, and trunks are made of it.
    if settings.extinction.map == "sfd" and settings.stars.source != "mock":
        ebv = reddening(table["ra"], table["dec"], folder_of(settings.extinction))
        table = corrected(table, ebv, report["release"])
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


def _read(
    settings: Settings, frame: PatchFrame, radius: float, cells: Sequence[Path]
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the stars of a patch from their source, and its report."""
    if settings.stars.source == "mock":
        return _mock(settings, frame, radius)
    if settings.stars.downloads:
        from viamachinae.stars.archive.read import read_cells

        return read_cells(settings, cells, frame.ra, frame.dec, radius)
    return tables.read(settings.stars, frame.ra, frame.dec, radius)


def _carried(settings: Settings) -> list[str]:
    """Return the columns that travel with the stars beyond ``schema.STARS``."""
    if settings.stars.source == "mock":
        return ["truth"]
    return [name for name in dict.fromkeys(settings.stars.carry) if name not in STARS.names]


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
        "ref_epoch": REF_EPOCHS[settings.mock.release],
        "converted": {},
    }
    return stars, report
