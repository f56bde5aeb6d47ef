"""Measurements of the engine on the machine at hand."""
