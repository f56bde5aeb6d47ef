"""The benchmark of the mock sky: its distances, its footprint, its verdict, its command."""

from __future__ import annotations

import json
from pathlib import Path

import healpy
import numpy as np
import pandas as pd
import pytest

from viamachinae.benchmark.mock import distances, table
from viamachinae.benchmark.mock import run as room
from viamachinae.benchmark.mock.compare import ENOUGH, band, bands, bins
from viamachinae.benchmark.mock.distances import chance_ks, classifier_auc, divergence, ks
from viamachinae.benchmark.mock.options import Options, needed, release_of
from viamachinae.benchmark.mock.real import beside_real
from viamachinae.benchmark.mock.skies import COLUMNS, Footprint, latitude, mock_stars, read_stars
from viamachinae.benchmark.mock.verdict import bin_name, kept, misses, worst
from viamachinae.cli import main as cli
from viamachinae.config.settings import MockSettings
from viamachinae.errors import ConfigError, DataError, ExitCode, TaskError
from viamachinae.stars.mock.sky import mock_sky

#: Circles (deg, ICRS) at b = 40, 50 and 60 deg that are "the simulated sky" here: the mock from another seed.
CIRCLES = ((136.7, 21.6, 3.2), (147.9, 27.5, 3.2), (160.5, 31.2, 4.2))


@pytest.fixture(scope="module")
def sky() -> pd.DataFrame:
    parts = [mock_sky(MockSettings(), 99, *circle) for circle in CIRCLES]
    return pd.concat(parts).drop_duplicates("source_id").drop(columns="truth")


