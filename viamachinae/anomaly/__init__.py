"""Scorers: stars of a signal region and its sideband in, log R per star out."""

from viamachinae.anomaly.base import PatchStars, RegionScores, RegionStars
from viamachinae.anomaly.region import SCORERS, engine_for, score_regions
from viamachinae.anomaly.trunk import make_trunk

__all__ = [
    "SCORERS",
    "PatchStars",
    "RegionScores",
    "RegionStars",
    "engine_for",
    "make_trunk",
    "score_regions",
]
