"""Residual fits: compact signals over a frozen background, and R-ANODE's flow."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

from viamachinae.anomaly import PatchStars
from viamachinae.anomaly.background import freeze
from viamachinae.anomaly.domains import domains
from viamachinae.anomaly.gaussians import Mixtures, Prior, Residuals
from viamachinae.anomaly.ranode import ranode
from viamachinae.anomaly.residual import residual, search
from viamachinae.anomaly.space import SignalSpace
from viamachinae.config import Settings
from viamachinae.config.settings import ResidualSettings, RoiSettings
from viamachinae.density import Engine
from viamachinae.errors import DataError
from viamachinae.sky.windows import WHOLE_REGION, Slice

FAST = Settings.model_validate(
    {
        "density": {"hidden": 16, "components": 4, "batch_size": 256, "max_epochs": 8, "best_epochs": 3},
        "scorer": {"sideband_start": "cold", "folds": 2},
        "residual": {"folds": 4, "starts": 300, "refined": 10, "background_star_steps": 100_000},
        "r_anode": {"name": "fast-maf", "blocks": 3, "hidden": 16, "restarts": 2, "max_star_steps": 40_000},
        "roi": {"min_stars": 100, "stride": 3.0},
    }
)


class Window(Slice):
    """A signal region."""

    coordinate = "pm_lambda"


REGION = Window(-3, -3.0, 3.0)


def stars(n=9000, members=0, seed=0, errors=True):
    """A field whose background is broad, and a stream on a great circle."""
    rng = np.random.default_rng(seed)
    total = n + members
    stream = np.arange(total) >= n
    along = rng.uniform(-8, 8, total)
    table = pd.DataFrame(
        {
            "phi": np.where(stream, along, rng.uniform(-8, 8, total)),
            "lambda": np.where(
                stream, 2 + 0.4 * along + rng.normal(0, 0.2, total), rng.uniform(-8, 8, total)
            ),
            "pm_phi_coslambda": np.where(stream, rng.normal(1.5, 0.2, total), rng.normal(0, 4, total)),
            "pm_lambda": np.where(stream, rng.normal(1, 0.2, total), rng.normal(0, 4, total)),
            "bp_rp": np.where(stream, rng.normal(0.7, 0.04, total), rng.uniform(0.5, 1.0, total)),
            "phot_g_mean_mag": np.where(
                stream, rng.normal(19, 0.5, total).clip(None, 20.1), 20.2 - rng.exponential(1.0, total)
            ),
            "fiducial": True,
        }
    )
    if errors:
        noise = 0.3 * 10 ** (0.2 * (table["phot_g_mean_mag"] - 19))
        for name, motion in (("pmra", "pm_phi_coslambda"), ("pmdec", "pm_lambda")):
            table[f"{name}_error"] = noise
            table[motion] += noise * rng.normal(size=total) * stream
    return table, stream


def patch_of(table, seed=1):
    patch = PatchStars.of(table, "pm_lambda", FAST)
    return patch, patch.region(REGION, np.random.default_rng(seed), FAST.roi)


def found(scores, truth, n=60):
    """Stream stars among the best."""
    return int(truth[scores.rows[np.argsort(-scores.log_r)[:n]]].sum())


@pytest.fixture(scope="module")
def with_stream():
    table, truth = stars(members=120)
    patch, region = patch_of(table)
    (scores,) = residual(patch, [region], FAST, Engine())
    return patch, region, truth, scores


def test_a_stream_of_few_stars_is_found_in_its_slice_and_its_members_are_named(with_stream):
    _, region, truth, scores = with_stream
    best = max(scores.fits, key=lambda fit: fit.statistic)
    assert best.statistic > 20
    assert found(best, truth) > 45
    members = best.membership > 0.5
    assert truth[best.rows][members].mean() > 0.8
    assert members.sum() > 0.5 * truth[best.rows].sum()
    assert 0.3 < best.fraction / truth[best.rows].mean() < 1.5
    assert {fit.slice for fit in scores.fits} == set(region.slices)


def test_without_a_stream_the_statistic_stays_low():
    patch, region = patch_of(stars()[0])
    (scores,) = residual(patch, [region], FAST, Engine())
    assert max(fit.statistic for fit in scores.fits) < 10


def test_a_slice_without_the_stream_knows_of_none(with_stream):
    _, _, truth, scores = with_stream
    far = [fit for fit in scores.fits if truth[fit.rows].sum() == 0]
    assert far
    assert max(fit.statistic for fit in far) < 10


def test_what_was_tested_is_the_first_round(with_stream):
    patch, _, _, scores = with_stream
    once = FAST.model_copy(update={"residual": FAST.residual.model_copy(update={"rounds": 1})})
    _, region = patch_of(stars(members=120)[0])
    (first,) = residual(patch, [region], once, Engine())
    np.testing.assert_array_equal(
        [fit.statistic for fit in first.fits], [fit.statistic for fit in scores.fits]
    )
    best = int(np.argmax([fit.statistic for fit in first.fits]))
    assert not np.array_equal(first.fits[best].log_r, scores.fits[best].log_r)


def test_the_same_seed_gives_the_same_bits_alone_or_beside_others():
    table, _ = stars(n=5000, members=80)
    patch, _ = patch_of(table)

    def region(low):
        return patch.region(Window(low, float(low), low + 6.0), np.random.default_rng(low + 10), FAST.roi)

    (alone,) = residual(patch, [region(-3)], FAST, Engine())
    _, together = residual(patch, [region(-5), region(-3)], FAST, Engine())
    for one, other in zip(alone.fits, together.fits, strict=True):
        assert one.slice == other.slice
        np.testing.assert_array_equal(one.log_r, other.log_r)


def test_no_star_is_scored_by_a_fit_that_trained_on_it():
    """A clump that lies in one fold alone raises nobody's score: no other fold has seen it."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(800, 3))
    settings = ResidualSettings(folds=2, starts=100, refined=5)
    fold = np.random.default_rng(5).permutation(800) % 2
    clump = np.flatnonzero(fold == 0)[:40]
    points[clump] = rng.normal(3, 0.02, size=(40, 3))
    space = SignalSpace(points, np.zeros(800), sky=False)
    background = multivariate_normal(np.zeros(3)).logpdf(points.clip(-2, 2))
    scores = search(space, background, settings, seed=5)
    assert np.median(scores.log_r[clump]) < 0
    spread = np.arange(40)  # of both folds
    points[clump] = rng.normal(size=(40, 3))
    points[spread] = rng.normal(3, 0.02, size=(40, 3))
    again = search(SignalSpace(points, np.zeros(800), sky=False), background, settings, seed=5)
    assert np.median(again.log_r[spread]) > 1


