from dataclasses import replace

import numpy as np
import pytest
import torch
from density_samples import SMALL, fit, sample

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, ConditionalDensity
from viamachinae.density.base import DensityModule
from viamachinae.errors import DataError, TaskError


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


@pytest.mark.parametrize("change", [{"hidden": 8}, {"name": "maf"}, {"components": 2}])
def test_refit_to_another_architecture_is_refused(change):
    short = SMALL.model_copy(update={"name": "mixture", "max_epochs": 1})
    density = fit(settings=short)
    (named,) = change.items()
    with pytest.raises(DataError, match="{} = .?{}".format(*named)):
        density.refit(*sample(), short.model_copy(update=change), np.random.default_rng(0))


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
