from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from viamachinae.anomaly import RegionStars, score_region
from viamachinae.anomaly.anode import anode
from viamachinae.config import Settings
from viamachinae.density import ConditionalDensity
from viamachinae.errors import DataError

FAST = Settings.model_validate(
    {
        "density": {"blocks": 5, "hidden": 32, "batch_size": 256, "max_epochs": 20, "best_epochs": 5},
        "scorer": {"learning_rate": 4e-3},
    }
)


@dataclass(frozen=True)
class Region:
    coordinate: str = "pm_lambda"
    index: int = -3
    low: float = -3.0
    high: float = 3.0


def patch(n=12_000, n_signal=0, seed=0):
    """A patch whose background follows the scan coordinate, and a compact signal inside the region."""
    rng = np.random.default_rng(seed)
    n_all = n + n_signal
    stars = pd.DataFrame(
        {
            "phi": rng.uniform(-8, 8, n_all),
            "lambda": rng.uniform(-8, 8, n_all),
            "pm_lambda": rng.normal(0, 5, n_all),
            "bp_rp": rng.normal(0.8, 0.2, n_all),
            "phot_g_mean_mag": 20 - rng.exponential(1.0, n_all),
        }
    )
    stars["pm_phi_coslambda"] = rng.normal(0.3 * stars.pm_lambda, 4)
    signal = np.arange(n_all) >= n
    stars.loc[signal, "pm_lambda"] = rng.normal(1, 0.4, n_signal)
    stars.loc[signal, "pm_phi_coslambda"] = rng.normal(6, 0.4, n_signal)
    stars.loc[signal, "lambda"] = rng.normal(2, 0.2, n_signal)
    stars["fiducial"] = rng.random(n_all) < 0.8
    return stars, signal


def test_scores_cover_the_fiducial_stars_of_the_region_and_rank_the_signal_first():
    stars, signal = patch(n_signal=600)
    scores, summary = score_region(stars, Region(), FAST, "P1")
    inside = stars.pm_lambda.between(-3, 3, inclusive="left") & stars.fiducial
    np.testing.assert_array_equal(scores["row"], np.flatnonzero(inside))
    share = signal[scores["row"]].mean()
    found = signal[scores.nlargest(100, "log_r")["row"]].mean()
    assert found > 3 * share
    assert roc_auc_score(signal[scores["row"]], scores["log_r"]) > 0.8
    assert summary["n_fiducial"] == len(scores)
    assert summary["n_sr"] + summary["n_sb"] == len(stars)
    assert summary["ll_sr"] > summary["ll_sb"]


def test_background_alone_gives_ratios_near_one():
    stars, _ = patch()
    scores, summary = score_region(stars, Region(), FAST, "P1")
    assert abs(scores["log_r"].median()) < 0.25
    assert abs(summary["statistic"]) / len(scores) < 0.1


def test_same_region_gives_the_same_bits_whatever_ran_before():
    stars, _ = patch(3000)
    alone, _ = score_region(stars, Region(), FAST, "P1")
    score_region(stars, Region(index=-2, low=-2.0, high=4.0), FAST, "P1")
    again, _ = score_region(stars, Region(), FAST, "P1")
    other, _ = score_region(stars, Region(), FAST, "P2")
    pd.testing.assert_frame_equal(alone, again)
    assert not alone["log_r"].equals(other["log_r"])


@pytest.mark.parametrize("start", ["sideband", "cold"])
def test_no_star_is_scored_by_a_model_that_saw_it(monkeypatch, start):
    stars, _ = patch(3000)
    settings = FAST.model_copy(update={"scorer": FAST.scorer.model_copy(update={"start": start})})
    region = RegionStars.of(stars, Region(), settings)
    seen: dict[int, set[float]] = {}
    fit, refit, log_prob = ConditionalDensity.fit, ConditionalDensity.refit, ConditionalDensity.log_prob

    def spy_fit(x, *args):
        model = fit(x, *args)
        seen[id(model)] = set(x[:, 0])
        return model

    def spy_refit(self, x, *args):
        model = refit(self, x, *args)
        seen[id(model)] = seen[id(self)] | set(x[:, 0])
        return model

    def spy_log_prob(self, x, m):
        assert seen[id(self)].isdisjoint(x[:, 0])
        return log_prob(self, x, m)

    monkeypatch.setattr(ConditionalDensity, "fit", spy_fit)
    monkeypatch.setattr(ConditionalDensity, "refit", spy_refit)
    monkeypatch.setattr(ConditionalDensity, "log_prob", spy_log_prob)
    scored = anode(region, settings, np.random.default_rng(0))
    assert len(scored.log_r) == region.ranked.sum()
    assert len(seen) == 1 + settings.scorer.folds


def test_models_are_kept_when_asked_and_score_alike(tmp_path):
    stars, _ = patch(3000)
    score_region(stars, Region(), FAST, "P1", tmp_path / "models")
    names = sorted(p.name for p in (tmp_path / "models").iterdir())
    assert names == ["region-fold0.npz", "region-fold1.npz", "sideband.npz"]


@pytest.mark.parametrize(("low", "high"), [(-100.0, 100.0), (90.0, 96.0)])
def test_region_without_sideband_or_without_stars_is_refused(low, high):
    stars, _ = patch(500)
    with pytest.raises(DataError, match="sideband and a region are both needed"):
        score_region(stars, Region(low=low, high=high), FAST, "P1")
