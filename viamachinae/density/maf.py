"""The published reference: a masked autoregressive flow built from nflows."""

from __future__ import annotations

import torch
from nflows.distributions.normal import StandardNormal
from nflows.flows.base import Flow
from nflows.transforms import (
    BatchNorm,
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    Permutation,
)
from torch import Tensor, nn

from viamachinae.density.base import DensityModule

__all__ = ["MaskedAutoregressiveFlow"]


class MaskedAutoregressiveFlow(DensityModule):
    """Conditional masked autoregressive flow p(x | m) (Papamakarios et al. 2017).

    A chain of MADE blocks with affine transforms and ReLU, as ANODE uses it
    (Nachman & Shih 2020: 15 blocks of 128 hidden units with batch
    normalisation between them). Every block sees the features in another order.

    Parameters
    ----------
    features : int
        Number of features d.
    blocks, hidden : int
        MADE blocks, and hidden units of each.
    batch_norm : bool
        Normalise between the blocks, as published.
    """

    def __init__(self, features: int, blocks: int, hidden: int, *, batch_norm: bool) -> None:
        super().__init__()
        chain: list[nn.Module] = []
        for block in range(blocks):
            # Reversal first, then rotations: fixed, so that no random state shapes the model.
            order = torch.arange(features).flip(0) if block % 2 else torch.arange(features).roll(block // 2)
            chain.append(Permutation(order))
            chain.append(
                MaskedAffineAutoregressiveTransform(
                    features=features,
                    hidden_features=hidden,
                    context_features=1,
                    num_blocks=1,
                    use_residual_blocks=False,
                )
            )
            if batch_norm and block + 1 < blocks:
                chain.append(BatchNorm(features))
        self.flow = Flow(CompositeTransform(chain), StandardNormal([features]))

    def log_prob(self, x: Tensor, m: Tensor) -> Tensor:
        """Return log p(x | m), shape (n,), of ``x`` (n, d) given ``m`` (n, 1)."""
        out: Tensor = self.flow.log_prob(x, context=m)
        return out
