"""Masked networks (MADE, Germain et al. 2015) of K models at once, with their derivatives by hand.

Arrays are feature-major, (K, features, n): every elementwise step then runs
along the stars, whatever the number of features, and shift and scale are
contiguous slices of the output. The last input row is the condition, which
every unit may see. Nothing here uses autograd: a layer keeps only its output,
and the backward pass is three matrix products and one fused ReLU a layer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["backward", "forward", "initial", "masks"]

Tensors = Sequence[Tensor]


def masks(rank: Tensor, hidden: int, layers: int, outputs: int) -> list[Tensor]:
    """Return the mask of each layer, shape (units out, units in), 1 where a weight is free.

    A hidden unit of degree ``k`` sees the condition and the features of rank
    at most ``k``; the outputs of a feature of rank ``r`` see the units of
    degree below ``r`` (Germain et al. 2015, eqs. 12 and 13, with the condition
    as an input of rank 0).

    Parameters
    ----------
    rank : Tensor of int, shape (d,)
        Place of each feature in the autoregressive order, from 1.
    hidden, layers : int
        Units of a hidden layer, and hidden layers.
    outputs : int
        Outputs of each feature; output ``i`` belongs to feature ``i % d``.
    """
    degree = torch.arange(hidden) % len(rank)
    units = [torch.cat([rank, torch.zeros(1, dtype=rank.dtype)])] + [degree] * layers
    inner = [(after[:, None] >= before).float() for before, after in pairwise(units)]
    return [*inner, (rank.repeat(outputs)[:, None] > degree).float()]


def initial(shape: Sequence[int], gain: float) -> Tensor:
    """Return uniform weights of variance ``gain**2 / fan_in``, from torch's global generator."""
    bound = gain * math.sqrt(3 / shape[-1])
    return torch.empty(*shape).uniform_(-bound, bound)


def forward(inputs: Tensor, weights: Tensors, biases: Tensors) -> list[Tensor]:
    """Return what each layer gives, the network's input first and its output last.

    Parameters
    ----------
    inputs : Tensor, shape (K, d + 1, n)
        Features, then the condition.
    weights : sequence of Tensor, shape (K, units out, units in)
        Masked weights.
    biases : sequence of Tensor, shape (K, units out, 1)
        Biases.
    """
    layers = [inputs]
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        layers.append(torch.baddbmm(bias, weight, layers[-1]).relu_())
    layers.append(torch.baddbmm(biases[-1], weights[-1], layers[-1]))
    return layers


def backward(
    layers: Tensors, weights: Tensors, gradient: Tensor
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the gradients of the inputs, the masked weights and the biases.

    Parameters
    ----------
    layers : sequence of Tensor
        What :func:`forward` gave; the output itself is not needed.
    weights : sequence of Tensor, shape (K, units out, units in)
        Masked weights.
    gradient : Tensor, shape (K, outputs, n)
        Gradient of the network's output.
    """
    of_weights: list[Tensor] = []
    of_biases: list[Tensor] = []
    for i in reversed(range(len(weights))):
        of_weights.insert(0, torch.bmm(gradient, layers[i].mT))
        of_biases.insert(0, gradient.sum(-1, keepdim=True))
        gradient = torch.bmm(weights[i].mT, gradient)
        if i:
            gradient = torch.ops.aten.threshold_backward(gradient, layers[i], 0)
    return gradient, of_weights, of_biases
