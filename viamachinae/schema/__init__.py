"""Every public table once: column, dtype, unit, description."""

from viamachinae.schema.core import Column, TableSchema
from viamachinae.schema.tables import (
    CALIBRATION,
    FRAGMENTS,
    MEMBERS,
    PATCHES,
    REGIONS,
    ROIS,
    SCORES,
    STARS,
    STREAMS,
    TABLES,
    TRACKS,
)

__all__ = [
    "CALIBRATION",
    "FRAGMENTS",
    "MEMBERS",
    "PATCHES",
    "REGIONS",
    "ROIS",
    "SCORES",
    "STARS",
    "STREAMS",
    "TABLES",
    "TRACKS",
    "Column",
    "TableSchema",
]
