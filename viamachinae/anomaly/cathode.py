"""CATHODE: trees that tell the stars of a region from draws of its interpolated background (2109.00546)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from viamachinae.anomaly.anode import fit_sidebands
from viamachinae.anomaly.base import PatchStars, RegionScores, RegionStars, Scores
from viamachinae.anomaly.trees import Sort, inputs, log_ratios, training_rows
from viamachinae.config.settings import FiducialSettings, Settings
from viamachinae.density import ConditionalDensity, Engine
from viamachinae.errors import DataError

__all__ = ["cathode"]

_FEWEST = 10  # stars of a region, whose scan coordinates give the background's


def cathode(
    patch: PatchStars, regions: Sequence[RegionStars], settings: Settings, engine: Engine
) -> list[RegionScores]:
    """Score stars by the odds of data against draws of the background.

    The background is the density of the sideband, as ANODE fits it, carried
    into the region: drawn from at scan coordinates that follow the region's
    own, smoothed. The trees are given the features, and the scan coordinate if set.

    Parameters
    ----------
    patch : PatchStars
        Stars of the patch.
    regions : sequence of RegionStars
        Its signal regions; their densities train together.
    settings : Settings
        Uses the sections ``scorer``, ``density``, ``trunk`` and ``trees``.
    engine : Engine
        Trains the densities and draws from them.

    Returns
    -------
    list of RegionScores
        One fit each, of the whole region; ``statistic`` is the sum of log R over its ranked
        stars, with R normalised on held-out draws.

    Raises
    ------
    DataError
        A model is to start from the trunk and the patch has none, or there are too few stars.
    TaskError
        A training diverged.
    """
    sidebands = fit_sidebands(patch, regions, settings, engine)
    return [
        _score(patch, region, sideband, settings, engine)
        for region, sideband in zip(regions, sidebands, strict=True)
    ]


def _score(
    patch: PatchStars, region: RegionStars, sideband: ConditionalDensity, settings: Settings, engine: Engine
) -> RegionScores:
    table = patch.sample.table
    rows, n = training_rows(patch, region.inside, settings.trees), len(region.inside)
    if n < _FEWEST:
        msg = f"a region of {n} stars is too small: CATHODE needs {_FEWEST}; raise regions.min_stars"
        raise DataError(msg)
    n_drawn = max(1, round(settings.trees.oversampling * n))
    condition = _smoothed(table[region.inside, -1].astype(np.float64), n_drawn, region.rng)
    drawn = engine.sample(patch.sample, sideband, condition, region.seed())
    drawn = np.column_stack([drawn, condition])
    if settings.trees.stars == "fiducial":
        drawn = drawn[_fiducial(patch, drawn, settings.fiducial)]
    x = inputs(patch, settings.trees)
    data = Sort.of(x[rows], patch.fiducial[rows])
    background = Sort.sampled(drawn[:, : x.shape[1]], len(rows), region.rng)
    log_r, _ = log_ratios(data, background, settings.scorer.folds, settings.trees, region.seed())
    diagnostics = {"rounds_sb": float(len(sideband.held_out))}
    scores = Scores(region.scored, log_r, float(log_r.sum()), diagnostics=diagnostics)
    return RegionScores((scores,), {"sideband": sideband})


def _smoothed(values: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``n`` values from a Gaussian kernel estimate of some values' density, mirrored at its ends."""
    low, span = values.min(), np.ptp(values)
    drawn = gaussian_kde(values, "silverman").resample(n, seed=rng)[0]
    mirrored: NDArray[np.float64] = low + span - np.abs((drawn - low) % (2 * span) - span)
    return mirrored


def _fiducial(patch: PatchStars, drawn: NDArray[np.floating], cuts: FiducialSettings) -> NDArray[np.bool_]:
    """Return which draws pass the fiducial cuts; those in masked circles stay, where no star competes.

    A draw has the photometry of the features alone, on which ``fiducial.photometry`` has to agree.
    """
    phi, lam, orthogonal, colour, magnitude = patch.sample.preprocessor.inverse(drawn[:, :-1]).T
    (m,) = patch.sample.condition.inverse(drawn[:, -1:]).T
    near = np.cos(np.radians(phi)) * np.cos(np.radians(lam)) >= np.cos(np.radians(cuts.radius))
    moving = (np.abs(m) > cuts.pm_min) | (np.abs(orthogonal) > cuts.pm_min)
    of_colour = (colour >= cuts.colour[0]) & (colour <= cuts.colour[1])
    passed: NDArray[np.bool_] = near & moving & of_colour & (magnitude < cuts.g_max)
    return passed
