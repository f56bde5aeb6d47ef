"""Reference epochs of Gaia's releases."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["REF_EPOCHS"]

#: Reference epoch of the positions of a release (Julian year).
REF_EPOCHS: Mapping[str, float] = MappingProxyType(
    {"gaia-dr1": 2015.0, "gaia-dr2": 2015.5, "gaia-dr3": 2016.0}
)
