"""Everything a report shows, and how its tables hang together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.calibration import RateSummary
from viamachinae.config import Settings
from viamachinae.errors import DataError
from viamachinae.schema import FRAGMENTS, MASKS

__all__ = ["STAR_COLUMNS", "ReportData"]

#: Columns of the background stars of a figure.
STAR_COLUMNS = ("ra", "dec", "pmra", "pmdec", "phot_g_mean_mag", "bp_rp")


@dataclass(frozen=True)
class ReportData:
    """The results of a scan, as its report needs them.

    Parameters
    ----------
    settings : Settings
        Settings of the scan.
    patches, streams, members, tracks, regions : DataFrame
        PATCHES, STREAMS, MEMBERS, TRACKS and REGIONS tables.
    rois : DataFrame
        ROIS tables of all patches, one after another, the rows of each patch in
        the order of its own table.
    star_counts : mapping
        Patch to (step of the selection to stars that it left or dropped).
    seconds : mapping
        Stage to the seconds of its tasks, summed.
    fragments : DataFrame
        FRAGMENTS tables of all patches; they say which regions of interest make
        a candidate. Without them none is marked.
    calibration : DataFrame or None
        CALIBRATION table; None: not calibrated.
    rates : RateSummary or None
        Counts and false-positive rate of the whole scan; None: not calibrated.
    stars : mapping
        Patch to its fiducial stars or some of them (columns
        :data:`STAR_COLUMNS`, and ``g_0``, ``bp_rp_0`` where dust was corrected for): the grey
        background of the figures.
    masks : DataFrame
        MASKS table of the known objects that reach into the searched sky.
    masked : mapping
        Name of a masked object to the stars that only its mask left out, summed
        over the patches: a star that two patches search counts twice.

    Raises
    ------
    DataError
        A background table lacks a column.
    """

    settings: Settings
    patches: pd.DataFrame
    streams: pd.DataFrame
    members: pd.DataFrame
    tracks: pd.DataFrame
    rois: pd.DataFrame
    regions: pd.DataFrame
    star_counts: Mapping[str, Mapping[str, int]]
    seconds: Mapping[str, float]
    fragments: pd.DataFrame = field(default_factory=FRAGMENTS.empty)
    calibration: pd.DataFrame | None = None
    rates: RateSummary | None = None
    stars: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    masks: pd.DataFrame = field(default_factory=MASKS.empty)
    masked: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for patch, frame in self.stars.items():
            missing = [name for name in STAR_COLUMNS if name not in frame]
            if missing:
                msg = f"the background stars of patch {patch} lack the columns {missing}"
                raise DataError(msg)

    def best_fits(self) -> pd.DataFrame:
        """Return one row a signal region: that of its fit of best statistic, and how many ``fits`` it has."""
        region = ["patch", "coordinate", "region"]
        ranked = self.regions.sort_values("statistic", ascending=False, kind="stable")
        best = ranked.drop_duplicates(region).sort_index()
        return best.assign(fits=self.regions.groupby(region)["region"].transform("size"))

    def candidate_fragments(self, stream: pd.Series) -> pd.DataFrame:
        """Return the FRAGMENTS rows that were joined into the candidate ``stream``."""
        return self.fragments[self.fragments["fragment"].isin(str(stream["fragments"]).split())]

    def candidate_patches(self, stream: pd.Series) -> list[str]:
        """Return the patches of a candidate; all patches when its fragments are not known."""
        names = sorted(self.candidate_fragments(stream)["patch"].unique())
        return names or list(self.patches["patch"])

    def candidate_rois(self, stream: pd.Series) -> NDArray[np.bool_]:
        """Return which rows of ``rois`` belong to the candidate, shape ``(len(rois),)``."""
        row_in_patch = self.rois.groupby("patch", sort=False).cumcount().to_numpy()
        patch = self.rois["patch"].to_numpy()
        chosen = np.zeros(len(self.rois), dtype=np.bool_)
        for _, fragment in self.candidate_fragments(stream).iterrows():
            rows = np.asarray(fragment["roi_rows"], dtype=np.int64)
            chosen |= (patch == fragment["patch"]) & np.isin(row_in_patch, rows)
        return chosen

    def background(self, patches: list[str], limit: int) -> pd.DataFrame:
        """Return at most ``limit`` background stars of ``patches``, each star once, evenly thinned."""
        frames = [self.stars[name] for name in patches if name in self.stars]
        if not frames:
            return pd.DataFrame({name: np.zeros(0) for name in STAR_COLUMNS})
        frame = pd.concat(frames, ignore_index=True)
        key = ["source_id"] if "source_id" in frame else ["ra", "dec"]
        frame = frame.drop_duplicates(key, ignore_index=True)
        return frame.iloc[:: max(1, -(-len(frame) // limit))]
