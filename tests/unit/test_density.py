from dataclasses import replace

import numpy as np
import pytest
import torch
from density_samples import SMALL, fit, sample

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, ConditionalDensity, Preprocessor, fit_density
from viamachinae.density.family import DensityFamily
from viamachinae.density.schedule import Schedule
from viamachinae.errors import DataError, TaskError


def changed_header(path, old, new):
    with np.load(path) as file:
        arrays = dict(file)
    assert old in str(arrays["header"])
    np.savez(path, **arrays | {"header": np.array(str(arrays["header"]).replace(old, new))})


def test_density_is_the_mean_of_its_best_rounds():
    density = fit()
    assert len(density.values) == SMALL.best_epochs < len(density.held_out)
    x, m = sample(50, seed=5)
    single = [np.exp(replace(density, values=row[None]).log_prob(x, m)) for row in density.values]
    assert not np.allclose(single[0], single[1])
    np.testing.assert_allclose(np.exp(density.log_prob(x, m)), np.mean(single, axis=0), rtol=1e-5)


def test_training_stops_early_when_held_out_stars_stop_gaining():
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(300, 2)), rng.normal(size=300))
    settings = DensitySettings(
        name="mixture", hidden=64, batch_size=64, max_epochs=200, rounds=100, patience=3, max_star_steps=10**9
    )
    density = fit(("linear", "linear"), settings, data=data)
    assert len(density.held_out) < 50
    assert len(density.held_out) - 1 - density.held_out.argmax() == settings.patience


@pytest.mark.parametrize("n", [3, 63, 64, 200, 5000, 10**6])
@pytest.mark.parametrize("batch_size", [2, 100, 1024])
@pytest.mark.parametrize("most", [10**4, 10**9])
def test_star_presentations_bound_the_steps(n, batch_size, most):
    settings = DensitySettings(batch_size=batch_size, max_epochs=7, max_star_steps=most)
    schedule = Schedule.of(n, settings)
    kept = n - schedule.held_out
    assert 0 < schedule.batch <= min(kept, batch_size)
    assert schedule.batch < 64 or schedule.batch % 64 == 0
    assert schedule.presentations == pytest.approx(min(7 * kept, most), abs=schedule.batch)


@pytest.mark.parametrize("rounds", [1, 4, 1000])
def test_a_training_is_judged_as_often_as_asked_and_no_more_than_once_a_step(rounds):
    settings = SMALL.model_copy(update={"rounds": rounds, "patience": 1000})
    assert len(fit(settings=settings).held_out) == min(rounds, Schedule.of(4000, settings).steps)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda _: b"not a checkpoint"])
def test_damaged_checkpoint_is_refused_with_its_name(tmp_path, damage):
    path = tmp_path / "model.npz"
    fit().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"model\.npz: not a readable checkpoint"):
        ConditionalDensity.load(path)


def test_missing_checkpoint_is_refused_with_its_name(tmp_path):
    with pytest.raises(DataError, match=r"model\.npz: not a readable checkpoint"):
        ConditionalDensity.load(tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"blocks"', '"layers"', "layers"),
        ('"format": 2', '"format": 1', "it has format 1, and this version reads 2"),
        ('"name": "mixture"', '"name": "unheard-of"', "unheard-of"),
    ],
)
def test_checkpoint_of_other_settings_or_format_is_refused(tmp_path, old, new, said):
    path = tmp_path / "model.npz"
    fit().save(path)
    changed_header(path, old, new)
    with pytest.raises(DataError, match=rf"(?s)model\.npz: not a readable checkpoint.*{said}"):
        ConditionalDensity.load(path)


def test_pickled_objects_in_a_checkpoint_are_refused(tmp_path):
    path = tmp_path / "model.npz"
    fit().save(path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"held_out": np.array([object], dtype=object)})
    with pytest.raises(DataError, match=r"model\.npz: not a readable checkpoint"):
        ConditionalDensity.load(path)


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_stars_are_refused(n):
    x, m = sample(n)
    settings = SMALL.model_copy(update={"validation_fraction": 0.6})
    with pytest.raises(DataError, match=rf"{n} stars are too few to train on.*raise regions\.min_stars"):
        fit_density(x, m, Preprocessor.fit(x, ("linear", "linear")), settings, 0)


def test_divergence_is_an_error_that_names_the_setting(monkeypatch):
    class Broken(DensityFamily):
        def initial(self, seed):
            return torch.zeros(self.size)

        def log_probs(self, values, x, m, *, training=False):
            return values.sum(1, keepdim=True) + torch.full_like(x[..., 0], torch.nan)

    monkeypatch.setitem(FAMILIES, SMALL.name, lambda d, _settings: Broken(d, 64))
    with pytest.raises(TaskError, match=r"diverged; lower density\.learning_rate"):
        fit()
