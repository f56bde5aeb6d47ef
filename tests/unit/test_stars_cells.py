"""The stars of a patch from downloaded cells, of Gaia and of the Galaxia catalogues."""

import healpy
import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy import stats

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import CELLS, STARS
from viamachinae.schema.io import write_table
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.patches import make_patches
from viamachinae.stars.archive import noise
from viamachinae.stars.archive.cells import Cell, cells_of_patch
from viamachinae.stars.archive.noise import deviates, observed
from viamachinae.stars.archive.read import read_cells
from viamachinae.stars.load import check_inputs, load_patch
from viamachinae.stars.mock.noise import bp_rp_error

CENTRE, RADIUS, ORDER = (359.5, 40.0), 3.0, 5
NEIGHBOUR = (0.8, 40.5)


def sources(cell, n=400):
    """Sources of a cell with every column that Gaia DR3 and GeDR3mock have between them."""
    rng = np.random.default_rng(cell.pixel)
    low, high = (edge >> 35 for edge in cell.id_range)
    pixel = np.sort(rng.choice(np.arange(low, high), n, replace=False))
    ra, dec = healpy.pix2ang(4096, pixel, nest=True, lonlat=True)
    columns = {
        "source_id": (pixel << 35) + 5,
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(0.0, 5.0, n),
        "pmdec": rng.normal(-2.0, 5.0, n),
        "parallax": rng.normal(0.5, 0.4, n),
        "pmra_error": np.full(n, 0.3),
        "pmdec_error": np.full(n, 0.2),
        "parallax_error": np.full(n, 0.25),
        "pmra_pmdec_corr": np.full(n, 0.4),
        "phot_g_mean_mag": rng.uniform(15.0, 20.5, n),
        "phot_bp_mean_mag": rng.uniform(15.0, 20.5, n),
        "bp_rp": rng.uniform(0.0, 2.0, n),
        "ruwe": rng.uniform(0.8, 2.0, n),
        "visibility_periods_used": rng.integers(8, 30, n),
        "radial_velocity": np.where(rng.uniform(size=n) < 0.9, np.nan, rng.normal(0.0, 100.0, n)),
        "popid": rng.integers(0, 12, n),
    }
    return CELLS.conform(pd.DataFrame(columns))


def written(folder, frames, release="gaia-dr3"):
    """Write frames by their cells, as a scan does, and return the paths."""
    folder.mkdir(exist_ok=True)
    paths = []
    for cell, frame in frames.items():
        paths.append(folder / f"{cell.name}.parquet")
        write_table(frame, CELLS, paths[-1], metadata={"release": release})
    return paths


def frames(centre=CENTRE):
    return {cell: sources(cell) for cell in cells_of_patch(*centre, RADIUS, ORDER)}


def scan(source="gaia-dr3", **sections):
    stars = {"source": source} | sections.pop("stars", {})
    patches = {"centres": [CENTRE], "radius": RADIUS}
    fiducial = {"radius": 2.5} | sections.pop("fiducial", {})
    tree = {"stars": stars, "patches": patches, "fiducial": fiducial, "selection": {"parallax_max": None}}
    return Settings.model_validate(tree | sections)


@pytest.fixture
def cells(tmp_path):
    return written(tmp_path / "cells", frames())


def read(settings, paths, centre=CENTRE):
    return read_cells(settings, paths, *centre, RADIUS)


def test_the_stars_of_a_patch_are_all_there_once(cells):
    everything = pd.concat(frames().values(), ignore_index=True)
    stars, report = read(scan(), cells)
    near = PatchFrame(*CENTRE).separation(everything.ra, everything.dec) <= RADIUS
    np.testing.assert_array_equal(stars.source_id, np.sort(everything.source_id[near]))
    whole = everything.set_index("source_id").loc[stars.source_id]
    np.testing.assert_array_equal(stars.pmra, whole.pmra)
    assert report == {
        "read": len(everything),
        "outside": len(everything) - len(stars),
        "nan": 0,
        "duplicates": 0,
        "coverage": 1.0,
        "release": "gaia-dr3",
        "ref_epoch": 2016.0,
        "converted": {},
    }
    # only what is asked for is read
    assert not {"ruwe", "popid", "radial_velocity", "phot_bp_mean_mag"} & set(stars)
    assert "pmra_pmdec_corr" in stars


