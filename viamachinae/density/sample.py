"""The stars that densities are trained on and evaluated at, once for all models of a patch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from viamachinae.density.preprocess import Preprocessor
from viamachinae.errors import DataError

__all__ = ["Sample"]


@dataclass(frozen=True)
class Sample:
    """Stars with transformed features and condition, not yet standardised.

    Every model standardises on its own training stars; the transform before
    that is the same for all of them, so it is made, and sent to a device, once.

    Parameters
    ----------
    table : ndarray of float32, shape (n, d + 1)
        Transformed features, then the transformed condition.
    log_jacobian : ndarray, shape (n,)
        Of the transform of the features.
    preprocessor, condition : Preprocessor
        The transforms, without standardisation.
    """

    table: NDArray[np.float32]
    log_jacobian: NDArray[np.float64]
    preprocessor: Preprocessor
    condition: Preprocessor
    _copies: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, x: ArrayLike, m: ArrayLike, preprocessor: Preprocessor) -> Self:
        """Transform features ``x``, shape (n, d), and condition ``m``, shape (n,).

        Raises
        ------
        DataError
            The condition is not finite or does not vary.
        """
        raw = preprocessor.unstandardised()
        column = np.asarray(m, dtype=np.float64)[:, None]
        condition = Preprocessor.ranged(column, ("asinh",))
        z, log_jacobian = raw.forward(x)
        c, _ = condition.forward(column)
        return cls(np.hstack([z, c]).astype(np.float32), log_jacobian, raw, condition)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> int:
        """Number of features d."""
        return int(self.table.shape[1]) - 1

    def on(self, device: torch.device) -> Tensor:
        """Return the table on a device; it stays there as long as the sample lives."""
        key = str(device)
        if key not in self._copies:
            # A copy in torch's own aligned memory: results on unaligned memory differ in the last bit.
            self._copies[key] = torch.tensor(self.table, device=device)
        return self._copies[key]

    def transforms(self, rows: NDArray[np.integer]) -> tuple[Preprocessor, Preprocessor]:
        """Return the transforms of features and condition, standardised on the stars ``rows``.

        Raises
        ------
        DataError
            A feature, or the condition, does not vary over these stars.
        """
        chosen = self.table[rows].astype(np.float64)
        if (chosen == chosen[0]).all(0).any():
            msg = f"a feature does not vary over the {len(chosen)} stars of a model: it teaches nothing"
            raise DataError(msg)
        mean, scale = chosen.mean(0), chosen.std(0)
        return (
            replace(self.preprocessor, mean=mean[:-1], scale=scale[:-1]),
            replace(self.condition, mean=mean[-1:], scale=scale[-1:]),
        )