def test_errors_of_measurement_are_taken_out_of_the_signal():
    rng = np.random.default_rng(0)
    n = 4000
    errors = np.column_stack([rng.choice([0.05, 1.0], n), np.zeros(n)])
    points = rng.normal([0, 0], [0.3, 1.0], (n, 2)) + errors * rng.normal(size=(n, 2))
    flat = np.full(n, -30.0)  # no background to speak of
    prior = Prior(np.array([0.3, 1.0]), 1.0, sky=False)

    def sigma(given):
        fit = Residuals(points, flat, prior, given, bins=2)
        start = Mixtures(
            torch.tensor([0.5]), torch.ones(1, 1), torch.zeros(1, 1, 2), torch.eye(2)[None, None]
        )
        return float(fit.fit(start, torch.ones(n), 60).covariances[0, 0, 0, 0].sqrt())

    assert sigma(errors) == pytest.approx(0.3, abs=0.03)
    assert sigma(None) > 0.6


def test_each_step_of_em_raises_the_likelihood():
    rng = np.random.default_rng(0)
    points = np.vstack([rng.normal(size=(500, 3)), rng.normal([1, 1, 0], 0.1, (40, 3))])
    background = multivariate_normal(np.zeros(3)).logpdf(points)
    fit = Residuals(points, background, Prior(np.full(3, 0.3), 0.0, sky=False))
    eye = 0.2 * torch.eye(3).expand(2, 2, 3, 3)
    models = Mixtures(
        torch.full((2,), 0.05),
        torch.full((2, 2), 0.5),
        torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0)),
        eye,
    )
    mask = torch.ones(len(points))
    gains = []
    for _ in range(12):
        gains.append(fit.total(models, mask[None])[:, 0])
        models = fit.fit(models, mask, 1)
    assert (torch.stack(gains).diff(dim=0) > -0.05).all()


def test_the_expected_ellipse_lies_along_what_was_found():
    prior = Prior(np.array([3.0, 0.3, 0.5]), 5.0, sky=True)
    along = np.array([np.cos(0.7), np.sin(0.7), 0.0])
    cov = torch.tensor(4 * np.outer(along, along) + 0.1 * np.eye(3), dtype=torch.float32)
    values, vectors = torch.linalg.eigh(prior.scatter(cov[None, None])[0, 0])
    np.testing.assert_allclose(values.sqrt(), [0.3, 0.5, 3.0], rtol=1e-3)
    assert abs(float(vectors[:, 2] @ torch.tensor(along, dtype=torch.float32))) > 0.999
    expected = prior.scatter(cov[None, None])
    assert float(prior.log_density(expected)[0]) == pytest.approx(0, abs=1e-3)
    assert float(prior.log_density(3 * expected)[0]) < -1


