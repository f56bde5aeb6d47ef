"""The published catalogue: candidates, members and tracks in the formats of the field."""

from viamachinae.catalog.content import content_hash
from viamachinae.catalog.export import FORMATS, catalogue_paths, read, write

__all__ = ["FORMATS", "catalogue_paths", "content_hash", "read", "write"]
