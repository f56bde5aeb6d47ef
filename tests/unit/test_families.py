"""Invariants of every density family."""

import numpy as np
import pytest
import torch

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES
from viamachinae.density.fastmaf import FastMaskedAutoregressiveFlow

SMALL = DensitySettings(blocks=3, hidden=16, batch_size=256, max_epochs=6, best_epochs=3)
STACKED = {"fast-maf": lambda models: FastMaskedAutoregressiveFlow(4, 3, 16, layers=2, models=models)}


def shaken(model, seed=0):
    """Weights far from where training starts, so that every part of the model matters."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model


def points(*shape, features=4, dtype=torch.double):
    torch.manual_seed(7)
    return torch.randn(*shape, features, dtype=dtype), torch.randn(*shape, 1, dtype=dtype)


def noise_of(model):
    """The standard normal noise of one star, as a function of its features and condition."""
    if hasattr(model, "flow"):
        return lambda x, m: model.flow.transform_to_noise(x[None], context=m[None])[0]
    return lambda x, m: model.noise(x[None, None], m[None, None])[0, 0]


@pytest.mark.parametrize("family", ["maf", "fast-maf"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_jacobian_of_a_flow_is_that_of_autograd(family, batch_norm):
    model = shaken(FAMILIES[family](4, SMALL.model_copy(update={"batch_norm": batch_norm}))).double().eval()
    x, m = points(3)
    log_p = model.log_prob(x, m)
    noise = noise_of(model)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda row, i=i: noise(row, m[i]), x[i])
        normal = -0.5 * (noise(x[i], m[i]) ** 2).sum() - 2 * np.log(2 * np.pi)
        assert torch.allclose(log_p[i], normal + torch.linalg.slogdet(jacobian)[1], atol=1e-10)


@pytest.mark.parametrize("family", STACKED)
def test_derivatives_by_hand_are_those_of_the_density(family):
    model = shaken(STACKED[family](2)).double()
    x, m = (values.requires_grad_() for values in points(2, 3))
    names = list(dict(model.named_parameters()))

    def log_probs(x, m, *parameters):
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(Stack(model), {f"model.{k}": v for k, v in given.items()}, (x, m))

    assert torch.autograd.gradcheck(log_probs, (x, m, *model.parameters()))


class Stack(torch.nn.Module):
    """Calls ``log_probs`` as ``forward``."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, m):
        return self.model.log_probs(x, m)


@pytest.mark.parametrize("family", STACKED)
def test_models_together_are_the_models_one_by_one(family):
    singles = [shaken(STACKED[family](1), seed) for seed in range(3)]
    together = STACKED[family](3)
    together.load_singles([model.state_dict() for model in singles])
    x, m = points(3, 50, dtype=torch.float32)
    for k, model in enumerate(singles):
        torch.testing.assert_close(together.log_probs(x, m)[k], model.log_prob(x[k], m[k]), atol=1e-5, rtol=0)
        assert all(torch.equal(value, together.single(k)[name]) for name, value in model.state_dict().items())