def test_a_chain_starts_along_the_stream():
    covariance = torch.diag(torch.tensor([4.0, 0.1, 9.0]))
    one = Mixtures(torch.tensor([0.1]), torch.ones(1, 1), torch.zeros(1, 1, 3), covariance[None, None])
    np.testing.assert_allclose(one.split(3, sky=True).means[0, :, 0], [-2, 0, 2], atol=1e-5)
    np.testing.assert_allclose(one.split(2, sky=False).means[0, :, 2].abs(), [3, 3], atol=1e-5)
    assert one.numbers() == 1 + 3 + 6


@pytest.mark.parametrize("kind", ["region", "crossed", "sideband", "corrected"])
def test_every_background_is_a_density_of_the_region(kind):
    table, _ = stars(n=6000)
    patch, region = patch_of(table)
    (background,) = freeze(patch, [region], FAST, Engine(), kind)
    log_p = background.log_prob(patch, region.inside, Engine())
    assert np.isfinite(log_p).all()
    # Uniform over the cap, normal in the orthogonal motion: the mean density is near the truth's.
    truth = -np.log(16 * 16) - np.log(4 * np.sqrt(2 * np.pi * np.e)) - np.log(0.5) - 1 - np.log(6)
    assert log_p.mean() == pytest.approx(truth, abs=0.5)


def test_a_crossed_background_has_not_seen_the_stars_that_it_judges():
    table, _ = stars(n=4000)
    patch, region = patch_of(table)
    (background,) = freeze(patch, [region], FAST, Engine(), "crossed")
    assert set(background.part[region.inside]) == {0, 1}
    assert len(background.densities) == 2


def test_the_space_of_a_signal_conserves_density():
    table, _ = stars(n=2000)
    space = SignalSpace.of_stars(table, "pm_lambda", "pm_phi_coslambda")
    shifted = table.assign(phi=table["phi"] + 1e-4)
    raised = table.assign(**{"lambda": table["lambda"] + 1e-4})
    by_phi = (SignalSpace.of_stars(shifted, "pm_lambda", "pm_phi_coslambda").points - space.points)[:, :2]
    by_lam = (SignalSpace.of_stars(raised, "pm_lambda", "pm_phi_coslambda").points - space.points)[:, :2]
    area = np.abs(by_phi[:, 0] * by_lam[:, 1] - by_phi[:, 1] * by_lam[:, 0]) / 1e-8
    np.testing.assert_allclose(-space.log_volume, np.log(area), atol=2e-3)
    np.testing.assert_allclose(space.errors[:, 2], table["pmra_error"])


def test_a_missing_error_counts_as_none():
    table, _ = stars(n=100)
    table.loc[3, "pmra_error"], table.loc[4, "pmra_error"] = np.nan, np.inf
    assert not SignalSpace.of_stars(table, "pm_lambda", "pm_phi_coslambda").errors[3:5].any()
    bare, _ = stars(n=100, errors=False)
    assert SignalSpace.of_stars(bare, "pm_lambda", "pm_phi_coslambda").errors is None


def test_domains_of_a_region():
    table, _ = stars(n=3000)
    table["fiducial"] = np.arange(len(table)) % 2 == 0
    _, region = patch_of(table)
    assert set(domains(region, "slice")) == set(region.slices)
    assert len(domains(region, "region")[WHOLE_REGION]) == len(region.inside)
    np.testing.assert_array_equal(domains(region, "fiducial")[WHOLE_REGION], region.scored)


def test_slices_may_have_the_index_minus_one():
    table, _ = stars(n=3000)
    patch = PatchStars.of(table, "pm_lambda", FAST)
    region = patch.region(REGION, np.random.default_rng(0), RoiSettings(min_stars=100))
    assert -1 in region.slices
    values = patch.orthogonal[region.slices[-1]]
    assert values.min() >= -1
    assert values.max() < 5


@pytest.mark.parametrize("domain", ["region", "slice"])
def test_ranode_finds_a_stream_too(domain):
    table, truth = stars(n=6000, members=400)
    patch, region = patch_of(table)
    chosen = FAST.r_anode.model_copy(update={"domain": domain, "background": "region"})
    (scores,) = ranode(patch, [region], FAST.model_copy(update={"r_anode": chosen}), Engine())
    best = max(scores.fits, key=lambda fit: fit.statistic)
    assert found(best, truth) > 40
    assert best.statistic > 0
    assert ((best.membership >= 0) & (best.membership <= 1)).all()
    assert len(scores.fits) == (1 if domain == "region" else len(region.slices))
    assert set(scores.models) == {"background-0"}


def test_a_trunk_that_is_missing_is_named():
    table, _ = stars(n=1000)
    patch, region = patch_of(table)
    settings = FAST.model_copy(update={"scorer": FAST.scorer.model_copy(update={"sideband_start": "trunk"})})
    with pytest.raises(DataError, match="trunk"):
        residual(patch, [region], settings, Engine())
