"""The scorers that classify with trees: they rank, hold out, repeat, and say what they lack."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from viamachinae.anomaly import PatchStars, trees
from viamachinae.anomaly.cathode import _fiducial, _smoothed, cathode
from viamachinae.anomaly.ceilings import idealised, supervised
from viamachinae.anomaly.cwola import cwola
from viamachinae.anomaly.trees import Sort, log_ratios
from viamachinae.config import Settings
from viamachinae.config.trees import TreeSettings
from viamachinae.density import Engine
from viamachinae.errors import DataError
from viamachinae.schema import MASKS
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.cuts import fiducial as cut

FAST = Settings.model_validate(
    {
        "density": {"name": "mixture", "hidden": 16, "batch_size": 256, "max_epochs": 6, "best_epochs": 3},
        "scorer": {"sideband_start": "cold"},
        "trees": {"members": 3, "max_iterations": 40, "oversampling": 2},
    }
)
QUICK = FAST.model_copy(
    update={
        "density": FAST.density.model_copy(update={"max_epochs": 1}),
        "trees": TreeSettings(members=2, max_iterations=5, oversampling=1.5),
    }
)
SCORERS = {scorer.__name__: scorer for scorer in (cwola, cathode, idealised, supervised)}
scorers = pytest.mark.parametrize("name", SCORERS)


@dataclass(frozen=True)
class Region:
    coordinate: str = "pm_lambda"
    index: int = -3
    low: float = -3.0
    high: float = 3.0


def patch(n=6000, n_signal=0, seed=0, settings=FAST):
    """A patch whose background does not hang on the scan coordinate, and a compact signal in the region."""
    rng = np.random.default_rng(seed)
    n_all = n + n_signal
    stars = pd.DataFrame(
        {
            "phi": rng.uniform(-8, 8, n_all),
            "lambda": rng.uniform(-8, 8, n_all),
            "pm_lambda": rng.normal(0, 5, n_all),
            "pm_phi_coslambda": rng.normal(0, 4, n_all),
            "bp_rp": rng.normal(0.8, 0.2, n_all),
            "phot_g_mean_mag": 20 - rng.exponential(1.0, n_all),
        }
    )
    signal = np.arange(n_all) >= n
    stars.loc[signal, "pm_lambda"] = rng.normal(1, 0.4, n_signal)
    stars.loc[signal, "pm_phi_coslambda"] = rng.normal(6, 0.4, n_signal)
    stars.loc[signal, "lambda"] = rng.normal(2, 0.2, n_signal)
    stars["fiducial"] = rng.random(n_all) < 0.8
    return replace(PatchStars.of(stars, "pm_lambda", settings), truth=signal)


def score(name, stars, settings=FAST, seeds=(1,), window=None):
    window = window or Region()
    regions = [stars.region(window, np.random.default_rng(seed)) for seed in seeds]
    return [scores.fits[0] for scores in SCORERS[name](stars, regions, settings, Engine())]


def gaussians(n=3000, shift=0.5, seed=0):
    """Data and background whose true log ratio is ``shift * x - shift**2 / 2``."""
    rng = np.random.default_rng(seed)
    data, background = rng.normal(size=(n, 2)), rng.normal(size=(2 * n, 2))
    data[:, 0] += shift
    return data, background


def stars_of(x):
    """Every star, as a value that tells it from any other."""
    return {tuple(row) for row in np.asarray(x, np.float64)}


@scorers
def test_signal_ranks_first_and_every_ranked_star_has_a_score(name):
    stars = patch(n_signal=300)
    (scores,) = score(name, stars)
    inside = (stars.m >= -3) & (stars.m < 3) & stars.fiducial
    np.testing.assert_array_equal(scores.rows, np.flatnonzero(inside))
    assert np.isfinite(scores.log_r).all()
    signal = stars.truth[scores.rows]
    assert roc_auc_score(signal, scores.log_r) > 0.85
    assert signal[np.argsort(-scores.log_r)[:100]].mean() > 4 * signal.mean()
    assert scores.statistic == pytest.approx(scores.log_r.sum())
    assert scores.statistic > 50
    assert scores.membership is None


@scorers
def test_fiducial_stars_alone_can_train_with_the_scan_coordinate(name, monkeypatch):
    stars = patch(n_signal=300)
    stars = replace(stars, fiducial=_fiducial(stars, stars.sample.table, FAST.fiducial))
    seen = []
    train = trees._train
    monkeypatch.setattr(trees, "_train", lambda x, *rest: seen.append(x) or train(x, *rest))
    changes = {"stars": "fiducial", "with_coordinate": True}
    settings = FAST.model_copy(update={"trees": FAST.trees.model_copy(update=changes)})
    (scores,) = score(name, stars, settings)
    inside = (stars.m >= -3) & (stars.m < 3) & stars.fiducial
    np.testing.assert_array_equal(scores.rows, np.flatnonzero(inside))
    assert roc_auc_score(stars.truth[scores.rows], scores.log_r) > 0.85
    table = stars.sample.table[:, : 5 if name == "cwola" else 6]
    known, fiducial = stars_of(table), stars_of(table[stars.fiducial])
    assert all(stars_of(part) & known <= fiducial for parts in seen for part in parts)
    assert stars_of(table[inside]) <= {star for parts in seen for part in parts for star in stars_of(part)}


def test_draws_are_cut_as_the_stars_are():
    cuts = FAST.fiducial.model_copy(update={"colour": (0.6, 0.9), "radius": 7.0, "g_max": 19.0})
    stars = patch(3000)
    x = stars.sample.preprocessor.inverse(stars.sample.table[:, :-1])
    frame = PatchFrame(40.0, 20.0)
    ra, dec = frame.from_frame(*x[:, :2].T)
    columns = ("pm_phi_coslambda", "bp_rp", "phot_g_mean_mag")
    table = pd.DataFrame(
        dict(zip(columns, x[:, 2:].T, strict=True)) | {"ra": ra, "dec": dec, "pm_lambda": stars.m}
    )
    expected, _ = cut(table, cuts, frame, MASKS.empty())
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(_fiducial(stars, stars.sample.table, cuts), expected)


@scorers
def test_only_the_labels_give_a_fraction(name):
    stars = patch(3000, n_signal=100)
    (scores,) = score(name, stars, QUICK)
    expected = stars.truth[scores.rows].mean() if name == "supervised" else np.nan
    np.testing.assert_equal(scores.fraction, expected)


@pytest.mark.parametrize("name", ["cwola", "cathode", "idealised"])
def test_background_alone_gives_ratios_near_one(name):
    (scores,) = score(name, patch())
    assert abs(np.median(scores.log_r)) < 0.2
    assert abs(scores.statistic) / len(scores.log_r) < 0.05


@scorers
@pytest.mark.parametrize("folds", [2, 3])
def test_no_star_is_scored_by_trees_that_saw_it(name, folds, monkeypatch):
    stars = patch(1500, n_signal=60)
    settings = QUICK.model_copy(update={"scorer": QUICK.scorer.model_copy(update={"folds": folds})})
    features = stars.sample.table[:, :-1]
    ranked = stars_of(features[(stars.m >= -3) & (stars.m < 3) & stars.fiducial])
    signal = stars_of(features[stars.truth])
    seen: dict[int, set] = {}
    scored: list[tuple] = []
    train, odds = trees._train, trees._log_odds

    def spy_train(x, settings, rng):
        ensemble = train(x, settings, rng)
        data, background = map(stars_of, x)
        assert data.isdisjoint(background)
        if name == "idealised":
            assert signal.isdisjoint(background)
        if name == "supervised":
            assert data <= signal
        seen[id(ensemble)] = data | background
        kept.append(ensemble)
        return ensemble

    def spy_odds(ensemble, x):
        assert x.shape[1] == features.shape[1]  # no scan coordinate
        assert seen[id(ensemble)].isdisjoint(stars_of(x))
        scored.extend(stars_of(x) & ranked)
        return odds(ensemble, x)

    kept: list[list] = []  # so that no two ensembles share an id
    monkeypatch.setattr(trees, "_train", spy_train)
    monkeypatch.setattr(trees, "_log_odds", spy_odds)
    (scores,) = score(name, stars, settings)
    assert len(scores.log_r) == len(ranked)
    assert set(scored) == ranked
    assert len(kept) == folds * (2 if name == "idealised" else 1)


@pytest.fixture
def alternate(monkeypatch):
    """Every second star in the first of two folds."""
    monkeypatch.setattr(trees, "_folds", lambda sort, n_folds, rng: np.arange(len(sort.x)) % n_folds)


@pytest.mark.usefixtures("alternate")
def test_stars_change_no_score_of_their_own_fold():
    """Nor their own: each is scored as any star in its place would be."""
    data, background = gaussians(400)
    first, _ = log_ratios(Sort.of(data), Sort.of(background), 2, QUICK.trees, seed=3)
    moved = data.copy()
    moved[:200:2] = data[0]
    second, _ = log_ratios(Sort.of(moved), Sort.of(background), 2, QUICK.trees, seed=3)
    assert set(second[:200:2]) == {first[0]}
    np.testing.assert_array_equal(second[200::2], first[200::2])
    assert (second[1::2] != first[1::2]).mean() > 0.5


@pytest.mark.usefixtures("alternate")
def test_background_changes_a_constant_alone_in_its_own_fold():
    data, background = gaussians(400)
    first, _ = log_ratios(Sort.of(data), Sort.of(background), 2, QUICK.trees, seed=3)
    background[:400:2] += 2
    second, _ = log_ratios(Sort.of(data), Sort.of(background), 2, QUICK.trees, seed=3)
    assert np.ptp((second - first)[::2]) < 1e-12
    assert np.ptp((second - first)[1::2]) > 0.1


@scorers
def test_same_seed_gives_the_same_bits_whatever_is_scored_beside_it(name):
    stars = patch(2000, n_signal=80)
    (alone,), (beside, other) = score(name, stars, QUICK), score(name, stars, QUICK, seeds=(1, 2))
    np.testing.assert_array_equal(alone.log_r, beside.log_r)
    assert (alone.log_r != other.log_r).any()


def test_threads_change_no_bit():
    data, background = gaussians(10_000)
    results = []
    for threads in (1, 3):
        with threadpool_limits(limits=threads):
            results.append(log_ratios(Sort.of(data), Sort.of(background), 2, QUICK.trees, seed=5))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_ratio_is_that_of_the_densities_and_its_mean_over_the_background_is_one():
    data, background = gaussians(12_000)
    settings = TreeSettings(members=3, max_iterations=60)
    of_data, of_background = log_ratios(Sort.of(data), Sort.of(background), 2, settings, seed=1)
    assert np.exp(of_background).mean() == pytest.approx(1, abs=1e-9)
    middle = abs(data[:, 0]) < 1.5
    error = of_data - (0.5 * data[:, 0] - 0.125)
    assert np.sqrt((error[middle] ** 2).mean()) < 0.18
    divergence = 0.5**2 / 2
    assert 0.8 * divergence < of_data.mean() < 1.15 * divergence


def test_only_judged_stars_have_ratios_and_the_others_train_all_the_same():
    data, background = gaussians(600)
    judged = np.arange(600) % 3 == 0
    some = Sort.sampled(background, 100, np.random.default_rng(0))
    ratios = log_ratios(Sort.of(data, judged), some, 2, QUICK.trees, seed=1)
    assert [len(part) for part in ratios] == [200, 100]
    assert np.isfinite(np.concatenate(ratios)).all()
    data[~judged] += 1
    after, _ = log_ratios(Sort.of(data, judged), some, 2, QUICK.trees, seed=1)
    assert (after != ratios[0]).mean() > 0.5


def test_reference_is_the_background_where_there_is_one():
    """Of the region alone; with it the truth is not needed."""
    stars = patch(4000, n_signal=150)
    beside = patch(4000, seed=5)
    both = PatchStars(
        type(stars.sample)(
            np.concatenate([stars.sample.table, beside.sample.table]),
            np.concatenate([stars.sample.log_jacobian, beside.sample.log_jacobian]),
            stars.sample.preprocessor,
            stars.sample.condition,
        ),
        np.concatenate([stars.m, beside.m]),
        np.concatenate([stars.fiducial, beside.fiducial]),
        reference=np.arange(len(stars.m) + 4000) >= len(stars.m),
    )
    (scores,) = score("idealised", both)
    assert (scores.rows < len(stars.m)).all()
    assert roc_auc_score(stars.truth[scores.rows], scores.log_r) > 0.85
    away = replace(both, m=np.where(both.reference, 50.0, both.m))
    with pytest.raises(DataError, match="from 0 of the background"):
        score("idealised", away)


def test_smoothed_values_follow_the_given_ones_and_stay_within_them():
    rng = np.random.default_rng(0)
    values = rng.uniform(size=4000) ** 2
    drawn = _smoothed(values, 20_000, rng)
    assert values.min() <= drawn.min() < drawn.max() <= values.max()
    assert not np.isin(drawn, values).any()
    quantiles = (0.1, 0.3, 0.5, 0.7, 0.9)
    np.testing.assert_allclose(np.quantile(drawn, quantiles), np.quantile(values, quantiles), atol=0.03)


@pytest.mark.parametrize("name", ["idealised", "supervised"])
def test_ceiling_without_truth_is_refused(name):
    with pytest.raises(DataError, match=f'"{name}" needs to know which stars are signal'):
        score(name, replace(patch(500), truth=None))


@scorers
def test_too_few_stars_are_refused(name):
    stars = patch(1500)
    stars = replace(stars, m=np.where(np.arange(1500) < 3, 92.0, stars.m))
    with pytest.raises(DataError, match=r"raise regions\.min_stars"):
        score(name, stars, QUICK, window=Region(low=90.0, high=96.0))


def test_region_without_signal_has_nothing_to_supervise():
    with pytest.raises(DataError, match="trees that tell 0 stars from"):
        score("supervised", patch(500))


def test_cathode_without_the_trunk_that_it_should_start_from_is_refused():
    settings = FAST.model_copy(update={"scorer": FAST.scorer.model_copy(update={"sideband_start": "trunk"})})
    with pytest.raises(DataError, match="start from the trunk and the patch has none"):
        score("cathode", patch(500), settings)


@scorers
def test_region_without_fiducial_stars_has_no_scores(name):
    stars = patch(1500, n_signal=60)
    (scores,) = score(name, replace(stars, fiducial=np.zeros(len(stars.m), bool)), QUICK)
    assert len(scores.rows) == len(scores.log_r) == scores.statistic == 0
