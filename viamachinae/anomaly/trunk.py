"""The trunk: a density trained once on a mock sky, from which the densities of every region can start.

A model that starts near a Milky Way needs a fraction of the steps to become
that of a region. The mock sky has no streams and none of the stars that are
searched, so nothing can leak: a trunk of the searched patch itself would have
seen its streams, and hand them to the background.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from viamachinae.anomaly.base import PatchStars
from viamachinae.config import Coordinate, Settings, seed
from viamachinae.config.settings import DensitySettings, MockSettings, SelectionSettings, StarSettings
from viamachinae.density import ConditionalDensity, Engine, Job
from viamachinae.stars.load import load_patch

__all__ = ["make_trunk", "trunk_settings"]


def make_trunk(settings: Settings, coordinate: Coordinate, engine: Engine) -> ConditionalDensity:
    """Return the density of a patch of the mock sky, given one scan coordinate.

    Parameters
    ----------
    settings : Settings
        Uses ``trunk``, ``density``, ``patches.radius``, ``selection.g_max``, ``mock.release``
        and ``scan.seed``; the stars that the scan searches play no part.
    coordinate : {"pm_phi_coslambda", "pm_lambda"}
        Scan coordinate.
    engine : Engine
        Trains it.

    Returns
    -------
    ConditionalDensity
        The best round alone.

    Raises
    ------
    DataError
        The mock sky has too few stars there.
    TaskError
        The training diverged.
    """
    trunk = settings.trunk
    sky = settings.model_copy(
        update={
            "stars": StarSettings(source="mock"),
            "selection": SelectionSettings(g_max=settings.selection.g_max),
            "mock": MockSettings(
                g_max=min(settings.selection.g_max or trunk.g_max, trunk.g_max),
                density=trunk.density,
                release=settings.mock.release,
            ),
            # A sky of its own: a scan of the mock sky must not meet its stars again.
            "scan": settings.scan.model_copy(update={"seed": seed(settings.scan.seed, "trunk")}),
        }
    )
    ra, dec = trunk.centre
    patch = {"patch": "trunk", "ra": ra, "dec": dec, "radius": settings.patches.radius}
    stars = PatchStars.of(load_patch(sky, patch).table, coordinate, settings)
    rows = np.arange(len(stars.sample))
    job = Job(rows, seed(settings.scan.seed, "trunk", coordinate))
    (density,) = engine.fit(stars.sample, [job], trunk_settings(settings))
    return replace(density, settings=settings.density, values=density.values[:1].clone())


def trunk_settings(settings: Settings) -> DensitySettings:
    """Return how the trunk is trained: for its own number of star presentations, however few its stars."""
    most = settings.trunk.max_star_steps
    return settings.density.model_copy(update={"max_star_steps": most, "max_epochs": most})
