"""Groups of neighbouring patches, for independent runs on one folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.errors import ConfigError

__all__ = ["Group", "groups"]


@dataclass(frozen=True)
class Group:
    """One of several groups of patches.

    Parameters
    ----------
    number : int
        Which one, from 1.
    of : int
        How many there are.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the group that a text such as ``2/8`` names.

        Raises
        ------
        ConfigError
            It names none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        number, of = (int(part) for part in match.groups()) if match else (0, 0)
        if not 1 <= number <= of:
            msg = f"--group {text}: give I/N, the I-th of N groups, with I from 1 to N, for example 2/8"
            raise ConfigError(msg)
        return cls(number, of)

    @property
    def label(self) -> str:
        """Its name in file names."""
        return f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def members(self, patches: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of PATCHES that belong to this group, in their order."""
        return patches[groups(patches, self.of) == self.number - 1].reset_index(drop=True)


def groups(patches: pd.DataFrame, n: int) -> NDArray[np.intp]:
    """Share patches among ``n`` groups whose sizes differ by at most one, neighbours together.

    The sky is cut again and again across the axis along which what is left
    reaches furthest. The result follows from the centres alone; where
    there are fewer patches than groups, some groups are empty.

    Parameters
    ----------
    patches : DataFrame
        PATCHES table.
    n : int
        Groups.

    Returns
    -------
    ndarray of int, shape (len(patches),)
        Group of each patch, from 0.
    """
    ra, dec = (np.radians(patches[name].to_numpy(np.float64)) for name in ("ra", "dec"))
    places = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    # Rounded, so that the last bits of another processor's cosines cut nowhere else.
    places = np.round(places, 9)
    names = patches["patch"].to_numpy(str)
    group = np.empty(len(patches), np.intp)
    sizes = [len(part) for part in np.array_split(np.arange(len(patches)), n)]
    _cut(places, names, np.arange(len(patches)), range(n), sizes, group)
    return group


def _cut(
    places: NDArray[np.float64],
    names: NDArray[np.str_],
    rows: NDArray[np.intp],
    numbers: range,
    sizes: Sequence[int],
    group: NDArray[np.intp],
) -> None:
    if len(numbers) == 1 or len(rows) == 0:
        group[rows] = numbers[0]
        return
    axis = int(np.argmax(np.ptp(places[rows], axis=0)))
    ordered = rows[np.lexsort((names[rows], places[rows, axis]))]
    half = len(numbers) // 2
    here = sum(sizes[number] for number in numbers[:half])
    _cut(places, names, ordered[:here], numbers[:half], sizes, group)
    _cut(places, names, ordered[here:], numbers[half:], sizes, group)
