"""Photometry corrected for dust: the law, the map, and who uses which photometry."""

import importlib.util
import re

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from viamachinae.anomaly.base import FEATURES, PatchStars
from viamachinae.config.settings import FiducialSettings, Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import MASKS
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.patches import make_patches
from viamachinae.stars.cuts import fiducial
from viamachinae.stars.extinction import CORRECTED, RAW, a_0, coefficients, deredden, photometry
from viamachinae.stars.load import check_inputs, load_patch
from viamachinae.stars.sfd import FILES, folder_of, reddening, require_maps

NORTH, SOUTH = 0.1, 0.4


def hemisphere(pole, values):
    """A map of one Galactic hemisphere as Schlegel et al. made them: Lambert's equal areas about the pole."""
    header = fits.Header()
    size = values.shape[0]
    for axis, kind in ((1, "GLON-ZEA"), (2, "GLAT-ZEA")):
        header[f"CTYPE{axis}"], header[f"CRPIX{axis}"] = kind, (size + 1) / 2
    step = 170.0 / size
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -pole * step, 0.0, 0.0, step
    header["CRVAL1"], header["CRVAL2"], header["LONPOLE"] = 0.0, 90.0 * pole, 180.0
    return fits.PrimaryHDU(values.astype(np.float32), header)


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    for name, pole, value in zip(FILES, (1, -1), (NORTH, SOUTH), strict=True):
        hemisphere(pole, np.full((64, 64), value)).writeto(folder / name)
    return folder


def test_the_law_of_dr3_agrees_with_others_near_the_suns_colour():
    # Casagrande & VandenBerg (2018, table 2): A / E(B-V) = 2.740, 3.374, 2.035 for G, BP, RP
    found = 3.1 * coefficients([0.75], [0.05], "gaia-dr3")[:, 0]
    np.testing.assert_allclose(found, [2.740, 3.374, 2.035], rtol=0.02)


def test_the_law_of_dr2_agrees_with_measured_giants():
    # Wang & Chen (2019): A / A_V = 0.789, 1.002, 0.589 for red clump stars, whose colour is about 1.2
    found = coefficients([1.2], [1.0], "gaia-dr2")[:, 0]
    np.testing.assert_allclose(found, [0.789, 1.002, 0.589], rtol=0.06)
    # Babusiaux et al. (2018), eq. 1 and table 1, the terms of G by hand at colour 1 and A_0 = 2
    by_hand = 0.9761 - 0.1704 + 0.0086 + 0.0011 - 0.0438 * 2 + 0.0013 * 4 + 0.0099 * 2
    assert coefficients([1.0], [2.0], "gaia-dr2")[0, 0] == pytest.approx(by_hand, abs=1e-12)


def test_the_law_of_dr3_is_the_published_polynomial():
    # ESA's table for the main sequence, in the order 1, X, X2, X3, A, A2, A3, XA, AX2, XA2: RP by hand
    terms = [0.66320787941067, -0.0179847164933981, 0.000493769449961458, -0.00267994405695751]
    terms += [-0.00651422146709376, 3.30179903473159e-05, 1.57894227641527e-06]
    terms += [-7.9800898337247e-05, 0.000255679812110045, 1.10476584967393e-05]
    x, a = 1.3, 0.7
    by_hand = np.dot(terms, [1, x, x**2, x**3, a, a**2, a**3, x * a, a * x**2, x * a**2])
    assert coefficients([x], [a], "gaia-dr3")[2, 0] == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("release", ["gaia-dr2", "gaia-dr3"])
def test_dereddening_undoes_the_reddening(release):
    g_0, colour_0, ebv = (
        v.ravel() for v in np.meshgrid([15.0, 20.0], np.linspace(-0.3, 3.0, 12), [0.0, 0.03, 0.5])
    )
    extinction = 3.1 * 0.86 * ebv
    k = coefficients(colour_0, extinction, release)
    seen_g, seen_colour = g_0 + k[0] * extinction, colour_0 + (k[1] - k[2]) * extinction
    found_g, found_colour = deredden(seen_g, seen_colour, ebv, release)
    np.testing.assert_allclose(found_colour, colour_0, atol=1e-7)
    np.testing.assert_allclose(found_g, g_0, atol=1e-7)
    np.testing.assert_array_equal(found_g[ebv == 0.0], seen_g[ebv == 0.0])
    assert a_0([1.0])[0] == pytest.approx(2.666)


def test_a_release_without_a_law_is_refused():
    with pytest.raises(
        DataError, match=r"no extinction law .* release 'unknown'; there are laws for gaia-dr2, gaia"
    ):
        coefficients([0.7], [0.1], "unknown")


