"""Members and tracks: posteriors, every star once, robust polynomials."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from streams_sky import CIRCLE, make_roi, make_sky, make_stars, patches

from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.schema import MEMBERS, STREAMS, TRACKS
from viamachinae.streams.candidates import join
from viamachinae.streams.densities import GridDensity
from viamachinae.streams.fragments import build
from viamachinae.streams.members import best_log_r, members
from viamachinae.streams.tracks import Track, fit_robust

SETTINGS = Settings()


def solve(sky: pd.DataFrame, n_true: int = 50):
    stars = make_stars(sky)
    found = []
    for name, table in stars.items():
        rois = pd.concat([make_roi(table, name, k, n_true, seed=k) for k in range(3)], ignore_index=True)
        found.append(build(table, rois, {"patch": name}, SETTINGS))
    candidates = join(pd.concat(found, ignore_index=True), patches(), stars, SETTINGS)
    log_r = {name: np.arange(len(table), dtype=np.float32) for name, table in stars.items()}
    return stars, candidates, members(candidates, stars, log_r, SETTINGS)


@pytest.fixture(scope="module")
def solved():
    return solve(make_sky())


def test_members_are_the_stream(solved):
    stars, _, found = solved
    listed = found.members
    best = listed[listed["membership"] > 0.5]
    everything = pd.concat(stars.values())
    injected = everything[everything["fiducial"] & everything["truth"]]["source_id"].nunique()
    assert best["truth"].mean() > 0.8
    assert best["truth"].sum() / injected > 0.7
    # Memberships are probabilities: their sum is the number of stream stars there.
    assert listed["membership"].sum() == pytest.approx(listed["truth"].sum(), rel=0.2)
    for low, high in ((0.0, 0.2), (0.8, 1.01)):
        group = listed[(listed["membership"] >= low) & (listed["membership"] < high)]
        assert group["truth"].mean() == pytest.approx(group["membership"].mean(), abs=0.1)


def test_every_judged_star_is_listed_once(solved):
    stars, candidates, found = solved
    listed = found.members
    assert listed["source_id"].is_unique
    assert len(listed) > 3 * (listed["membership"] > 0.5).sum()
    assert listed["membership"].between(0, 1).all()
    fiducial = pd.concat([t[t["fiducial"]] for t in stars.values()])["source_id"]
    assert listed["source_id"].isin(fiducial).all()
    assert (listed["on_line"] == listed["source_id"].isin(candidates[0].source_ids)).all()
    required = [column.name for column in MEMBERS.columns if not column.optional]
    assert list(listed)[: len(required)] == required
    assert not {"phi", "lambda", "fiducial"} & set(listed)


def test_track_follows_the_stream(solved):
    _, _, found = solved
    track = found.tracks
    assert list(track) == list(TRACKS.names)
    phi1, phi2 = CIRCLE.to_frame(track["ra"], track["dec"])
    assert np.abs(phi2).max() < 0.3
    pm1, pm2 = CIRCLE.rotate_pm(track["ra"], track["dec"], track["pmra"], track["pmdec"])
    assert np.abs(pm1 + 9.0 + 0.1 * (phi1 - 14)).max() < 0.6
    assert np.abs(pm2 - 4.0).max() < 0.6


def test_stream_row_sums_up(solved):
    _, candidates, found = solved
    row = found.streams.iloc[0]
    assert list(found.streams) == list(STREAMS.names)
    assert row["stream_id"] == candidates[0].stream_id
    assert row["n_members"] == (found.members["membership"] > 0.5).sum()
    assert row["n_expected"] == pytest.approx(found.members["membership"].sum(), rel=1e-4)
    assert row["fragments"].split() == list(candidates[0].fragments)
    assert row["width"] == pytest.approx(0.2, abs=0.06)
    assert np.isnan(row["p_value"])


def test_truth_is_never_read(solved):
    stars, candidates, found = solved
    blind = {name: table.drop(columns="truth") for name, table in stars.items()}
    log_r = {name: np.zeros(len(table)) for name, table in stars.items()}
    again = members(candidates, blind, log_r, SETTINGS)
    assert np.array_equal(again.members["membership"], found.members["membership"])


def test_no_errors_in_the_table_is_no_obstacle(solved):
    stars, candidates, _ = solved
    bare = {name: t.drop(columns=["pmra_error", "pmdec_error"]) for name, t in stars.items()}
    found = members(candidates, bare, {n: np.zeros(len(t)) for n, t in bare.items()}, SETTINGS).members
    best = found[found["membership"] > 0.5]
    assert best["truth"].mean() > 0.75


class Read(dict):
    """Remembers which keys were asked for, one after the other."""

    def __init__(self, *args):
        super().__init__(*args)
        self.asked = []

    def __getitem__(self, name):
        if self.asked[-1:] != [name]:
            self.asked.append(name)
        return super().__getitem__(name)


def test_patches_are_read_one_after_the_other_and_candidates_keep_their_order(solved):
    stars, (joined,), _ = solved
    log_r = {name: np.zeros(len(table)) for name, table in stars.items()}
    alone = []
    for k, patch in enumerate("ABAB"):
        ids = np.intersect1d(joined.source_ids, stars[patch]["source_id"][stars[patch]["fiducial"]])
        alone.append(replace(joined, stream_id=f"S{k}", patches=(patch,), source_ids=ids))
    watched = Read(stars)
    found = members(alone, watched, log_r, SETTINGS)
    assert watched.asked == ["A", "B"]
    for table in (found.streams, found.members, found.tracks):
        assert list(dict.fromkeys(table["stream_id"])) == ["S0", "S1", "S2", "S3"]


def test_nothing_has_no_members():
    found = members([], {}, {}, SETTINGS)
    assert [len(t) for t in (found.streams, found.members, found.tracks)] == [0, 0, 0]


def test_missing_patch_and_wrong_scores_are_refused(solved):
    stars, candidates, _ = solved
    with pytest.raises(DataError, match="no stars or scores of patch"):
        members(candidates, {"A": stars["A"]}, {"A": np.zeros(len(stars["A"]))}, SETTINGS)
    with pytest.raises(DataError, match="values of log R"):
        members(candidates, stars, {name: np.zeros(3) for name in stars}, SETTINGS)


def test_best_log_r_is_the_largest_of_all_regions():
    first = pd.DataFrame({"row": [0, 1, 3], "log_r": [1.0, -2.0, np.nan]})
    second = pd.DataFrame({"row": [1, 0], "log_r": [5.0, 0.0]})
    assert best_log_r(4, [first, second]).tolist()[:2] == [1.0, 5.0]
    assert np.isnan(best_log_r(4, [first, second])[2:]).all()


def test_robust_track_ignores_contaminants():
    rng = np.random.default_rng(0)
    phi1 = rng.uniform(-10, 10, 150)
    true = np.stack([0.01 * phi1**2 - 0.3, 5 + 0.1 * phi1, np.full(150, -2.0)])
    values = true + rng.normal(0, [[0.1], [0.3], [0.3]], (3, 150))
    values[:, :50] = rng.uniform([[-0.5], [2], [-5]], [[0.5], [8], [1]], (3, 50))
    track = fit_robust(phi1, values, 2, (-10.0, 10.0))
    grid = np.linspace(-8, 8, 20)
    wanted = np.stack([0.01 * grid**2 - 0.3, 5 + 0.1 * grid, np.full(20, -2.0)])
    assert np.abs(track.at(grid) - wanted)[0].max() < 0.15
    assert np.abs(track.at(grid) - wanted)[1:].max() < 0.3


def test_short_track_gets_a_low_degree():
    phi1 = np.linspace(0, 3, 40)
    assert fit_robust(phi1, np.zeros((3, 40)), 3, (0.0, 3.0)).coefficients.shape == (3, 1)
    assert isinstance(fit_robust(phi1, np.zeros((3, 40)), 3, (0.0, 3.0)), Track)


def test_grid_density_is_a_density_up_to_the_edges():
    rng = np.random.default_rng(0)
    points = rng.uniform([[0.0], [0.0]], [[2.0], [1.0]], (2, 20000))
    density = GridDensity.fit(points, np.ones(20000), ((0.0, 2.0), (0.0, 1.0)), (0.2, 0.1))
    assert density.at(points).mean() == pytest.approx(0.5, rel=0.02)
    corners = np.array([[0.01, 1.99], [0.01, 0.99]])
    assert density.at(corners) == pytest.approx([0.5, 0.5], rel=0.2)
    assert density.values.sum() * density.cell.prod() == pytest.approx(density.total, rel=1e-6)


def test_no_star_vouches_for_itself():
    alone = np.array([[0.5], [0.5]])
    box, sigma = ((0.0, 1.0), (0.0, 1.0)), (0.05, 0.05)
    density = GridDensity.fit(alone, np.ones(1), box, sigma)
    assert density.at(alone)[0] > 10
    assert density.at(alone, own=np.ones(1))[0] < 1.5
