"""A plan says what the scan will really do: counted against a run of a tiny sky."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from viamachinae.anomaly.region import SCORERS
from viamachinae.cli import main as cli
from viamachinae.config.settings import DensitySettings, MockSettings, ScorerSettings, Settings
from viamachinae.config.toml import dump
from viamachinae.density import engine, train
from viamachinae.density.schedule import Schedule
from viamachinae.errors import ConfigError, DataError, ExitCode
from viamachinae.scan.drive import run_scan
from viamachinae.scan.forecast import estimate as room
from viamachinae.scan.forecast import fits as fits_room
from viamachinae.scan.forecast import footprint, machine, sample
from viamachinae.scan.forecast.counting import count
from viamachinae.scan.forecast.done import Done
from viamachinae.scan.forecast.estimate import estimate
from viamachinae.scan.forecast.fits import COSTS, FITS, FitCost
from viamachinae.scan.forecast.footprint import memory
from viamachinae.scan.forecast.machine import Machine, measure_machine, workers_of
from viamachinae.scan.forecast.remaining import Estimate, makespan, remaining
from viamachinae.scan.forecast.sample import Sample
from viamachinae.scan.forecast.scaling import workload
from viamachinae.scan.forecast.workload import TRAININGS, PatchWork, RegionWork, region_work, trunk_work
from viamachinae.scan.ray_runner import cores
from viamachinae.scan.runner import InlineRunner
from viamachinae.scan.sections import SCORER_SECTIONS, STAGES
from viamachinae.scan.status import status
from viamachinae.schema import CELLS
from viamachinae.schema.io import write_table
from viamachinae.sky.patches import make_patches

TREE: dict[str, Any] = {
    "scan": {"name": "tiny", "seed": 5, "keep_models": True},
    "patches": {"centres": [[148.6, 24.2], [148.9, 28.2]], "radius": 6.0},
    "fiducial": {"radius": 5.0},
    "regions": {"group_size": 1, "coordinates": ["pm_lambda"], "limits": [-14.0, -7.0], "min_stars": 100},
    "roi": {"stride": 3.0, "n_top": 50, "min_stars": 60},
    # No training of so few rounds stops early, so that a count of its stars can be exact.
    "scorer": {"name": "anode"},
    "density": {"name": "mixture", "hidden": 16, "max_epochs": 3, "batch_size": 512, "best_epochs": 2,
                "rounds": 5, "max_validation": 300},
    "trunk": {"density": 0.2, "max_star_steps": 20_000, "tuning_star_steps": 8_000},
    "mock": {"density": 0.1},
    "runner": {"inline": True},
}  # fmt: skip
MACHINE = Machine(2, 2, 2, 1000.0, 10_000.0, 1.0, 3e8)
FREE = FitCost()


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({**TREE, **{k: {**TREE.get(k, {}), **v} for k, v in sections.items()}})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates as if they were measured."""
    monkeypatch.setattr(room, "measure_machine", lambda settings: MACHINE)


@contextmanager
def counting_engine(counts: Counter[str]) -> Iterator[None]:
    """Count the stars that the engine trains on and evaluates."""
    step, judged = train.Stack._step, train.evaluate

    def counted_step(self: train.Stack) -> None:
        counts["presentations"] += len(self._values) * self._batch
        step(self)

    def counted_evaluate(*arguments: Any) -> Any:
        log_p = judged(*arguments)
        counts["evaluations"] += log_p.numel()
        return log_p

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train.Stack, "_step", counted_step)
        patched.setattr(train, "evaluate", counted_evaluate)
        patched.setattr(engine, "evaluate", counted_evaluate)
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Counter[str]]:
    """A finished scan, and the stars that its engine trained on and evaluated."""
    out, counts = tmp_path_factory.mktemp("scan") / "out", Counter[str]()
    with counting_engine(counts):
        assert run_scan(settings(), out, runner=InlineRunner()).complete
    return out, counts


