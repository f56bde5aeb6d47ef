"""The benchmark of the scorers: its arithmetic, its skies, and runs that stop and go on."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from viamachinae.anomaly import RegionScores, RegionStars
from viamachinae.anomaly.base import Scores
from viamachinae.benchmark import scorers as room
from viamachinae.benchmark.scorers import contenders, drawn, galaxia, run, table, tasks
from viamachinae.benchmark.scorers.curves import area_under_roc, sic_curve, true_among_top
from viamachinae.benchmark.scorers.judge import best_slice, judged
from viamachinae.benchmark.scorers.options import SEEDS, SIZES, Options, numbers, source_of, words
from viamachinae.benchmark.scorers.patch import WINDOW
from viamachinae.benchmark.scorers.rows import Rows
from viamachinae.benchmark.scorers.skies import SKIES, Request, settings_for
from viamachinae.benchmark.scorers.sky import thinned
from viamachinae.benchmark.scorers.streamtoy import StreamToy
from viamachinae.benchmark.scorers.toys import Contents, Gaussian, LhcOlympics, make_sky
from viamachinae.cli import main as cli
from viamachinae.cli.benchmark import scorers as command
from viamachinae.config import Settings
from viamachinae.errors import ConfigError, DataError, ExitCode, ResumeError, TaskError
from viamachinae.stars.mock.noise import proper_motion_errors


def rngs(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    return np.random.default_rng([seed, 0]), np.random.default_rng([seed, 1])


def random_scorer(patch, regions, settings, engine):
    """A scorer that knows nothing, but answers at once."""
    return [RegionScores((Scores(r.scored, r.rng.normal(size=len(r.scored)), 0.0),)) for r in regions]


def sliced_scorer(patch, regions, settings, engine):
    """One that knows the truth, and scores slices alone."""
    return [
        RegionScores(
            tuple(
                Scores(rows, patch.truth[rows] + 0.0, 1.0, index, 0.9 * patch.truth[rows], 0.1)
                for index, rows in r.slices.items()
            )
        )
        for r in regions
    ]


def broken_scorer(patch, regions, settings, engine):
    msg = "this training diverged"
    raise TaskError(msg)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scorers that take no time in place of the package's own."""
    fake = {"random": random_scorer, "sliced": sliced_scorer, "broken": broken_scorer}
    monkeypatch.setattr(contenders.anomaly, "SCORERS", fake)


# --- curves ---


def test_the_improvement_of_numbers_made_by_hand():
    # best first: signal, background, signal, signal, background, background
    curve = sic_curve([6, 5, 4, 3, 2, 1], [True, False, True, True, False, False], floor=1)
    assert curve.signal == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1, 1, 1])
    passed = np.array([1, 1, 1, 1, 2, 3]) / 3
    assert curve.sic == pytest.approx(curve.signal / np.sqrt(passed))
    assert curve.best == pytest.approx(math.sqrt(3))
    assert curve.at([0.2, 0.5, 2 / 3, 1.0]) == pytest.approx(
        [math.sqrt(3) / 3, 2 * math.sqrt(3) / 3, 2 * math.sqrt(3) / 3, math.sqrt(3)]
    )


def test_fewer_background_stars_than_the_floor_count_as_the_floor():
    truth = np.arange(1020) < 20
    perfect = sic_curve(-np.arange(1020.0), truth)
    assert perfect.best == pytest.approx(1 / math.sqrt(20 / 1000))
    assert sic_curve(-np.arange(1020.0), truth, floor=5).best == pytest.approx(1 / math.sqrt(5 / 1000))


def test_equal_scores_pass_a_cut_together():
    curve = sic_curve([1, 1, 1, 0], [True, False, False, False], floor=1)
    assert curve.signal == pytest.approx([1, 1])
    assert curve.best == pytest.approx(1 / math.sqrt(2 / 3))


def test_scores_that_know_nothing_improve_nothing():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=50_000) < 0.1
    scores = rng.normal(size=50_000)
    assert sic_curve(scores, truth, floor=500).best == pytest.approx(1, abs=0.2)
    assert area_under_roc(scores, truth) == pytest.approx(0.5, abs=0.02)


def test_the_area_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    truth = rng.uniform(size=500) < 0.3
    scores = np.round(rng.normal(size=500) + truth, 1)  # with many ties
    assert area_under_roc(scores, truth) == pytest.approx(metrics.roc_auc_score(truth, scores))


