"""Cuts, and the stars of a patch from files and from the mock sky."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from viamachinae.config.settings import FiducialSettings, SelectionSettings, Settings
from viamachinae.errors import DataError
from viamachinae.schema import MASKS, STARS
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.patches import make_patches
from viamachinae.stars.cuts import fiducial, select
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.identifiers import check_identifiers
from viamachinae.stars.load import check_inputs, load_patch

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CENTRE = (359.0, 70.0)


def sky(n=4000, seed=0, radius=15.5):
    """Stars around a centre near ra 360 whose patch holds the celestial pole's neighbourhood."""
    rng = np.random.default_rng(seed)
    s, angle = radius * np.sqrt(rng.uniform(0.0, 1.0, n)), rng.uniform(0.0, 2.0 * np.pi, n)
    plane = np.degrees(np.tan(np.radians(s)))
    ra, dec = PatchFrame(*CENTRE).from_tangent(plane * np.cos(angle), plane * np.sin(angle))
    columns = {
        "source_id": rng.permutation(n).astype(np.int64) + 5,
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(0.0, 5.0, n),
        "pmdec": rng.normal(-2.0, 5.0, n),
        "parallax": rng.normal(0.5, 0.4, n),
        "phot_g_mean_mag": rng.uniform(12.0, 21.0, n),
        "bp_rp": rng.uniform(0.0, 2.0, n),
        "ruwe": rng.uniform(0.8, 2.0, n),
        "truth": np.where(rng.uniform(size=n) < 0.1, "stream", ""),
    }
    return pd.DataFrame(columns)


def scan(path, **sections):
    stars = {"source": "files", "paths": [path], "carry": ["truth"]} | sections.pop("stars", {})
    return Settings.model_validate({"stars": stars, "patches": {"centres": [CENTRE]}} | sections)


def patch(settings):
    return make_patches(settings.patches).iloc[0]


@pytest.fixture
def path(tmp_path):
    name = tmp_path / "sky.parquet"
    sky().to_parquet(name, index=False)
    return name


def test_the_selection_counts_what_each_cut_removes():
    stars = pd.DataFrame(
        {
            "parallax": [0.2, 1.5, np.nan, -3.0, 1.0],
            "phot_g_mean_mag": [19.0, 19.0, 19.0, 20.5, 15.0],
            "ruwe": 1.0,
        }
    )
    kept, counts = select(stars, SelectionSettings(parallax_max=1.0, g_max=20.2, ruwe_max=1.4))
    np.testing.assert_array_equal(kept, [True, False, False, False, False])
    assert counts == {"parallax": 3, "g": 1, "ruwe": 0, "flux_excess": 0}
    kept, counts = select(stars, SelectionSettings(parallax_max=None))
    assert kept.all()
    assert counts == {"parallax": 0, "g": 0, "ruwe": 0, "flux_excess": 0}


def test_a_cut_on_ruwe_needs_ruwe(path, tmp_path):
    with pytest.raises(
        DataError, match=r"ruwe_max = 1.4, but the stars have no column ruwe.*Found: parallax"
    ):
        select(pd.DataFrame({"parallax": [0.1]}), SelectionSettings(ruwe_max=1.4))
    sky().drop(columns="ruwe").to_parquet(tmp_path / "without.parquet")
    bare = scan(tmp_path / "without.parquet", selection={"ruwe_max": 1.4})
    with pytest.raises(DataError, match=r"without.parquet have no column ruwe"):
        check_inputs(bare, make_patches(bare.patches))
    report = load_patch(scan(path, selection={"ruwe_max": 1.4}), patch(bare)).report
    assert report["ruwe"] > 500


