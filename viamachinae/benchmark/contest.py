"""How soon the engine reaches the held-out likelihood of the published training, on the same stars."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from viamachinae.benchmark.clocks import where_installed
from viamachinae.benchmark.defaults import changed
from viamachinae.benchmark.options import Options
from viamachinae.benchmark.published import Reference, train_reference
from viamachinae.benchmark.rates import now
from viamachinae.benchmark.sky import Patch, Window
from viamachinae.density import Engine, Job, Sample

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings

__all__ = ["PLANS", "WINDOW", "Contest", "Trial", "engine_on", "held", "shortest"]

logger = logging.getLogger(__name__)

#: The signal region whose sideband both train on (mas/yr).
WINDOW = Window("pm_phi_coslambda", 2.0, 8.0)

#: Star presentations of the plans that are tried, shortest first.
PLANS = (250_000, 500_000, 750_000, 1_000_000, 1_250_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000)

_HELD_OUT = 20_000  # stars
_AFTER = 150.0  # s before the deadline at which the reference ends on a busy machine
_TOGETHER = {"cpu": 8, "cuda": 32}  # models in the contest, at most
_SHARE_OF_MEMORY = 0.6  # of a GPU's free memory, for the models that train together
_UNKNOWN = (  # without nflows
    "reference_seconds",
    "reference_presentations",
    "reference_log_likelihood",
    "seconds_per_region",
    "time_ratio_to_reference",
)


@dataclass(frozen=True)
class Trial:
    """One plan of the engine, run to its end.

    Parameters
    ----------
    plan : int
        Star presentations of each model, at most.
    seconds : float
        A model (s): the time of all that trained together, divided by their number.
    log_likelihood : float
        Held-out mean log-likelihood of the worst model (nat).
    """

    plan: int
    seconds: float
    log_likelihood: float


@dataclass(frozen=True)
class Contest:
    """One sideband, and stars of it that nobody trains on.

    Parameters
    ----------
    sample : Sample
        Stars of the patch.
    rows, held_out : ndarray of int
        Those to train on, and those that judge.
    """

    sample: Sample
    rows: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @classmethod
    def of(cls, patch: Patch, seed: int) -> Contest:
        """Take the sideband of :data:`WINDOW`; hold out 20,000 of its stars, or a tenth of fewer."""
        outside = np.flatnonzero(~patch.inside(WINDOW))
        drawn = np.random.default_rng(seed).permutation(outside)
        n_held = min(_HELD_OUT, len(outside) // 10)
        return cls(patch.sample(WINDOW.coordinate), np.sort(drawn[n_held:]), drawn[:n_held])

    def reference(self, seconds: float, longest: float, place: torch.device) -> Reference:
        """Train the published flow for some seconds, or the longest that the clock on the wall may take.

        The likelihoods are per unit volume of the features.

        Raises
        ------
        ModuleNotFoundError
            There is no nflows.
        TaskError
            It diverged.
        """
        features, condition = self.sample.transforms(self.rows)
        mean = np.concatenate([features.mean, condition.mean])
        scale = np.concatenate([features.scale, condition.scale])
        stars, held = (
            torch.tensor((self.sample.table[rows] - mean) / scale, dtype=torch.float32, device=place)
            for rows in (self.rows, self.held_out)
        )
        volume = float(self.sample.log_jacobian[self.held_out].mean() - np.log(features.scale).sum())
        return train_reference(stars, held, seconds, volume, longest)

    def trial(self, settings: DensitySettings, seeds: Sequence[int], engine: Engine, plan: int) -> Trial:
        """Train one density a seed with the engine, all together, by a plan, and judge each."""
        planned = changed(settings, max_star_steps=plan)
        begin = now(engine.place)
        densities = engine.fit(self.sample, [Job(self.rows, seed) for seed in seeds], planned)
        seconds = (now(engine.place) - begin) / len(seeds)
        judged = engine.log_probs(self.sample, densities, [self.held_out] * len(seeds))
        return Trial(plan, seconds, min(float(log_p.mean()) for log_p in judged))


def shortest(
    trial: Callable[[int], Trial], target: float, plans: Sequence[int], deadline: float
) -> list[Trial]:
    """Try plan after plan until every model reaches the target; return all that were tried.

    Parameters
    ----------
    trial : callable
        Runs a plan of so many star presentations.
    target : float
        Held-out mean log-likelihood (nat).
    plans : sequence of int
        Shortest first.
    deadline : float
        No plan is begun that would end after it (``time.perf_counter``, s).
    """
    tried: list[Trial] = []
    spent = 0.0
    for plan in plans:
        begin = time.perf_counter()
        if tried and begin + spent * plan / tried[-1].plan > deadline:
            logger.info("  a plan of %.3g million presentations would take too long", plan / 1e6)
            break
        tried.append(trial(plan))
        spent = time.perf_counter() - begin
        done = tried[-1]
        logger.info(
            "  plan of %.3g million presentations: %.2f s a region, %.4f nat (asked: %.4f)",
            plan / 1e6,
            done.seconds,
            done.log_likelihood,
            target,
        )
        if done.log_likelihood >= target:
            break
    return tried


def engine_on(place: torch.device) -> Engine:
    """Return the engine as a worker has it; on a GPU with most of its memory."""
    if place.type == "cpu":
        return Engine()
    torch.cuda.empty_cache()
    return Engine(place.type, _SHARE_OF_MEMORY * torch.cuda.mem_get_info(place)[0])


def held(
    contest: Contest, density: DensitySettings, options: Options, deadline: float, place: torch.device
) -> dict[str, Any]:
    """Hold the contest; return its part of the results.

    Parameters
    ----------
    contest : Contest
        The stars.
    density : DensitySettings
        The engine's.
    options : Options
        Uses ``seconds``, ``models`` and ``seed``.
    deadline : float
        When the whole contest should have ended (``time.perf_counter``, s).
    place : torch.device
        Where.
    """
    limit = _TOGETHER[place.type]
    together = max((k for k in options.models if k <= limit), default=min(options.models))
    result: dict[str, Any] = {
        "together": together,
        "sideband_stars": len(contest.rows),
        "held_out_stars": len(contest.held_out),
        "reference_asked_s": options.seconds,
    }
    logger.info("training the published flow with nflows for %g s", options.seconds)
    longest = max(options.seconds, deadline - _AFTER - time.perf_counter())
    reference = where_installed(partial(contest.reference, options.seconds, longest, place))
    if reference is None:
        return result | dict.fromkeys(_UNKNOWN)
    result |= {
        "reference_seconds": reference.seconds[-1],
        "reference_presentations": reference.presentations,
        "reference_log_likelihood": reference.best,
        "reference_curve_s": reference.seconds,
        "reference_curve_nat": [
            value if math.isfinite(value) else None for value in reference.log_likelihood
        ],
    }
    plans: Sequence[int] = PLANS
    for k in dict.fromkeys((1, together)):
        logger.info("training %d of %s with the engine", k, density.name)
        trial = partial(contest.trial, density, range(options.seed, options.seed + k), engine_on(place))
        tried = shortest(trial, reference.best, plans, deadline)
        result |= _tried(tried, k, reference)
        # The first of several models is the one alone, bit for bit: none of its shorter plans can do.
        reached = result[f"time_ratio_k{k}"] is not None
        plans = PLANS[PLANS.index(tried[-1].plan) :] if reached else ()
    result["seconds_per_region"] = result[f"seconds_per_region_k{together}"]
    result["time_ratio_to_reference"] = result[f"time_ratio_k{together}"]
    return result


def _tried(tried: Sequence[Trial], k: int, reference: Reference) -> dict[str, Any]:
    """Return the trials of K models, and the time ratio if the last of them reached the target."""
    reached = bool(tried) and tried[-1].log_likelihood >= reference.best
    return {
        f"plans_k{k}": [trial.plan for trial in tried],
        f"plans_k{k}_s": [trial.seconds for trial in tried],
        f"plans_k{k}_nat": [trial.log_likelihood for trial in tried],
        f"seconds_per_region_k{k}": tried[-1].seconds if reached else None,
        f"time_ratio_k{k}": reference.seconds[-1] / tried[-1].seconds if reached else None,
    }
