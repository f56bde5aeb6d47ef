"""Settings in TOML: read from it, write to it, take a packaged scan."""

from viamachinae.config.dump import dump
from viamachinae.config.presets import workflow, workflows
from viamachinae.config.read import load, parse

__all__ = ["dump", "load", "parse", "workflow", "workflows"]
