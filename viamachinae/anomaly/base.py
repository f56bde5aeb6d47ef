"""What a scorer takes and gives: signal-region and sideband stars in, log R per star out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.config.settings import COORDINATES, Coordinate, Settings
from viamachinae.density import ConditionalDensity, Kind, Preprocessor
from viamachinae.errors import DataError

__all__ = ["FEATURES", "RegionScores", "RegionStars", "Scorer", "Window"]

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
class RegionStars:
    """The stars of a patch as a scorer of one signal region sees them.

    Parameters
    ----------
    x : ndarray, shape (n, 5)
        Features: phi, lambda (deg), orthogonal proper motion (mas/yr), BP-RP, G (mag).
    m : ndarray, shape (n,)
        Scan coordinate (mas/yr).
    inside : ndarray of bool, shape (n,)
        Star of the signal region; the others are its sideband.
    ranked : ndarray of bool, shape (n,)
        Star of the signal region that passes the fiducial cuts, so it needs a score.
    preprocessor : Preprocessor
        Kinds and ranges of the features over the whole patch.
    """

    x: Array
    m: Array
    inside: NDArray[np.bool_]
    ranked: NDArray[np.bool_]
    preprocessor: Preprocessor

    @classmethod
    def of(cls, stars: pd.DataFrame, window: Window, settings: Settings) -> RegionStars:
        """Select from the patch table ``stars`` (schema STARS).

        Raises
        ------
        DataError
            The signal region or its sideband is empty.
        """
        (partner,) = set(COORDINATES) - {window.coordinate}
        names = [name or partner for name, _ in FEATURES]
        x = stars[names].to_numpy(np.float64)
        m = stars[window.coordinate].to_numpy(np.float64)
        inside = (m >= window.low) & (m < window.high)
        if inside.all() or not inside.any():
            msg = (
                f"signal region {window.low:g} <= {window.coordinate} < {window.high:g} mas/yr holds "
                f"{int(inside.sum())} of {len(m)} stars: a sideband and a region are both needed; "
                "widen the selection in proper motion or change [regions]"
            )
            raise DataError(msg)
        kinds = [kind[settings.density.preprocessing] for _, kind in FEATURES]
        preprocessor = Preprocessor.fit(x, kinds, settings.patches.radius)
        return cls(x, m, inside, inside & stars["fiducial"].to_numpy(bool), preprocessor)


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
        Mean log-likelihood of the region's stars under the two models (nat).
    membership : ndarray, shape (k,), optional
        Membership probability, where the method has one.
    epochs_sr, epochs_sb : float
        Training epochs.
    models : dict
        Fitted densities by name.
    """

    log_r: Array
    statistic: float
    ll_sr: float
    ll_sb: float
    membership: Array | None = None
    epochs_sr: float = 0.0
    epochs_sb: float = 0.0
    models: dict[str, ConditionalDensity] = field(default_factory=dict)

    def table(self, stars: RegionStars, region: int) -> pd.DataFrame:
        """Return the rows of the scores table (schema SCORES)."""
        columns: dict[str, Any] = {
            "row": np.flatnonzero(stars.ranked).astype(np.int32),
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


#: A scorer: region stars, settings and a random generator in, scores out.
Scorer = Callable[[RegionStars, Settings, np.random.Generator], RegionScores]
