"""Invariants that every density family keeps, each tested once for all of them."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from density_samples import SMALL, cells, fit, sample

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, ConditionalDensity, Preprocessor
from viamachinae.density.fastmaf import FastMaskedAutoregressiveFlow
from viamachinae.density.mixture import AutoregressiveMixture
from viamachinae.errors import DataError

#: Families that hold several models, by what builds K of them over 4 features.
STACKED = {
    "fast-maf": lambda models: FastMaskedAutoregressiveFlow(4, 3, 12, models=models),
    "fast-maf, one layer": lambda models: FastMaskedAutoregressiveFlow(4, 3, 16, layers=1, models=models),
    "mixture": lambda models: AutoregressiveMixture(4, 16, 3, models=models),
}

families = pytest.mark.parametrize("family", FAMILIES)
stacks = pytest.mark.parametrize("stack", STACKED)


def of(family, **changes):
    return SMALL.model_copy(update={"name": family, **changes})


def build(family, features=4, seed=0, **changes):
    """A model whose weights are far from where training starts, so that every part of it matters."""
    torch.manual_seed(seed)
    return shaken(FAMILIES[family](features, of(family, **changes)), seed).double().eval()


def shaken(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def points(*shape, dtype=torch.double):
    torch.manual_seed(7)
    return torch.randn(*shape, 4, dtype=dtype), torch.randn(*shape, 1, dtype=dtype)


def noise_of(model):
    """What a flow makes of one star, as a function of its features and condition."""
    if hasattr(model, "flow"):
        return lambda x, m: model.flow.transform_to_noise(x[None], context=m[None])[0]
    return lambda x, m: model.noise(x[None, None], m[None, None])[0, 0]


def one_block(model, block):
    """The block of a fast flow as a flow of its own."""
    alone = FastMaskedAutoregressiveFlow(4, 1, SMALL.hidden).double()
    state = {name: value[:, block, None] for name, value in model.named_parameters()}
    alone.load_state_dict(state | {name: value[block, None] for name, value in model.named_buffers()})
    return alone


@families
@pytest.mark.parametrize("kinds", [("asinh", "magnitude"), ("logit", "logit"), ("linear", "linear")])
def test_density_integrates_to_one_in_the_units_of_the_features(family, kinds):
    data = sample()
    density = fit(kinds, of(family), data=data)
    edges = [cells(kind, x) for kind, x in zip(kinds, data[0].T, strict=True)]
    middle = [(e[1:] + e[:-1]) / 2 for e in edges]
    grid = np.stack(np.meshgrid(*middle, indexing="ij"), -1).reshape(-1, 2)
    area = np.outer(np.diff(edges[0]), np.diff(edges[1])).ravel()
    for condition in (-6.0, 4.0):
        p = np.exp(density.log_prob(grid, np.full(len(grid), condition)))
        assert (p * area).sum() == pytest.approx(1, abs=0.02)


@families
def test_density_over_the_cap_integrates_to_one(family):
    rng = np.random.default_rng(4)
    radius = 15.0
    grid = np.stack(np.meshgrid(*[np.linspace(-16, 16, 601)] * 2), -1).reshape(-1, 2)
    lon, lat = np.radians(grid).T
    inside = np.cos(lat) * np.cos(lon) > np.cos(np.radians(radius))
    stars = grid[inside][rng.integers(inside.sum(), size=4000)]
    m = rng.normal(size=4000)
    ranges = Preprocessor.fit(stars, ("disc", "disc"), radius)
    density = ConditionalDensity.fit(stars, m, ranges, of(family), rng)
    p = np.exp(density.log_prob(grid[inside], np.zeros(inside.sum())))
    assert p.sum() * (32 / 600) ** 2 == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("family", "batch_norm"), [("maf", False), ("maf", True), ("fast-maf", False)])
def test_jacobian_of_a_flow_is_that_of_autograd(family, batch_norm):
    model = build(family, batch_norm=batch_norm)
    x, m = points(3)
    log_p = model.log_prob(x, m)
    noise = noise_of(model)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda row, i=i: noise(row, m[i]), x[i])
        normal = -0.5 * (noise(x[i], m[i]) ** 2).sum() - 2 * np.log(2 * np.pi)
        assert torch.allclose(log_p[i], normal + torch.linalg.slogdet(jacobian)[1], atol=1e-10)


@pytest.mark.parametrize("feature", range(4))
def test_each_conditional_of_the_mixture_integrates_to_one_and_they_add_up(feature):
    model = build("mixture")
    (x, m), grid = points(1), torch.linspace(-400, 400, 400_001, dtype=torch.double)
    rows = x.repeat(len(grid), 1)
    rows[:, feature] = grid
    with torch.no_grad():
        conditional = model.log_conditionals(rows[None], m.repeat(len(grid), 1)[None])[0, feature]
        parts = model.log_conditionals(x[None], m[None])[0, :, 0]
    assert torch.trapezoid(conditional.exp(), grid).item() == pytest.approx(1, abs=1e-6)
    assert torch.allclose(model.log_prob(x, m), parts.sum())


@pytest.mark.parametrize("block", range(3))
def test_blocks_of_a_fast_flow_see_only_earlier_features(block):
    model = build("fast-maf")
    (x, m), noise = points(20), noise_of(one_block(model, block))
    order = torch.argsort(model.rank[block])
    jacobian = torch.zeros(4, 4, dtype=torch.double)
    for row, condition in zip(x, m, strict=True):
        jacobian += torch.autograd.functional.jacobian(lambda x, c=condition: noise(x, c), row).abs()
    ordered = jacobian[order][:, order]
    assert torch.equal(ordered, ordered.tril())
    assert (ordered[torch.tril_indices(4, 4).unbind()] > 0).all()


def test_blocks_of_the_published_flow_see_only_earlier_features():
    (x, m), noise = points(1), noise_of(build("maf", blocks=1))
    jacobian = torch.autograd.functional.jacobian(lambda row: noise(row, m[0]), x[0])
    assert torch.equal(jacobian, jacobian.tril())


def test_conditionals_of_the_mixture_see_only_earlier_features():
    model = build("mixture")
    x, m = points(1)
    before = model.log_conditionals(x[None], m[None])[0, :, 0]
    for feature in range(4):
        moved = x.clone()
        moved[0, feature] += 0.5
        after = model.log_conditionals(moved[None], m[None])[0, :, 0]
        assert torch.equal(after[:feature], before[:feature])
        assert (after[feature:] != before[feature:]).all()


@families
def test_every_feature_depends_on_the_condition(family):
    model = build(family, features=1)
    x, m = points(1)
    assert model.log_prob(x[:, :1], m) != model.log_prob(x[:, :1], m + 1)


@families
def test_orderings_and_masks_hang_on_no_random_state(family):
    first, second = (build(family, seed=seed) for seed in (0, 1))
    for (name, a), (_, b) in zip(first.named_buffers(), second.named_buffers(), strict=True):
        assert torch.equal(a, b), name


@families
def test_gradients_are_finite_and_reach_every_parameter(family):
    model = build(family)
    model.log_prob(*points(200)).mean().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@stacks
def test_derivatives_by_hand_are_those_of_the_density(stack):
    model = shaken(STACKED[stack](2)).double()
    x, m = (values.requires_grad_() for values in points(2, 3))
    model.forward = model.log_probs
    names = [name for name, _ in model.named_parameters()]

    def log_probs(x, m, *parameters):
        return torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x, m))

    assert torch.autograd.gradcheck(log_probs, (x, m, *model.parameters()))
    with torch.no_grad():
        torch.testing.assert_close(model.log_probs(x, m), log_probs(x, m, *model.parameters()))


@stacks
@pytest.mark.parametrize("far", [1e2, 1e4])
def test_stars_far_out_have_finite_densities_and_gradients(stack, far):
    model = STACKED[stack](1)
    x, m = points(50, dtype=torch.float32)
    log_p = model.log_prob(far * x, far * m)
    log_p.mean().backward()
    assert torch.isfinite(log_p).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


def stacked(stack):
    singles = [shaken(STACKED[stack](1), seed) for seed in range(3)]
    together = STACKED[stack](3)
    together.load_singles([model.state_dict() for model in singles])
    return singles, together


@stacks
def test_models_together_are_the_models_one_by_one(stack):
    singles, together = stacked(stack)
    x, m = points(3, 50, dtype=torch.float32)
    log_p = together.log_probs(x, m)
    log_p.mean(1).sum().backward()
    for k, model in enumerate(singles):
        alone = model.log_prob(x[k], m[k])
        alone.mean().backward()
        torch.testing.assert_close(log_p[k], alone, atol=1e-5, rtol=1e-5)
        for name, value in model.named_parameters():
            gradient = together.get_parameter(name).grad[k : k + 1]
            torch.testing.assert_close(gradient, value.grad, atol=1e-5, rtol=1e-4)


@stacks
def test_a_model_comes_out_of_the_stack_as_it_went_in(stack):
    singles, together = stacked(stack)
    for k, model in enumerate(singles):
        state = together.single(k)
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@stacks
def test_wrong_numbers_of_models_are_refused(stack):
    together, state = STACKED[stack](3), STACKED[stack](1).state_dict()
    with pytest.raises(DataError, match="2 states cannot fill 3 models"):
        together.load_singles([state, state])
    with pytest.raises(DataError, match="holds 3"):
        together.log_prob(*points(5, dtype=torch.float32))
    with pytest.raises(DataError, match="differ in 'rank'"):
        together.load_singles([state, state, state | {"rank": state["rank"].flip(-1)}])


@families
def test_training_comes_close_to_the_true_density(family):
    data = sample(20_000)
    density = fit(("linear", "magnitude"), of(family, max_epochs=15), data=data)
    assert density.held_out.max() > density.held_out[0]
    x, m = sample(5000, seed=9)
    kept = x[:, 1] < data[0][:, 1].max()
    x, m = x[kept], m[kept]
    gap = 19 - x[:, 1]
    first = -0.5 * ((x[:, 0] - 0.5 * m) / 3) ** 2 - np.log(3 * np.sqrt(2 * np.pi))
    second = np.log(gap) - gap / 0.7 - 2 * np.log(0.7)
    loss = (first + second - density.log_prob(x, m)).mean()
    assert -0.02 < loss < 0.06


@families
def test_same_seed_gives_the_same_bits_and_leaves_the_global_generator_alone(family):
    before = torch.get_rng_state()
    first, second, other = (fit(settings=of(family, max_epochs=2), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    x, m = sample(50, seed=5)
    np.testing.assert_array_equal(first.log_prob(x, m), second.log_prob(x, m))
    assert not np.array_equal(first.log_prob(x, m), other.log_prob(x, m))


@families
def test_checkpoint_gives_the_same_bits_and_holds_no_code(family, tmp_path):
    density = fit(settings=of(family, max_epochs=2))
    path = tmp_path / "model.npz"
    density.save(path)
    x, m = sample(50, seed=5)
    np.testing.assert_array_equal(ConditionalDensity.load(path).log_prob(x, m), density.log_prob(x, m))
    with np.load(path, allow_pickle=False) as file:
        assert all(file[key].dtype != object for key in file.files)


@pytest.mark.parametrize("family", ["fast-maf", "mixture"])
def test_checkpoint_decides_the_masks_and_the_orderings(family):
    """A model with another ordering than the one that the code would choose stays what it was."""
    model, fresh = (FAMILIES[family](4, of(family)) for _ in range(2))
    for name, mask in model.named_buffers():
        if name.startswith("mask"):
            mask.mul_(torch.rand_like(mask) < 0.7)
    fresh.load_state_dict(model.state_dict())
    x, m = points(20, dtype=torch.float32)
    assert torch.equal(fresh.log_prob(x, m), model.log_prob(x, m))


@families
def test_batch_norm_is_refused_where_there_is_none(family):
    with nullcontext() if family == "maf" else pytest.raises(ValueError, match=f'"{family}" has no batch'):
        DensitySettings(name=family, batch_norm=True)
