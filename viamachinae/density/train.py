"""Training of one conditional density: early stopping on held-out stars, mean of the best epochs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from viamachinae.config.settings import DensitySettings
from viamachinae.density.base import DensityModule, State, evaluate
from viamachinae.errors import DataError, TaskError

__all__ = ["Training", "train"]

_FEWEST = 2  # stars that a mini-batch must hold for its mean to mean anything
_WARM_UP = 0.05  # share of the steps over which the learning rate rises


@dataclass(frozen=True)
class Training:
    """What a training left: the best epochs' parameters, and the held-out curve.

    Parameters
    ----------
    states : tuple of dict
        Parameters of the best epochs, best first.
    held_out : ndarray, shape (epochs,)
        Mean log-likelihood of the held-out stars after each epoch (nat).
    """

    states: tuple[State, ...]
    held_out: NDArray[np.float64]


def train(
    model: DensityModule,
    z: NDArray[np.float64],
    c: NDArray[np.float64],
    settings: DensitySettings,
    rng: np.random.Generator,
) -> Training:
    """Fit ``model`` to the stars by maximum likelihood.

    Parameters
    ----------
    model : DensityModule
        Its parameters are changed.
    z : ndarray, shape (n, d)
        Preprocessed features.
    c : ndarray, shape (n,)
        Standardised condition.
    settings : DensitySettings
        Batch size, learning rate, epochs, patience.
    rng : numpy.random.Generator
        Chooses the held-out stars and the batches.

    Raises
    ------
    DataError
        Too few stars.
    TaskError
        The likelihood stopped being finite in every epoch.
    """
    features = torch.as_tensor(z, dtype=torch.float32)
    condition = torch.as_tensor(c, dtype=torch.float32)[:, None]
    order = torch.as_tensor(rng.permutation(len(z)))
    n_held = max(1, round(settings.validation_fraction * len(z)))
    held, kept = order[:n_held], order[n_held:]
    if len(kept) < _FEWEST:
        msg = f"{len(z)} stars are too few to train on and to hold some out; raise regions.min_stars"
        raise DataError(msg)
    epochs = _epochs(len(kept), settings)
    batch = min(settings.batch_size, len(kept))
    step = _stepper(model, settings, epochs * (len(kept) // batch))
    best: list[tuple[float, int, State]] = []
    curve: list[float] = []
    for epoch in range(epochs):
        model.train()
        shuffled = kept[torch.as_tensor(rng.permutation(len(kept)))]
        for start in range(0, len(kept) - batch + 1, batch):
            rows = shuffled[start : start + batch]
            step(features[rows], condition[rows])
        curve.append(float(evaluate(model, features[held], condition[held]).mean()))
        if math.isfinite(curve[-1]):
            best.append((curve[-1], epoch, {k: v.clone() for k, v in model.state_dict().items()}))
            best = sorted(best, key=lambda entry: (-entry[0], entry[1]))[: settings.best_epochs]
        if not best or epoch - max(best, key=lambda entry: entry[0])[1] >= settings.patience:
            break
    if not best:
        msg = (
            f"training on {len(kept)} stars diverged; lower density.learning_rate ({settings.learning_rate})"
        )
        raise TaskError(msg)
    return Training(tuple(state for _, _, state in best), np.asarray(curve))


def _epochs(n: int, settings: DensitySettings) -> int:
    """Return the most epochs: large samples are bounded by star presentations."""
    return max(1, min(settings.max_epochs, round(settings.max_star_steps / n)))


def _stepper(
    model: DensityModule, settings: DensitySettings, n_steps: int
) -> Callable[[Tensor, Tensor], None]:
    """Return one step of Adam: warm-up, cosine decay, clipped gradient."""
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    warm = max(1, round(_WARM_UP * n_steps))

    def rate(i: int) -> float:
        if i < warm:
            return (i + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (i - warm) / max(1, n_steps - warm))))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)

    def step(z: Tensor, c: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = -model.log_prob(z, c).mean()
        if not torch.isfinite(loss):
            return
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), settings.gradient_clip)
        optimiser.step()
        schedule.step()

    return step
