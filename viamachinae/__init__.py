"""Find stellar streams in Gaia with the Via Machinae method.

Stars of a sky patch go in, calibrated stream candidates come out. The rooms of
the package, from the ground up: :mod:`~viamachinae.config` and
:mod:`~viamachinae.schema`, :mod:`~viamachinae.sky`, :mod:`~viamachinae.stars`,
:mod:`~viamachinae.density`, :mod:`~viamachinae.anomaly`,
:mod:`~viamachinae.streams`, then :mod:`~viamachinae.calibration`,
:mod:`~viamachinae.catalog` and :mod:`~viamachinae.report`, and on top
:mod:`~viamachinae.scan` and :mod:`~viamachinae.cli`. Nothing imports upward.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
