"""Conditional densities p(x | m) and their training."""

from viamachinae.density.model import FAMILIES, ConditionalDensity
from viamachinae.density.preprocess import Kind, Preprocessor

__all__ = ["FAMILIES", "ConditionalDensity", "Kind", "Preprocessor"]
