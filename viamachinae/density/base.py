"""The one interface that every density family implements."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

__all__ = ["DensityModule", "State", "evaluate"]

#: Parameters and buffers of a module by name.
State = dict[str, Tensor]


class DensityModule(nn.Module, ABC):
    """A trainable conditional density in preprocessed space."""

    #: Stars evaluated at once; bounds the memory.
    evaluation_batch = 65_536

    @abstractmethod
    def log_prob(self, x: Tensor, m: Tensor) -> Tensor:
        """Return log p(x | m), shape (n,), of ``x`` (n, d) given ``m`` (n, 1)."""


@torch.no_grad()
def evaluate(model: DensityModule, x: Tensor, m: Tensor) -> Tensor:
    """Return log p(x | m) in double precision, in batches that bound the memory."""
    model.eval()
    size = model.evaluation_batch
    parts = [model.log_prob(x[i : i + size], m[i : i + size]).double() for i in range(0, len(x), size)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)
