"""Settings of a scan: one frozen, validated tree; TOML in and out; seeds and keys."""

from viamachinae.config.seeds import rng, seed
from viamachinae.config.settings import COORDINATES, Coordinate, MockStream, Settings

__all__ = ["COORDINATES", "Coordinate", "MockStream", "Settings", "rng", "seed"]
