"""How often does chance give a candidate? Null scans, rates and their exact limits."""

from viamachinae.calibration.comparable import check_comparable, differences
from viamachinae.calibration.limits import central_limits, upper_limit
from viamachinae.calibration.rates import RateSummary, apply, comparable_areas, compare, summarise
from viamachinae.calibration.text import CAVEATS, explain

__all__ = [
    "CAVEATS",
    "RateSummary",
    "apply",
    "central_limits",
    "check_comparable",
    "comparable_areas",
    "compare",
    "differences",
    "explain",
    "summarise",
    "upper_limit",
]