def test_each_fiducial_cut_alone_removes_its_star():
    frame = PatchFrame(0.0, 0.0)
    stars = pd.DataFrame(
        {
            "ra": [1.0, 10.1, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 352.0],
            "dec": [1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 4.0, 5.9],
            "phot_g_mean_mag": [19.0, 19.0, 20.2, 19.0, 19.0, 19.0, 19.0, 19.0, 19.0],
            "bp_rp": [0.7, 0.7, 0.7, 0.49, 1.01, 0.7, 0.7, 0.7, 0.7],
            "pm_phi_coslambda": [3.0, 3.0, 3.0, 3.0, 3.0, 1.9, -2.1, 3.0, 0.0],
            "pm_lambda": [0.0, 0.0, 0.0, 0.0, 0.0, -1.9, 0.0, 0.0, -2.5],
        }
    )
    row = {"name": "A", "kind": "user", "ra": 4.0, "dec": 4.2, "radius": 0.5, "pmra": 0.0, "pmdec": 0.0}
    masks = MASKS.conform(pd.DataFrame([row | {"reference": ""}, row | {"name": "B", "reference": ""}]))
    passed, masked = fiducial(stars, FiducialSettings(), frame, masks)
    assert masked == {"A": 1}
    np.testing.assert_array_equal(passed, [True, False, False, False, False, False, True, False, True])


