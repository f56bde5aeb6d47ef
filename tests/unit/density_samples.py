"""Stars and small trainings that the tests of densities share."""

import numpy as np
import torch

from viamachinae.config.settings import DensitySettings
from viamachinae.density import FAMILIES, Job, Preprocessor, Sample, fit_density

torch.set_num_threads(1)  # as in every worker: the last bits of a result are promised on one thread

SMALL = DensitySettings(
    name="mixture",
    blocks=3,
    hidden=16,
    components=4,
    bins=5,
    batch_size=256,
    max_epochs=6,
    best_epochs=3,
)

#: Every family, and the published one also with batch normalisation: settings to train it with.
ARCHITECTURES = {name: {"name": name} for name in FAMILIES} | {
    "maf, batch_norm": {"name": "maf", "batch_norm": True}
}


def sample(n=4000, seed=0):
    """Features that depend on the condition, as proper motion, sky and magnitude do."""
    rng = np.random.default_rng(seed)
    m = rng.normal(0, 5, n)
    return np.column_stack([rng.normal(0.5 * m, 3), 19 - rng.gamma(2, 0.7, n)]), m


def fit(kinds=("asinh", "magnitude"), settings=SMALL, seed=0, data=None):
    x, m = data or sample()
    return fit_density(x, m, Preprocessor.fit(x, kinds), settings, seed)


def patch(n=3000, kinds=("asinh", "magnitude"), seed=0):
    """The stars of a patch, as densities are trained on them."""
    x, m = sample(n, seed)
    return Sample.of(x, m, Preprocessor.fit(x, kinds))


def jobs(sizes, n=3000, start=None):
    """Jobs of these numbers of stars, drawn from a patch of ``n``."""
    draws = (np.random.default_rng(k).permutation(n)[:size] for k, size in enumerate(sizes))
    return [Job(np.sort(rows), 100 + k, start) for k, rows in enumerate(draws)]


def same_bits(first, second):
    """Whether two densities are equal to the last bit: their numbers, transforms and held-out curves."""
    states = [(d.preprocessor.state(), d.condition.state()) for d in (first, second)]
    return (
        torch.equal(first.values, second.values)
        and np.array_equal(first.held_out, second.held_out)
        and states[0] == states[1]
    )


def cells(kind, x):
    """Edges of a grid that holds the density of one feature, fine where it is steep."""
    if kind == "magnitude":
        span = np.ptp(x) + 6
        return x.max() + 1e-2 - np.geomspace(span, 1e-3, 201)
    margin = 0 if kind == "logit" else 8
    return np.linspace(x.min() - margin, x.max() + margin, 201)
