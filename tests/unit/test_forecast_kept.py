"""What a plan measured serves the next one, as long as the question is the same; receipts say the rest."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from viamachinae.cli import main as cli
from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ExitCode
from viamachinae.scan.forecast import estimate as room
from viamachinae.scan.forecast import kept, scaling
from viamachinae.scan.forecast.counting import count
from viamachinae.scan.forecast.done import Done
from viamachinae.scan.forecast.estimate import estimate
from viamachinae.scan.forecast.fits import FitCost
from viamachinae.scan.forecast.machine import Machine
from viamachinae.scan.forecast.remaining import Estimate, remaining
from viamachinae.scan.forecast.sample import Sample
from viamachinae.scan.forecast.scaling import scale
from viamachinae.scan.overhead.folder import Fake, fake_scan, fake_settings
from viamachinae.scan.sections import STAGES
from viamachinae.sky.patches import make_patches
from viamachinae.streams.regions import SignalRegion

CENTRES = [[148.6, 24.2], [148.9, 28.2]]
MACHINE = Machine(2, 2, 2, 1000.0, 10_000.0, 0.5, 3e8)


def settings(**sections: dict[str, Any]) -> Settings:
    tree: dict[str, Any] = {
        "patches": {"centres": CENTRES, "radius": 6.0},
        "fiducial": {"radius": 5.0},
        "regions": {"group_size": 1, "coordinates": ["pm_lambda"]},
        "mock": {"density": 0.1},
        "runner": {"workers": 2},
    }
    return Settings.model_validate({**tree, **{k: {**tree.get(k, {}), **v} for k, v in sections.items()}})


class Measurement:
    """Loads and timings, as if they were made, and how many were."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.timed = 0

    def load(self, _settings: Settings, patch: pd.Series, _factors: tuple[float, float]) -> Sample:
        self.loaded.append(str(patch["patch"]))
        return a_sample(str(patch["patch"]))

    def time(self, _settings: Settings) -> Machine:
        self.timed += 1
        return MACHINE


def a_sample(name: str) -> Sample:
    windows = tuple(
        (SignalRegion("pm_lambda", k, 3.0 * k, 3.0 * k + 6.0), 50_000, 3000, 4, 700) for k in range(40)
    )
    # A patch whose regions have no region of interest has no time for one.
    times = {"load": 3.0, "prepare": 1.0, "line": math.nan, "fit": FitCost(0.1, 1e-4)}
    return Sample(name, 400_000, 5000, windows, **times, row_disk=60.0, row_memory=90.0)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measurement:
    found = Measurement()
    monkeypatch.setattr(scaling, "load_sample", found.load)
    monkeypatch.setattr(scaling, "star_weights", lambda _settings, patches: np.ones(len(patches)))
    monkeypatch.setattr(room, "measure_machine", found.time)
    return found


@pytest.fixture
def out(tmp_path: Path, measured: Measurement) -> Path:
    """The folder of a scan in which a plan has measured."""
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "scan.toml").write_text(dump(settings()), encoding="utf-8")
    assert not estimate(settings(), folder).kept
    assert (len(measured.loaded), measured.timed) == (2, 1)
    return folder


def told(found: Estimate) -> Estimate:
    """Everything but where it comes from."""
    return replace(found, kept=False)


def test_the_next_plan_measures_and_counts_nothing_and_says_the_same(
    out: Path, measured: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = estimate(settings(), out)
    monkeypatch.setattr(room, "count", None)
    third = estimate(settings(), out)
    assert third.kept
    assert third == second
    assert third.work.regions == 80
    assert (len(measured.loaded), measured.timed) == (2, 1)
    monkeypatch.undo()
    (out / kept.FILE).unlink()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scaling, "load_sample", measured.load)
        patched.setattr(room, "measure_machine", measured.time)
        patched.setattr(room, "when", lambda _unix: third.measured_at)
        assert told(estimate(settings(), out)) == told(third)


@pytest.mark.parametrize(
    "sections",
    [
        {"density": {"hidden": 48}},
        {"scan": {"seed": 7}},
        {"regions": {"group_size": 2}},
        {"runner": {"workers": 3}},
        {"patches": {"radius": 6.5}},
        {"patches": {"centres": [CENTRES[0], [150.0, 20.0]]}},
        {"fiducial": {"g_max": 19.0}},
    ],
)
def test_what_the_measurement_depends_on_is_measured_anew(
    out: Path, measured: Measurement, sections: dict[str, Any]
) -> None:
    changed = settings(**sections)
    assert not estimate(changed, out).kept
    assert (len(measured.loaded), measured.timed) == (4, 2)
    assert estimate(changed, out).kept


