"""What the engine is compared with: the published flow as nflows runs it, and zuko's of the same size."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from viamachinae.benchmark.rates import FEATURES, now
from viamachinae.errors import TaskError

__all__ = [
    "PUBLISHED",
    "ModuleClock",
    "Published",
    "Reference",
    "nflows_clock",
    "train_reference",
    "zuko_clock",
]

logger = logging.getLogger(__name__)

_STARS = 200_000  # of a timed training
_STEPS = {"cpu": 1, "cuda": 64}  # between two looks at the clock
_AVERAGED = 10  # published: the density is the mean over the ten best epochs
_LOOKS = 12  # at the held-out stars
_EVALUATED = 8192  # stars at once


@dataclass(frozen=True)
class Published:
    """ANODE's model and training (Nachman & Shih 2020), as Via Machinae uses it (Shih et al. 2021).

    Parameters
    ----------
    blocks, hidden : int
        MADE blocks, batch normalisation between them, and hidden units.
    batch_size : int
        Stars of a mini-batch.
    learning_rate : float
        Of Adam, constant.
    """

    blocks: int = 15
    hidden: int = 128
    batch_size: int = 256
    learning_rate: float = 1e-4


PUBLISHED = Published()


class ModuleClock:
    """Flows of a library that train for as long as they are timed, on stars drawn at random.

    Parameters
    ----------
    log_probs : callable
        Of x (K, n, d) and m (K, n, 1), shape (K, n).
    parameters : iterable of Tensor
        Of all K models together.
    models : int
        K.
    weights : int
        Elements of the weight matrices of one model.
    place : torch.device
        Where.
    """

    def __init__(
        self,
        log_probs: Callable[[Tensor, Tensor], Tensor],
        parameters: Iterable[Tensor],
        models: int,
        weights: int,
        place: torch.device,
    ) -> None:
        self.models = models
        #: Floating-point operations of the matrix products of one star's presentation: six a weight.
        self.operations = 6.0 * weights
        self._log_probs = log_probs
        self._table = torch.randn(_STARS, FEATURES + 1, device=place)
        self._adam = torch.optim.Adam(parameters, lr=PUBLISHED.learning_rate)

    def run(self, seconds: float) -> float:
        """Train for some seconds; return the star presentations a second (stars/s)."""
        device = self._table.device
        begin, done = now(device), 0
        while True:
            for _ in range(_STEPS[device.type]):
                rows = torch.randint(_STARS, (self.models, PUBLISHED.batch_size), device=device)
                stars = self._table[rows]
                self._adam.zero_grad()
                loss = -self._log_probs(stars[..., :-1], stars[..., -1:]).mean(1).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                self._adam.step()
                done += rows.numel()
            float(loss.detach())  # waits for the device
            spent = now(device) - begin
            if spent >= seconds:
                return done / spent


def _chain(seed: int, place: torch.device) -> nn.Module:
    from viamachinae.density.maf import nflows_chain

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nflows_chain(FEATURES, PUBLISHED.blocks, PUBLISHED.hidden, True).to(place)


def nflows_clock(models: int, place: torch.device, *, vmapped: bool) -> ModuleClock:
    """Return the published flow, ready to be timed: one as it is, or several through ``torch.vmap``.

    Raises
    ------
    ModuleNotFoundError
        There is no nflows.
    """
    chains = [_chain(seed, place) for seed in range(models)]
    base, weights = chains[0], _weights(chains[0])
    if not vmapped:
        return ModuleClock(lambda x, m: base(x[0], m[0])[None], base.parameters(), 1, weights, place)
    values, buffers = torch.func.stack_module_state(chains)  # type: ignore[arg-type]

    def log_prob(value: dict[str, Tensor], buffer: dict[str, Tensor], x: Tensor, m: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(base, (value, buffer), (x, m))
        return out

    together = torch.vmap(log_prob)
    return ModuleClock(lambda x, m: together(values, buffers, x, m), values.values(), models, weights, place)


def zuko_clock(place: torch.device) -> ModuleClock:
    """Return zuko's masked autoregressive flow of the published size, ready to be timed.

    Raises
    ------
    ModuleNotFoundError
        There is no zuko.
    """
    from zuko.flows import MAF

    hidden = (PUBLISHED.hidden,) * 2  # nflows: the first layer and one block
    flow = MAF(FEATURES, 1, transforms=PUBLISHED.blocks, hidden_features=hidden).to(place)
    return ModuleClock(
        lambda x, m: flow(m[0]).log_prob(x[0])[None], flow.parameters(), 1, _weights(flow), place
    )


def _weights(module: nn.Module) -> int:
    """Return the elements of the weight matrices; masked ones count, since they are multiplied too."""
    return sum(values.numel() for values in module.parameters() if values.ndim > 1)


@dataclass(frozen=True)
class Reference:
    """What the published training reached.

    Parameters
    ----------
    seconds, log_likelihood : list of float
        Training time (s) and held-out mean log-likelihood (nat) at each look.
    averaged : float
        Held-out log-likelihood of the mean density over the ten best looks (nat).
    presentations : int
        Of stars, in all.
    """

    seconds: list[float] = field(default_factory=list)
    log_likelihood: list[float] = field(default_factory=list)
    averaged: float = -np.inf
    presentations: int = 0

    @property
    def best(self) -> float:
        """The best that it reached (nat): at one look, or averaged as published."""
        return max(self.averaged, *self.log_likelihood)


def train_reference(
    stars: Tensor, held_out: Tensor, seconds: float, volume: float = 0.0, longest: float = np.inf
) -> Reference:
    """Train plain nflows with the published settings for some seconds.

    Parameters
    ----------
    stars, held_out : Tensor, shape (n, d + 1)
        Standardised features and condition of the stars to train on and to judge by.
    seconds : float
        Of training; the time of the looks at the held-out stars is not counted.
    volume : float
        Added to every log-likelihood (nat): that of the way from the features to the stars' columns.
    longest : float
        Wall-clock time (s) after which it ends all the same: a busy machine gives less than it takes.

    Raises
    ------
    ModuleNotFoundError
        There is no nflows.
    TaskError
        No look saw a finite likelihood.
    """
    flow = _chain(1, stars.device)
    adam = torch.optim.Adam(flow.parameters(), lr=PUBLISHED.learning_rate)
    curve: list[tuple[float, float, NDArray[np.float64]]] = []
    order, spent, done = stars.new_empty(0, dtype=torch.int64), 0.0, 0
    end = time.perf_counter() + longest
    while spent < seconds and time.perf_counter() < end:
        flow.train()
        begin, until = now(stars.device), (len(curve) + 1) * seconds / _LOOKS - spent
        while (passed := now(stars.device) - begin) < until and time.perf_counter() < end:
            if len(order) < PUBLISHED.batch_size:
                order = torch.randperm(len(stars), device=stars.device)
            batch, order = stars[order[: PUBLISHED.batch_size]], order[PUBLISHED.batch_size :]
            adam.zero_grad()
            loss = -flow(batch[:, :-1], batch[:, -1:]).mean()
            loss.backward()
            adam.step()
            done += len(batch)
            float(loss.detach())  # waits for the device
        spent += passed
        flow.eval()
        log_p = _log_prob(flow, held_out) + volume
        curve.append((spent, float(log_p.mean()), log_p))
        logger.info("  %4.0f s: %.4f nat", spent, curve[-1][1])
    best = sorted((look for look in curve if np.isfinite(look[1])), key=lambda look: -look[1])[:_AVERAGED]
    if not best:
        msg = "the published training diverged: no likelihood was finite; give it more time (--seconds)"
        raise TaskError(msg)
    mean = np.logaddexp.reduce([log_p for _, _, log_p in best], axis=0) - np.log(len(best))
    finite = [value if np.isfinite(value) else -np.inf for _, value, _ in curve]
    return Reference([look[0] for look in curve], finite, float(mean.mean()), done)


@torch.no_grad()
def _log_prob(flow: nn.Module, stars: Tensor) -> NDArray[np.float64]:
    parts = [flow(part[:, :-1], part[:, -1:]) for part in torch.split(stars, _EVALUATED)]
    return torch.cat(parts).double().cpu().numpy()