def test_the_best_are_counted():
    assert true_among_top([1, 5, 3, 4], [False, True, True, False], 2) == 1
    assert true_among_top([1, 5, 3, 4], [False, True, True, False], 100) == 2


@pytest.mark.parametrize(
    ("scores", "truth", "words"),
    [
        ([1.0, np.nan], [True, False], "1 of 2 scores are not a number"),
        ([1.0, 2.0], [False, False], "0 of 2 stars are signal"),
        ([1.0, 2.0], [True, True], "2 of 2 stars are signal"),
    ],
)
def test_what_cannot_be_judged_is_said(scores, truth, words):
    with pytest.raises(DataError, match=words):
        sic_curve(scores, truth)


# --- one row ---


def small_region() -> tuple[RegionStars, np.ndarray]:
    """Forty stars of which 30 to 39 are outside; the stream is 0 to 7, and slice 2 holds six of it."""
    truth = np.arange(40) < 8
    slices = {1: np.arange(6, 30), 2: np.concatenate([np.arange(6), np.arange(10, 30)])}
    region = RegionStars(
        np.arange(30), np.arange(30, 40), np.ones(30, bool), np.random.default_rng(0), slices
    )
    return region, truth


def test_a_row_is_judged_in_the_slice_with_most_of_the_stream():
    region, truth = small_region()
    assert best_slice(region, truth) == 2
    assert best_slice(replace(region, slices={}), truth) is None
    log_r = np.where(truth[:30], 5.0, -1.0)
    log_r[0], log_r[29] = -9.0, 9.0  # one of each is mistaken
    membership = np.where(log_r > 0, 0.8, 0.1)
    fit = Scores(region.inside[::-1], log_r[::-1], 12.0, -1_000_000, membership[::-1], 0.2)
    row = judged(RegionScores((fit,)), region, truth)
    assert (row["roi"], row["roi_stars"], row["roi_signal"], row["ranked_signal"]) == (2, 26, 6, 8)
    assert (row["top100_region"], row["top100_roi"]) == (8, 6)
    assert row["auc_region"] == pytest.approx((7 * 21) / (8 * 22))
    assert row["auc_roi"] == pytest.approx((5 * 19) / (6 * 20))
    assert (row["selected"], row["purity"]) == (6, pytest.approx(5 / 6))
    assert row["completeness"] == pytest.approx(5 / 6)
    assert (row["fit"], row["statistic"], row["fraction"]) == ("region", 12.0, 0.2)
    assert row["true_fraction"] == pytest.approx(8 / 30)
    json.dumps(row, allow_nan=False)


def test_a_scorer_of_slices_alone_has_no_values_of_the_region():
    region, truth = small_region()
    patch = type("Patch", (), {"truth": truth})
    (scores,) = sliced_scorer(patch, [region], None, None)
    row = judged(scores, region, truth)
    assert row["fit"] == "roi"
    assert row["max_sic_region"] is row["top100_region"] is row["sic_region"] is None
    assert (row["purity"], row["completeness"], row["auc_roi"]) == (1.0, 1.0, 1.0)


def test_a_ranked_star_without_a_score_is_an_error():
    region, truth = small_region()
    fit = Scores(region.inside[:-3], np.zeros(27), 0.0)
    with pytest.raises(DataError, match="3 of 30 ranked stars have no score"):
        judged(RegionScores((fit,)), region, truth)


# --- skies ---


