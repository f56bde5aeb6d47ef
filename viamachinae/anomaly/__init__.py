"""Scorers: stars of a signal region and its sideband in, log R per star out."""

from viamachinae.anomaly.base import RegionScores, RegionStars
from viamachinae.anomaly.region import SCORERS, score_region

__all__ = ["SCORERS", "RegionScores", "RegionStars", "score_region"]
