"""Everything whose rate is measured, by turns: the engine's families, nflows, nflows through vmap, zuko."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from viamachinae.benchmark.defaults import changed
from viamachinae.benchmark.options import Options
from viamachinae.benchmark.published import nflows_clock, zuko_clock
from viamachinae.benchmark.rates import StackClock, peak
from viamachinae.density import FAMILIES

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings

__all__ = ["TURN", "TURNS", "Clock", "clocks", "key", "timed", "where_installed"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_REFERENCE = "maf"  # the published architecture in the engine, as slow as nflows

#: Turns of everything, whose median counts, and their part of the reference's time.
TURNS, TURN = 3, 1 / 240


class Clock(Protocol):
    """Models that train for as long as they are timed."""

    operations: float

    def run(self, seconds: float) -> float:
        """Return the star presentations a second (stars/s)."""


def key(name: str) -> str:
    """Return the name of a family in the names of results."""
    return name.replace("-", "_")


def clocks(density: DensitySettings, options: Options, place: torch.device) -> dict[str, Clock | None]:
    """Return what is timed by name; None where a library is missing."""
    own = dict.fromkeys([density.name, *FAMILIES])
    out: dict[str, Clock | None] = {}
    for k in options.models:
        for name in own:
            if name != _REFERENCE or name == density.name:
                out[f"{key(name)}_k{k}"] = StackClock(changed(density, name=name), k, place)
        out[f"nflows_vmapped_k{k}"] = where_installed(partial(nflows_clock, k, place, vmapped=True))
    out["nflows_k1"] = where_installed(partial(nflows_clock, 1, place, vmapped=False))
    out["zuko_k1"] = where_installed(partial(zuko_clock, place))
    return out


def where_installed(make: Callable[[], T]) -> T | None:
    """Return what is made, or None where a library for it is missing."""
    try:
        return make()
    except ModuleNotFoundError as missing:
        logger.info("no %s here: left out", missing.name)
        return None


def timed(all_clocks: dict[str, Clock | None], options: Options, place: torch.device) -> dict[str, Any]:
    """Return ``peak_flops``, and ``rate_NAME`` and ``fraction_NAME`` of everything, measured by turns."""
    turn = options.seconds * TURN
    logger.info("timing %d trainings, %d turns of %.2g s each", len(all_clocks), TURNS, turn)
    there = {name: clock for name, clock in all_clocks.items() if clock is not None}
    for ready in there.values():
        ready.run(0)
    best = peak(place, turn)
    rates: dict[str, list[float]] = {name: [] for name in there}
    for _ in range(TURNS):
        for name, ready in there.items():
            rates[name].append(ready.run(turn))
        best = max(best, peak(place, turn))
    result: dict[str, Any] = {"peak_flops": best}
    for name, clock in all_clocks.items():
        rate = None if clock is None else statistics.median(rates[name])
        result[f"rate_{name}"] = rate
        result[f"fraction_{name}"] = None if rate is None or clock is None else rate * clock.operations / best
    return result