def test_a_patch_of_cells_becomes_a_table_of_stars(cells):
    settings = scan(
        stars={"carry": ["radial_velocity", "visibility_periods_used", "pmra_error"]},
        selection={"parallax_max": 1.0, "g_max": 20.0, "ruwe_max": 1.4},
    )
    patches = make_patches(settings.patches)
    check_inputs(settings, patches)
    found = load_patch(settings, patches.iloc[0], cells)
    table, report = found.table, found.report
    assert list(table)[-3:] == ["fiducial", "radial_velocity", "visibility_periods_used"]
    assert set(table) <= {*STARS.names, "radial_velocity", "visibility_periods_used"}
    assert {"pmra_error", "pmdec_error", "parallax_error", "pmra_pmdec_corr"} <= set(table)
    assert table.source_id.is_monotonic_increasing
    assert (table.parallax < 1.0).all()
    assert min(report[cut] for cut in ("parallax", "g", "ruwe")) > 50
    removed = ("outside", "nan", "duplicates", "parallax", "g", "ruwe", "flux_excess", "kept")
    assert report["read"] == sum(report[name] for name in removed)
    assert 0 < report["fiducial"] == table.fiducial.sum() < len(table)
    true = pd.concat(frames().values()).set_index("source_id").loc[table.source_id]
    np.testing.assert_array_equal(table.radial_velocity, true.radial_velocity)
    np.testing.assert_array_equal(table.visibility_periods_used, true.visibility_periods_used)


def test_empty_cells_repeated_cells_and_missing_values(tmp_path):
    parts = frames()
    first, second, *_ = parts
    parts[first] = parts[first].iloc[:0]
    parts[second].loc[parts[second].index[:7], "bp_rp"] = np.nan
    parts[second].loc[parts[second].index[7], "parallax"] = np.nan
    paths = written(tmp_path / "cells", parts)
    settings = scan(stars={"min_coverage": 0.1})
    stars, report = read(settings, paths)
    assert report["nan"] == 7
    assert stars.parallax.isna().sum() <= 1
    twice, again = read(settings, [*paths, *reversed(paths)])
    pd.testing.assert_frame_equal(twice, stars)
    assert again == report
    copies = written(tmp_path / "copies", parts)
    thrice, counted = read(settings, [*paths, *copies])
    pd.testing.assert_frame_equal(thrice, stars)
    assert counted["duplicates"] == len(stars)
    parts[second]["pmra"] += 1.0
    with pytest.raises(
        DataError, match=r"source_id \d+ stands in the downloaded cells more than once with different pmra"
    ):
        read(settings, [*paths, *written(tmp_path / "others", parts)])


