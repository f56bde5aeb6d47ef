"""Adam for the models of a stack: each with its own learning rate, norm and fate."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Adam"]

_DECAY = (0.9, 0.999)
_EPSILON = 1e-8


class Adam:
    """Adam (Kingma & Ba 2015) on K models, one a row, with clipped gradients.

    Parameters
    ----------
    values : Tensor, shape (K, P)
        The models; only their shape and device are taken.
    clip : float
        Largest norm of a model's gradient; longer ones are shortened to it.
    """

    def __init__(self, values: Tensor, clip: float) -> None:
        self._first = torch.zeros_like(values)
        self._second = torch.zeros_like(values)
        self._clip = clip
        self._steps = 0

    def keep(self, rows: Tensor) -> None:
        """Go on with the models ``rows`` alone."""
        self._first, self._second = self._first[rows], self._second[rows]

    @torch.no_grad()
    def step(self, values: Tensor, gradient: Tensor, rate: Tensor) -> None:
        """Move ``values`` by one step; a model whose gradient is not finite stays where it is.

        Parameters
        ----------
        values, gradient : Tensor, shape (K, P)
            The models and their gradients; both are changed.
        rate : Tensor, shape (K, 1)
            Learning rate of each model.
        """
        self._steps += 1
        norm = gradient.square().sum(1, keepdim=True).sqrt()
        sound = norm.isfinite()
        gradient.mul_((self._clip / (norm + 1e-6)).clamp_(max=1.0))
        gradient.masked_fill_(~sound, 0.0)
        first, second = _DECAY
        self._first.lerp_(gradient, 1 - first)
        self._second.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = (self._second / (1 - second**self._steps)).sqrt_().add_(_EPSILON)
        values.addcmul_(self._first / root, -rate * sound / (1 - first**self._steps))