def test_the_map_is_read_in_both_hemispheres(maps):
    places = SkyCoord([10.0, 10.0, 200.0], [80.0, -80.0, -1.0], unit="deg", frame="galactic").icrs
    found = reddening(places.ra.deg, places.dec.deg, maps)
    np.testing.assert_allclose(found, [NORTH, SOUTH, SOUTH], rtol=1e-6)


def test_the_map_is_read_at_the_right_place(tmp_path):
    values = np.zeros((64, 64))
    values[40, 20] = 1.0
    north = hemisphere(1, values)
    north.writeto(tmp_path / FILES[0])
    hemisphere(-1, np.zeros((64, 64))).writeto(tmp_path / FILES[1])
    lon, lat = WCS(north.header).wcs_pix2world(20, 40, 0)
    place = SkyCoord(lon, lat, unit="deg", frame="galactic").icrs
    assert reddening([place.ra.deg], [place.dec.deg], tmp_path)[0] == pytest.approx(1.0, abs=1e-4)
    assert reddening([place.ra.deg], [place.dec.deg - 8.0], tmp_path)[0] == pytest.approx(0.0, abs=1e-6)


def test_missing_and_broken_maps_are_refused(maps, tmp_path, monkeypatch):
    require_maps(maps)
    with pytest.raises(
        DataError, match=r"SFD_dust_4096_ngp.fits cannot be read .*`viamachinae data fetch sfd`"
    ):
        require_maps(tmp_path / "nowhere")
    (maps / FILES[1]).write_bytes(b"<html>come back later</html>")
    with pytest.raises(DataError, match=r"sgp.fits is no FITS file; .*`viamachinae data fetch sfd`"):
        require_maps(maps)
    (maps / FILES[1]).write_bytes((maps / FILES[0]).read_bytes()[:4000])
    with pytest.raises(DataError, match=r"the maps cannot be read .*`viamachinae data fetch sfd`"):
        reddening([10.0], [10.0], maps)
    hemisphere(-1, np.full((64, 64), np.nan)).writeto(maps / FILES[1], overwrite=True)
    with pytest.raises(DataError, match="the map has no value at"):
        reddening([0.0], [-30.0], maps)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'viamachinae\[dust\]'"):
        require_maps(maps)


def test_the_folder_of_the_maps(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert folder_of() == tmp_path / "viamachinae" / "sfd"
    monkeypatch.setenv("XDG_DATA_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder_of() == tmp_path / ".local" / "share" / "viamachinae" / "sfd"
    settings = Settings.model_validate({"extinction": {"folder": "~/dust"}}).extinction
    assert folder_of(settings) == tmp_path / "dust"
    with pytest.raises(ValueError, match="folder must be a full path"):
        Settings.model_validate({"extinction": {"folder": "dust"}})


def sky(n=3000):
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "source_id": np.arange(n, dtype=np.int64) + 7,
            "ra": 150.0 + rng.uniform(-4.0, 4.0, n),
            "dec": rng.uniform(-4.0, 4.0, n),
            "pmra": rng.normal(0.0, 5.0, n),
            "pmdec": rng.normal(0.0, 5.0, n),
            "parallax": rng.uniform(-1.0, 1.0, n),
            "phot_g_mean_mag": rng.uniform(14.0, 20.8, n),
            "bp_rp": rng.uniform(0.2, 1.6, n),
        }
    )


def scan(tmp_path, maps, **sections):
    sky().to_parquet(tmp_path / "sky.parquet", index=False)
    stars = {"source": "files", "paths": [tmp_path / "sky.parquet"], "release": "gaia-dr3"}
    tree = {
        "stars": stars | sections.pop("stars", {}),
        "patches": {"centres": [(150.0, 0.0)], "radius": 3.0},
        "fiducial": {"radius": 2.0, "g_max": 20.0} | sections.pop("fiducial", {}),
        "extinction": {"map": "sfd", "folder": maps},
    }
    return Settings.model_validate(tree | sections)


def load(settings):
    patches = make_patches(settings.patches)
    check_inputs(settings, patches)
    return load_patch(settings, patches.iloc[0])


def test_stars_get_corrected_photometry_beside_the_raw(tmp_path, maps):
    table = load(scan(tmp_path, maps)).table
    raw = sky().set_index("source_id").loc[table.source_id]
    np.testing.assert_allclose(table.phot_g_mean_mag, raw.phot_g_mean_mag, rtol=1e-6)
    np.testing.assert_allclose(table.ebv, NORTH, rtol=1e-6)
    g, colour = deredden(raw.phot_g_mean_mag, raw.bp_rp, np.full(len(raw), NORTH), "gaia-dr3")
    np.testing.assert_allclose(table.g_0, g, atol=1e-5)
    np.testing.assert_allclose(table.bp_rp_0, colour, atol=1e-5)
    assert (table.g_0 < table.phot_g_mean_mag - 0.1).all()
    second = load(scan(tmp_path, maps, stars={"release": "gaia-dr2"})).table
    assert (second.bp_rp_0 != table.bp_rp_0).all()