def test_a_patch_without_stars_or_with_a_hole_is_refused(tmp_path):
    parts = frames()
    paths = written(tmp_path / "cells", parts)
    with pytest.raises(DataError, match=r"only \d+ % of it, at least 80 % are needed"):
        read(scan(), paths[: len(paths) // 2])
    nothing = written(tmp_path / "empty", {cell: frame.iloc[:0] for cell, frame in parts.items()})
    with pytest.raises(DataError, match=r"no usable star within 3.0 deg"):
        read(scan(), nothing)
    with pytest.raises(DataError, match="no downloaded cells were given"):
        read(scan(), [])


@pytest.mark.parametrize(
    ("source", "release", "fits"),
    [
        ("gaia-dr3", "gaia-dr3", True),
        ("gaia-dr3", "gaia-dr2", False),
        ("gaia-dr3", "galaxia-dr3", False),
        ("gaia-dr3", "", False),
        ("galaxia-dr3", "gaia-dr3", True),
        ("galaxia-dr3", "galaxia-dr3", True),
        ("galaxia-dr2", "gaia-dr3", False),
    ],
)
def test_releases_are_never_mixed(tmp_path, source, release, fits):
    paths = written(tmp_path / "cells", frames(), release)
    if fits:
        assert read(scan(source), paths)[1]["release"] == f"gaia-{source[-3:]}"
        return
    with pytest.raises(DataError, match=rf"release '{release or 'unknown'}'.*stars.source = \"{source}\""):
        read(scan(source), paths)


def test_damaged_misnamed_and_missing_cells_are_refused(cells):
    settings = scan()
    content = cells[0].read_bytes()
    middle = len(content) // 3
    cells[0].write_bytes(
        content[:middle] + bytes(b ^ 0xFF for b in content[middle : middle + 40]) + content[middle + 40 :]
    )
    with pytest.raises(DataError, match=f"{cells[0].name}: cannot be read as Parquet"):
        read(settings, cells)
    cells[0].write_bytes(content[:-100])
    with pytest.raises(DataError, match=f"{cells[0].name}: cannot be read as Parquet"):
        read(settings, cells)
    cells[0].write_bytes(cells[1].read_bytes())
    with pytest.raises(DataError, match=f"{cells[0].name}: holds identifiers from"):
        read(settings, cells)
    cells[0].unlink()
    with pytest.raises(DataError, match=f"{cells[0].name}: cannot be read as Parquet"):
        read(settings, cells)


def test_a_cell_without_a_column_that_is_needed_is_named(tmp_path):
    paths = written(tmp_path / "cells", {c: f.drop(columns="ruwe") for c, f in frames().items()})
    with pytest.raises(DataError, match=r"the cell of gaia-dr3 has no column ruwe"):
        read(scan(selection={"ruwe_max": 1.4}), paths)
    assert len(read(scan(), paths)[0])


@pytest.mark.parametrize("given", [{"paths": ["a.parquet"]}, {"columns": {"pmra": "PMRA"}}])
@pytest.mark.parametrize("source", ["gaia-dr3", "galaxia-dr2", "mock"])
def test_what_is_said_of_files_is_refused_elsewhere(source, given):
    with pytest.raises(ValidationError, match=rf'of files alone, and source = "{source}" reads none'):
        Settings.model_validate({"stars": {"source": source} | given})


def test_a_zero_point_without_a_cut_is_refused():
    with pytest.raises(ValidationError, match="zero_point = true changes no star without a cut"):
        Settings.model_validate({"selection": {"zero_point": True, "parallax_max": None}})
    assert Settings.model_validate({"selection": {"zero_point": True}}).selection.zero_point


@pytest.mark.parametrize(
    ("stars", "release"),
    [
        ({"source": "gaia-dr2"}, "gaia-dr2"),
        ({"source": "galaxia-dr3"}, "gaia-dr3"),
        ({"source": "files", "paths": ["a"]}, "unknown"),
        ({"source": "files", "paths": ["a"], "release": "gaia-dr3"}, "gaia-dr3"),
        ({"source": "mock"}, "unknown"),
    ],
)
def test_the_release_that_stars_follow(stars, release):
    assert Settings.model_validate({"stars": stars}).stars.gaia_release == release


def test_columns_to_carry_are_known_before_any_download():
    settings = scan("gaia-dr3", stars={"carry": ["radial_velocity", "teff"]})
    with pytest.raises(
        ConfigError, match=r"stars.carry: gaia-dr3 gives no column teff; it gives .*radial_vel"
    ):
        check_inputs(settings, make_patches(settings.patches))


def test_deviates_are_normal_and_independent():
    n = 100_000
    for first, step in ((3 << 52, 1), (3 << 52, 1 << 35), (0, 1 << 7), ((1 << 62) + 5, 3)):
        ids = first + step * np.arange(n)
        draws = deviates(ids, 20, 4)
        assert (draws.shape, draws.dtype) == ((4, n), np.float64)
        for row in draws:
            assert stats.kstest(row, "norm").pvalue > 1e-4
        assert np.abs(draws).max() < 7.0
        # of one star, of neighbouring identifiers, of neighbouring seeds; and of their sizes
        others = [np.roll(draws, shift, axis=1) for shift in (1, 2, 128)] + [deviates(ids, 21, 4)]
        found = np.vstack([draws, *others])
        for values in (found, found**2):
            np.testing.assert_allclose(np.corrcoef(values), np.eye(len(found)), atol=5.5 / np.sqrt(n))


def test_a_star_keeps_its_deviates_whoever_else_is_asked_for():
    ids = np.random.default_rng(0).integers(0, 1 << 62, 1000)
    draws = deviates(ids, 7, 4)
    order = np.random.default_rng(1).permutation(1000)[:300]
    np.testing.assert_array_equal(deviates(ids[order], 7, 4), draws[:, order])
    np.testing.assert_array_equal(deviates(ids[:1], 7, 2), draws[:2, :1])
    assert (deviates(ids, 8, 4) != draws).all()
    assert np.isfinite(deviates(np.array([0, (1 << 63) - 1]), (1 << 63) - 1, 4)).all()
    assert deviates(np.array([], np.int64), 1, 4).shape == (4, 0)


def test_the_words_are_those_of_splitmix64():
    # of a generator that starts at 1234567 (rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64)
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    steps = np.array([(1234567 + (k + 1) * 0x9E3779B97F4A7C15) % (1 << 64) for k in range(4)], np.uint64)
    assert noise._mixed(steps).tolist() == published


def test_noise_of_the_colour_follows_the_colour():
    true = pd.concat([sources(Cell(ORDER, 100 + i), 4000) for i in range(5)], ignore_index=True)
    true["phot_g_mean_mag"] = np.float32(19.5)
    scatters = []
    for bp_rp in (0.3, 1.0, 2.0):
        true["bp_rp"] = np.float32(bp_rp)
        scatters.append((observed(true, 4).bp_rp - true.bp_rp).std())
        assert scatters[-1] == pytest.approx(bp_rp_error(np.array([19.5]), bp_rp)[0], rel=0.03)
    assert scatters[0] < 0.95 * scatters[1] < 0.8 * scatters[2]


def test_noise_follows_the_errors_and_their_correlation():
    n = 40_000
    true = pd.concat([sources(Cell(ORDER, 100 + i), 4000) for i in range(10)], ignore_index=True)
    true["parallax_pmra_corr"], true["parallax_pmdec_corr"] = -0.3, 0.5
    true["phot_g_mean_mag"] = 19.0
    true["bp_rp"] = 1.0
    seen = observed(true, 1)
    found = np.array([(seen[c] - true[c]) / true[f"{c}_error"] for c in ("pmra", "pmdec", "parallax")])
    np.testing.assert_allclose(found.mean(1), 0.0, atol=5.0 / np.sqrt(n))
    expected = np.array([[1.0, 0.4, -0.3], [0.4, 1.0, 0.5], [-0.3, 0.5, 1.0]])
    np.testing.assert_allclose(np.cov(found), expected, atol=0.03)
    colour = seen.bp_rp - true.bp_rp
    assert colour.std() == pytest.approx(bp_rp_error(np.array([19.0]))[0], rel=0.02)
    np.testing.assert_allclose(seen.phot_bp_mean_mag - true.phot_bp_mean_mag, colour, atol=1e-6)
    same = ["source_id", "ra", "dec", "phot_g_mean_mag", "pmra_error"]
    pd.testing.assert_frame_equal(seen[same], true[same])
    alone = observed(true.drop(columns=[c for c in true if c.endswith("_corr")]), 1)
    np.testing.assert_array_equal(alone.pmra, seen.pmra)  # the first of the three never depends on them
    free = np.array([(alone[c] - true[c]) / true[f"{c}_error"] for c in ("pmra", "pmdec", "parallax")])
    np.testing.assert_allclose(np.cov(free), np.eye(3), atol=0.03)


def test_impossible_correlations_still_give_finite_noise_of_the_right_size():
    true = sources(Cell(ORDER, 7), 4000)
    true["pmra_pmdec_corr"], true["parallax_pmra_corr"], true["parallax_pmdec_corr"] = 1.0, 1.0, -1.0
    seen = observed(true, 2)
    for name in ("pmra", "pmdec", "parallax"):
        found = (seen[name] - true[name]) / true[f"{name}_error"]
        assert found.std() == pytest.approx(1.0, abs=0.06)


def test_every_patch_sees_the_same_galaxia_star(tmp_path):
    paths = {path.stem: path for path in written(tmp_path / "cells", frames() | frames(NEIGHBOUR))}
    settings = scan("galaxia-dr3", selection={"parallax_max": None})

    def patch(centre, settings=settings, carry=()):
        needed = [paths[c.name] for c in cells_of_patch(*centre, RADIUS, ORDER)]
        stars = settings.stars.model_copy(update={"carry": tuple(carry)})
        return read(settings.model_copy(update={"stars": stars}), needed, centre)

    (here, report), (there, _) = patch(CENTRE), patch(NEIGHBOUR)
    both = np.intersect1d(here.source_id, there.source_id)
    assert 500 < len(both) < min(len(here), len(there))
    shared = [table.set_index("source_id").loc[both] for table in (here, there)]
    pd.testing.assert_frame_equal(*shared)
    pd.testing.assert_frame_equal(patch(CENTRE, carry=["phot_bp_mean_mag", "popid"])[0][list(here)], here)
    true = pd.concat(frames().values()).set_index("source_id")
    assert (true.loc[here.source_id].pmra.to_numpy() != here.pmra).all()
    np.testing.assert_array_equal(true.loc[here.source_id].ra, here.ra)
    other = scan("galaxia-dr3", scan={"seed": 1})
    assert (patch(CENTRE, other)[0].pmra != here.pmra).all()
    # no star of the inserted objects is left, and each is counted
    assert not true.loc[here.source_id].popid.isin([10, 11]).any()
    assert report["inserted"] == true.popid.isin([10, 11]).sum() > 100
    assert report["read"] == report["inserted"] + report["outside"] + len(here)


def test_the_noise_of_a_star_depends_on_no_cut_and_on_no_order_of_cells(tmp_path):
    settings = scan("galaxia-dr3")
    whole = read(settings, written(tmp_path / "whole", frames()))[0].set_index("source_id")
    bright = {cell: frame[frame.phot_g_mean_mag < 19.0] for cell, frame in frames().items()}
    cut = read(settings, written(tmp_path / "bright", bright))[0].set_index("source_id")
    assert 500 < len(cut) < len(whole)
    pd.testing.assert_frame_equal(cut, whole.loc[cut.index])
    everything = pd.concat(frames().values(), ignore_index=True)
    larger = {}
    for pixel, frame in everything.groupby(everything.source_id.to_numpy() >> 59 - 2 * (ORDER - 1)):
        larger[Cell(ORDER - 1, int(pixel))] = frame
    coarse = read(settings, written(tmp_path / "coarse", larger))[0].set_index("source_id")
    assert len(larger) < len(frames())
    pd.testing.assert_frame_equal(coarse, whole)
    other = read(scan("galaxia-dr2"), written(tmp_path / "dr2", frames(), "gaia-dr2"))[0]
    assert (other.set_index("source_id").pmra != whole.pmra).all()


def test_the_galaxia_catalogues_and_their_populations(tmp_path):
    bare = {cell: frame.drop(columns="popid") for cell, frame in frames().items()}
    second = written(tmp_path / "dr2", bare, "gaia-dr2")
    stars, report = read(scan("galaxia-dr2"), second)
    assert report["inserted"] == 0
    assert len(stars)
    third = written(tmp_path / "dr3", bare, "gaia-dr3")
    with pytest.raises(
        DataError, match="galaxia-dr3 without the column popid; its inserted Magellanic Clouds"
    ):
        read(scan("galaxia-dr3"), third)


def test_a_galaxia_patch_is_cut_on_what_would_be_measured(tmp_path):
    paths = written(tmp_path / "cells", frames())
    settings = scan("galaxia-dr3", selection={"parallax_max": 0.5})
    found = load_patch(settings, make_patches(settings.patches).iloc[0], paths)
    assert (found.table.parallax < 0.5).all()
    true = pd.concat(frames().values()).set_index("source_id").loc[found.table.source_id]
    assert (true.parallax > 0.5).sum() > 50
    removed = ("inserted", "outside", "nan", "duplicates", "parallax", "g", "ruwe", "flux_excess", "kept")
    assert found.report["read"] == sum(found.report[name] for name in removed)
