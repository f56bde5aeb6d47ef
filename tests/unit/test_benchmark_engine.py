"""The benchmark of the engine: its stars, its arithmetic, and a short run from end to end."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from viamachinae.anomaly.base import FEATURES
from viamachinae.benchmark import clocks, contest, cost, engine, published, rates, sky, table
from viamachinae.benchmark.defaults import BareSettings, changed, settings
from viamachinae.benchmark.options import Options, numbers
from viamachinae.cli import main as cli
from viamachinae.cli.benchmark import engine as command
from viamachinae.config import COORDINATES, Settings
from viamachinae.config.presets import preset_text
from viamachinae.config.read import parse
from viamachinae.config.settings import DensitySettings, RegionSettings
from viamachinae.density import Engine, Job
from viamachinae.density.families import family_of
from viamachinae.errors import ConfigError, ExitCode, TaskError
from viamachinae.streams.regions import signal_regions

CPU = torch.device("cpu")
SMALL = ("--seconds", "0.5", "--stars", "12000", "--models", "1")


@pytest.fixture(scope="module")
def patch() -> sky.Patch:
    return sky.make_patch()


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """A short run of the command, from the file that it writes."""
    folder = tmp_path_factory.mktemp("benchmark")
    files = ("--json", str(folder / "engine.json"), "--figure", str(folder / "engine.png"))
    with pytest.raises(SystemExit) as end:
        cli.main(["benchmark", "engine", *SMALL, *files])
    assert end.value.code == ExitCode.COMPLETE
    assert (folder / "engine.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "engine.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_the_made_patch_has_the_regions_of_a_real_one(patch):
    regions = settings().regions
    sizes = [int(patch.inside(window).sum()) for window in patch.windows(regions)]
    assert len(patch) == 700_000
    assert len(sizes) == 55
    assert 20_000 < min(sizes) < 30_000
    assert 280_000 < max(sizes) < 320_000
    assert np.mean(sizes) == pytest.approx(145_000, rel=0.05)


def test_the_made_patch_is_a_cap_with_structure(patch):
    stars = patch.columns
    assert all(np.isfinite(column).all() for column in stars.values())
    phi, lam = np.radians(stars["phi"]), np.radians(stars["lambda"])
    assert np.degrees(np.arccos(np.cos(phi) * np.cos(lam))).max() < sky.RADIUS
    assert stars["phot_g_mean_mag"].max() <= 20.5
    assert np.mean(stars["phot_g_mean_mag"] > 19.5) > 0.3  # rises to the limit
    assert np.corrcoef(stars["pm_phi_coslambda"], stars["pm_lambda"])[0, 1] > 0.1
    east, west = stars["phi"] > 8, stars["phi"] < -8
    shift = np.mean(stars["pm_phi_coslambda"][east]) - np.mean(stars["pm_phi_coslambda"][west])
    assert abs(shift) > 0.3
    assert np.mean(stars["lambda"] < 0) > 0.55  # denser towards the disk


def test_the_same_seed_makes_the_same_patch():
    one, same, other = (sky.make_patch(2000, seed).columns["phi"] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_windows_are_those_of_the_search():
    patch = sky.make_patch(20_000)
    regions = RegionSettings(min_stars=2000 * 700_000 // 20_000)
    stars = pd.DataFrame(patch.columns)
    expected = [
        (region.coordinate, region.low, region.high)
        for coordinate in COORDINATES
        for region in signal_regions(stars, coordinate, RegionSettings(min_stars=2000))
    ]
    assert [(w.coordinate, w.low, w.high) for w in patch.windows(regions)] == expected
    assert len(expected) > 10


def test_the_features_are_those_of_the_search():
    assert sky.COORDINATES == COORDINATES
    assert tuple(kinds["physical"] for _, kinds in FEATURES) == sky.KINDS
    assert Settings().patches.radius == sky.RADIUS
    assert len(FEATURES) == rates.FEATURES


def test_the_settings_without_pydantic_are_the_default_ones():
    full = Settings()
    bare = BareSettings()
    assert asdict(bare.density) == full.density.model_dump()
    for name in ("regions", "scorer", "trunk"):
        section = getattr(full, name).model_dump()
        own = asdict(getattr(bare, name))
        assert own == {key: section[key] for key in own}
    assert changed(bare.density, name="mixture", rounds=7) == replace(bare.density, name="mixture", rounds=7)
    assert changed(full.density, rounds=7) == DensitySettings(rounds=7)


def test_the_published_settings_are_those_of_the_preset():
    density = parse(preset_text("published"), source="the preset", folder=Path()).density
    own = asdict(published.PUBLISHED)
    assert own == {name: getattr(density, name) for name in own}
    assert density.batch_norm


def test_a_rate_and_the_peak_are_positive_and_leave_the_threads_as_they_were():
    threads = torch.get_num_threads()
    measured = rates.measure(changed(settings().density, name="mixture", hidden=8), "cpu", 0.05, models=2)
    assert measured.training > 0
    assert measured.evaluation > 0
    assert torch.get_num_threads() == threads
    assert rates.peak(CPU, 0.0) > 1e8


def test_operations_are_six_a_weight():
    density = changed(settings().density, name="mixture", hidden=16, components=4)
    inputs, outputs = 6, 3 * 4 * 5
    clock = rates.StackClock(density, 2, CPU)
    assert clock.operations == 6 * (inputs * 16 + 16 * 16 + 16 * outputs)
    plain, both = (published.nflows_clock(k, CPU, vmapped=k > 1) for k in (1, 2))
    a_block = 5 * 128 + 1 * 128 + 128 * 128 + 128 * 10
    assert plain.operations == both.operations == 6 * 15 * a_block
    assert published.zuko_clock(CPU).operations == 6 * 15 * (6 * 128 + 128 * 128 + 128 * 10)


def test_vmapped_flows_train_as_one_alone_does():
    one, two = published.nflows_clock(1, CPU, vmapped=False), published.nflows_clock(2, CPU, vmapped=True)
    x, m = torch.randn(2, 256, 5), torch.randn(2, 256, 1)
    alone, together = one._log_probs(x[:1], m[:1]), two._log_probs(x, m)
    assert together.shape == (2, 256)
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)


class _Steady:
    """Models whose rates are known."""

    def __init__(self, *stars_a_second: float) -> None:
        self.operations = 1000.0
        self._turns = iter((0.0, *stars_a_second))  # the first run warms up

    def run(self, seconds: float) -> float:
        return next(self._turns)


def test_the_fraction_is_the_median_rate_times_operations_over_the_peak(monkeypatch):
    peaks = iter((4e6, 5e6, 2e6, 3e6))
    monkeypatch.setattr(clocks, "peak", lambda place, seconds: next(peaks))
    timed = clocks.timed({"a_k1": _Steady(900.0, 1500.0, 1000.0), "b_k8": None}, Options(), CPU)
    assert timed["peak_flops"] == 5e6
    assert timed["rate_a_k1"] == 1000.0
    assert timed["fraction_a_k1"] == pytest.approx(1000.0 * 1000.0 / 5e6)
    assert timed["rate_b_k8"] is timed["fraction_b_k8"] is None


def _trials(reached_with: int):
    """Return trials of a second a model, which reach -1 nat with a plan."""
    return lambda plan: contest.Trial(plan, 1.0, -1.0 if plan >= reached_with else -2.0)


def test_the_shortest_plan_that_reaches_the_target_ends_the_search():
    tried = contest.shortest(_trials(500), -1.0, (100, 200, 500, 1000), math.inf)
    assert [trial.plan for trial in tried] == [100, 200, 500]
    tried = contest.shortest(_trials(5000), -1.0, (100, 200, 500), math.inf)
    assert [trial.plan for trial in tried] == [100, 200, 500]
    assert [t.plan for t in contest.shortest(_trials(500), -1.0, (100, 200), -math.inf)] == [100]


def test_a_busy_machine_ends_the_reference_by_the_clock_on_the_wall():
    stars = torch.randn(3000, 6)
    got = published.train_reference(stars[300:], stars[:300], 1e6, longest=2.0)
    assert 0 < got.seconds[-1] < 10
    assert len(got.seconds) == 1


@pytest.mark.parametrize(("reached_with", "ratio"), [(500_000, 120.0), (10**9, None)])
def test_the_time_ratio_is_the_references_time_over_the_engines(monkeypatch, reached_with, ratio):
    reference = published.Reference([120.0, 240.0], [-3.0, -1.5], averaged=-1.0, presentations=7)
    monkeypatch.setattr(contest.Contest, "reference", lambda self, seconds, longest, place: reference)
    monkeypatch.setattr(
        contest.Contest,
        "trial",
        lambda self, density, seeds, engine, plan: contest.Trial(
            plan, 16 / len(seeds), -1.0 if plan >= reached_with else -1.2
        ),
    )
    held = contest.Contest.of(sky.make_patch(10_000), 1)
    got = contest.held(held, settings().density, Options(), math.inf, CPU)
    assert got["together"] == 8  # of 1, 8 and 32: no more than a processor takes
    assert got["reference_log_likelihood"] == -1.0
    assert got["time_ratio_to_reference"] == ratio
    assert got["time_ratio_k1"] == (ratio and 15.0)
    assert got["seconds_per_region"] == (ratio and 2.0)


def test_the_held_out_stars_are_nobodys_training_stars():
    patch = sky.make_patch(10_000)
    made = contest.Contest.of(patch, 1)
    assert not set(made.rows) & set(made.held_out)
    assert not patch.inside(contest.WINDOW)[np.concatenate([made.rows, made.held_out])].any()


def test_the_reference_learns():
    stars = torch.randn(3000, 6, generator=torch.Generator().manual_seed(1))
    got = published.train_reference(stars[300:], stars[:300], 1.5)
    assert got.log_likelihood[-1] > got.log_likelihood[0]
    assert got.presentations % 256 == 0
    assert got.seconds[-1] >= 1.5


def test_the_reference_is_its_best_look_or_the_mean_of_the_ten_best(monkeypatch):
    stars = torch.randn(600, 6)
    looks = np.random.default_rng(1).normal(size=(12, 300)) - np.arange(12)[:, None]
    looks[4] = np.nan
    given = iter(looks)
    monkeypatch.setattr(published, "_log_prob", lambda flow, held: next(given))
    got = published.train_reference(stars[300:], stars[:300], 1.2, volume=2.0)
    ten = looks[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]]
    assert got.averaged == pytest.approx(2.0 + np.log(np.exp(ten).mean(0)).mean())
    assert got.best == max(got.averaged, *got.log_likelihood)
    assert got.log_likelihood[4] == -math.inf


def test_a_diverged_reference_is_refused():
    with pytest.raises(TaskError, match="diverged"):
        published.train_reference(torch.full((600, 6), torch.nan), torch.zeros(300, 6), 0.1)


def test_reference_and_engine_see_the_same_stars_in_the_same_units(monkeypatch):
    made = contest.Contest.of(sky.make_patch(10_000), 1)
    density = changed(settings().density, name="mixture", hidden=16, max_epochs=2)
    (trained,) = Engine().fit(made.sample, [Job(made.rows, 1)], density)
    expected = Engine().log_probs(made.sample, [trained], [made.held_out])[0].mean()

    def judged(stars, held, seconds, volume, longest):
        family = family_of(5, density)
        with torch.no_grad():
            log_p = family.log_probs(
                trained.values, *(part.expand(len(trained.values), -1, -1) for part in held.split([5, 1], 1))
            )
        assert stars.mean(0).abs().max() < 1e-3
        assert (stars.std(0) - 1).abs().max() < 1e-2
        return float((log_p.double().logsumexp(0) - math.log(len(log_p))).mean()) + volume

    monkeypatch.setattr(contest, "train_reference", judged)
    assert made.reference(1.0, 1.0, CPU) == pytest.approx(expected, abs=1e-4)


def test_the_planned_work_is_what_a_training_does():
    patch = sky.make_patch(12_000)
    density = changed(settings().density, name="mixture", hidden=8, max_epochs=2, patience=1000)
    bare = BareSettings()
    bare = replace(bare, regions=replace(bare.regions, stride=6.0))
    work = cost.patch_work(patch, bare, density)
    done = cost.train_patch(patch, bare, density, Engine())
    windows = patch.windows(bare.regions)
    assert (work.regions, work.models, done.models) == (len(windows), 3 * len(windows), 3 * len(windows))
    assert done.presentations == pytest.approx(work.presentations, rel=0.01)  # folds differ by a star or two
    assert done.seconds == done.sideband_seconds + done.region_seconds > 0
    assert work.seconds(1e3, math.inf) == work.presentations / 1e3
    assert work.seconds(math.inf, 1e3) == work.evaluations / 1e3


def test_a_training_is_bounded_by_its_presentations():
    density = DensitySettings(batch_size=1000, max_star_steps=500_000, rounds=25)
    work = cost.training_work(400_000, density)
    assert work.presentations == pytest.approx(500_000, rel=0.01)
    assert work.evaluations == pytest.approx(25 * 20_000, rel=0.05)


def test_the_command_writes_what_it_measured(result):
    assert result["device"] == "cpu"
    assert result["stars"] == 12_000
    assert result["seconds_total"] > 0
    for name in ("mixture_k1", "fast_maf_k1", "nflows_k1", "nflows_vmapped_k1", "zuko_k1"):
        assert 0 < result[f"fraction_{name}"] < 1.5
    share = result["rate_nflows_k1"] * published.nflows_clock(1, CPU, vmapped=False).operations
    assert result["fraction_nflows_k1"] == pytest.approx(share / result["peak_flops"])
    assert result["peak_fraction_k32"] is None  # asked for one model alone
    expected = result["reference_seconds"] / result["seconds_per_region"]
    assert result["time_ratio_to_reference"] == pytest.approx(expected)
    assert result["sky_core_hours"] == pytest.approx(200 * result["patch_seconds"] / 3600)


def test_every_name_in_the_file_is_described(result):
    words = set(re.findall(r"``([A-Za-z_0-9]+)``", engine.__doc__))
    patterns = [re.sub("K$|K(?=_)", "[0-9]+", word).replace("NAME", "[a-z_]+") for word in words]
    assert [name for name in result if not any(re.fullmatch(p, name) for p in patterns)] == []


def test_the_table_says_what_is_not_installed(result, capsys):
    without = result | {"rate_zuko_k1": None, "fraction_zuko_k1": None, "reference_log_likelihood": None}
    table.show(without)
    shown = " ".join(capsys.readouterr().out.split())
    assert "zuko 1 not installed" in shown
    assert "no nflows here" in shown
    missed = result | {"time_ratio_k1": None, "together": 8, "plans_k8": []}
    assert "not reached" in " ".join(table.lines(missed))
    assert "8 models together: not tried" in " ".join(table.lines(missed))


def test_a_figure_without_the_reference_can_be_drawn(result, tmp_path):
    engine.draw(result | {"reference_log_likelihood": None}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


BARE = """
import runpy, sys
allowed = set(sys.stdlib_module_names) | {"torch", "torchgen", "functorch", "numpy", "viamachinae"}
allowed |= {"typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "filelock", "fsspec"}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
runpy.run_module("viamachinae.benchmark.engine", run_name="__main__")
"""


def test_it_runs_with_torch_and_numpy_alone(tmp_path):
    file, picture = tmp_path / "bare.json", tmp_path / "bare.png"
    arguments = (*SMALL, "--json", str(file), "--figure", str(picture), "--device", "cpu")
    done = subprocess.run(
        [sys.executable, "-c", BARE, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    got = json.loads(file.read_text(encoding="utf-8"))
    assert got["rate_mixture_k1"] > 0
    assert got["rate_nflows_k1"] is got["rate_zuko_k1"] is got["time_ratio_to_reference"] is None
    assert got["patch_regions"] > 10
    assert "no nflows here" in done.stderr
    assert "no matplotlib here" in done.stderr
    assert not picture.exists()
    assert re.search(r"zuko +1 +not installed", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--models", "one"),
        ("--models", "0"),
        ("--device", "abacus"),
        ("--seconds", "-1"),
        ("--stars", "5"),
        ("--json", "no/such/folder/engine.json"),
        ("--figure", "."),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(arguments, monkeypatch, capsys):
    monkeypatch.setattr(engine, "run", lambda options: pytest.fail("measured"))
    with pytest.raises(SystemExit) as end:
        cli.main(["benchmark", "engine", *arguments])
    assert end.value.code == ExitCode.CONFIG
    assert "viamachinae: " in capsys.readouterr().err


def test_the_options_of_the_module_are_checked_too(capsys):
    assert engine.main(["--models", "1,x"]) == ExitCode.CONFIG
    assert "1,8,32" in capsys.readouterr().err
    assert numbers("1,8,32") == Options().models
    with pytest.raises(ConfigError, match="valid: cpu, cuda, auto"):
        Options(device="abacus")


def test_help_has_an_example_and_loads_no_torch():
    code = (
        "import runpy, sys, contextlib\n"
        "sys.argv = ['viamachinae', 'benchmark', 'engine', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    runpy.run_module('viamachinae.cli.main', run_name='__main__')\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Example: viamachinae benchmark engine" in " ".join(done.stdout.split())


def test_the_defaults_of_the_command_are_those_of_the_benchmark():
    given = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    options = Options()
    assert (given["seconds"], given["device"], given["stars"]) == (
        options.seconds,
        options.device,
        options.stars,
    )
    assert numbers(given["models"]) == options.models


def test_files_named_in_the_past_are_replaced(tmp_path, monkeypatch, result):
    file = tmp_path / "engine.json"
    file.write_text("old", encoding="utf-8")
    monkeypatch.setattr(engine, "run", lambda options: result)
    engine.benchmark(Options(), file)
    assert json.loads(file.read_text(encoding="utf-8")) == result
    assert Path(file).read_text(encoding="utf-8").endswith("}\n")
