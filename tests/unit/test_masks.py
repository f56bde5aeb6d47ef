"""Known objects: the facts are those of the literature, each object stands once, radii obey the settings."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from pydantic import ValidationError

from viamachinae.config import resources
from viamachinae.config.masks import MaskSettings
from viamachinae.config.settings import PatchSettings
from viamachinae.errors import DataError
from viamachinae.schema import MASKS
from viamachinae.sky import known
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.known import KINDS, catalogue, known_masks, near
from viamachinae.sky.masks import circles_of, masked, masked_by, searched_area
from viamachinae.sky.patches import make_patches

ROOT = Path(__file__).parents[2]
OFF = dict.fromkeys(("globular_clusters", "dwarf_galaxies", "open_clusters", "magellanic_clouds"), False)
#: Positions (deg) as commonly quoted, good to a few arcminutes.
PLACES = {
    "NGC 5272": (205.548, 28.377),
    "Palomar 5": (229.022, -0.112),
    "NGC 5139": (201.697, -47.480),
    "VVV-CL002": (265.276, -28.845),
    "Draco": (260.052, 57.915),
    "Fornax": (39.997, -34.449),
    "Sagittarius": (283.831, -30.545),
    "LMC": (80.894, -69.756),
    "SMC": (13.187, -72.829),
    "Melotte 22": (56.601, 24.114),
    "NGC 2682": (132.846, 11.814),
}
#: Centres of extended objects are defined in several ways: of the light, of the rotation.
TOLERANCE = {"LMC": 1.0, "SMC": 1.2, "Sagittarius": 0.3}


def masks_by_name(**settings):
    return known_masks(MaskSettings(**settings)).set_index("name")


def cap(radius):
    return 2 * np.pi * (1 - np.cos(np.radians(radius))) * np.degrees(1) ** 2


@pytest.fixture(scope="module")
def masks():
    return known_masks(MaskSettings())


@pytest.mark.parametrize("name", PLACES)
def test_objects_are_where_the_literature_has_them(masks, name):
    row = masks.set_index("name").loc[name]
    assert PatchFrame(*PLACES[name]).separation(row["ra"], row["dec"]) < TOLERANCE.get(name, 0.1)


def test_motions_distances_and_sizes_are_those_of_the_literature():
    globular = catalogue("globular_clusters").set_index("name")
    palomar, messier = globular.loc["Palomar 5"], globular.loc["NGC 5272"]
    assert (palomar["pmra"], palomar["pmdec"]) == (
        pytest.approx(-2.73, abs=0.05),
        pytest.approx(-2.65, abs=0.05),
    )
    assert palomar["distance"] == pytest.approx(22, abs=1)
    assert messier["distance"] == pytest.approx(10.2, abs=0.2)
    assert messier["other_name"] == "NGC 5272 M 3"
    assert messier["field_radius"] == 30.0
    dwarf = catalogue("dwarf_galaxies").set_index("name")
    assert dwarf.loc["Draco", "half_light_radius"] == pytest.approx(10, abs=1)
    assert dwarf.loc["Fornax", "half_light_radius"] == pytest.approx(19, abs=2)
    assert dwarf.loc["Sagittarius", "half_light_radius"] == pytest.approx(342, abs=5)
    cloud = catalogue("magellanic_clouds").set_index("name")
    assert cloud.loc["LMC", "distance"] == pytest.approx(49.6, abs=0.5)
    assert cloud.loc["SMC", "distance"] == pytest.approx(62, abs=2)


def test_every_object_stands_once(masks):
    assert masks["name"].is_unique
    globular = masks[masks["kind"] == "globular cluster"]
    assert 190 < len(globular) < 210
    for row in globular.itertuples():
        separation = PatchFrame(row.ra, row.dec).separation(masks["ra"], masks["dec"])
        others = masks["name"][(separation < 0.05) & (masks["name"] != row.name)]
        assert others.empty, f"{row.name}: {list(others)}"
    plain = masks["name"].str.lower().str.replace(r"[\s_-]", "", regex=True)
    assert plain.is_unique


def test_one_cluster_with_two_names_stands_once(masks):
    names = set(masks["name"])
    assert {"Lynga 7", "HP 1", "Laevens 1", "NGC 6121", "Koposov 2"} <= names
    assert not {"BH 184", "BH 229", "Crater", "Collinder 302", "Ko 2", "Pal 5"} & names


@pytest.mark.parametrize("name", KINDS.values())
def test_tables_are_what_astropy_reads_and_say_where_they_come_from(name):
    table = Table.read(ROOT / "catalogs" / f"{name}.ecsv", format="ascii.ecsv")
    ours = catalogue(name)
    assert list(ours.columns) == table.colnames
    for column in table.colnames:
        if table[column].dtype.kind == "f":
            theirs = np.ma.filled(np.ma.asarray(table[column], dtype=float), np.nan)
            np.testing.assert_array_equal(ours[column], theirs)
        else:
            assert ours[column].tolist() == ["" if v is np.ma.masked else str(v) for v in table[column]]
        assert table[column].description
    assert table["ra"].unit == table["dec"].unit == "deg"
    assert table.meta["references"]
    assert ours[["ra", "dec"]].notna().all(axis=None)
    assert ours["ra"].between(0, 360, inclusive="left").all()
    assert ours["dec"].between(-90, 90).all()
    if "reference" in ours:
        assert (ours["reference"] != "").all()


def test_a_table_that_is_not_there_or_not_ecsv_is_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no table 'quasars'"):
        catalogue("quasars")
    (tmp_path / "quasars.ecsv").write_text("name,ra,dec\n3C 273,187.3,2.1\n", encoding="utf-8")
    monkeypatch.setattr(known, "folder", lambda _name: tmp_path)
    with pytest.raises(DataError, match="not an ECSV table"):
        catalogue("quasars")


def test_masks_conform_and_are_the_same_each_time(masks):
    pd.testing.assert_frame_equal(masks, MASKS.conform(masks))
    pd.testing.assert_frame_equal(masks, known_masks(MaskSettings()))
    assert list(masks["kind"].unique()) == list(KINDS)
    assert (masks["reference"] != "").all()
    assert not MASKS.to_arrow(masks).column("pmra").combine_chunks().is_nan().to_pylist().count(True)


def test_radii_follow_the_settings():
    default = masks_by_name()
    assert default.loc["NGC 5272", "radius"] == pytest.approx(30 / 60)  # its field
    assert default.loc["Palomar 5", "radius"] == pytest.approx(5 * 3.21 / 60)
    assert default.loc["Draco", "radius"] == pytest.approx(5 * 9.67 / 60)
    assert default.loc["Sagittarius", "radius"] == 2.0
    assert default.loc["NGC 6229", "radius"] == 0.2
    assert default.loc[["LMC", "SMC"], "radius"].tolist() == [10.0, 5.0]
    assert (default[default["kind"] == "open cluster"]["radius"] == 0.25).all()
    own = masks_by_name(
        half_light_radii=3,
        field_radii=0,
        min_radius=0.01,
        max_radius=20,
        open_cluster_radius=0.1,
        magellanic_radii=(8, 4),
    )
    assert own.loc["NGC 5272", "radius"] == pytest.approx(3 * 1.15 / 60)
    assert own.loc["Sagittarius", "radius"] == pytest.approx(3 * 342 / 60)
    assert own.loc["Melotte 22", "radius"] == 0.1
    assert own.loc[["LMC", "SMC"], "radius"].tolist() == [8.0, 4.0]
    half = masks_by_name(field_radii=0.5, min_radius=0.01)
    assert half.loc["NGC 5272", "radius"] == pytest.approx(15 / 60)


def test_an_object_of_unknown_size_has_the_smallest_circle():
    table = catalogue("globular_clusters").set_index("name")
    sizes = ["half_light_radius", "field_radius"]
    unknown = table.index[table[sizes].isna().all(axis=1)]
    assert "FSR 1776" in unknown
    assert (masks_by_name(min_radius=0.33).loc[unknown, "radius"] == 0.33).all()
    assert np.isnan(table.loc["Koposov 2", "half_light_radius"])
    assert masks_by_name(min_radius=0.01).loc["Koposov 2", "radius"] == pytest.approx(2 / 60)


def test_a_smallest_circle_above_the_largest_is_refused():
    with pytest.raises(ValidationError, match=r"min_radius = 3 is above max_radius = 2"):
        MaskSettings(min_radius=3)


@pytest.mark.parametrize(
    ("switch", "kind"),
    list(zip(OFF, ("globular cluster", "dwarf galaxy", "open cluster", "Magellanic Cloud"), strict=True)),
)
def test_each_kind_can_be_switched_off_and_on(switch, kind, masks):
    left = known_masks(MaskSettings(**{switch: False}))
    pd.testing.assert_frame_equal(left, masks[masks["kind"] != kind].reset_index(drop=True))
    assert set(known_masks(MaskSettings(**{**OFF, switch: True}))["kind"]) == {kind}


def test_circles_of_the_user_come_last_and_as_given(masks):
    circles = ((200.0, 10.0, 1.5), (10.0, -80.0, 0.01))
    ours = known_masks(MaskSettings(), circles)
    pd.testing.assert_frame_equal(ours.iloc[: len(masks)], masks)
    assert ours["name"].tolist()[-2:] == ["user 1", "user 2"]
    assert circles_of(ours)[-2:] == list(circles)
    only = known_masks(MaskSettings(**OFF), circles)
    assert only["kind"].tolist() == ["user", "user"]
    none = known_masks(MaskSettings(**OFF))
    pd.testing.assert_frame_equal(none, MASKS.empty(), check_dtype=False)


def test_near_are_those_whose_circle_reaches_into_the_disc(masks):
    ra, dec, radius = 200.0, 25.0, 10.0
    found = near(masks, ra, dec, radius)
    assert {"NGC 5272", "NGC 5024", "Bootes I"} - set(found["name"]) == {"Bootes I"}
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-radius, radius, (2, 20_000))
    stars = PatchFrame(ra, dec).from_tangent(x, y)
    inside = PatchFrame(ra, dec).separation(*stars) <= radius
    stars = tuple(v[inside] for v in stars)
    by, by_all = masked_by(*stars, circles_of(found)), masked_by(*stars, circles_of(masks))
    np.testing.assert_array_equal(by >= 0, by_all >= 0)
    hit = by >= 0
    assert hit.sum() > 20
    assert found["name"][by[hit]].tolist() == masks["name"][by_all[hit]].tolist()
    rim = MASKS.conform(masks.iloc[:2].assign(ra=[ra, ra], dec=[dec + 10.4, dec + 10.6], radius=0.5))
    assert len(near(rim, ra, dec, radius)) == 1


def test_tails_of_palomar_5_are_not_masked(masks):
    """Its core is; the tails, 10 deg on either side, are seen from a third of a degree on."""
    core = masked([229.02], [-0.12], circles_of(masks))
    tails = masked([229.4, 231.5, 226.5], [0.15, 1.5, -2.0], circles_of(masks))
    assert core.all()
    assert not tails.any()


def test_default_masks_take_about_a_per_cent_of_the_searched_sky(masks):
    patches = make_patches(PatchSettings())
    share = {}
    for kind in KINDS:
        area = searched_area(patches, 10.0, circles_of(masks[masks["kind"] == kind]))
        share[kind] = area.masked / (area.union + area.masked)
    assert 0.009 < sum(share.values()) < 0.013
    assert share["open cluster"] < 0.002
    assert share["globular cluster"] < 0.001


@pytest.mark.parametrize(("radius", "number"), [(0.2, 300), (0.05, 300)])
def test_area_is_right_with_hundreds_of_small_circles(radius, number):
    rng = np.random.default_rng(int(100 * radius))
    frame, places = PatchFrame(148.6, 64.2), []
    while len(places) < number:
        x, y = rng.uniform(-9.5, 9.5, 2)
        if np.hypot(x, y) < 9.5 and all(np.hypot(x - a, y - b) > 2.2 * radius for a, b in places):
            places.append((x, y))
    ra, dec = frame.from_tangent(*np.transpose(places))
    circles = [(a, d, radius) for a, d in zip(ra, dec, strict=True)]
    area = searched_area(pd.DataFrame({"ra": [frame.ra], "dec": [frame.dec]}), 10.0, circles)
    assert area.union == pytest.approx(cap(10.0) - number * cap(radius), rel=1e-3)
    assert area.union + area.masked == pytest.approx(cap(10.0), rel=5e-4)
    # a circle of 0.05 deg is as small as a pixel
    assert area.masked == pytest.approx(number * cap(radius), rel=0.01 if radius > 0.1 else 0.05)


def test_tables_travel_in_the_wheel_and_their_maker_does_not(monkeypatch):
    """What setup.py declares; that a wheel is whole is tested where one is built."""
    monkeypatch.chdir(ROOT)
    given = {}
    monkeypatch.setattr("setuptools.setup", lambda **keywords: given.update(keywords))
    runpy.run_path(str(ROOT / "setup.py"))
    patterns = given["package_data"]["viamachinae.catalogs"]
    files = {path.name for pattern in patterns for path in (ROOT / "catalogs").glob(pattern)}
    assert {"README.md", *(f"{name}.ecsv" for name in KINDS.values())} <= files
    # setuptools takes every module of a package's own folder, whatever package_data says
    assert list((ROOT / "catalogs").glob("*.py")) == []
    assert not any(name.startswith("viamachinae.catalogs.") for name in given["packages"])


def test_reading_is_quick_and_loads_no_astropy():
    code = (
        "import sys, time; from viamachinae.config.masks import MaskSettings;"
        "from viamachinae.sky.known import known_masks; start = time.process_time();"
        "n = len(known_masks(MaskSettings())); seconds = time.process_time() - start;"
        "bad = seconds > 1 or 'astropy' in sys.modules or n < 7000;"
        "sys.exit(f'{n} masks in {seconds} s, astropy: {\"astropy\" in sys.modules}' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_folder_is_found_beside_the_package():
    assert Path(str(resources.folder("catalogs"))) == ROOT / "catalogs"
