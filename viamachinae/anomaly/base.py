"""What a scorer takes and gives: signal-region and sideband stars in, log R per star out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from viamachinae.anomaly.space import SignalSpace
from viamachinae.config.settings import COORDINATES, Coordinate, RoiSettings, Settings
from viamachinae.density import ConditionalDensity, Engine, Kind, Preprocessor, Sample
from viamachinae.errors import DataError
from viamachinae.schema import SCORES
from viamachinae.sky.windows import WHOLE_REGION
from viamachinae.sky.windows import slices as make_slices
from viamachinae.stars.extinction import RAW, photometry

__all__ = ["FEATURES", "PatchStars", "RegionScores", "RegionStars", "Scorer", "Scores", "Window"]

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


#: Features and how each preprocessing treats them; ``None`` stands for the orthogonal proper motion, and
#: colour and magnitude for the corrected ones where the stars have them (``stars.extinction.photometry``).
FEATURES: tuple[tuple[str | None, dict[str, Kind]], ...] = (
    ("phi", {"physical": "disc", "logit": "logit"}),
    ("lambda", {"physical": "disc", "logit": "logit"}),
    (None, {"physical": "asinh", "logit": "logit"}),
    (RAW.bp_rp, {"physical": "linear", "logit": "logit"}),
    (RAW.g, {"physical": "magnitude", "logit": "logit"}),
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
    orthogonal : ndarray, shape (n,), optional
        The other proper motion (mas/yr), which the slices of a region are windows of.
    space : SignalSpace, optional
        Coordinates in which a signal is compact.
    truth : ndarray of bool, shape (n,), optional
        Star belongs to the signal: known on mocks, read by the ceilings alone.
    reference : ndarray of bool, shape (n,), optional
        Star is true background drawn beside the sky: it lies in no region and no
        sideband, is never scored, and only the ceilings learn from it.
    """

    sample: Sample
    m: Array
    fiducial: NDArray[np.bool_]
    trunk: ConditionalDensity | None = None
    orthogonal: Array | None = None
    space: SignalSpace | None = None
    truth: NDArray[np.bool_] | None = None
    reference: NDArray[np.bool_] | None = None

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
        used = dict(zip(RAW, photometry(stars), strict=True))
        names = [partner if name is None else used.get(name, name) for name, _ in FEATURES]
        x = stars[names].to_numpy(np.float64)
        m = stars[coordinate].to_numpy(np.float64)
        kinds = [kind[settings.density.preprocessing] for _, kind in FEATURES]
        sample = Sample.of(x, m, Preprocessor.ranged(x, kinds, settings.patches.radius))
        orthogonal = stars[partner].to_numpy(np.float64)
        space = SignalSpace.of_stars(stars, coordinate, partner)
        return cls(sample, m, stars["fiducial"].to_numpy(bool), trunk, orthogonal, space)

    def region(
        self, window: Window, rng: np.random.Generator, slices: RoiSettings | None = None
    ) -> RegionStars:
        """Return the stars of a signal region and of its sideband.

        Parameters
        ----------
        window : Window
            The signal region.
        rng : numpy.random.Generator
            Of every random draw of the region.
        slices : RoiSettings, optional
            How the region is sliced, for the scorers that fit every slice by itself.

        Raises
        ------
        DataError
            The signal region or its sideband is empty.
        """
        searched = np.ones(len(self.m), bool) if self.reference is None else ~self.reference
        inside = (self.m >= window.low) & (self.m < window.high) & searched
        if (inside == searched).all() or not inside.any():
            msg = (
                f"signal region {window.low:g} <= {window.coordinate} < {window.high:g} mas/yr holds "
                f"{int(inside.sum())} of {int(searched.sum())} stars: a sideband and a region are both "
                "needed; widen the selection in proper motion or change [regions]"
            )
            raise DataError(msg)
        rows = np.flatnonzero(inside)
        ranked = self.fiducial[rows]
        chosen: dict[int, NDArray[np.int64]] = {}
        if slices is not None and self.orthogonal is not None:
            rows_ranked = rows[ranked]
            values = self.orthogonal[rows_ranked]
            chosen = {part.index: rows_ranked[part.holds(values)] for part in make_slices(values, slices)}
        return RegionStars(rows, np.flatnonzero(searched & ~inside), ranked, rng, chosen)


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
    slices : dict of ndarray of int
        Ranked stars of each slice in the orthogonal proper motion, by its index: they overlap.
    """

    inside: NDArray[np.int64]
    sideband: NDArray[np.int64]
    ranked: NDArray[np.bool_]
    rng: np.random.Generator
    slices: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)

    @property
    def scored(self) -> NDArray[np.int64]:
        """Rows of the ranked stars."""
        return self.inside[self.ranked]

    def seed(self) -> int:
        """Return the seed of the region's next training."""
        return int(self.rng.integers(2**62))


@dataclass(frozen=True)
class Scores:
    """What one fit says of the stars that it scores.

    Parameters
    ----------
    rows : ndarray of int, shape (k,)
        The stars, as rows of the patch.
    log_r : ndarray, shape (k,)
        Natural log of R = p(data) / p(background), or what ranks the stars as it does.
        No star is scored by a data model that trained on it; a background may have seen it
        (``residual.background``).
    statistic : float
        Held-out log-likelihood ratio of data model and background, summed over
        the stars (nat): the detection statistic.
    slice : int
        The slice that the fit was made in, or :data:`WHOLE_REGION`.
    membership : ndarray, shape (k,), optional
        Probability to belong to the signal, where the method has one.
    fraction : float
        Fitted signal fraction w of the stars; not a number where the method has none.
    diagnostics : dict
        What else is worth knowing of the fit, by the names of the REGIONS table.
    """

    rows: NDArray[np.int64]
    log_r: Array
    statistic: float
    slice: int = WHOLE_REGION
    membership: Array | None = None
    fraction: float = np.nan
    diagnostics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RegionScores:
    """What a scorer gives for one signal region.

    Parameters
    ----------
    fits : tuple of Scores
        One for the whole region, or one a slice, or both; they overlap.
    models : dict
        Fitted densities by name.
    """

    fits: tuple[Scores, ...]
    models: Mapping[str, ConditionalDensity] = field(default_factory=dict)

    def of_slice(self, index: int = WHOLE_REGION) -> Scores:
        """Return the fit that scores the stars of a slice: its own, or that of the whole region.

        Raises
        ------
        DataError
            Neither was made.
        """
        by_slice = {fit.slice: fit for fit in self.fits}
        fit = by_slice.get(index, by_slice.get(WHOLE_REGION))
        if fit is None:
            msg = f"slice {index} has no scores, nor has the whole region; it holds too few stars"
            raise DataError(msg)
        return fit

    def table(self, region: int) -> pd.DataFrame:
        """Return the rows of the scores table (schema SCORES)."""
        parts = []
        for fit in self.fits:
            columns: dict[str, Any] = {
                "row": fit.rows.astype(np.int32),
                "region": np.int32(region),
                "slice": np.int32(fit.slice),
                "log_r": fit.log_r.astype(np.float32),
            }
            if fit.membership is not None:
                columns["membership"] = fit.membership.astype(np.float32)
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True) if parts else SCORES.empty()

    def save_models(self, folder: Path) -> None:
        """Write every fitted density as ``NAME.npz`` into ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, model in self.models.items():
            model.save(folder / f"{name}.npz")


#: A scorer: the stars of a patch and some of its regions in, the scores of each region out.
Scorer = Callable[[PatchStars, Sequence[RegionStars], Settings, Engine], list[RegionScores]]
