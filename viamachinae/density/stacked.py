"""Densities of several models at once: one batched tensor where K models have K tensors."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from viamachinae.density import made
from viamachinae.density.base import DensityModule, State
from viamachinae.errors import DataError

__all__ = ["StackedDensity"]

_HIDDEN_GAIN = math.sqrt(2)  # keeps the variance through a ReLU (He et al. 2015)
_OUTPUT_GAIN = 0.1  # training starts close to a density that knows no dependence


class StackedDensity(DensityModule):
    """K conditional densities of one architecture, evaluated together.

    Every parameter has a leading axis of length K, and no model sees
    another's entries; buffers (masks, orderings) are the same for all. With
    K = 1 it is an ordinary :class:`DensityModule`.

    Parameters
    ----------
    models : int
        Number of models K.
    """

    #: Stars evaluated at once: few enough that a layer's output stays in a processor's cache.
    evaluation_batch = 4096

    def __init__(self, models: int) -> None:
        super().__init__()
        self.models = models
        self._depth = 0

    def _add_layers(self, masks: Sequence[Tensor]) -> None:
        """Register weights (K, ..., out, in) and biases (K, ..., out, 1) of layers with these masks."""
        self._depth = len(masks)
        for i, mask in enumerate(masks):
            gain = _HIDDEN_GAIN if i + 1 < len(masks) else _OUTPUT_GAIN
            self.register_buffer(f"mask{i}", mask)
            self.register_parameter(
                f"weight{i}", nn.Parameter(made.initial((self.models, *mask.shape), gain))
            )
            self.register_parameter(f"bias{i}", nn.Parameter(torch.zeros(self.models, *mask.shape[:-1], 1)))

    def _layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return the masked weights and the biases, layer by layer."""
        weights = [self.get_parameter(f"weight{i}") * self.get_buffer(f"mask{i}") for i in range(self._depth)]
        return weights, [self.get_parameter(f"bias{i}") for i in range(self._depth)]

    @abstractmethod
    def log_probs(self, x: Tensor, m: Tensor) -> Tensor:
        """Return log p_k(x | m), shape (K, n), of ``x`` (K, n, d) given ``m`` (K, n, 1)."""

    def log_prob(self, x: Tensor, m: Tensor) -> Tensor:
        """Return log p(x | m), shape (n,), of ``x`` (n, d) given ``m`` (n, 1), with K = 1.

        Raises
        ------
        DataError
            The module holds several models.
        """
        if self.models != 1:
            msg = f"log_prob takes the stars of one model and this module holds {self.models}; use log_probs"
            raise DataError(msg)
        return self.log_probs(x[None], m[None])[0]

    def single(self, k: int) -> State:
        """Return the state of model ``k``, as a module with K = 1 has it."""
        state = {name: value.detach().clone() for name, value in self.named_buffers()}
        return state | {name: value.detach()[k : k + 1].clone() for name, value in self.named_parameters()}

    def load_singles(self, states: Sequence[State]) -> None:
        """Load K states of modules with K = 1; model ``k`` becomes ``states[k]``.

        Raises
        ------
        DataError
            There are not K states, or their masks and orderings differ.
        """
        if len(states) != self.models:
            msg = f"{len(states)} states cannot fill {self.models} models"
            raise DataError(msg)
        stacked = dict(states[0])
        for name, _ in self.named_buffers():
            if not all(torch.equal(stacked[name], state[name]) for state in states):
                msg = f"the models differ in {name!r}: only models of one architecture can be stacked"
                raise DataError(msg)
        stacked |= {name: torch.cat([state[name] for state in states]) for name, _ in self.named_parameters()}
        self.load_state_dict(stacked)
