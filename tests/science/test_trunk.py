"""Starting from a mock sky's density: no leak, and no stream lost."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from viamachinae.anomaly import PatchStars, make_trunk
from viamachinae.anomaly.anode import anode
from viamachinae.config import Settings
from viamachinae.config.presets import workflow
from viamachinae.density import ConditionalDensity, Engine, Job
from viamachinae.stars.load import load_patch

SEEDS = (0, 1, 2)
PATCH = {"patch": "p", "ra": 148.6, "dec": 24.2, "radius": 15.0}


@dataclass(frozen=True)
class Window:
    """A signal region around the stream."""

    coordinate: str = "pm_lambda"
    index: int = -16
    low: float = -16.0
    high: float = -10.0


def given(**scorer: str) -> Settings:
    """Return the demo's sky with three times its stars and its stream, and trainings to match."""
    tree = workflow("demo").model_dump()
    tree["mock"]["density"] = 0.45
    tree["density"].update(max_star_steps=1_000_000, batch_size=1024, best_epochs=10)
    tree["trunk"].update(max_star_steps=4_000_000, tuning_star_steps=400_000)
    tree["scorer"].update(name="anode", **scorer)
    return Settings.model_validate(tree)


@pytest.fixture(scope="module")
def stars() -> pd.DataFrame:
    return load_patch(given(), PATCH).table


def recovered(stars: pd.DataFrame, settings: Settings, trunk: ConditionalDensity | None) -> list[int]:
    """Return the stream's stars among the 100 best of its region of interest, for each seed."""
    patch = PatchStars.of(stars, "pm_lambda", settings, trunk)
    found = []
    for seed in SEEDS:
        region = patch.region(Window(), np.random.default_rng(seed))
        (scores,) = anode(patch, [region], settings, Engine())
        rows = region.inside[region.ranked]
        near = np.abs(stars["pm_phi_coslambda"].to_numpy()[rows] + 4) < 3
        best = rows[near][np.argsort(-scores.of_slice().log_r[near])[:100]]
        found.append(int((stars["truth"].to_numpy()[best] != "").sum()))
    return found


@pytest.mark.heavy
def test_a_trunk_of_a_mock_sky_recovers_no_fewer_stars_than_a_cold_start(stars: pd.DataFrame) -> None:
    cold = recovered(stars, given(sideband_start="cold"), None)
    settings = given()
    trunk = make_trunk(settings, "pm_lambda", Engine())
    warm = recovered(stars, settings, trunk)
    assert sum(cold) > 15, "the test needs a stream that a cold start finds"
    assert sum(warm) >= sum(cold), (warm, cold)


@pytest.mark.heavy
def test_a_trunk_that_saw_the_stream_loses_stars() -> None:
    """The mistake that a trunk of another sky avoids: a density that learnt the stream as background.

    The stream has twice its stars, and the density all the steps that it takes to learn so few of so many.
    """
    settings = given()
    (stream,) = settings.mock.streams
    twice = stream.model_copy(update={"n_stars": 2 * stream.n_stars})
    settings = settings.model_copy(update={"mock": settings.mock.model_copy(update={"streams": (twice,)})})
    stars = load_patch(settings, PATCH).table
    clean = recovered(stars, settings, make_trunk(settings, "pm_lambda", Engine()))
    patch = PatchStars.of(stars, "pm_lambda", settings)
    long = settings.density.model_copy(update={"max_star_steps": 20_000_000, "max_epochs": 1000})
    (own,) = Engine().fit(patch.sample, [Job(np.arange(len(stars)), 1)], long)
    leaked = recovered(stars, settings, replace(own, values=own.values[:1]))
    assert sum(leaked) < 0.8 * sum(clean), (leaked, clean)
