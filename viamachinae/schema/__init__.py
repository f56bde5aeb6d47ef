"""Every public table once: column, dtype, unit, description."""

from viamachinae.schema.core import Column, TableSchema
from viamachinae.schema.tables import (
    CALIBRATION,
    CELLS,
    FRAGMENTS,
    MASKS,
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
    "CELLS",
    "FRAGMENTS",
    "MASKS",
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