def test_a_patch_from_a_file_is_complete_and_in_its_frame(path):
    settings = scan(path)
    found = load_patch(settings, patch(settings))
    table, report, frame = found.table, found.report, PatchFrame(*CENTRE)
    required = [c.name for c in STARS.columns if not c.optional]
    assert list(table.columns) == [*required, "truth"]
    everything = sky()
    inside = frame.separation(everything.ra, everything.dec) <= 15.0
    kept = everything[inside & (everything.parallax < 1.0)].sort_values("source_id")
    np.testing.assert_array_equal(table.source_id, kept.source_id)
    np.testing.assert_array_equal(table.truth, kept.truth)
    assert not table.drop(columns="truth").isna().any().any()
    phi, lam = frame.to_frame(kept.ra, kept.dec)
    np.testing.assert_array_equal(table.phi, phi)
    np.testing.assert_array_equal(table["lambda"], lam)
    pm_phi, pm_lam = frame.rotate_pm(kept.ra, kept.dec, kept.pmra, kept.pmdec)
    np.testing.assert_allclose(table.pm_phi_coslambda, pm_phi, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(table.pm_lambda, pm_lam, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(table.fiducial, fiducial(table, settings.fiducial, frame, MASKS.empty())[0])
    assert report["kept"] == len(table)
    assert report["fiducial"] == table.fiducial.sum() > 100
    out = sum(report[k] for k in ("outside", "nan", "duplicates", "parallax", "g", "ruwe", "flux_excess"))
    assert report["read"] == out + report["kept"] == len(everything)


def test_the_order_of_rows_and_files_changes_nothing(path, tmp_path):
    settings = scan(path)
    one = load_patch(settings, patch(settings)).table
    mixed = sky().sample(frac=1.0, random_state=3)
    mixed[:1500].to_parquet(tmp_path / "b.parquet")
    mixed[1500:].to_csv(tmp_path / "a.csv", index=False)
    both = scan(tmp_path / "b.parquet", stars={"paths": [tmp_path / "b.parquet", tmp_path / "a.csv"]})
    pd.testing.assert_frame_equal(load_patch(both, patch(settings)).table, one)


def test_nothing_left_is_an_error(path):
    settings = scan(path, selection={"parallax_max": -50.0})
    with pytest.raises(DataError, match=r"patch J2356.0\+7000: none of \d+ stars passes the selection"):
        load_patch(settings, patch(settings))


def test_inputs_are_checked_without_reading_rows(path, tmp_path, monkeypatch):
    monkeypatch.setattr("viamachinae.stars.files.tables.read_columns", None)
    good = scan(path)
    check_inputs(good, make_patches(good.patches))
    south = make_patches(good.patches.model_copy(update={"centres": ((359.0, 20.0),)}))
    with pytest.raises(
        DataError,
        match=r"J2356.0\+2000: no file .* between dec 5 and 35 deg; the files cover dec 54\S+ to 85\S+ deg",
    ):
        check_inputs(good, south)
    with pytest.raises(DataError, match="no such file"):
        check_inputs(scan(tmp_path / "none.fits"), south)
    with pytest.raises(DataError, match="missing columns: label"):
        check_inputs(scan(path, stars={"carry": ["label"]}), south)


def test_files_that_miss_a_patch_are_told_in_few_words(tmp_path):
    stars = sky(200)
    for k, dec in enumerate(np.repeat(np.arange(-80.0, 80.0, 4.0), 3)):
        if abs(dec - 20.0) > 5.0:
            stars.assign(dec=dec + np.linspace(0.0, 1.0, 200)).to_parquet(tmp_path / f"{k:03d}.parquet")
    settings = scan(tmp_path, patches={"centres": [(359.0, 20.5)], "radius": 3.0}, fiducial={"radius": 3})
    with pytest.raises(DataError, match="no file has stars between") as found:
        check_inputs(settings, make_patches(settings.patches))
    assert "cover dec -80 to -79, -76 to -75, -72 to -71, -68 to -67, -64 to -63, 32 ranges more deg" in str(
        found.value
    )


def test_the_mock_sky_comes_with_its_truth():
    stream = {
        "name": "made",
        "n_stars": 400,
        "start": (148.0, 20.0),
        "end": (149.0, 28.0),
        "pm_along": (-8.0, -8.0),
    }
    settings = Settings.model_validate(
        {
            "patches": {"centres": [(148.6, 24.2)], "radius": 4.0},
            "fiducial": {"radius": 3.0},
            "mock": {"streams": [stream], "density": 0.2, "release": "gaia-dr3"},
        }
    )
    check_inputs(settings, make_patches(settings.patches))
    found = load_patch(settings, patch(settings))
    assert list(found.table.columns)[-2:] == ["fiducial", "truth"]
    assert (found.table.truth == "made").sum() > 50
    assert found.table.source_id.is_monotonic_increasing
    assert (PatchFrame(148.6, 24.2).separation(found.table.ra, found.table.dec) <= 4.0).all()
    assert (found.report["release"], found.report["ref_epoch"]) == ("gaia-dr3", 2016.0)
    assert found.report["kept"] == len(found.table)
    again = load_patch(settings, patch(settings))
    pd.testing.assert_frame_equal(found.table, again.table)
    ruwe = Settings.model_validate({"selection": {"ruwe_max": 1.4}})
    with pytest.raises(DataError, match="mock sky have no column ruwe"):
        check_inputs(ruwe, make_patches(ruwe.patches))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["streamfinder/members", "gd1_real/pm_box", "galaxia/gd1_strip"])
def test_real_identifiers_are_believed(name):
    file = SHARED / f"{name}.parquet"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    ids = pd.read_parquet(file, columns=["source_id"]).source_id.to_numpy()
    np.testing.assert_array_equal(check_identifiers(file, ids), ids)
    rounded = ids.astype(np.float64).astype(np.int64)
    if (rounded == ids).all():  # below 2**60 genuine identifiers pass through a float unharmed
        return
    with pytest.raises(DataError, match="went through floating point"):
        check_identifiers(file, rounded)


@pytest.mark.shared
def test_a_million_stars_of_the_galaxia_sky():
    file = SHARED / "galaxia" / "gd1_strip.parquet"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    settings = scan(file, stars={"carry": ["popid"]}, patches={"centres": [(148.6, 24.2), (146.9, 35.6)]})
    found = load_patch(settings, patch(settings))
    assert found.report["coverage"] == 1.0
    assert found.report["read"] == 1_040_031
    assert 650_000 < found.report["kept"] < 750_000
    assert set(REQUIRED) < set(found.table.columns)
    assert np.isfinite(found.table[["phi", "lambda", "pm_phi_coslambda", "pm_lambda"]].to_numpy()).all()
    assert found.table.popid.dtype == np.int8