def test_so_it_is_on_another_machine_or_with_other_tables_or_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = kept.measured_key(settings(), ["a", "b"])
    assert kept.measured_key(settings(), ["b", "a"]) == key
    keys = {key, kept.measured_key(settings(), ["a"])}
    for name, other in (("processor", "other"), ("cores", 77), ("versions", {"torch": "0"})):
        with monkeypatch.context() as patched:
            patched.setattr(kept, name, lambda other=other: other)
            keys.add(kept.measured_key(settings(), ["a", "b"]))
    with monkeypatch.context() as patched:
        patched.setattr(kept.socket, "gethostname", lambda: "other")
        keys.add(kept.measured_key(settings(), ["a", "b"]))
    on_gpu = settings(runner={"device": "auto"})
    for visible in ("0", "0,1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        keys.add(kept.measured_key(on_gpu, ["a", "b"]))
        assert kept.measured_key(settings(), ["a", "b"]) == key
    assert len(keys) == 8


@pytest.mark.parametrize(
    "sections",
    [
        {"streams": {"max_angle": 10.0}},
        {"scan": {"name": "other"}},
        {"runner": {"grace": 5.0, "memory_gb": 2.0}},
        {"archive": {"parallel": 2}},
    ],
)
def test_other_settings_are_counted_with_what_was_measured(
    out: Path, measured: Measurement, sections: dict[str, Any]
) -> None:
    assert estimate(settings(**sections), out).kept
    assert measured.timed == 1


def test_a_patch_more_is_counted_with_the_samples_that_are_there(
    out: Path, measured: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = settings(patches={"centres": [*CENTRES, [153.0, 26.0]]})
    found = estimate(more, out)
    assert found.kept
    assert (found.work.patches, found.work.stars) == (3, 1_200_000)
    assert measured.timed == 1
    # A sample says nothing of a patch that has three times its stars.
    denser = settings(patches={"centres": [*CENTRES, [160.0, 26.0]]})
    monkeypatch.setattr(scaling, "star_weights", lambda _settings, _patches: np.array([1.0, 1.0, 3.0]))
    assert not estimate(denser, out).kept
    assert measured.timed == 2


def test_more_samples_are_loaded_when_asked_for_and_fewer_never(out: Path, measured: Measurement) -> None:
    assert estimate(settings(), out, 1).kept
    three = settings(patches={"centres": [*CENTRES, [153.0, 26.0]]})
    assert not estimate(three, out, 3).kept
    assert len(measured.loaded) == 5
    assert estimate(three, out, 2).sampled == estimate(three, out, 3).sampled
    assert measured.timed == 2


def test_it_is_measured_again_on_request(out: Path, measured: Measurement) -> None:
    assert not estimate(settings(), out, measure=True).kept
    assert measured.timed == 2


def _torn(text: str) -> str:
    return text[: len(text) // 2]


def _altered(text: str) -> str:
    return text.replace('"training":1000.0', '"training":1001.0')


def _lacking(text: str) -> str:
    body = json.loads(text)
    del body["measured"]["machine"], body["seal"]
    return json.dumps({**body, "seal": kept._seal(body)})


@pytest.mark.parametrize(
    "damage", [_torn, _altered, _lacking, lambda _: "[]", lambda _: "", lambda _: "null"]
)
def test_a_damaged_file_is_silently_made_anew(
    out: Path, measured: Measurement, damage: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = (out / kept.FILE).read_text(encoding="utf-8")
    assert damage(text) != text
    (out / kept.FILE).write_text(damage(text), encoding="utf-8")
    assert not estimate(settings(), out).kept
    assert measured.timed == 2
    assert estimate(settings(), out).kept
    assert capsys.readouterr() == ("", "")


def test_nothing_is_written_where_no_scan_is(tmp_path: Path, measured: Measurement) -> None:
    for folder in (tmp_path / "none", tmp_path):
        assert not estimate(settings(), folder).kept
    assert list(tmp_path.iterdir()) == []
    assert measured.timed == 2


def test_a_folder_that_cannot_be_written_costs_time_alone(
    out: Path, measured: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_arguments: Any, **_words: Any) -> None:
        raise PermissionError(13, "denied")

    (out / kept.FILE).unlink()
    monkeypatch.setattr(kept, "atomic_text", refused)
    first, second = (estimate(settings(), out) for _ in range(2))
    assert told(second) == replace(first, measured_at=second.measured_at)
    assert measured.timed == 3
    assert not (out / kept.FILE).exists()


def seen_in(seconds: dict[str, float]) -> tuple[Estimate, Estimate]:
    """The estimate with such times in receipts, and the same when the receipts tell what was forecast."""
    tree = settings()
    patches = make_patches(tree.patches)
    loaded = tuple(
        scaling.Loaded(a_sample(row["patch"]), row["ra"], row["dec"], 1.0, 1.0)
        for row in patches.to_dict("records")
    )
    counted = count(tree, scale(tree, patches, scaling.Samples(loaded, None)), MACHINE, 0)
    forecast = {name: spent for own in counted.scores.values() for name, spent in own.items()}
    names = {stage: set[str]() for stage in STAGES} | {"scores": set(seconds)}
    of = [
        remaining(tree, counted, MACHINE, Done(names, {}, {}, times))
        for times in ({name: forecast[name] * factor for name, factor in seconds.items()}, {})
    ]
    return of[0], of[1]


def scores(found: Estimate) -> Any:
    return next(stage for stage in found.stages if stage.stage == "scores")


NAMES = [f"J0954.4+2412/pm_lambda/{k:+04d}" for k in range(40)]


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_the_times_of_done_tasks_scale_those_of_the_tasks_left(factor: float) -> None:
    found, plain = seen_in(dict.fromkeys(NAMES[:30], factor))
    assert found.seen is not None
    assert found.seen.tasks == 30
    assert found.seen.seconds == pytest.approx(factor * found.seen.forecast)
    assert found.seen.scale == pytest.approx(factor)
    now, before = scores(found), scores(plain)
    assert now.done == before.done == 30
    assert now.core == pytest.approx(factor * before.core)
    assert now.wall == pytest.approx(factor * before.wall)
    # A batch job must hold the longest.
    assert now.longest == pytest.approx(max(1.0, factor) * before.longest)
    others = [stage for stage in found.stages if stage.stage != "scores"]
    assert others == [stage for stage in plain.stages if stage.stage != "scores"]


def test_a_few_done_tasks_are_told_and_scale_nothing() -> None:
    found, plain = seen_in(dict.fromkeys(NAMES[:5], 3.0))
    assert found.seen is not None
    assert (found.seen.tasks, found.seen.scale) == (5, 1.0)
    assert scores(found) == scores(plain)
    assert plain.seen is None


@pytest.fixture
def faked(tmp_path: Path, measured: Measurement) -> tuple[Settings, Path]:
    """A finished scan of 70 score tasks that did nothing, in which a plan has measured."""
    folder = tmp_path / "scan"
    assert fake_scan(folder, Fake(70)).complete
    tree = fake_settings(70)
    estimate(tree, folder)
    return tree, folder


def test_receipts_say_what_is_done_and_how_long_it_took(faked: tuple[Settings, Path]) -> None:
    tree, folder = faked
    found = estimate(tree, folder)
    assert found.kept
    assert found.core == 0.0
    assert found.seen is not None
    assert found.seen.tasks == found.work.tasks == 70
    receipts = list((folder / "receipts" / "scores").rglob("*.json"))
    took = [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in receipts]
    assert found.seen.seconds == pytest.approx(sum(took) / 70)
    receipts[0].unlink()
    again = estimate(tree, folder)
    assert again.kept
    assert (scores(again).tasks, scores(again).done) == (70, 69)


def test_an_index_changes_nothing_of_what_is_done(faked: tuple[Settings, Path]) -> None:
    tree, folder = faked
    with_index = estimate(tree, folder)
    shutil.rmtree(folder / "index")
    without = estimate(tree, folder)
    assert without.stages == with_index.stages
    assert without.seen == with_index.seen


def test_a_damaged_list_of_regions_is_not_done_and_keeps_its_receipt(faked: tuple[Settings, Path]) -> None:
    tree, folder = faked
    file = sorted((folder / "plan").iterdir())[0]
    file.write_bytes(bytes(len(file.read_bytes())))
    receipts = sorted((folder / "receipts").rglob("*.json"))
    done = {stage.stage: stage.done for stage in estimate(tree, folder).stages}
    assert (done["stars"], done["plan"], done["lines"]) == (2, 1, 1)
    assert sorted((folder / "receipts").rglob("*.json")) == receipts


@pytest.mark.usefixtures("faked")
def test_the_second_plan_loads_no_slow_library(faked: tuple[Settings, Path], tmp_path: Path) -> None:
    _, folder = faked
    words = ["plan", str(folder / "scan.toml"), "--out", str(folder), "--json", str(tmp_path / "plan.json")]
    code = (
        "import sys\nfrom viamachinae.cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "slow = {'torch', 'ray', 'healpy', 'astropy', 'scipy', 'sklearn'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    body = json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))
    assert body["kept"]
    assert body["seen"]["tasks"] == 70


def test_the_command_says_what_it_knows_from_where(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(out / "scan.toml"), "--out", str(out)]
    shown = []
    for more in ([], ["--measure"]):
        with pytest.raises(SystemExit) as end:
            cli.main([*words, *more])
        assert end.value.code == ExitCode.COMPLETE
        shown.append(capsys.readouterr().out)
    at = json.loads((out / kept.FILE).read_text(encoding="utf-8"))["measured"]["at"]
    assert "(--measure measures again)" in shown[0]
    assert "this one was busy" in shown[0]
    assert f"measured here at {at}" not in shown[1]
    assert "this one is busy" in shown[1]
