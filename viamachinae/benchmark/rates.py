"""How fast the engine trains and evaluates on this machine, and how fast its matrix products can be.

Seconds are processor time on a CPU, so that what others take of the machine
does not count, and wall-clock time on a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from viamachinae.benchmark.defaults import changed
from viamachinae.density import Engine
from viamachinae.density.families import family_of
from viamachinae.density.train import Stack, Standardised, evaluate

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings

__all__ = ["FEATURES", "Rates", "StackClock", "as_worker", "measure", "now", "peak"]

FEATURES = 5  # of a star, besides its condition
_STARS = 200_000  # of a table that does not fit into a processor's cache, as a patch's does not
_ENDLESS = 2**18  # steps of a training that is timed: more than it ever takes
_HELD_OUT = 64  # stars of each judgement, which so costs nothing
_STEPS = {"cpu": 16, "cuda": 512}  # of one model, between two looks at the clock
_FEWEST_STEPS = {"cpu": 4, "cuda": 128}  # of many models
_SIDE = {"cpu": 2048, "cuda": 8192}  # rows of the square matrices whose product is timed
_CHUNK = {"cpu": 16_384, "cuda": 4_194_304}  # stars of one timed evaluation


@dataclass(frozen=True)
class Rates:
    """What one worker does in a second.

    Parameters
    ----------
    training : float
        Star presentations of training, all its models together (stars/s).
    evaluation : float
        Stars of which one model gives the likelihood (stars/s).
    """

    training: float
    evaluation: float


def measure(settings: DensitySettings, device: str, seconds: float = 5.0, models: int = 1) -> Rates:
    """Return the rates of one worker of this machine: one thread, or one GPU.

    Parameters
    ----------
    settings : DensitySettings
        Family, architecture, batch size.
    device : {"cpu", "cuda", "auto"}
        Where.
    seconds : float
        Time that it takes (s; processor time on a CPU), a start of up to a second not counted.
    models : int
        Models that train together; their rates are summed.

    Raises
    ------
    ConfigError
        There is no such device.

    Examples
    --------
    >>> from viamachinae.config.settings import DensitySettings
    >>> rates = measure(DensitySettings(name="mixture"), "cpu", seconds=0.2)
    >>> rates.evaluation > rates.training > 0
    True
    """
    with as_worker(device) as place:
        clock = StackClock(settings, models, place)
        clock.run(0.1 * seconds)
        training = clock.run(0.6 * seconds)
        return Rates(training, _evaluation(clock, 0.3 * seconds))


def now(place: torch.device) -> float:
    """Return a time (s): on a CPU that which this process has had of it, with one thread."""
    return time.process_time() if place.type == "cpu" else time.perf_counter()


@contextmanager
def as_worker(device: str) -> Iterator[torch.device]:
    """Compute as a worker of a scan does: one thread; on a GPU with the engine's precision.

    Yields
    ------
    torch.device
        The device, ``"auto"`` resolved.

    Raises
    ------
    ConfigError
        There is no such device.
    """
    engine = Engine(device)
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    if engine.place.type != "cpu" and engine.mixed:
        torch.set_float32_matmul_precision("high")
    try:
        yield engine.place
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)


class StackClock:
    """Models of the engine that train for as long as they are timed, on stars drawn at random.

    ``operations`` are the floating-point operations of the matrix products of
    one star's presentation: six a weight, since forward, and backward for the
    layer's input and for its weights, take a multiplication and an addition
    each. Masked weights count, since they are multiplied like the others.

    Parameters
    ----------
    settings : DensitySettings
        Family, architecture, batch size.
    models : int
        Models K that train together.
    place : torch.device
        Where.
    """

    def __init__(self, settings: DensitySettings, models: int, place: torch.device) -> None:
        self.family = family_of(FEATURES, settings).to(place)
        self.operations = 6.0 * self.family.weights
        self.table = torch.randn(_STARS, FEATURES + 1, generator=torch.Generator().manual_seed(1)).to(place)
        self.batch, self.models = settings.batch_size, models
        steps = max(_STEPS[place.type] // models, _FEWEST_STEPS[place.type])
        endless = changed(
            settings,
            max_epochs=_ENDLESS * self.batch,
            max_star_steps=_ENDLESS * self.batch,
            rounds=_ENDLESS // steps,
            patience=_ENDLESS,
            best_epochs=1,
            max_validation=_HELD_OUT,
        )
        rows = torch.arange(_STARS, dtype=torch.int32, device=place)
        width = torch.zeros(FEATURES + 1, device=place)
        jobs = [
            Standardised(rows, width, width + 1, self.family.initial(seed), seed) for seed in range(models)
        ]
        self.stack = Stack(self.family, self.table, jobs, endless)
        self._rounds = self.stack.rounds()
        self._steps = 0

    def run(self, seconds: float) -> float:
        """Train for some seconds; return the star presentations a second (stars/s)."""
        place = self.table.device
        begin, first = now(place), self._steps
        while True:
            self._steps = next(self._rounds)  # a model was judged: the device has caught up
            spent = now(place) - begin
            if spent >= seconds:
                return self.models * self.batch * (self._steps - first) / spent


def _evaluation(clock: StackClock, seconds: float) -> float:
    """Return the stars a second (stars/s) of which one model gives the likelihood."""
    place = clock.table.device
    width = torch.zeros(FEATURES + 1, device=place)
    stars = (torch.arange(_CHUNK[place.type], device=place) % _STARS, width, width + 1)
    values = clock.family.initial(0)[None].to(place)
    begin, done = now(place), 0
    while True:
        float(evaluate(clock.family, clock.table, values, stars).sum())
        done += len(stars[0])
        spent = now(place) - begin
        if spent >= seconds:
            return done / spent


def peak(place: torch.device, seconds: float = 1.0) -> float:
    """Return the floating-point operations a second of the best of several large matrix products (1/s).

    Single precision, on the threads and with the precision that are set.
    """
    side = _SIDE[place.type]
    left, right = torch.randn(2, side, side, device=place).unbind()
    begin, best = now(place), float("inf")
    while best == float("inf") or now(place) - begin < seconds:
        start = now(place)
        product = left @ right
        float(product[0, 0])  # waits for the device
        best = min(best, now(place) - start)
    return 2.0 * side**3 / best