@pytest.fixture(scope="module")
def file(sky: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sky") / "galaxia.parquet"
    sky.to_parquet(path)
    return path


def gaussian(n: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(shift, 3.0, (n, 5)), columns=COLUMNS)


# --- distances ---


def test_distances_of_equal_samples_are_those_of_chance():
    found = [ks(gaussian(3000, seed), gaussian(2000, 50 + seed), COLUMNS) for seed in range(8)]
    assert np.mean([list(row.values()) for row in found]) == pytest.approx(chance_ks(3000, 2000), rel=0.12)
    pair = (gaussian(4000, 1), gaussian(4000, 2))
    assert classifier_auc(*pair, COLUMNS, np.random.default_rng(1)) == pytest.approx(0.5, abs=0.04)
    assert divergence(pair[0], pair[0], ("pmra", "pmdec")) == 0.0
    assert 0.0 < divergence(*pair, ("pmra", "pmdec")) < 0.1


def test_distances_grow_with_a_shift():
    still, moved = gaussian(4000, 1), gaussian(4000, 2, shift=1.5)
    for value in ks(still, moved, COLUMNS).values():  # half a sigma: 2 Phi(1/4) - 1
        assert value == pytest.approx(0.197, abs=0.04)
    assert classifier_auc(still, moved, COLUMNS, np.random.default_rng(1)) > 0.75
    apart = [divergence(still, t, ("pmra", "pmdec")) for t in (gaussian(4000, 3), moved, still + 100.0)]
    assert apart[0] < apart[1] < apart[2] == pytest.approx(1.0)


def test_too_few_stars_are_as_far_apart_as_can_be():
    few = gaussian(50, 1)
    assert set(ks(few[:0], few, COLUMNS).values()) == {1.0}
    assert classifier_auc(few, few, COLUMNS, np.random.default_rng(1)) is None


# --- footprints and skies ---


def test_a_footprint_holds_the_inside_alone(sky: pd.DataFrame):
    footprint = Footprint.of(sky, Path("sky"))
    circles = sum(2 * np.pi * (1 - np.cos(np.radians(r))) for *_, r in CIRCLES) * np.degrees(1.0) ** 2
    assert 0.5 * circles < footprint.area < circles
    corners = np.concatenate(
        [healpy.boundaries(1 << footprint.order, int(c), nest=True).T for c in footprint.cells]
    )
    inside = [
        corners @ healpy.ang2vec(ra, dec, lonlat=True) > np.cos(np.radians(r)) for ra, dec, r in CIRCLES
    ]
    assert np.any(inside, axis=0).all()


def test_the_mock_sky_fills_the_footprint_as_the_file_does(sky: pd.DataFrame):
    footprint = Footprint.of(sky, Path("sky"))
    ours, theirs = mock_stars(MockSettings(), 99, footprint), footprint.cut(sky)
    assert set(ours.source_id) == set(theirs.source_id)  # same seed, same sky


def test_bands_are_those_with_many_stars(sky: pd.DataFrame):
    assert bands(sky) == [(35.0, 45.0), (45.0, 55.0), (55.0, 65.0)]
    b = latitude(sky)
    assert bands(sky[(b > 44.0) & (b < 45.0)]) == []


def test_bins_hold_enough_stars_and_their_own_alone():
    stars = pd.DataFrame(
        {
            "phot_g_mean_mag": np.repeat([13.0, 17.5, 19.2], [ENOUGH, ENOUGH - 1, ENOUGH]),
            "bp_rp": np.repeat([0.6, 0.8, 2.2], [ENOUGH, ENOUGH - 1, ENOUGH]),
            "pmra": 1.0,
            "pmdec": 1.0,
            "parallax": 0.1,
        }
    )
    found = list(bins(stars[: ENOUGH // 2], stars))
    assert {bin_name(row): row["counts"] for row in found} == {
        "G below 14": 0.5,
        "BP-RP 0.5 to 0.75": 0.5,
        "G below 14, BP-RP 0.5 to 0.75": 0.5,
        "G 19 to 19.5": 0.0,
        "BP-RP 2 to 2.5": 0.0,
        "G 19 to 19.5, BP-RP 2 to 2.5": 0.0,
    }


# --- verdict ---


def row(counts: float = 1.0, **far: float) -> dict[str, object]:
    far = dict.fromkeys(COLUMNS, 0.01) | far
    return {"counts": counts, "ks": far, "g": [14.0, 15.0], "bp_rp": [None, None]}


def test_a_band_keeps_the_target_only_with_all_its_bins():
    assert not list(misses(row(1.2)))
    assert list(misses(row(1.21, pmra=0.1))) == ["counts 1.21", "pmra 0.100"]
    assert kept(row() | {"bins": [row(), row(0.8)]})
    assert not kept(row() | {"bins": [row(), row(0.79)]})
    assert not kept(row(parallax=0.2) | {"bins": []})
    furthest = worst([row(1.1), row(0.85, bp_rp=0.05), row(pmdec=0.09)])
    assert furthest[0]["counts"] == 0.85
    assert (furthest[1]["ks"]["pmdec"], furthest[2]) == (0.09, "pmdec")


# --- runs ---


@pytest.fixture(scope="module", autouse=True)
def few_stars_for_the_trees():
    """The classifier is what takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "_MOST", 3000)
        yield


@pytest.fixture(scope="module")
def result(file: Path) -> room.Result:
    return room.run(Options(file, real=file, seed=5))


def test_the_mock_beside_itself_is_as_far_as_chance_says(result: room.Result):
    assert result["kept"] == [[35.0, 45.0], [45.0, 55.0], [55.0, 65.0]]
    for found in result["bands"]:
        assert found["counts"] == pytest.approx(1.0, abs=5 * found["counts_chance"])
        assert max(found["ks"].values()) < 3.5 * found["ks_chance"]
        assert found["cmd_bits"] == pytest.approx(found["cmd_bits_chance"], rel=0.5)
        assert abs(found["auc"] - 0.5) < 0.07
        assert len(found["bins"]) > 3
    assert result["speed"]["stars"] > 1_000_000
    assert result["speed"]["seconds_per_million"] < 20.0  # the asked speed; usually 2
    json.dumps(result, allow_nan=False)


def test_real_stars_are_compared_by_rank_in_their_errors(result: room.Result):
    real = result["real"]
    assert real["mock"] > 1.2 * real["stars"]  # the mock sky is drawn to G = 21
    assert sum(fifth["stars"] for fifth in real["fifths"]) == real["stars"]
    for fifth in real["fifths"]:
        assert max(fifth["ks"].values()) < 4.0 * fifth["ks_chance"]
        assert fifth["mock_parallax_error"] == pytest.approx(fifth["parallax_error"], rel=0.03)


def test_the_tables_say_what_was_found(result: room.Result, capsys: pytest.CaptureFixture[str]):
    assert len(list(table.rows(result))) == 6
    table.show(result)
    printed = capsys.readouterr().out
    assert printed.count("pass;") == 3
    assert "3 of 3 bands, asked 3" in printed
    assert "real stars" in printed
    assert "stars/s" in printed
    assert "…" not in printed  # nothing is cut on a terminal of 80 columns


def test_a_sky_that_moves_otherwise_misses_and_says_where(file: Path, tmp_path: Path, capsys):
    stars = read_stars(file, COLUMNS)
    other = tmp_path / "other.parquet"
    stars.assign(pmdec=stars.pmdec - 1.5, bp_rp=stars.bp_rp + 0.05).to_parquet(other)
    out = tmp_path / "mock.json"
    with pytest.raises(TaskError, match="keeps the target in 0 of 3 bands of Galactic latitude, asked: 3"):
        room.benchmark(Options(other, seed=5), out, tmp_path / "mock.png")
    assert json.loads(out.read_text())["kept"] == []
    assert (tmp_path / "mock.png").read_bytes()[:4] == b"\x89PNG"
    printed = capsys.readouterr().out
    assert "|b| = 35 to 45 deg: MISS" in printed
    assert "misses: pmdec 0.1" in printed


# --- what is refused ---


def test_files_that_cannot_be_compared_are_refused(file: Path, tmp_path: Path):
    broken, bare, scattered = (tmp_path / name for name in ("broken.parquet", "bare.parquet", "few.parquet"))
    broken.write_text("no table")
    stars = read_stars(file, COLUMNS)
    stars.drop(columns="bp_rp").to_parquet(bare)
    stars[::400].to_parquet(scattered)
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read as a Parquet table"):
        room.run(Options(broken))
    with pytest.raises(DataError, match=r"columns bp_rp are missing; needed: ra, dec"):
        room.run(Options(bare))
    with pytest.raises(DataError, match="too few, or too scattered"):
        room.run(Options(scattered))
    with pytest.raises(DataError, match=r"its stars end at G = 20\.20; give --g-max 20\.20"):
        room.run(Options(file, g_max=20.9))
    stars.to_parquet(tmp_path / "real.parquet")
    with pytest.raises(DataError, match="columns parallax_error are missing"):
        beside_real(Options(file, real=tmp_path / "real.parquet"))


def test_options_that_make_no_sense_are_refused(file: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"--galaxia .*absent: no such file"):
        Options(tmp_path / "absent")
    with pytest.raises(ConfigError, match="give --g-max from 10 to 21"):
        Options(file, g_max=22.0)
    with pytest.raises(ConfigError, match="unknown release 'dr9'; valid: gaia-dr2, gaia-dr3"):
        release_of("dr9")
    assert release_of("gaia-dr3") == "gaia-dr3"
    assert needed(file) == file


def test_the_command_says_in_one_line_what_it_needs(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        cli.main(("benchmark", "mock"))
    assert end.value.code == ExitCode.CONFIG
    printed = " ".join(capsys.readouterr().err.split())
    assert "give --galaxia FILE, a Parquet table of all stars of a field with ra, dec" in printed


def test_a_band_compares_with_a_second_mock_for_scale():
    a, other, b = gaussian(3000, 1), gaussian(3000, 2), gaussian(3000, 3, shift=1.0)
    found = band(a, other, b, np.random.default_rng(1))
    assert found["auc"] > found["auc_chance"] + 0.05
    assert found["motion_bits"] > found["motion_bits_chance"]