def planned(
    tree: Settings,
    works: list[PatchWork],
    *,
    machine: Machine = MACHINE,
    done: Done | None = None,
    cells: Sequence[str] = (),
) -> Estimate:
    """The estimate of counted patches."""
    counted = count(tree, works, machine, len(cells))
    return remaining(tree, counted, machine, done or Done.nothing(), cells)


def by_stage(found: Estimate) -> dict[str, tuple[int, int]]:
    return {stage.stage: (stage.tasks, stage.done) for stage in found.stages}


@pytest.mark.usefixtures("quick")
def test_the_work_is_what_the_engine_really_does(done: tuple[Path, Counter[str]]) -> None:
    found = estimate(settings())
    assert found.work.presentations == done[1]["presentations"]
    assert found.work.evaluations == done[1]["evaluations"]


@pytest.mark.usefixtures("quick")
def test_tasks_rois_and_disk_are_those_of_the_scan(done: tuple[Path, Counter[str]]) -> None:
    found = estimate(settings(), done[0])
    assert by_stage(found) == {state.stage: (state.total, state.done) for state in status(done[0])}
    rois = sum(len(pd.read_parquet(path)) for path in (done[0] / "rois").iterdir())
    assert found.work.rois == rois > 0
    assert found.disk.there == sum(p.stat().st_size for p in done[0].rglob("*") if p.is_file())
    assert found.disk.there / 1.5 < found.disk.total < found.disk.there * 1.5
    stars = sum(p.stat().st_size for p in (done[0] / "stars").iterdir())
    assert found.disk.stars == pytest.approx(stars, rel=0.01)
    models = sum(p.stat().st_size for p in (done[0] / "models").rglob("*") if p.is_file())
    assert found.disk.models == pytest.approx(models, rel=0.1)
    assert (found.core, found.wall, found.longest) == (0.0, 0.0, 0.0)


@pytest.mark.usefixtures("quick")
def test_what_is_done_is_left_out(done: tuple[Path, Counter[str]], tmp_path: Path) -> None:
    out = Path(shutil.copytree(done[0], tmp_path / "scan"))
    first, *_, last = sorted((out / "receipts" / "scores").rglob("*.json"))
    first.unlink()
    last.write_text(last.read_text(encoding="utf-8").replace('"key": "', '"key": "0'), encoding="utf-8")
    fresh, left = estimate(settings()), estimate(settings(), out)
    tasks = by_stage(fresh)["scores"][0]
    assert by_stage(left)["scores"] == (tasks, tasks - 2)
    assert by_stage(left)["stars"] == (2, 2)
    assert by_stage(left)["streams"] == (1, 0)
    before, now = ({stage.stage: stage.core for stage in found.stages} for found in (fresh, left))
    assert now["stars"] == 0.0 < now["scores"] < before["scores"]
    other = estimate(settings(scan={"seed": 6}), out)
    assert by_stage(other) == by_stage(fresh) | {"patches": (1, 1)}


@pytest.mark.usefixtures("quick")
def test_a_folder_that_is_not_there_is_a_scan_not_begun(tmp_path: Path) -> None:
    found = estimate(settings(), tmp_path / "none")
    assert not any(stage.done for stage in found.stages)
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("quick")
def test_a_field_with_nothing_to_search_is_told() -> None:
    found = estimate(settings(regions={"min_stars": 10_000}))
    assert (found.work.regions, found.work.presentations) == (0, 0)
    assert any("nothing will be searched" in note and "min_stars" in note for note in found.notes)
    assert not any("nothing" in note for note in estimate(settings()).notes)


