"""Quality of a measurement: flux excess, zero-point of parallax, and what these cuts need."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from viamachinae.config.settings import SelectionSettings, Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.sky.patches import make_patches
from viamachinae.stars.cuts import select
from viamachinae.stars.load import check_inputs, load_patch
from viamachinae.stars.quality import (
    corrected_flux_excess,
    flux_excess_scatter,
    needed_columns,
    require_columns,
    require_release,
)
from viamachinae.stars.zeropoint import corrected_parallax, zero_point


def measured(n=1, **columns):
    """Sources of Gaia DR3 with solutions of five parameters and no fault."""
    table = {
        "parallax": 0.5,
        "phot_g_mean_mag": 18.0,
        "bp_rp": 0.7,
        "ruwe": 1.0,
        "phot_bp_rp_excess_factor": 1.19,
        "nu_eff_used_in_astrometry": 1.48,
        "pseudocolour": np.nan,
        "ecl_lat": 0.0,
        "astrometric_params_solved": 31,
    }
    return pd.DataFrame({name: np.full(n, value) for name, value in table.items()} | columns)


def test_the_flux_excess_that_is_expected_is_that_of_the_paper():
    # values by hand from table 2 of Riello et al. (2021): its three ranges meet within their rounding
    for joint, expected in ((0.5, 1.179315), (4.0, 1.61970)):
        sides = -corrected_flux_excess([joint - 1e-9, joint], [0.0, 0.0])
        np.testing.assert_allclose(sides, expected, atol=3e-5)
    np.testing.assert_allclose(
        -corrected_flux_excess([0.0, 1.0, 5.0], np.zeros(3)), [1.154360, 1.216844, 1.760257], atol=1e-12
    )
    assert corrected_flux_excess([1.0], [1.5])[0] == pytest.approx(1.5 - 1.216844)


def test_the_scatter_of_the_flux_excess_is_that_of_the_paper():
    # eq. 18, by hand with log10(20) * 7.618399 = 9.91176; sources brighter than 12 reach the floor of 6 mmag
    assert flux_excess_scatter([20.0])[0] == pytest.approx(0.0059898 + 0.07196, abs=1e-5)
    assert flux_excess_scatter([10.0])[0] == pytest.approx(0.00636, abs=1e-5)
    assert np.all(np.diff(flux_excess_scatter(np.arange(5.0, 21.0))) > 0)


def test_a_flux_excess_far_off_on_either_side_is_cut():
    sigma = float(flux_excess_scatter([18.0])[0])
    middle = float(-corrected_flux_excess([0.7], [0.0])[0])
    offsets = np.array([0.0, 2.9, -2.9, 3.1, -3.1, np.nan])
    stars = measured(6, phot_bp_rp_excess_factor=middle + offsets * sigma)
    kept, counts = select(stars, SelectionSettings(flux_excess_sigma=3.0))
    np.testing.assert_array_equal(kept, [True, True, True, False, False, False])
    assert counts == {"parallax": 0, "g": 0, "ruwe": 0, "flux_excess": 3}


def test_each_cut_counts_only_what_those_before_it_left():
    stars = measured(4, parallax=[2.0, 0.5, 0.5, 0.5], ruwe=[3.0, 3.0, 1.0, 1.0])
    stars["phot_bp_rp_excess_factor"] = [9.0, 9.0, 9.0, 1.19]
    settings = SelectionSettings(parallax_max=1.0, ruwe_max=1.4, flux_excess_sigma=5.0)
    kept, counts = select(stars, settings)
    assert kept.sum() == 1
    assert counts == {"parallax": 1, "g": 0, "ruwe": 1, "flux_excess": 1}


def test_the_zero_point_is_that_of_the_published_table():
    # Lindegren et al. (2021), table 9, row G = 10.8, where a wavenumber of 1.48 leaves the first three terms
    latitudes = np.array([0.0, 30.0, -90.0])
    sine = np.sin(np.radians(latitudes))
    expected = -27.23 - 3.07 * sine + 23.04 * (sine**2 - 1.0 / 3.0)
    found = zero_point(measured(3, phot_g_mean_mag=10.8, ecl_lat=latitudes))
    np.testing.assert_allclose(found, 1e-3 * expected, atol=1e-6)


def test_the_zero_point_holds_in_its_ranges_alone():
    stars = measured(
        8,
        phot_g_mean_mag=[18.0, 5.9, 21.0, 18.0, 18.0, 18.0, 18.0, 18.0],
        nu_eff_used_in_astrometry=[1.5, 1.5, 1.5, 1.95, np.nan, np.nan, np.nan, np.nan],
        pseudocolour=[np.nan, np.nan, np.nan, np.nan, 1.5, 1.8, np.nan, 1.5],
        astrometric_params_solved=[31, 31, 31, 31, 95, 95, 31, 3],
    )
    found = zero_point(stars)
    np.testing.assert_array_equal(np.isfinite(found), [True, False, False, False, True, False, False, False])
    assert np.all((found[[0, 4]] < 0.0) & (found[[0, 4]] > -0.1))
    stars.loc[7, "parallax"] = np.nan  # two parameters: no parallax at all
    parallax, uncorrected = corrected_parallax(stars)
    assert uncorrected == 5
    np.testing.assert_allclose(parallax[:4], [0.5 - found[0], 0.5, 0.5, 0.5])
    assert np.isnan(parallax[7])


def test_stars_without_any_parallax_solution_pass_through():
    assert np.isnan(zero_point(measured(2, astrometric_params_solved=[3, 3]))).all()
    assert zero_point(measured(0)).shape == (0,)


def test_the_parallax_cut_uses_the_corrected_parallax():
    stars = measured(3, parallax=[0.98, 0.97, 0.999], phot_g_mean_mag=[18.0, 18.0, 5.0])
    assert -0.03 < zero_point(stars)[0] < -0.02
    settings = SelectionSettings(parallax_max=1.0, zero_point=True)
    kept, counts = select(stars, settings)
    np.testing.assert_array_equal(kept, [False, True, True])  # the last is too bright for the correction
    assert counts == {"parallax": 1, "g": 0, "ruwe": 0, "flux_excess": 0, "uncorrected_parallax": 1}
    assert select(stars, SelectionSettings(parallax_max=1.0))[0].all()


@pytest.mark.parametrize(
    ("setting", "missing"),
    [
        ({"ruwe_max": 1.4}, "ruwe"),
        ({"flux_excess_sigma": 3.0}, "phot_bp_rp_excess_factor"),
        ({"zero_point": True}, "ecl_lat"),
    ],
)
def test_a_cut_names_the_column_that_it_misses(setting, missing):
    settings = SelectionSettings(**setting)
    assert missing in needed_columns(settings)
    (name,) = setting
    bare = measured().drop(columns=missing)
    with pytest.raises(DataError, match=rf"selection\.{name} = .* but the stars have no column {missing}"):
        select(bare, settings)
    assert needed_columns(SelectionSettings()) == ()
    require_columns(SelectionSettings(), [], "nothing")


def test_cuts_of_dr3_are_refused_for_other_releases():
    for name, settings in (
        ("flux_excess_sigma", SelectionSettings(flux_excess_sigma=3.0)),
        ("zero_point", SelectionSettings(zero_point=True)),
    ):
        require_release(settings, "gaia-dr3", "they")
        for release in ("gaia-dr2", "unknown"):
            with pytest.raises(DataError, match=rf"selection\.{name}: .*they are of release {release}"):
                require_release(settings, release, "they")
    require_release(SelectionSettings(ruwe_max=1.4), "gaia-dr2", "they")


def test_the_package_of_the_zero_point_is_asked_for(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'viamachinae\[zeropoint\]'"):
        require_columns(SelectionSettings(zero_point=True), list(measured()), "the stars")


@pytest.mark.parametrize(
    ("source", "selection", "message"),
    [
        ("gaia-dr2", {"flux_excess_sigma": 3.0}, "holds for Gaia DR3 alone, and the stars of gaia-dr2"),
        ("gaia-dr2", {"zero_point": True}, "gaia-dr2 have no column nu_eff_used_in_astrometry"),
        ("galaxia-dr3", {"ruwe_max": 1.4}, "the stars of galaxia-dr3 have no column ruwe"),
        ("galaxia-dr3", {"flux_excess_sigma": 3.0}, "no column phot_bp_rp_excess_factor"),
        ("mock", {"zero_point": True}, "mock sky have no column nu_eff_used_in_astrometry"),
    ],
)
def test_cuts_that_a_source_cannot_make_are_refused_before_any_work(source, selection, message):
    settings = Settings.model_validate({"stars": {"source": source}, "selection": selection})
    with pytest.raises(DataError, match=message):
        check_inputs(settings, make_patches(settings.patches))


def test_gaia_dr3_has_what_every_cut_needs():
    selection = {"ruwe_max": 1.4, "flux_excess_sigma": 3.0, "zero_point": True}
    settings = Settings.model_validate({"stars": {"source": "gaia-dr3"}, "selection": selection})
    check_inputs(settings, make_patches(settings.patches))


def test_a_file_of_dr3_is_cut_and_keeps_its_raw_parallax(tmp_path):
    rng = np.random.default_rng(5)
    n = 3000
    table = measured(
        n,
        source_id=np.arange(n, dtype=np.int64) + 7,
        ra=150.0 + rng.uniform(-4.0, 4.0, n),
        dec=rng.uniform(-4.0, 4.0, n),
        pmra=rng.normal(0.0, 5.0, n),
        pmdec=rng.normal(0.0, 5.0, n),
        parallax=rng.uniform(0.9, 1.0, n),
        bp_rp=rng.uniform(0.5, 1.0, n),
    )
    table["phot_bp_rp_excess_factor"] = 1.19 + rng.normal(0.0, 0.1, n)
    table.to_parquet(tmp_path / "dr3.parquet", index=False)
    settings = Settings.model_validate(
        {
            "stars": {"source": "files", "paths": [tmp_path / "dr3.parquet"], "release": "gaia-dr3"},
            "patches": {"centres": [(150.0, 0.0)], "radius": 3.0},
            "fiducial": {"radius": 2.0},
            "selection": {"parallax_max": 1.0, "flux_excess_sigma": 3.0, "zero_point": True},
        }
    )
    patches = make_patches(settings.patches)
    check_inputs(settings, patches)
    found = load_patch(settings, patches.iloc[0])
    assert found.report["parallax"] > 100
    assert found.report["flux_excess"] > 100
    assert found.report["uncorrected_parallax"] == 0
    raw = table.set_index("source_id").parallax.loc[found.table.source_id]
    np.testing.assert_allclose(found.table.parallax, raw, rtol=1e-6)
    assert "ecl_lat" not in found.table
    assert raw.max() < 0.98
