"""How long a training is: its held-out stars, mini-batches, steps and rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from viamachinae.errors import DataError

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings

__all__ = ["WHOLE", "Schedule"]

_FEWEST = 2  # stars that a mini-batch must hold for its mean to mean anything
WHOLE = 64  #: Mini-batches are multiples of this: every model's part of a stack is then aligned alike.


@dataclass(frozen=True)
class Schedule:
    """What a training is at most: it ends earlier when it stops gaining.

    Parameters
    ----------
    held_out : int
        Stars that judge it; the others train.
    batch : int
        Stars of a mini-batch.
    steps : int
        Steps; star presentations bound those of a large sample.
    round : int
        Steps of a round, after which the held-out stars judge.
    """

    held_out: int
    batch: int
    steps: int
    round: int

    @classmethod
    def of(cls, n: int, settings: DensitySettings) -> Self:
        """Return the schedule of a training on ``n`` stars, held-out ones among them.

        Raises
        ------
        DataError
            They are too few.
        """
        held_out = max(1, min(round(settings.validation_fraction * n), settings.max_validation))
        kept = n - held_out
        if kept < _FEWEST:
            msg = f"{n} stars are too few to train on and to hold some out; raise regions.min_stars"
            raise DataError(msg)
        batch = min(settings.batch_size, kept)
        batch -= batch % WHOLE if batch >= WHOLE else 0
        steps = max(1, round(min(settings.max_epochs * kept, settings.max_star_steps) / batch))
        return cls(held_out, batch, steps, math.ceil(steps / settings.rounds))

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return math.ceil(self.steps / self.round)

    @property
    def presentations(self) -> int:
        """Stars presented in all steps."""
        return self.steps * self.batch

    @property
    def judged(self) -> int:
        """Likelihoods of held-out stars in all rounds."""
        return self.rounds * self.held_out
