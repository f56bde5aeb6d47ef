"""The stars of a patch from downloaded cells, of Gaia and of the Galaxia catalogues."""

import healpy
import numpy as np
import pandas as pd
import pytest

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import CELLS, STARS
from viamachinae.schema.io import write_table
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.patches import make_patches
from viamachinae.stars.archive.cells import Cell, cells_of_patch
from viamachinae.stars.archive.noise import observed
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
        DataError, match=r"source_id \d+ stands in the downloaded cells with different values"
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


def test_columns_to_carry_are_known_before_any_download():
    settings = scan("gaia-dr3", stars={"carry": ["radial_velocity", "teff"]})
    with pytest.raises(
        ConfigError, match=r"stars.carry: gaia-dr3 gives no column teff; it gives .*radial_vel"
    ):
        check_inputs(settings, make_patches(settings.patches))


def test_noise_follows_the_errors_and_their_correlation():
    n = 40_000
    true = pd.concat([sources(Cell(ORDER, 100 + i), 4000) for i in range(10)], ignore_index=True)
    true["parallax_pmra_corr"], true["parallax_pmdec_corr"] = -0.3, 0.5
    true["phot_g_mean_mag"] = 19.0
    seen = observed(true, np.random.default_rng(1))
    deviates = np.array([(seen[c] - true[c]) / true[f"{c}_error"] for c in ("pmra", "pmdec", "parallax")])
    np.testing.assert_allclose(deviates.mean(1), 0.0, atol=5.0 / np.sqrt(n))
    expected = np.array([[1.0, 0.4, -0.3], [0.4, 1.0, 0.5], [-0.3, 0.5, 1.0]])
    np.testing.assert_allclose(np.cov(deviates), expected, atol=0.03)
    colour = seen.bp_rp - true.bp_rp
    assert colour.std() == pytest.approx(bp_rp_error(np.array([19.0]))[0], rel=0.02)
    np.testing.assert_allclose(seen.phot_bp_mean_mag - true.phot_bp_mean_mag, colour, atol=1e-6)
    same = ["source_id", "ra", "dec", "phot_g_mean_mag", "pmra_error"]
    pd.testing.assert_frame_equal(seen[same], true[same])
    alone = observed(true.drop(columns=[c for c in true if c.endswith("_corr")]), np.random.default_rng(1))
    np.testing.assert_array_equal(alone.pmra, seen.pmra)  # the first of the three never depends on them
    free = np.array([(alone[c] - true[c]) / true[f"{c}_error"] for c in ("pmra", "pmdec", "parallax")])
    np.testing.assert_allclose(np.cov(free), np.eye(3), atol=0.03)


def test_impossible_correlations_still_give_finite_noise_of_the_right_size():
    true = sources(Cell(ORDER, 7), 4000)
    true["pmra_pmdec_corr"], true["parallax_pmra_corr"], true["parallax_pmdec_corr"] = 1.0, 1.0, -1.0
    seen = observed(true, np.random.default_rng(2))
    for name in ("pmra", "pmdec", "parallax"):
        deviates = (seen[name] - true[name]) / true[f"{name}_error"]
        assert deviates.std() == pytest.approx(1.0, abs=0.06)


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
