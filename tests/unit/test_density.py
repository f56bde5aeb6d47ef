from dataclasses import replace

import numpy as np
import pytest
import torch

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, ConditionalDensity, Preprocessor
from viamachinae.density.base import DensityModule
from viamachinae.errors import DataError, TaskError

SMALL = DensitySettings(blocks=3, hidden=16, batch_size=256, max_epochs=6, best_epochs=3)


def sample(n=4000, seed=0):
    """Features that depend on the condition, as proper motion, sky and magnitude do."""
    rng = np.random.default_rng(seed)
    m = rng.normal(0, 5, n)
    return np.column_stack([rng.normal(0.5 * m, 3), 19 - rng.gamma(2, 0.7, n)]), m


def fit(kinds=("asinh", "magnitude"), settings=SMALL, seed=0, data=None):
    x, m = data or sample()
    ranges = Preprocessor.fit(x, kinds)
    return ConditionalDensity.fit(x, m, ranges, settings, np.random.default_rng(seed))


def cells(kind, x):
    """Edges of a grid that holds the density of one feature, fine where it is steep."""
    if kind == "magnitude":
        span = np.ptp(x) + 6
        return x.max() + 1e-2 - np.geomspace(span, 1e-3, 901)
    margin = 0 if kind == "logit" else 8
    return np.linspace(x.min() - margin, x.max() + margin, 701)


@pytest.mark.parametrize("kinds", [("asinh", "magnitude"), ("logit", "logit"), ("linear", "linear")])
def test_density_integrates_to_one_in_the_units_of_the_features(kinds):
    data = sample()
    density = fit(kinds, data=data)
    edges = [cells(kind, x) for kind, x in zip(kinds, data[0].T, strict=True)]
    middle = [(e[1:] + e[:-1]) / 2 for e in edges]
    grid = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    area = np.outer(np.diff(edges[0]), np.diff(edges[1])).ravel()
    for condition in (-6.0, 0.0, 4.0):
        p = np.exp(density.log_prob(grid, np.full(len(grid), condition)))
        assert (p * area).sum() == pytest.approx(1, abs=0.02)


def test_density_over_the_cap_integrates_to_one():
    rng = np.random.default_rng(4)
    radius = 15.0
    grid = np.stack(np.meshgrid(*[np.linspace(-16, 16, 801)] * 2), -1).reshape(-1, 2)
    lon, lat = np.radians(grid).T
    inside = np.cos(lat) * np.cos(lon) > np.cos(np.radians(radius))
    stars = grid[inside][rng.integers(inside.sum(), size=4000)]
    m = rng.normal(size=4000)
    ranges = Preprocessor.fit(stars, ("disc", "disc"), radius)
    density = ConditionalDensity.fit(stars, m, ranges, SMALL, rng)
    p = np.exp(density.log_prob(grid[inside], np.zeros(inside.sum())))
    assert p.sum() * (32 / 800) ** 2 == pytest.approx(1, abs=0.02)


def test_training_comes_close_to_the_true_density():
    data = sample(20_000)
    density = fit(("linear", "magnitude"), SMALL.model_copy(update={"max_epochs": 15}), data=data)
    x, m = sample(5000, seed=9)
    kept = x[:, 1] < data[0][:, 1].max()
    x, m = x[kept], m[kept]
    gap = 19 - x[:, 1]
    first = -0.5 * ((x[:, 0] - 0.5 * m) / 3) ** 2 - np.log(3 * np.sqrt(2 * np.pi))
    second = np.log(gap) - gap / 0.7 - 2 * np.log(0.7)
    loss = (first + second - density.log_prob(x, m)).mean()
    assert -0.02 < loss < 0.06


def test_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = fit(seed=1), fit(seed=1), fit(seed=2)
    assert torch.equal(before, torch.get_rng_state())
    x, m = sample(50, seed=5)
    np.testing.assert_array_equal(first.log_prob(x, m), second.log_prob(x, m))
    assert not np.array_equal(first.log_prob(x, m), other.log_prob(x, m))


def test_density_is_the_mean_of_its_best_epochs():
    density = fit()
    assert len(density.states) == SMALL.best_epochs
    x, m = sample(50, seed=5)
    single = [np.exp(replace(density, states=(state,)).log_prob(x, m)) for state in density.states]
    np.testing.assert_allclose(np.exp(density.log_prob(x, m)), np.mean(single, axis=0), rtol=1e-5)


def test_training_stops_early_when_held_out_stars_stop_gaining():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(300, 2)), rng.normal(size=300))
    settings = DensitySettings(
        blocks=3, hidden=64, batch_size=32, max_epochs=200, patience=3, max_star_steps=10**9
    )
    density = fit(("linear", "linear"), settings, data=data)
    assert len(density.held_out) < 100
    assert len(density.held_out) - 1 - density.held_out.argmax() == settings.patience


def test_star_presentations_bound_the_epochs_of_a_large_sample():
    assert len(fit(settings=SMALL.model_copy(update={"max_star_steps": 7000})).held_out) == 2


def test_checkpoint_gives_the_same_bits_and_holds_no_code(tmp_path):
    density = fit()
    path = tmp_path / "model.npz"
    density.save(path)
    x, m = sample(50, seed=5)
    np.testing.assert_array_equal(ConditionalDensity.load(path).log_prob(x, m), density.log_prob(x, m))
    with np.load(path, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda _: b"not a checkpoint"])
def test_damaged_checkpoint_is_refused_with_its_name(tmp_path, damage):
    path = tmp_path / "model.npz"
    fit().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"model\.npz"):
        ConditionalDensity.load(path)


def test_checkpoint_of_unknown_settings_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    fit().save(path)
    with np.load(path) as file:
        arrays = {**file, "header": np.array(str(file["header"]).replace('"blocks"', '"layers"'))}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=r"(?s)model\.npz: not a readable checkpoint.*layers"):
        ConditionalDensity.load(path)


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_stars_are_refused(n):
    x, m = sample(n)
    with pytest.raises(DataError, match="too few to train on"):
        fit().refit(x, m, SMALL, np.random.default_rng(0))


def test_refit_starts_where_the_first_density_ended():
    density = fit()
    x, m = sample(2000, seed=3)
    gentle = SMALL.model_copy(update={"learning_rate": 1e-7, "max_epochs": 1, "best_epochs": 1})
    again = density.refit(x, m, gentle, np.random.default_rng(0))
    best = replace(density, states=density.states[:1])
    np.testing.assert_allclose(again.log_prob(x, m), best.log_prob(x, m), atol=5e-3)
    with pytest.raises(DataError, match="cannot start"):
        density.refit(x, m, SMALL.model_copy(update={"hidden": 8}), np.random.default_rng(0))


def test_divergence_is_an_error_that_names_the_setting(monkeypatch):
    def broken(_d, _s):
        class Broken(DensityModule):
            def log_prob(self, x, m):
                return x[:, 0] * float("nan")

        model = Broken()
        model.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
        return model

    monkeypatch.setitem(FAMILIES, "maf", broken)
    with pytest.raises(TaskError, match=r"density\.learning_rate"):
        fit()