def test_other_patches_are_scaled_from_those_that_were_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    patches = make_patches(settings().patches)
    monkeypatch.setattr(sample, "_THINNED", 1.0)
    every = workload(settings(), patches, 2)
    scaled = workload(settings(), patches, 1)
    assert len({work.sample.patch for work in scaled}) == 1 < len({work.sample.patch for work in every})
    exact = [w for w in scaled if w.patch == w.sample.patch]
    assert [w.regions for w in exact] == [w.regions for w in every if w.patch == exact[0].patch]
    for one, other in zip(scaled, every, strict=True):
        assert one.n_stars == pytest.approx(other.n_stars, rel=0.3)
    known = workload(settings(), patches, 1, {w.patch: w.n_stars for w in every})
    assert [w.n_stars for w in known] == [w.n_stars for w in every]


@pytest.mark.parametrize(("g_max", "deepest"), [(None, 21.0), (19.0, 19.0), (22.0, 21.0)])
def test_the_mock_sky_that_stands_in_is_as_deep_as_the_archive(
    g_max: float | None, deepest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = {"ra": 229.0, "dec": -0.1, "distance": 21.0, "pmra": -2.7, "pmdec": -2.7, "radial_velocity": -58.0}
    tree = settings(
        stars={"source": "gaia-dr3"},
        selection={"g_max": g_max},
        mock={"density": 0.1, "progenitors": [{"name": "Pal 5", "n_stars": 10} | far]},
    )
    stand_in = sample._stand_in(tree)
    assert stand_in.mock == MockSettings(g_max=deepest, release="gaia-dr3")
    assert stand_in.stars.source == "mock"
    drawn: list[MockSettings] = []

    def cell_stars(mock: MockSettings, seed: int, cell: int) -> pd.DataFrame:
        drawn.append(mock)
        return pd.DataFrame({"ra": [1.0]})

    monkeypatch.setattr("viamachinae.stars.mock.cells.cell_stars", cell_stars)
    assert sample.star_weights(tree, make_patches(tree.patches)) is not None
    assert {mock.g_max for mock in drawn} == {deepest}
    assert sample._stand_in(settings()) == settings()


def test_cells_are_counted_where_they_are_downloaded() -> None:
    works = [a_patch(region()), a_patch(region(), name="q")]
    tree = settings(stars={"source": "gaia-dr3"}, archive={"cell_order": 4})
    names = [f"o4-{k:05d}" for k in range(9)]
    found = planned(tree, works, cells=names)
    # 11,000 stars in 113 deg2, and 9 cells of 13.4 deg2
    rows = 9 * 11_000 * 13.4287 / 112.991
    assert found.disk.cells == pytest.approx(150.0 * rows, rel=1e-3)
    assert found.disk.total > found.disk.cells + found.disk.stars
    assert any("0.0 GB are to be downloaded" in note for note in found.notes)
    plain = planned(settings(), works)
    assert plain.disk.cells == 0.0


def test_a_row_of_a_cell_takes_as_much_disk_as_is_counted(tmp_path: Path) -> None:
    generator, n = np.random.default_rng(1), 20_000
    columns: dict[str, Any] = {c.name: generator.normal(0.0, 3.0, n) for c in CELLS.columns}
    columns["source_id"] = np.sort(generator.integers(0, 1 << 53, n))
    columns["ref_epoch"] = 2016.0
    columns["radial_velocity"] = columns["radial_velocity_error"] = np.nan
    for name in ("visibility_periods_used", "matched_transits", "astrometric_params_solved"):
        columns[name] = generator.integers(10, 30, n)
    del columns["popid"]
    write_table(CELLS.conform(pd.DataFrame(columns)), CELLS, tmp_path / "cell.parquet")
    assert (tmp_path / "cell.parquet").stat().st_size / n == pytest.approx(footprint._CELL_ROW, rel=0.1)


def test_stars_of_files_are_counted_by_position(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    ra = np.concatenate([generator.uniform(147.0, 150.0, 9000), generator.uniform(197.0, 200.0, 3000)])
    table = pd.DataFrame({"ra": ra, "dec": generator.uniform(23.0, 26.0, len(ra))})
    for name in ("source_id", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"):
        table[name] = np.arange(len(ra)) if name == "source_id" else 1.0
    table.to_parquet(tmp_path / "stars.parquet")
    centres = {"centres": [[148.5, 24.5], [198.5, 24.5], [10.0, 0.0]], "radius": 4.0}
    tree = settings(
        stars={"source": "files", "paths": [tmp_path / "stars.parquet"]},
        patches=centres,
        fiducial={"radius": 4.0},
    )
    assert sample.star_weights(tree, make_patches(tree.patches)).tolist() == [9000, 3000, 0]


def region(**changes: Any) -> RegionWork:
    return RegionWork(**({"group": "p/pm_lambda/+000", "n_sr": 1000, "n_sb": 10_000, "n_fiducial": 300,
                          "n_rois": 4, "n_sliced": 700} | changes))  # fmt: skip


def a_patch(*regions: RegionWork, name: str = "p", fit: FitCost = FREE) -> PatchWork:
    times = {"load": 3.0, "prepare": 1.0, "line": 0.01, "fit": fit}
    return PatchWork(
        name, Sample(name, 11_000, 500, (), **times, row_disk=60.0, row_memory=90.0), 11_000, regions
    )


def test_the_arithmetic_of_a_region() -> None:
    tree = settings(
        density={"max_star_steps": 20_000, "max_epochs": 30, "rounds": 10, "best_epochs": 4},
        scorer={"sideband_start": "cold", "start": "cold"},
    )
    # 10,000 stars: 300 held out, 39 steps of 512 in rounds of 4; 500: 50 held out, 30 steps of 448 in threes.
    sideband, fold = (Schedule.of(n, tree.density) for n in (10_000, 500))
    assert (sideband.presentations, sideband.judged) == (39 * 512, 10 * 300)
    assert (fold.presentations, fold.judged) == (30 * 448, 10 * 50)
    presentations, evaluations = region_work(region(), tree)
    assert presentations == 39 * 512 + 2 * 30 * 448
    assert evaluations == 10 * 300 + 2 * 10 * 50 + 2 * 4 * 300
    # From the trunk a sideband takes 8000 presentations: 16 steps, in eight rounds of two.
    tuned = tree.model_copy(
        update={"scorer": ScorerSettings(name="anode", sideband_start="trunk", start="cold")}
    )
    assert region_work(region(), tuned) == (16 * 512 + 2 * 30 * 448, evaluations - 2 * 300)


def test_the_arithmetic_of_a_plan() -> None:
    tree = settings()
    works = [
        a_patch(region(), region(group="p/pm_lambda/+001")),
        a_patch(region(group="q/pm_lambda/+000"), name="q"),
    ]
    done = Done({stage: set() for stage in STAGES} | {"stars": {"q"}}, {"q": 11_000}, {})
    found = planned(tree, works, done=done)
    presentations, evaluations = region_work(region(), tree)
    each = 1.0 + presentations / 1000.0 + evaluations / 10_000.0
    of = {stage.stage: stage for stage in found.stages}
    assert of["scores"].core == pytest.approx(3 * each)
    assert (of["scores"].wall, of["scores"].longest) == (pytest.approx(2 * each), pytest.approx(each))
    assert (of["stars"].done, of["stars"].core) == (1, 3.0)
    assert of["lines"].core == pytest.approx(12 * 0.01 + 2 * 1.0)
    assert (found.work.regions, found.work.trainings, found.work.rois) == (3, 9 + 1, 12)
    trunk = trunk_work(tree)
    assert of["trunk"].core == pytest.approx(5.0 + trunk.presentations / 1000.0 + trunk.judged / 10_000.0)
    assert found.core == pytest.approx(sum(stage.core for stage in found.stages))
    assert found.longest == max(each, of["trunk"].core)


def test_trainings_wait_for_a_gpu_and_other_tasks_for_a_worker() -> None:
    works = [a_patch(region(group=f"{p}/pm_lambda/+000"), name=p) for p in ("p", "q")]
    one_gpu = replace(MACHINE, trainers=1)
    found = planned(settings(), works, machine=one_gpu)
    of = {stage.stage: stage for stage in found.stages}
    assert of["scores"].wall == pytest.approx(of["scores"].core)
    assert of["stars"].wall == pytest.approx(of["stars"].core / 2)


class Here:
    """A pool of processes that works in this one."""

    map = staticmethod(map)

    def __init__(self, n: int, mp_context: Any) -> None:
        self.n = n

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def test_one_worker_is_timed_where_each_has_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = settings(runner={"inline": False, "workers": 3, "device": "auto"})
    monkeypatch.setattr(machine, "_timed_worker", lambda settings, seconds: (1.0, 2.0, 1.0, 3.0))
    monkeypatch.setattr(machine, "ProcessPoolExecutor", Here)
    for there, trainers, processes in ((0, 3, min(3, cores())), (2, 2, 1), (8, 3, 1)):
        monkeypatch.setattr(engine, "gpus", lambda n=there: n)
        found = measure_machine(tree, 0.1)
        assert (found.workers, found.trainers, found.processes) == (3, trainers, processes)


def test_the_regions_of_a_group_are_one_task() -> None:
    tree = settings()
    grouped = [a_patch(region(), region())]
    found = planned(tree, grouped)
    presentations, evaluations = region_work(region(), tree)
    assert found.work.tasks == 1
    scores = next(stage for stage in found.stages if stage.stage == "scores")
    assert scores.longest == pytest.approx(1.0 + 2 * presentations / 1000.0 + 2 * evaluations / 10_000.0)


@pytest.mark.parametrize(
    ("seconds", "workers", "expected"),
    [([], 3, 0.0), ([3.0, 2.0, 2.0], 2, 4.0), ([1.0] * 7, 3, 3.0), ([5.0], 8, 5.0), ([1.0, 2.0], 1, 3.0)],
)
def test_workers_share_the_tasks(seconds: list[float], workers: int, expected: float) -> None:
    assert makespan(seconds, workers) == expected


def test_models_take_no_more_memory_than_allowed_unless_a_single_one_does() -> None:
    many = [a_patch(*(region() for _ in range(40)))]
    free = memory(settings(runner={"memory_gb": 10.0}), many, MACHINE).models
    assert memory(settings(runner={"memory_gb": 0.5 * free / 1e9}), many, MACHINE).models == 0.5 * free
    alone = memory(settings(), [a_patch(region())], MACHINE)
    assert 0.0 < memory(settings(runner={"memory_gb": 1e-9}), many, MACHINE).models < free / 20
    assert alone.worker == alone.process + alone.stars + alone.models
    ray = memory(settings(runner={"inline": False}), many, MACHINE)
    assert ray.total > MACHINE.workers * ray.worker + ray.driver


def test_every_scorer_can_be_planned() -> None:
    assert set(TRAININGS) == set(FITS) == set(COSTS) == set(SCORER_SECTIONS) == set(SCORERS)


def schedule(n: int, density: DensitySettings, **changes: Any) -> Schedule:
    return Schedule.of(n, density.model_copy(update=changes))


@pytest.mark.parametrize("scorer", ["residual", "r-anode"])
def test_the_arithmetic_of_a_frozen_background(scorer: str) -> None:
    section = scorer.replace("-", "_")
    scored = 300 if scorer == "residual" else 1000
    for kind in ("region", "crossed", "sideband", "corrected"):
        tree = settings(
            scorer={"name": scorer, "sideband_start": "cold"},
            residual={"background_star_steps": 1500},
            **({section: {"background": kind}} if scorer == "r-anode" else {}),
        )
        if scorer == "residual":
            tree = tree.model_copy(update={"residual": tree.residual.model_copy(update={"background": kind})})
        short = {"max_star_steps": 1500}
        parts = {
            "region": [schedule(1000, tree.density, **short)],
            "crossed": 2 * [schedule(500, tree.density, **short)],
            "sideband": [schedule(10_000, tree.density)],
            "corrected": [
                schedule(10_000, tree.density),
                schedule(1000, tree.density, max_star_steps=300_000),
            ],
        }[kind]
        presentations, evaluations = region_work(region(), tree)
        assert presentations == sum(part.presentations for part in parts)
        assert evaluations == sum(part.judged for part in parts) + 2 * scored


def test_the_arithmetic_of_trees() -> None:
    tree = settings(
        scorer={"name": "cathode", "sideband_start": "cold", "folds": 4},
        trees={"members": 5, "oversampling": 3.0},
    )
    sideband = Schedule.of(10_000, tree.density)
    # 3000 stars are drawn, each feature after feature.
    assert region_work(region(), tree) == (sideband.presentations, sideband.judged + 5 * 3000)
    cost = FitCost(fit=0.1, star=1e-3)
    assert cost.seconds(region(), tree) == pytest.approx(20 * 0.1 + 20 * 0.75 * 4000 * 1e-3)
    cwola = tree.model_copy(update={"scorer": tree.scorer.model_copy(update={"name": "cwola"})})
    assert region_work(region(), cwola) == (0, 0)
    assert cost.seconds(region(), cwola) == pytest.approx(20 * 0.1 + 20 * 0.75 * 11_000 * 1e-3)
    fiducial = cwola.model_copy(update={"trees": cwola.trees.model_copy(update={"stars": "fiducial"})})
    assert cost.seconds(region(), fiducial) == pytest.approx(20 * 0.1 + 20 * 0.75 * 3300 * 1e-3)


def test_the_arithmetic_of_fits() -> None:
    cost = FitCost(fit=0.1, star=1e-3)
    tree = settings(scorer={"name": "residual"})
    assert cost.seconds(region(), tree) == pytest.approx(4 * 0.1 + 0.7)
    # A region without slices is fitted as a whole; so is each with that domain.
    assert cost.seconds(region(n_rois=0, n_sliced=0), tree) == pytest.approx(0.1 + 0.3)
    whole = tree.model_copy(update={"residual": tree.residual.model_copy(update={"domain": "fiducial"})})
    assert cost.seconds(region(), whole) == pytest.approx(0.1 + 0.3)
    assert cost.seconds(region(), settings()) == 0.0
    # Flows are counted in star presentations: 60 epochs of half of 1000 stars, or as many as are allowed.
    flows = settings(scorer={"name": "r-anode"}, r_anode={"restarts": 3})
    assert cost.seconds(region(), flows) == pytest.approx(6 * 0.1 + 6 * 30.0)
    assert cost.seconds(region(n_sr=100_000), flows) == pytest.approx(6 * 0.1 + 6 * 250.0)

    with_fits, without = (planned(tree, [a_patch(region(), region(), fit=c)]) for c in (cost, FREE))
    assert with_fits.core - without.core == pytest.approx(2 * (4 * 0.1 + 0.7))
    assert any("residual.sure" in note for note in with_fits.notes)
    assert with_fits.memory.models >= 1e8


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path, Counter[str]]:
    """A finished scan of fits in slices, and the stars that its engine trained on and evaluated."""
    tree = settings(
        scorer={"name": "residual"},
        residual={"starts": 60, "folds": 2, "background_star_steps": 8000, "sure": 1e9},
        patches={"centres": [[148.6, 24.2]]},
        roi={"stride": 1.0},
    )
    out, counts = tmp_path_factory.mktemp("scan") / "out", Counter[str]()
    with counting_engine(counts):
        assert run_scan(tree, out, runner=InlineRunner()).complete
    return tree, out, counts


@pytest.mark.usefixtures("quick")
def test_the_work_of_fits_in_slices_is_what_is_really_done(
    tried: tuple[Settings, Path, Counter[str]],
) -> None:
    tree, out, counts = tried
    found = estimate(tree)
    assert found.work.presentations == counts["presentations"]
    assert found.work.evaluations == counts["evaluations"]
    fits = pd.concat(pd.read_parquet(path) for path in (out / "regions").rglob("*.parquet"))
    (sampled,) = {work.sample for work in workload(tree, make_patches(tree.patches), 1)}
    assert sum(window[4] for window in sampled.windows) == fits["n_fiducial"].sum()
    assert sum(window[3] for window in sampled.windows) == len(fits) == found.work.rois > 30
    scores = sum(path.stat().st_size for path in (out / "scores").rglob("*.parquet"))
    regions = sum(path.stat().st_size for path in (out / "regions").rglob("*.parquet"))
    assert (scores + regions) / 2 < found.disk.scores < 2 * (scores + regions)
    models = sum(path.stat().st_size for path in (out / "models").rglob("*.npz"))
    assert found.disk.models == pytest.approx(models, rel=0.1)


@pytest.mark.parametrize("scorer", ["residual", "cwola", "cathode", "r-anode"])
def test_fits_are_timed_on_the_stars_of_a_patch(monkeypatch: pytest.MonkeyPatch, scorer: str) -> None:
    monkeypatch.setattr(fits_room, "_SECONDS", 0.1)
    tree = settings(scorer={"name": scorer}, residual={"starts": 60, "folds": 2}, trees={"max_iterations": 5})
    patches = make_patches(tree.patches)
    found = workload(tree, patches, 1)[0].sample.fit
    assert found.fit >= 0.0
    more = settings(
        scorer={"name": scorer},
        residual={"starts": 600, "folds": 4},
        trees={"max_iterations": 50, "patience": 50},
        r_anode={"hidden": 256},
    )
    dearer = workload(more, patches, 1)[0].sample.fit
    counted = region(n_sr=1000, n_sb=9000)
    assert dearer.seconds(counted, more) > 1.2 * found.seconds(counted, tree)


def test_the_same_errors_as_a_run(tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("source_id,ra,dec\n1,2,3\n", encoding="utf-8")
    lacking = settings(stars={"source": "files", "paths": [tmp_path / "stars.csv"]})
    gone = settings(stars={"source": "files", "paths": [tmp_path / "gone.parquet"]})
    for tree, word in ((lacking, "missing columns"), (gone, "gone.parquet")):
        with pytest.raises(DataError, match=word) as planned:
            estimate(tree)
        with pytest.raises(DataError) as ran:
            run_scan(tree, tmp_path / "out", runner=InlineRunner())
        assert str(planned.value) == str(ran.value)
    with pytest.raises(ConfigError, match="GPU"):
        measure_machine(settings(runner={"device": "cuda"}), 0.1)


def test_workers_are_those_of_the_settings() -> None:
    assert workers_of(settings()) == 1
    assert workers_of(settings(runner={"inline": False, "workers": 7})) == 7
    assert workers_of(settings(runner={"inline": False})) >= 1


def test_the_command_measures_and_writes_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "measure_machine", partial(measure_machine, seconds=1.0))
    (tmp_path / "scan.toml").write_text(dump(settings()), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        cli.main(["plan", str(tmp_path / "scan.toml"), "--json", str(tmp_path / "p.json"), "--sample", "1"])
    assert end.value.code == ExitCode.COMPLETE
    body = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert body["machine"]["evaluation"] > body["machine"]["training"] > 0
    assert 5e7 < body["machine"]["process"] < 2e9
    assert body["memory"]["worker"] > body["machine"]["process"]
    assert math.isclose(body["core_seconds"], sum(stage["core"] for stage in body["stages"]))
    assert body["work"]["presentations"] > 0
    shown = capsys.readouterr().out
    assert "from 1 of 2 patches" in shown
    assert f"{body['machine']['training']:,.0f} stars/s" in shown
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_as_run_does(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[regions]\nwidth = -1\n", encoding="utf-8")
    for arguments in (
        ["plan", str(tmp_path / "bad.toml")],
        ["plan", "nowhere"],
        ["plan", "demo", "--sample", "0"],
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(arguments)
        assert end.value.code == ExitCode.CONFIG