@pytest.mark.parametrize(
    "toy",
    [
        Gaussian(),
        Gaussian(shift=0.3),
        LhcOlympics(),
        LhcOlympics(shift=0.1),
        StreamToy(),
        StreamToy(correlated=True),
    ],
    ids=repr,
)
def test_the_ratio_of_a_toy_says_how_many_are_signal(toy):
    """Among stars of which the ratio says that a part p is signal, a part p is."""
    sky = make_sky(toy, Contents(30_000, 3_000, 5_000), rngs(3))
    reference = sky.stars.reference
    truth, searched = sky.truth, ~reference
    assert reference.sum() == 5_000
    inside = (sky.stars.m >= toy.low) & (sky.stars.m < toy.high)
    assert (truth & inside).sum() == 3_000
    assert inside[reference].all()
    assert not truth[reference].any()
    assert (searched & inside & ~truth).sum() == pytest.approx(30_000, rel=0.03)
    odds = sky.log_ratio + np.log(truth[searched].sum() / (searched & ~truth).sum())
    probability = special.expit(odds)
    for low, high in ((0.02, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        bin_ = searched & (probability >= low) & (probability < high)
        expected = probability[bin_].sum()
        spread = np.sqrt((probability[bin_] * (1 - probability[bin_])).sum())
        assert abs(truth[bin_].sum() - expected) < 4 * spread, (low, high)


@pytest.mark.parametrize("correlated", [False, True])
def test_the_correlation_can_be_switched(correlated):
    """Off, every feature of the background is drawn alike in the region and beside it."""
    for toy in (LhcOlympics(0.1 * correlated), StreamToy(correlated), Gaussian(shift=0.3 * correlated)):
        rng = np.random.default_rng(0)
        m = toy.mass.rvs(20_000, random_state=rng)
        x = toy.background(m, rng)
        inside = (m >= toy.low) & (m < toy.high)
        p = [stats.ks_2samp(column[inside], column[~inside]).pvalue for column in x.T]
        assert (min(p) < 1e-6) == correlated


def test_the_reference_is_the_background_of_the_region():
    toy = StreamToy(correlated=True)
    sky = make_sky(toy, Contents(8_000, 10, 8_000), rngs(0))
    stars = sky.stars
    inside = (stars.m >= toy.low) & (stars.m < toy.high) & ~sky.truth
    for column in (*stars.sample.table.T, stars.orthogonal):
        assert stats.ks_2samp(column[inside & ~stars.reference], column[stars.reference]).pvalue > 1e-3
    region = sky.region(np.random.default_rng(0), Settings().roi)
    assert not np.isin(np.flatnonzero(stars.reference), [*region.inside, *region.sideband]).any()
    assert len(region.slices) > 5


def test_the_true_ratio_is_the_best_ranking_and_knows_its_members():
    settings = settings_for("toy", quick=True)
    sky = SKIES["toy"].make(Request(300, 1, settings, True, None, lambda: None))
    row = run.measure(sky, contenders.TRUE_RATIO, settings)
    assert row["region_signal"] == 300
    assert row["region_stars"] == pytest.approx(20_000, rel=0.05)
    assert row["purity"] > 0.8
    assert row["completeness"] > 0.8
    assert row["fraction"] == pytest.approx(row["true_fraction"])
    assert row["statistic"] > 100
    blurred = replace(sky, log_ratio=sky.log_ratio + np.random.default_rng(0).normal(0, 3, len(sky.truth)))
    assert run.measure(blurred, contenders.TRUE_RATIO, settings)["auc_region"] < row["auc_region"]
    with pytest.raises(DataError, match="not known"):
        run.measure(replace(sky, log_ratio=None), contenders.TRUE_RATIO, settings)


def test_streams_of_all_sizes_lie_on_the_same_stars():
    settings = settings_for("toy", quick=True)
    one, other, another = (
        SKIES["toy"].make(Request(size, number, settings, True, None, lambda: None))
        for size, number in ((100, 1), (50, 1), (100, 2))
    )
    m = [np.sort(sky.stars.m[~sky.truth]) for sky in (one, other, another)]
    assert np.array_equal(m[0], m[1])
    assert not np.array_equal(m[0], m[2])


def test_a_stream_is_thinned_in_the_region_to_its_size():
    rng = np.random.default_rng(0)
    truth, inside = rng.uniform(size=(2, 2000)) < 0.5
    kept = thinned(truth, inside, 100, rng)
    assert (kept & truth & inside).sum() == 100
    assert kept[~truth].all()
    assert 50 < (kept & truth & ~inside).sum() < 170
    assert thinned(truth, inside, 10_000, rng).all()


@pytest.fixture(scope="module")
def mock():
    """The mock sky with a stream; its densities are cold, so that no trunk is trained."""
    settings = settings_for("mock", quick=True)
    settings = settings.model_copy(update={"scorer": settings_for("toy", quick=True).scorer})
    return settings, SKIES["mock"].make(Request(120, 1, settings, True, None, lambda: None))


def test_the_mock_sky_has_its_stream_and_another_draw_beside_it(mock):
    settings, sky = mock
    stars = sky.stars
    region = sky.region(np.random.default_rng(0), settings.roi)
    assert sky.truth[region.inside].sum() == 120
    assert len(region.inside) == pytest.approx(20_000, rel=0.1)
    assert stars.reference.sum() == pytest.approx(6 * len(region.inside), rel=0.1)
    assert WINDOW.holds(stars.m[stars.reference]).all()
    g = stars.sample.table[:, 4]
    searched = region.inside[~sky.truth[region.inside]]
    assert stats.ks_2samp(g[searched], g[stars.reference]).pvalue > 1e-3
    assert run.measure(sky, "anode", short(settings))["top100_roi"] > 5


def short(settings: Settings) -> Settings:
    density = settings.density.model_copy(update={"max_star_steps": 100_000, "hidden": 32})
    return settings.model_copy(update={"density": density})


def write_galaxia(folder: Path, n: int = 40_000) -> galaxia.Source:
    """Write a sky of stars around the patch and a straight stream, in the columns of the real files."""
    rng = np.random.default_rng(0)
    g = rng.uniform(15, 20.2, n).astype(np.float32)
    angle, away = rng.uniform(0, 2 * np.pi, n), 16 * np.sqrt(rng.uniform(size=n))
    dec = 24.2 + away * np.sin(angle)
    sky = pd.DataFrame(
        {
            "source_id": np.arange(n, dtype=np.int64),
            "ra": 148.6 + away * np.cos(angle) / np.cos(np.radians(dec)),
            "dec": dec,
            "pmra": rng.normal(-2, 5, n),
            "pmdec": rng.normal(-8, 5, n),
            "parallax": rng.normal(0.2, 0.2, n),
            "phot_g_mean_mag": g,
            "bp_rp": rng.normal(0.8, 0.2, n),
            "pmra_error": proper_motion_errors(g, "gaia-dr2")[0],
            "pmdec_error": proper_motion_errors(g, "gaia-dr2")[1],
            "parallax_error": np.full(n, 0.2),
        }
    )
    sky.to_parquet(folder / "sky.parquet")
    k = 400
    along = rng.uniform(-9, 9, k)
    members = pd.DataFrame(
        {
            "source_id": n - 1 + np.arange(k, dtype=np.int64),  # the first is that of a star of the sky
            "ra": 148.6 + along,
            "dec": 24.2 + along,
            "pmra": np.full(k, -6.0),
            "pmdec": np.full(k, -13.0),
            "parallax": np.full(k, 0.1),
            "phot_g_mean_mag": np.linspace(16, 20.5, k),
            "bp_rp": np.where(np.arange(k) % 20, 0.7, np.nan),
            "stream": np.where(np.arange(k) % 4, "GD-1", "Other"),
        }
    )
    members.to_parquet(folder / "members.parquet")
    return galaxia.Source(folder / "sky.parquet", folder / "members.parquet")


def test_members_get_the_skys_errors_and_the_noise_that_they_lack(tmp_path):
    source = write_galaxia(tmp_path)
    sky, members = pd.read_parquet(source.sky), pd.read_parquet(source.members)
    noisy = galaxia.member_noise(members, sky, np.random.default_rng(0))
    usable = members["bp_rp"].notna() & (members["phot_g_mean_mag"] <= 20.2)
    assert len(noisy) == usable.sum() < len(members)
    expected = proper_motion_errors(noisy["phot_g_mean_mag"].to_numpy(), "gaia-dr2")[0]
    assert noisy["pmra_error"].to_numpy() == pytest.approx(expected, rel=0.1)
    added = (noisy["pmra"] - members["pmra"][usable].to_numpy()) / noisy["pmra_error"]
    assert np.std(added) == pytest.approx(np.sqrt(1 - 1 / 1.92**2), rel=0.1)


def test_the_sky_from_files_has_the_stream_and_no_star_twice(tmp_path):
    source = write_galaxia(tmp_path)
    settings = settings_for("toy", quick=True)
    sky = SKIES["galaxia"].make(Request(100, 1, settings, True, source, lambda: None))
    inside = WINDOW.holds(sky.stars.m)
    assert (sky.truth & inside).sum() == 100
    assert sky.stars.reference is None
    assert (~sky.truth).sum() == pytest.approx(40_000 / 3 * (15 / 16) ** 2, rel=0.05)
    again = SKIES["galaxia"].make(Request(100, 1, settings, True, source, lambda: None))
    assert np.array_equal(sky.stars.m, again.stars.m)


def test_files_that_cannot_be_used_are_named(tmp_path):
    source = write_galaxia(tmp_path)
    request = Request(100, 1, settings_for("toy", quick=True), True, source, lambda: None)
    make = SKIES["galaxia"].make
    with pytest.raises(DataError, match=r"no members of 'Pal 5'; among its streams are GD-1, Other"):
        make(replace(request, source=replace(source, stream="Pal 5")))
    with pytest.raises(DataError, match=r"members.parquet: missing columns: pmra_error"):
        make(replace(request, source=replace(source, sky=source.members)))
    source.members.write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        make(request)
    with pytest.raises(ConfigError, match="--members FILE"):
        make(replace(request, source=None))


# --- runs ---


def options(out: Path, **changes) -> Options:
    asked = {"skies": ("toy",), "sizes": (80,), "seeds": (1, 2), "quick": True}
    return Options(out, **asked | {"scorers": ("random", "true-ratio")} | changes)


@pytest.mark.usefixtures("fakes")
def test_a_finished_run_does_nothing_again(tmp_path, monkeypatch):
    first = run.run(options(tmp_path))
    assert len(first["rows"]) == 4
    assert (first["missing"], first["failed"]) == (0, {})
    assert {(row["seed"], row["scorer"]) for row in first["rows"]} == {
        (seed, name) for seed in (1, 2) for name in ("random", "true-ratio")
    }
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("measured again"))
    assert run.run(options(tmp_path)) == first


@pytest.mark.usefixtures("fakes")
def test_every_name_in_a_row_is_described(tmp_path):
    (row,) = run.run(options(tmp_path, seeds=(1,), scorers=("sliced",)))["rows"]
    words = set(re.findall(r"``([A-Za-z_0-9]+)``", room.__doc__))
    described = words | {w.replace("WHERE", where) for w in words for where in ("region", "roi")}
    assert set(row) <= described
    assert row["seconds"] >= 0


@pytest.mark.usefixtures("fakes")
def test_what_stops_between_two_rows_goes_on_there(tmp_path, monkeypatch):
    measure, done = run.measure, []

    def interrupted(*arguments):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(arguments[1])
        return measure(*arguments)

    monkeypatch.setattr(run, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.run(options(tmp_path))
    assert len(list(tmp_path.glob("*.json"))) == 3
    monkeypatch.setattr(
        run, "measure", lambda *arguments: (done.append(arguments[1]), measure(*arguments))[1]
    )
    assert run.run(options(tmp_path))["missing"] == 0
    assert len(done) == 4


@pytest.mark.usefixtures("fakes")
def test_a_row_is_the_same_whenever_it_is_made(tmp_path):
    together = run.run(options(tmp_path / "a", sizes=(80, 120)))["rows"]
    (alone,) = run.run(options(tmp_path / "b", sizes=(120,), seeds=(2,), scorers=("random",)))["rows"]
    (same,) = (row for row in together if row["key"] == alone["key"])
    assert {**same, "seconds": 0} == {**alone, "seconds": 0}


@pytest.mark.usefixtures("fakes")
def test_a_damaged_row_is_made_again(tmp_path):
    asked = options(tmp_path, seeds=(1,))
    first = run.run(asked)["rows"]
    files = sorted(tmp_path.glob("*.json"))
    files[0].write_text(files[0].read_text(encoding="utf-8")[:50], encoding="utf-8")
    files[1].write_text('{"key": "of another row"}', encoding="utf-8")
    again = run.run(asked)["rows"]
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in first]


@pytest.mark.usefixtures("fakes")
def test_another_key_for_all_that_determines_a_row(tmp_path):
    def key(**changes):
        asked = options(tmp_path, **{"seeds": (1,), "scorers": ("random",)} | changes)
        (task,) = tasks.plan(asked)
        return tasks.keys([task], asked)[task]

    variants = [{}, {"sizes": (81,)}, {"seeds": (2,)}, {"skies": ("toy-correlated",)}]
    variants += [{"scorers": ("broken",)}, {"quick": False}]
    assert len({key(**changes) for changes in variants}) == len(variants)
    assert key(budget=3.0) == key()
    source = write_galaxia(tmp_path, 100)
    before = key(skies=("galaxia",), source=source)
    write_galaxia(tmp_path, 101)
    assert key(skies=("galaxia",), source=source) != before


@pytest.mark.usefixtures("fakes")
def test_a_spent_budget_leaves_rows_and_says_so(tmp_path, capsys):
    asked = options(tmp_path, budget=1e-9)
    with pytest.raises(ResumeError, match="4 of 4 rows are left; the same command"):
        run.benchmark(asked, tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))["rows"] == []
    assert "4 rows are missing" in capsys.readouterr().out
    spent = iter([False, True])
    tasks_, key = tasks.plan(asked), tasks.keys(tasks.plan(asked), asked)
    run._make(tasks_, key, asked, lambda: next(spent))
    assert len(list(tmp_path.glob("toy*.json"))) == 1
    assert run.benchmark(options(tmp_path, budget=1.0))["missing"] == 0


