"""Invariants that every density family keeps, each tested once for all of them."""

from contextlib import nullcontext
from itertools import permutations

import numpy as np
import pytest
import torch
from density_samples import ARCHITECTURES, SMALL, cells, fit, same_bits, sample
from torch.autograd.functional import jacobian

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, ConditionalDensity, Preprocessor, fit_density, made
from viamachinae.density.fastmaf import FastMaskedAutoregressiveFlow
from viamachinae.errors import DataError

families = pytest.mark.parametrize("name", FAMILIES)
architectures = pytest.mark.parametrize("name", ARCHITECTURES)


def of(name, **changes):
    return SMALL.model_copy(update=ARCHITECTURES[name] | changes)


def build(name, features=4, **changes):
    settings = of(name, **changes)
    return FAMILIES[settings.name](features, settings)


def is_flow(name):
    return hasattr(build(name), "noise") or hasattr(build(name), "flow")


#: What makes noise of the stars, and what has a row of ranks a block.
FLOWS = [name for name in ARCHITECTURES if is_flow(name)]
ORDERED = [name for name in FAMILIES if build(name).constants.get("rank", torch.ones(0)).ndim == 2]


def free(family):
    """Return which numbers of a model a training may change and its density depends on, shape (P,)."""
    if "free" in family.constants:
        return family.constants["free"].bool()
    named = dict(family.flow.named_modules())
    masks = [
        getattr(named[name.rpartition(".")[0]], "mask", torch.ones(())) if value.ndim > 1 else torch.ones(())
        for name, value in family.flow.named_parameters()
    ]
    parameters = zip(masks, family.flow.parameters(), strict=True)
    row = torch.cat([mask.expand_as(value).reshape(-1) for mask, value in parameters])
    return torch.cat([row, torch.zeros(family.size - len(row))]).bool()


def points(*shape, features=4, dtype=torch.double):
    generator = torch.Generator().manual_seed(7)
    return tuple(torch.randn(*shape, d, dtype=dtype, generator=generator) for d in (features, 1))


def models(family, n=1, dtype=torch.double):
    """Rows of models far from where a training starts, so that every part of them matters."""
    rows = torch.stack([family.initial(k) for k in range(n)]).to(dtype)
    rows += (
        0.3 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1), dtype=dtype) * free(family)
    )
    family.log_probs(rows, *points(n, 100, features=family.features, dtype=dtype), training=True)
    family.settle(rows)
    return rows


def noise_of(family, row):
    """What a flow makes of one star, as a function of its features and condition."""
    if hasattr(family, "noise"):
        return lambda x, m: family.noise(row[None], x[None, None], m[None, None])[0, 0]
    module = family.flow.double().eval()
    running = [value for name, value in module.named_buffers() if "running" in name]
    for value, part in zip(
        (*module.parameters(), *running),
        row.split([v.numel() for v in (*module.parameters(), *running)]),
        strict=True,
    ):
        value.data.copy_(part.view(value.shape))
    return lambda x, m: module.flow.transform_to_noise(x[None], context=m[None])[0]


@families
@pytest.mark.parametrize("kinds", [("asinh", "magnitude"), ("logit", "logit"), ("linear", "linear")])
def test_density_integrates_to_one_in_the_units_of_the_features(name, kinds):
    data = sample()
    density = fit(kinds, of(name), data=data)
    edges = [cells(kind, x) for kind, x in zip(kinds, data[0].T, strict=True)]
    middle = [(e[1:] + e[:-1]) / 2 for e in edges]
    grid = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    area = np.outer(np.diff(edges[0]), np.diff(edges[1])).ravel()
    for condition in (-6.0, 4.0):
        p = np.exp(density.log_prob(grid, np.full(len(grid), condition)))
        assert (p * area).sum() == pytest.approx(1, abs=0.02)


@families
def test_density_over_the_cap_integrates_to_one(name):
    rng = np.random.default_rng(4)
    radius = 15.0
    grid = np.stack(np.meshgrid(*[np.linspace(-16, 16, 601)] * 2), -1).reshape(-1, 2)
    lon, lat = np.radians(grid).T
    inside = np.cos(lat) * np.cos(lon) > np.cos(np.radians(radius))
    stars = grid[inside][rng.integers(inside.sum(), size=4000)]
    ranges = Preprocessor.fit(stars, ("disc", "disc"), radius)
    density = fit_density(stars, rng.normal(size=4000), ranges, of(name), seed=4)
    p = np.exp(density.log_prob(grid[inside], np.zeros(inside.sum())))
    assert p.sum() * (32 / 600) ** 2 == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", FLOWS)
