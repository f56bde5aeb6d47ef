"""What a scorer takes and gives: signal-region and sideband stars in, log R per star out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import COORDINATES, Coordinate, Settings
from viamachinae.density import ConditionalDensity, Engine, Kind, Preprocessor, Sample
from viamachinae.errors import DataError

__all__ = ["FEATURES", "PatchStars", "RegionScores", "RegionStars", "Scorer", "Window"]

Array = NDArray[np.float64]


class Window(Protocol):
    """A signal region: the window ``low <= coordinate < high`` (mas/yr)."""

    @property
    def coordinate(self) -> Coordinate: ...  # noqa: D102
    @property
    def index(self) -> int: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


#: Features and how each preprocessing treats them; ``None`` stands for the orthogonal proper motion.
FEATURES: tuple[tuple[str | None, dict[str, Kind]], ...] = (
    ("phi", {"physical": "disc", "logit": "logit"}),
    ("lambda", {"physical": "disc", "logit": "logit"}),
    (None, {"physical": "asinh", "logit": "logit"}),
    ("bp_rp", {"physical": "linear", "logit": "logit"}),
    ("phot_g_mean_mag", {"physical": "magnitude", "logit": "logit"}),
)


@dataclass(frozen=True)
class PatchStars:
    """The stars of a patch along one scan coordinate, as the scorers of all its regions share them.

    Parameters
    ----------
    sample : Sample
        Features, in the order of :data:`FEATURES` (deg, deg, mas/yr, mag, mag), given the scan
        coordinate (mas/yr), transformed alike for all regions: their densities share one support.
    m : ndarray, shape (n,)
        Scan coordinate (mas/yr).
    fiducial : ndarray of bool, shape (n,)
        Star passes the fiducial cuts.
    trunk : ConditionalDensity, optional
        Where models start whose start is "trunk"; it has seen none of these stars.
    """

    sample: Sample
    m: Array
    fiducial: NDArray[np.bool_]
    trunk: ConditionalDensity | None = None

    @classmethod
    def of(
        cls,
        stars: pd.DataFrame,
        coordinate: Coordinate,
        settings: Settings,
        trunk: ConditionalDensity | None = None,
    ) -> PatchStars:
        """Select from the patch table ``stars`` (schema STARS).

        Raises
        ------
        DataError
            A feature is not finite or does not vary.
        """
        (partner,) = set(COORDINATES) - {coordinate}
        x = stars[[name or partner for name, _ in FEATURES]].to_numpy(np.float64)
        m = stars[coordinate].to_numpy(np.float64)
        kinds = [kind[settings.density.preprocessing] for _, kind in FEATURES]
        sample = Sample.of(x, m, Preprocessor.ranged(x, kinds, settings.patches.radius))
        return cls(sample, m, stars["fiducial"].to_numpy(bool), trunk)

    def region(self, window: Window, rng: np.random.Generator) -> RegionStars:
        """Return the stars of a signal region and of its sideband.

        Raises
        ------
        DataError
            The signal region or its sideband is empty.
        """
        inside = (self.m >= window.low) & (self.m < window.high)
        if inside.all() or not inside.any():
            msg = (
                f"signal region {window.low:g} <= {window.coordinate} < {window.high:g} mas/yr holds "
                f"{int(inside.sum())} of {len(inside)} stars: a sideband and a region are both needed; "
                "widen the selection in proper motion or change [regions]"
            )
            raise DataError(msg)
        rows = np.flatnonzero(inside)
        return RegionStars(rows, np.flatnonzero(~inside), self.fiducial[rows], rng)


@dataclass(frozen=True)
class RegionStars:
    """The stars of one signal region, as rows of its :class:`PatchStars`.

    Parameters
    ----------
    inside : ndarray of int, shape (n_sr,)
        Stars of the signal region.
    sideband : ndarray of int, shape (n_sb,)
        All others.
    ranked : ndarray of bool, shape (n_sr,)
        Star of the region that passes the fiducial cuts, so it needs a score.
    rng : numpy.random.Generator
        Every random draw of the region comes from it.
    """

    inside: NDArray[np.int64]
    sideband: NDArray[np.int64]
    ranked: NDArray[np.bool_]
    rng: np.random.Generator

    def seed(self) -> int:
        """Return the seed of the region's next training."""
        return int(self.rng.integers(2**62))


@dataclass(frozen=True)
class RegionScores:
    """What a scorer gives for one signal region.

    Parameters
    ----------
    log_r : ndarray, shape (k,)
        Natural log of R for the k ranked stars, in their order.
    statistic : float
        Summed held-out log-likelihood ratio over the ranked stars (nat).
    ll_sr, ll_sb : float
        Mean log-likelihood of the ranked stars under the two models (nat); not a number without any.
    membership : ndarray, shape (k,), optional
        Membership probability, where the method has one.
    rounds_sr, rounds_sb : float
        Rounds of the trainings.
    models : dict
        Fitted densities by name.
    """

    log_r: Array
    statistic: float
    ll_sr: float
    ll_sb: float
    membership: Array | None = None
    rounds_sr: float = 0.0
    rounds_sb: float = 0.0
    models: dict[str, ConditionalDensity] = field(default_factory=dict)

    def table(self, stars: RegionStars, region: int) -> pd.DataFrame:
        """Return the rows of the scores table (schema SCORES)."""
        columns: dict[str, Any] = {
            "row": stars.inside[stars.ranked].astype(np.int32),
            "region": np.int32(region),
            "slice": np.int32(-1),
            "log_r": self.log_r.astype(np.float32),
        }
        if self.membership is not None:
            columns["membership"] = self.membership.astype(np.float32)
        return pd.DataFrame(columns)

    def save_models(self, folder: Path) -> None:
        """Write every fitted density as ``NAME.npz`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in self.models.items():
            model.save(folder / f"{name}.npz")


#: A scorer: the stars of a patch and some of its regions in, the scores of each region out.
Scorer = Callable[[PatchStars, Sequence[RegionStars], Settings, Engine], list[RegionScores]]
