"""ANODE: the ratio of two conditional densities (Nachman & Shih 2020)."""

from __future__ import annotations

import numpy as np

from viamachinae.anomaly.base import RegionScores, RegionStars
from viamachinae.config.settings import Settings
from viamachinae.density import ConditionalDensity

__all__ = ["anode"]


def anode(stars: RegionStars, settings: Settings, rng: np.random.Generator) -> RegionScores:
    """Score stars by log R = log p_SR(x | m) - log p_SB(x | m).

    The sideband model never saw a star of the region: it interpolates into
    it. The region's model is cross-fitted: its stars fall into
    ``scorer.folds`` random parts, and each part is scored by the model trained
    on the others, so that no star raises its own density. With
    ``scorer.start = "sideband"`` the region's models start from the sideband
    model: both then share most of their error, which cancels in the ratio, and
    nothing leaks, since that model never saw the region.

    Parameters
    ----------
    stars : RegionStars
        Stars of the patch, split into signal region and sideband.
    settings : Settings
        Uses the sections ``scorer`` and ``density``.
    rng : numpy.random.Generator
        Draws folds, batches and initial weights.

    Returns
    -------
    RegionScores
        Scores of the ranked stars; ``statistic`` is the sum of log R over them.
    """
    outside = ~stars.inside
    sideband = ConditionalDensity.fit(
        stars.x[outside], stars.m[outside], stars.preprocessor, settings.density, rng
    )
    x, m = stars.x[stars.inside], stars.m[stars.inside]
    log_sb = sideband.log_prob(x, m)
    log_sr = np.empty(len(x))
    fold = rng.permutation(len(x)) % settings.scorer.folds
    models = {"sideband": sideband}
    for k in range(settings.scorer.folds):
        own = fold == k
        if settings.scorer.start == "sideband":
            tuned = settings.density.model_copy(update={"learning_rate": settings.scorer.learning_rate})
            model = sideband.refit(x[~own], m[~own], tuned, rng)
        else:
            model = ConditionalDensity.fit(x[~own], m[~own], stars.preprocessor, settings.density, rng)
        log_sr[own] = model.log_prob(x[own], m[own])
        models[f"region-fold{k}"] = model
    log_r = (log_sr - log_sb)[stars.ranked[stars.inside]]
    return RegionScores(
        log_r=log_r,
        statistic=float(log_r.sum()),
        ll_sr=float(log_sr.mean()),
        ll_sb=float(log_sb.mean()),
        epochs_sr=float(np.mean([len(v.held_out) for k, v in models.items() if k != "sideband"])),
        epochs_sb=float(len(sideband.held_out)),
        models=models,
    )