def test_jacobian_of_a_flow_is_that_of_autograd(name):
    family = build(name)
    rows, (x, m) = models(family), points(3)
    log_p = family.log_probs(rows, x[None], m[None])[0]
    noise = noise_of(family, rows[0])
    for i in range(3):
        normal = -0.5 * (noise(x[i], m[i]) ** 2).sum() - 2 * np.log(2 * np.pi)
        slope = torch.linalg.slogdet(jacobian(lambda star, i=i: noise(star, m[i]), x[i]))[1]
        assert torch.allclose(log_p[i], normal + slope, atol=1e-10)


@pytest.mark.parametrize("feature", range(4))
def test_each_conditional_of_the_mixture_integrates_to_one_and_they_add_up(feature):
    family = build("mixture")
    values, (x, m), grid = models(family), points(1, 1), torch.linspace(-100, 100, 40_001, dtype=torch.double)
    stars = x.repeat(1, len(grid), 1)
    stars[..., feature] = grid
    conditional = family.log_conditionals(values, stars, m.repeat(1, len(grid), 1))[0, feature]
    assert torch.trapezoid(conditional.exp(), grid).item() == pytest.approx(1, abs=1e-6)
    parts = family.log_conditionals(values, x, m)
    assert torch.allclose(family.log_probs(values, x, m), parts.sum())


@pytest.mark.parametrize("rank", list(permutations((1, 2, 3))))
def test_masks_let_a_feature_see_the_condition_and_every_feature_before_it(rank):
    masks = made.masks(torch.tensor(rank), hidden=6, layers=2, outputs=2)
    seen = torch.linalg.multi_dot(masks[::-1]).reshape(2, 3, 4) > 0
    expected = torch.tensor([[b < a for b in (*rank, 0)] for a in rank])
    assert torch.equal(seen, expected.expand(2, -1, -1))


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("block", range(3))
def test_blocks_of_a_flow_see_only_earlier_features(name, block, monkeypatch):
    rank = build(name, blocks=3).constants["rank"][block]
    monkeypatch.setattr(made, "rank", lambda _features, _block: rank)
    family = build(name, blocks=1)
    noise, (x, m) = noise_of(family, models(family)[0]), points(20)
    together = torch.zeros(4, 4, dtype=torch.double)
    for star, condition in zip(x, m, strict=True):
        together += jacobian(lambda x, c=condition: noise(x, c), star).abs()
    order = torch.argsort(rank)
    ordered = together[order][:, order]
    assert torch.equal(ordered, ordered.tril())
    assert (ordered[torch.tril_indices(4, 4).unbind()] > 0).all()


def test_blocks_of_the_published_flow_see_only_earlier_features():
    family = build("maf", blocks=1)
    (x, m), noise = points(1), noise_of(family, models(family)[0])
    slopes = jacobian(lambda star: noise(star, m[0]), x[0])
    assert torch.equal(slopes, slopes.tril())


def test_conditionals_of_the_mixture_see_only_earlier_features():
    family = build("mixture")
    values, (x, m) = models(family), points(1, 1)
    before = family.log_conditionals(values, x, m)[0, :, 0]
    for feature in range(4):
        moved = x.clone()
        moved[..., feature] += 0.5
        after = family.log_conditionals(values, moved, m)[0, :, 0]
        assert torch.equal(after[:feature], before[:feature])
        assert (after[feature:] != before[feature:]).all()


@architectures
def test_every_feature_depends_on_the_condition(name):
    family = build(name, features=1)
    values, (x, m) = models(family), points(1, 1, features=1)
    assert family.log_probs(values, x, m) != family.log_probs(values, x, m + 1)


@architectures
def test_orderings_and_masks_hang_on_no_random_state(name):
    constants = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            constants.append(build(name).constants)
    assert constants[0].keys() == constants[1].keys()
    assert all(torch.equal(value, constants[1][key]) for key, value in constants[0].items())


@architectures
def test_gradients_are_finite_and_reach_every_free_number(name):
    """Of several models, since a single one has units that no star switches on."""
    family = build(name)
    values, (x, m) = models(family, 24).requires_grad_(), points(24, 200)
    (gradient,) = torch.autograd.grad(family.log_probs(values, x, m, training=True).mean(), values)
    assert torch.isfinite(gradient).all()
    assert torch.equal((gradient != 0).any(0), free(family))


@pytest.mark.parametrize("name", [*FAMILIES, "one layer"])
def test_derivatives_are_those_of_the_density(name):
    if name == "one layer":
        family = FastMaskedAutoregressiveFlow(3, 2, 6, layers=1)
    else:
        family = build(name, 3, hidden=4, blocks=2, components=2, bins=3)
    rows, stars = models(family, 2), points(2, 3, features=3)
    chosen = free(family).expand_as(rows)

    def log_probs(numbers, *stars):
        return family.log_probs(rows.masked_scatter(chosen, numbers), *stars)

    inputs = [tensor.requires_grad_() for tensor in (rows[chosen], *stars)]
    assert torch.autograd.gradcheck(log_probs, inputs)
    with torch.no_grad():
        undifferentiated = log_probs(*inputs)
    torch.testing.assert_close(log_probs(*inputs).detach(), undifferentiated)