def test_without_a_map_nothing_is_added(tmp_path):
    table = load(scan(tmp_path, None, extinction={})).table
    assert not {"g_0", "bp_rp_0", "ebv"} & set(table)
    assert photometry(table) == RAW


def test_the_selection_is_raw_and_the_fiducial_cuts_are_corrected_unless_told(tmp_path, maps):
    cuts = {"colour": (0.5, 1.0), "g_max": 20.0}
    selection = {"g_max": 20.3}
    corrected = load(scan(tmp_path, maps, fiducial=cuts, selection=selection)).table
    assert corrected.phot_g_mean_mag.max() < 20.3
    taken = corrected[corrected.fiducial]
    assert taken.g_0.max() < 20.0 < taken.phot_g_mean_mag.max()
    assert taken.bp_rp_0.between(0.5, 1.0).all()
    assert (taken.bp_rp > 1.0).any()
    raw = load(scan(tmp_path, maps, fiducial=cuts | {"photometry": "raw"}, selection=selection)).table
    taken = raw[raw.fiducial]
    assert taken.phot_g_mean_mag.max() < 20.0
    assert taken.bp_rp.between(0.5, 1.0).all()
    assert (taken.bp_rp_0 < 0.5).any()
    plain = load(scan(tmp_path, None, extinction={}, fiducial=cuts, selection=selection)).table
    np.testing.assert_array_equal(plain.fiducial, raw.fiducial)


def test_fiducial_cuts_alone_choose_between_raw_and_corrected():
    one = {"ra": [0.5], "dec": [0.5], "pm_phi_coslambda": [5.0], "pm_lambda": [0.0]}
    stars = pd.DataFrame(one | {"phot_g_mean_mag": [20.5], "bp_rp": [1.1], "g_0": [20.0], "bp_rp_0": [0.9]})
    frame, masks = PatchFrame(0.0, 0.0), MASKS.empty()
    assert fiducial(stars, FiducialSettings(), frame, masks)[0].all()
    assert not fiducial(stars, FiducialSettings(photometry="raw"), frame, masks)[0].any()
    assert not fiducial(stars.drop(columns=["g_0", "bp_rp_0"]), FiducialSettings(), frame, masks)[0].any()


def test_densities_see_the_corrected_photometry_where_there_is_one(tmp_path, maps):
    settings = scan(tmp_path, maps)
    table = load(settings).table
    names = [name for name, _ in FEATURES]
    colour, magnitude = names.index(RAW.bp_rp), names.index(RAW.g)
    for stars, columns in ((table, CORRECTED), (table.drop(columns=["g_0", "bp_rp_0"]), RAW)):
        assert photometry(stars) == columns
        patch = PatchStars.of(stars, "pm_lambda", settings)
        features = patch.sample.preprocessor.inverse(patch.sample.table[:, :-1])
        np.testing.assert_allclose(features[:, colour], stars[columns.bp_rp], atol=1e-4)
        np.testing.assert_allclose(features[:, magnitude], stars[columns.g], atol=1e-3)
        np.testing.assert_array_equal(patch.space.points[:, 4], stars[columns.bp_rp].astype(float))
        np.testing.assert_array_equal(patch.space.points[:, 5], stars[columns.g].astype(float))


@pytest.mark.parametrize("source", ["gaia-dr2", "gaia-dr3", "galaxia-dr3"])
def test_archives_ask_for_the_maps_before_any_work(tmp_path, maps, source):
    sections = {"stars": {"source": source}, "extinction": {"map": "sfd", "folder": tmp_path / "none"}}
    settings = Settings.model_validate(sections)
    with pytest.raises(DataError, match="viamachinae data fetch sfd"):
        check_inputs(settings, make_patches(settings.patches))
    there = Settings.model_validate(sections | {"extinction": {"map": "sfd", "folder": maps}})
    check_inputs(there, make_patches(there.patches))


def test_what_cannot_be_corrected_is_refused_before_any_work(tmp_path, maps):
    cases = [
        ({"stars": {"source": "mock", "paths": []}}, ConfigError, "the mock sky has no dust"),
        ({"stars": {"release": "unknown"}}, DataError, "no extinction law .* 'unknown'"),
        (
            {
                "fiducial": {"photometry": "raw"},
                "scorer": {"name": "cathode"},
                "trees": {"stars": "fiducial"},
            },
            ConfigError,
            re.escape('fiducial.photometry = "raw" with scorer.name = "cathode"'),
        ),
    ]
    for sections, error, message in cases:
        settings = scan(tmp_path, maps, **sections)
        with pytest.raises(error, match=message):
            check_inputs(settings, make_patches(settings.patches))
