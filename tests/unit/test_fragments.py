"""Fragments: what agrees, what counts as independent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from streams_sky import CIRCLE, make_roi, make_sky, make_stars

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.schema import FRAGMENTS, ROIS
from viamachinae.sky.circles import GreatCircle
from viamachinae.streams.fragments import build

PATCH = {"patch": "A"}
SETTINGS = Settings()


@pytest.fixture(scope="module")
def stars() -> pd.DataFrame:
    return make_stars(make_sky())["A"]


@pytest.fixture(scope="module")
def rois(stars) -> pd.DataFrame:
    found = [make_roi(stars, "A", region, n, seed=region) for region, n in enumerate((60, 50, 40, 0))]
    return pd.concat(found, ignore_index=True)


def test_trainings_that_agree_make_one_fragment(stars, rois):
    fragments = build(stars, rois, PATCH, SETTINGS)
    assert len(fragments) == 1
    row = fragments.iloc[0]
    assert row["fragment"] == "A/1"
    assert row["n_rois"] == row["n_trainings"] == 3
    # Trainings share stars: the significance is that of the best line, not their sum.
    assert row["significance"] == rois["significance"].max()
    assert sorted(row["roi_rows"]) == [0, 1, 2]
    assert GreatCircle(row["pole_ra"], row["pole_dec"], row["ra"], row["dec"]).angle_to(CIRCLE) < 1.0
    assert abs(CIRCLE.phi2(row["ra"], row["dec"])) < 0.3
    ids = stars["source_id"].to_numpy()[row["star_rows"]]
    assert np.array_equal(ids, row["source_ids"])
    assert len(np.unique(ids)) == row["n_stars"]
    assert stars["truth"].to_numpy()[row["star_rows"]].mean() > 0.7


def test_slices_of_one_region_are_one_training(stars, rois):
    same = rois.iloc[:3].assign(region=-5, slice=[0, 1, 2])
    assert len(build(stars, same, PATCH, SETTINGS)) == 0
    alone = Settings.model_validate({"fragments": {"min_trainings": 1}})
    fragments = build(stars, same, PATCH, alone)
    assert fragments["n_trainings"].tolist() == [1]
    assert fragments["n_rois"].tolist() == [3]


def test_the_same_region_number_of_another_coordinate_is_another_training(stars, rois):
    two = rois.iloc[:2].assign(region=-5, coordinate=["pm_lambda", "pm_phi_coslambda"])
    assert build(stars, two, PATCH, SETTINGS)["n_trainings"].tolist() == [2]


def test_weak_lines_do_not_count(stars, rois):
    weak = rois.assign(significance=3.9)
    assert len(build(stars, weak, PATCH, SETTINGS)) == 0


def test_angle_wraps_at_180(stars, rois):
    """theta and theta + 180 with r reversed are one line."""
    turned = rois.iloc[:3].copy()
    turned.loc[1, "theta"] += 180.0
    turned.loc[1, "r"] *= -1.0
    straight, wrapped = (build(stars, r, PATCH, SETTINGS) for r in (rois.iloc[:3], turned))
    assert straight["n_rois"].tolist() == wrapped["n_rois"].tolist() == [3]


def test_lines_elsewhere_stay_apart(stars, rois):
    """A line of other stars, 5 deg away, opens its own fragment."""
    rng = np.random.default_rng(0)
    offset = CIRCLE.phi2(stars["ra"], stars["dec"])
    beside = rng.choice(np.flatnonzero(stars["fiducial"] & (np.abs(offset - 5.0) < 0.4)), 30, replace=False)
    frame_line = rois.iloc[[0, 1]].copy()
    pole = frame_line["theta"].iloc[0]
    x_shift = 5.0 * np.sign(np.cos(np.radians(pole)))
    on = np.ones(30, dtype=bool)
    frame_line = frame_line.assign(
        region=[10, 11], r=frame_line["r"] + x_shift, top_rows=[beside.astype(np.int32)] * 2, on_line=[on] * 2
    )
    both = ROIS.conform(pd.concat([rois.iloc[:3], frame_line], ignore_index=True))
    assert build(stars, both, PATCH, SETTINGS)["n_rois"].tolist() == [3, 2]


def test_no_rois_no_fragments(stars):
    found = build(stars, ROIS.empty(), PATCH, SETTINGS)
    assert len(found) == 0
    assert list(found) == list(FRAGMENTS.names)


def test_rois_of_other_stars_are_refused(stars, rois):
    with pytest.raises(DataError, match="search lines again"):
        build(stars.iloc[:10], rois, PATCH, SETTINGS)
    with pytest.raises(DataError, match="one patch at a time"):
        build(stars, rois, {"patch": "B"}, SETTINGS)