@pytest.mark.usefixtures("fakes")
def test_a_scorer_that_fails_leaves_the_rows_of_others(tmp_path):
    asked = options(tmp_path, seeds=(1,), scorers=("broken", "random"))
    with pytest.raises(TaskError, match="1 rows failed, toy_80_1_broken with: this training diverged"):
        run.benchmark(asked)
    assert [path.name.split("_")[3] for path in tmp_path.glob("*.json")] == ["random"]


@pytest.mark.usefixtures("fakes")
def test_a_sky_that_cannot_be_drawn_ends_the_run(tmp_path):
    source = write_galaxia(tmp_path, 100)
    source.members.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"members.parquet: cannot be read as Parquet"):
        run.benchmark(options(tmp_path / "rows", skies=("galaxia",), source=source))


def test_the_trunk_is_trained_once_for_all_skies(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(drawn, "make_trunk", lambda *arguments: made.append(arguments) or "trunk")
    monkeypatch.setitem(SKIES, "mock", replace(SKIES["mock"], make=lambda request: request.trunk()))
    monkeypatch.setitem(SKIES, "toy", replace(SKIES["toy"], make=lambda request: request.trunk()))
    skies = drawn.DrawnSkies(options(tmp_path, scorers=("anode",)))
    for size in (80, 90):
        assert skies.of(tasks.Task("mock", size, 1, "anode"), settings_for("mock", quick=True)) == "trunk"
        assert skies.of(tasks.Task("toy", size, 1, "anode"), settings_for("toy", quick=True)) is None
    assert len(made) == 1


@pytest.mark.usefixtures("fakes")
def test_what_a_sky_lacks_is_left_out_with_a_line(tmp_path, caplog):
    caplog.set_level("INFO")
    asked = options(tmp_path, skies=("toy", "galaxia", "mock"), seeds=(1,))
    assert {(task.sky, task.scorer) for task in tasks.plan(asked)} == {
        ("toy", "random"), ("toy", "true-ratio"), ("mock", "random")
    }  # fmt: skip
    assert "the sky galaxia is left out: it needs --sky FILE and --members FILE" in caplog.text
    assert "the likelihood ratio of the sky mock is not known: true-ratio is left out" in caplog.text
    with pytest.raises(ConfigError, match="nothing is left to measure"):
        tasks.plan(options(tmp_path, skies=("galaxia",)))


def test_the_whole_grid_is_planned_seed_after_seed(tmp_path):
    asked = Options(tmp_path, skies=("toy", "mock"), scorers=("anode",))
    planned = tasks.plan(asked)
    assert len(planned) == len(set(planned)) == 2 * len(SIZES) * len(SEEDS)
    assert [task.seed for task in planned] == sorted(task.seed for task in planned)
    assert [task.size for task in planned if task.sky == "toy"][: len(SIZES)] == list(SIZES)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("sky", SKIES)
def test_every_sky_has_settings(sky, quick):
    settings = settings_for(sky, quick=quick)
    assert settings.scorer.uses_trunk == (not SKIES[sky].known)
    assert (settings.density == Settings().density) == (not quick)


KILLED = """
import sys
from pathlib import Path
from viamachinae.anomaly import RegionScores
from viamachinae.anomaly.base import Scores
from viamachinae.benchmark.scorers import contenders
from viamachinae.benchmark.scorers.options import Options
from viamachinae.benchmark.scorers.run import run
import time

def slow(patch, regions, settings, engine):
    time.sleep(0.3)
    return [RegionScores((Scores(r.scored, r.rng.normal(size=len(r.scored)), 0.0),)) for r in regions]

contenders.anomaly.SCORERS = {"slow": slow}
result = run(Options(Path(sys.argv[1]), ("toy",), ("slow",), tuple(range(60, 72)), (1,), quick=True))
sys.stdout.write(str(result["missing"]))
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    standing = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert 2 <= len(standing) < 12
    (tmp_path / f".{next(iter(standing))}.elsewhere~1~0123abcd.tmp").write_text("half", encoding="utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "0"
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.json")}
    assert len(after) == 12
    assert {name: after[name] for name in standing} == standing


# --- the command ---


def end_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["benchmark", "scorers", *arguments])
    return end.value.code


@pytest.mark.usefixtures("fakes")
def test_the_command_writes_table_json_and_figure(tmp_path, capsys):
    files = ("--json", str(tmp_path / "a.json"), "--figure", str(tmp_path / "a.png"))
    asked = ("--quick", "--skies", "toy,toy-correlated", "--sizes", "300,80", "--out", str(tmp_path / "rows"))
    assert end_of(*asked, "--scorers", "random, sliced,true-ratio", *files) == ExitCode.COMPLETE
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    result = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert len(result["rows"]) == 2 * 2 * 3
    assert len(result["efficiencies"]) == len(result["rows"][0]["sic_roi"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert shown.index("toy") < shown.index("toy-correlated") < shown.index("medians over n skies")
    (line,) = (row for row in table.rows(result, "toy") if row[:2] == ("300", "sliced"))
    assert line[2] == "1"
    assert re.fullmatch(r"-/\d+\.\d", line[3])  # nothing of the whole region
    assert line[7] == "1.00/1.00"
    (line,) = (row for row in table.rows(result, "toy") if row[:2] == ("80", "random"))
    assert line[7] == "-"


@pytest.mark.usefixtures("fakes")
def test_a_spent_budget_ends_with_the_code_to_run_again(tmp_path, capsys):
    asked = ("--quick", "--skies", "toy", "--scorers", "random", "--out", str(tmp_path / "rows"))
    assert end_of(*asked, "--budget", "1e-9") == ExitCode.RESUME
    assert "1 of 1 rows are left" in capsys.readouterr().err
    assert end_of(*asked) == ExitCode.COMPLETE


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--skies", "toi"), "no sky 'toi', did you mean 'toy'?; valid: toy, toy-correlated, mock, galaxia"),
        (("--skies", ","), "--skies ',' names nothing"),
        (("--scorers", "annode"), "did you mean 'anode'?"),
        (("--sizes", "many"), "--sizes many: give whole numbers"),
        (("--sizes", "0"), "none may be below 1"),
        (("--seeds", "1,x"), "--seeds 1,x"),
        (("--seeds", "-1"), "none may be below 0"),
        (("--budget", "0"), "positive number of hours"),
        (("--sky", "sky.parquet"), "give both --sky FILE and --members FILE"),
        (("--sky", "no.parquet", "--members", "no.parquet"), "no.parquet: no such file"),
        (("--json", "no/such/folder/a.json"), "name a file in a folder that exists"),
        (("--figure", "."), "name a file in a folder that exists"),
        (("--out", __file__), "is a file: name a folder"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(arguments, words, monkeypatch, capsys):
    monkeypatch.setattr(run, "run", lambda options: pytest.fail("measured"))
    assert end_of(*arguments) == ExitCode.CONFIG
    assert words in " ".join(capsys.readouterr().err.split())


def test_help_has_an_example_and_loads_no_torch():
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['viamachinae', 'benchmark', 'scorers', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('viamachinae.cli.main', run_name='__main__')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Example: viamachinae benchmark scorers" in " ".join(done.stdout.split())


def test_the_help_names_the_defaults_and_skies_that_there_are():
    parameters = signature(command, eval_str=True).parameters
    helps = {name: p.annotation.__metadata__[0].help for name, p in parameters.items()}
    assert words("", re.match(r"[^.]*", helps["skies"])[0]) == tuple(SKIES)
    assert numbers("", re.search(r"Default: ([\d,]+)", helps["sizes"])[1]) == SIZES
    assert numbers("", re.search(r"Default: ([\d,]+)", helps["seeds"])[1]) == SEEDS
    assert source_of(None, None) is None


def test_rows_know_their_place(tmp_path):
    rows = Rows(tmp_path / "deep" / "er")
    rows.prepare()
    task = tasks.Task("toy", 80, 1, "anode")
    assert rows.read(task, "k" * 64) is None
    rows.publish(task, "k" * 64, {"max_sic_roi": 1.0})
    assert rows.read(task, "k" * 64) == {"max_sic_roi": 1.0, "key": "k" * 64}
    assert rows.read(task, "k" * 63 + "j") is None