@pytest.mark.parametrize(
    ("name", "far"),
    # Nothing bounds the steps of the published flow.
    [(name, far) for name in FAMILIES for far in (1e2, 1e4) if name != "maf" or far < 1e4],
)
def test_stars_far_out_have_finite_densities_and_gradients(name, far):
    family = build(name)
    values, (x, m) = models(family, dtype=torch.float32).requires_grad_(), points(1, 50, dtype=torch.float32)
    log_p = family.log_probs(values, far * x, far * m)
    (gradient,) = torch.autograd.grad(log_p.mean(), values)
    assert torch.isfinite(log_p).all()
    assert torch.isfinite(gradient).all()


@architectures
@pytest.mark.parametrize("stars", [50, 128])
def test_models_together_are_the_models_one_by_one(name, stars):
    family = build(name)
    values, (x, m) = models(family, 3, torch.float32), points(3, stars, dtype=torch.float32)

    def results(chosen):
        rows = values[chosen].clone().requires_grad_()
        log_p = family.log_probs(rows, x[chosen], m[chosen], training=True)
        (gradient,) = torch.autograd.grad(log_p.mean(1).sum(), rows)
        settled = rows.detach().clone()
        family.settle(settled)
        return log_p.detach(), gradient, settled

    together = results(slice(None))
    for k in range(3):
        for all_models, single in zip(together, results(slice(k, k + 1)), strict=True):
            torch.testing.assert_close(all_models[k : k + 1], single, atol=1e-5, rtol=1e-5)
            assert stars % 64 or torch.equal(all_models[k : k + 1], single)


@architectures
def test_no_model_sees_the_stars_or_the_numbers_of_another(name):
    family = build(name)
    values, (x, m) = models(family, 3), points(3, 64)
    before = family.log_probs(values, x, m)
    for array in (values, x, m):
        array[1] = torch.nan
    after = family.log_probs(values, x, m)
    assert torch.equal(after[::2], before[::2])
    assert after[1].isnan().all()


@families
def test_training_comes_close_to_the_true_density(name):
    data = sample(10_000)
    density = fit(("linear", "magnitude"), of(name, max_epochs=12), data=data)
    assert density.held_out.max() > density.held_out[0]
    x, m = sample(5000, seed=9)
    kept = x[:, 1] < data[0][:, 1].max()
    x, m = x[kept], m[kept]
    gap = 19 - x[:, 1]
    first = -0.5 * ((x[:, 0] - 0.5 * m) / 3) ** 2 - np.log(3 * np.sqrt(2 * np.pi))
    second = np.log(gap) - gap / 0.7 - 2 * np.log(0.7)
    loss = (first + second - density.log_prob(x, m)).mean()
    assert -0.02 < loss < 0.06


@architectures
def test_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone(name):
    before = torch.get_rng_state()
    first, second, other = (fit(settings=of(name, max_epochs=2), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert same_bits(first, second)
    assert not torch.equal(first.values, other.values)


@architectures
def test_checkpoint_gives_the_same_bits_and_holds_no_code(name, tmp_path):
    density = fit(settings=of(name, max_epochs=2))
    path = tmp_path / "model.npz"
    density.save(path)
    loaded = ConditionalDensity.load(path)
    x, m = sample(50, seed=5)
    assert same_bits(loaded, density)
    assert loaded.settings == density.settings
    np.testing.assert_array_equal(loaded.log_prob(x, m), density.log_prob(x, m))
    with np.load(path, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)


@architectures
def test_checkpoint_with_other_masks_or_orderings_is_refused(name, tmp_path):
    path = tmp_path / "model.npz"
    fit(settings=of(name, max_epochs=1)).save(path)
    with np.load(path) as file:
        arrays = dict(file)
    constants = [key for key in arrays if key.startswith("constant/")]
    assert constants
    for key in constants:
        np.savez(path, **arrays | {key: arrays[key] + 1})
        with pytest.raises(
            DataError, match=rf"model\.npz: .*{key.removeprefix('constant/')!r} is not that of"
        ):
            ConditionalDensity.load(path)
        np.savez(path, **{other: value for other, value in arrays.items() if other != key})
        with pytest.raises(DataError, match=r"model\.npz: not a readable checkpoint"):
            ConditionalDensity.load(path)


@families
def test_batch_norm_is_refused_where_there_is_none(name):
    with nullcontext() if name == "maf" else pytest.raises(ValueError, match=f'"{name}" has no batch'):
        DensitySettings(name=name, batch_norm=True)
