"""Random numbers that depend on what is computed, never on when or where."""

from __future__ import annotations

import hashlib

import numpy as np

__all__ = ["rng", "seed"]


def seed(scan_seed: int, *labels: str | int) -> int:
    """Return a 63-bit seed from the scan's seed and what the numbers are for.

    Parameters
    ----------
    scan_seed : int
        The scan's own seed (``scan.seed``).
    *labels : str or int
        For example patch, coordinate, region, fold, restart.
    """
    text = "\x1f".join([str(scan_seed), *(f"{type(v).__name__}:{v}" for v in labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng(scan_seed: int, *labels: str | int) -> np.random.Generator:
    """Return a NumPy generator seeded by :func:`seed`."""
    return np.random.default_rng(seed(scan_seed, *labels))
