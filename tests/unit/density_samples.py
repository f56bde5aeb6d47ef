"""Stars and small trainings that the tests of densities share."""

import numpy as np

from viamachinae.config.settings import DensitySettings
from viamachinae.density import ConditionalDensity, Preprocessor

SMALL = DensitySettings(blocks=3, hidden=16, components=4, batch_size=256, max_epochs=6, best_epochs=3)


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
        return x.max() + 1e-2 - np.geomspace(span, 1e-3, 601)
    margin = 0 if kind == "logit" else 8
    return np.linspace(x.min() - margin, x.max() + margin, 501)
