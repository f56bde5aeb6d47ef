"""Gaia source identifiers: whole, present, and told apart from rounded ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from viamachinae.errors import DataError

__all__ = ["check_identifiers"]

_ADVICE = "read them as 64-bit integers from the archive's own file (never through a float or a spreadsheet)"
# Gaia's 7 lowest bits (the component number) are zero in every release, so the
# 53-bit mantissa of a float64 keeps identifiers below 2**60 whole.
_COMPONENT_BITS = 7
_SAFE_BITS = 60
# Bits of coincidence that are believed: a chance of 2**-30.
_EVIDENCE = 30.0
_EXCEPTIONS = 1e-3


def check_identifiers(path: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return ``values`` ``(n,)`` as int64 source identifiers.

    Identifiers that were integers, then floating point, then integers again are
    known by their low bits, which are all zero: of those above 2**60 nearly
    all are numbers that a float64 can hold, which for whole ones happens half the time or
    less; or nearly all are multiples of 2**12 (a float32, or small counters rounded away).
    Genuine Gaia identifiers below 2**60 pass through a float64 unharmed.

    Raises
    ------
    DataError
        They are of a floating-point or other type, some are missing, or they
        bear the marks of rounding.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        msg = f"{path}: {int(values.mask.sum())} rows have no source_id; remove them or restore it"
        raise DataError(msg)
    data = np.asarray(values)
    if data.dtype.kind == "f":
        msg = (
            f"{path}: source_id went through floating point (its type is {data.dtype.name}), so its last "
            f"digits are lost and stars are confused; {_ADVICE}"
        )
        raise DataError(msg)
    if data.dtype.kind not in "iu":
        msg = f"{path}: source_id is of type {data.dtype.name}, not a 64-bit integer; {_ADVICE}"
        raise DataError(msg)
    ids = data.astype(np.int64)
    spacing = _rounded_to(ids)
    if spacing:
        msg = (
            f"{path}: source_id went through floating point: practically all of {ids.size} identifiers are "
            f"multiples of {spacing}, their low bits are lost; {_ADVICE}"
        )
        raise DataError(msg)
    return ids


def _rounded_to(ids: NDArray[np.int64]) -> int:
    """Return the power of two to which the identifiers were rounded, 0 for whole ones."""
    ids = np.unique(ids)
    large = ids[ids >= 2**_SAFE_BITS]
    bits = np.frexp(large.astype(np.float64))[1] - 53  # zero bits that a float64 forces
    intact = (large & ((np.int64(1) << bits.astype(np.int64)) - 1)) != 0
    if (bits - _COMPONENT_BITS).sum() >= _EVIDENCE and intact.mean() <= _EXCEPTIONS:
        return int(2 ** bits.min())
    big = ids[ids >= 2**40]  # no running number gets there
    step = _COMPONENT_BITS + 5
    if big.size * 5.0 >= _EVIDENCE and (big % 2**step != 0).mean() <= _EXCEPTIONS:
        return int(2**step)
    return 0
