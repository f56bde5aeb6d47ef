"""Tables of stars in every format, and every fault that a table can have."""

import gzip
import shutil
import warnings

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io.votable import from_table
from astropy.io.votable.tree import Param
from astropy.table import MaskedColumn, Table

from viamachinae.config.settings import StarSettings
from viamachinae.errors import DataError
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.tables import examine, read

CENTRE, RADIUS = (148.6, 24.2), 5.0
UNITS = {
    "ra": "deg", "dec": "deg", "pmra": "mas / yr", "pmdec": "mas / yr",
    "parallax": "mas", "phot_g_mean_mag": "mag", "bp_rp": "mag",
}  # fmt: skip
FORMATS = ["parquet", "fits", "ecsv", "vot", "csv", "csv.gz", "ecsv.gz", "fits.gz", "vot.gz"]


def sky(n=1500, seed=0, centre=CENTRE, radius=RADIUS + 0.5):
    """Stars in and a little around the patch, with Gaia-like identifiers."""
    rng = np.random.default_rng(seed)
    s, angle = np.sqrt(rng.uniform(0.0, radius**2, n)), rng.uniform(0.0, 2.0 * np.pi, n)
    ra, dec = PatchFrame(*centre).from_tangent(s * np.cos(angle), s * np.sin(angle))
    ids = (rng.permutation(2**20)[:n].astype(np.int64) * 1009 + 4_964_000_000_000_000) * 128
    columns = {
        "source_id": ids,
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(0.0, 5.0, n),
        "pmdec": rng.normal(-2.0, 5.0, n),
        "parallax": rng.normal(0.3, 0.3, n),
        "phot_g_mean_mag": rng.uniform(12.0, 20.0, n),
        "bp_rp": rng.uniform(0.3, 1.5, n),
        "truth": np.where(np.arange(n) % 50 == 0, "GD-1", ""),
    }
    return pd.DataFrame(columns)


def store(frame, path, units=UNITS, meta=None):
    """Write a table in the format of the file's name, as other programs do (astropy, pandas)."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    plain = path.with_name(path.name.removesuffix(".gz"))
    if kind == "parquet":
        fields = [
            pa.field(n, pa.Array.from_pandas(frame[n]).type, metadata={"unit": units.get(n, "")})
            for n in frame
        ]
        schema = pa.schema(fields, metadata={k: str(v) for k, v in (meta or {}).items()})
        pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), plain)
    elif kind == "csv":
        frame.to_csv(plain, index=False, na_rep="null")
    else:
        table = Table({n: frame[n].to_numpy(str) if n == "truth" else frame[n].to_numpy() for n in frame})
        for name, unit in units.items():
            if name in table.colnames:
                table[name].unit = unit
        table.meta.update(meta or {})
        if kind == "vot":
            votable = from_table(table)
            for key, value in (meta or {}).items():
                votable.resources[0].tables[0].params.append(_param(votable, key, value))
            votable.to_xml(str(plain), tabledata_format="binary2")
        else:
            table.write(plain, format={"fits": "fits", "ecsv": "ascii.ecsv"}[kind])
    if path != plain:
        with plain.open("rb") as source, gzip.open(path, "wb") as target:
            shutil.copyfileobj(source, target)
        plain.unlink()
    return path


def _param(votable, name, value):
    return Param(votable, name=name, value=str(value), datatype="char", arraysize="*")


def load(*paths, carry=(), **options):
    settings = StarSettings(source="files", paths=paths, carry=carry, **options)
    return read(settings, *CENTRE, RADIUS)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_same_stars(tmp_path, ending):
    frame = sky()
    found, report = load(store(frame, tmp_path / f"sky.{ending}"), carry=("truth",))
    inside = PatchFrame(*CENTRE).separation(frame.ra, frame.dec) <= RADIUS
    expected = frame[inside].sort_values("source_id", ignore_index=True)
    assert list(found.columns) == [*REQUIRED, "truth"]
    assert found.source_id.dtype == np.int64
    np.testing.assert_array_equal(found.source_id, expected.source_id)
    for name in REQUIRED[1:]:
        np.testing.assert_array_equal(found[name], expected[name])
    assert list(found.truth) == list(expected.truth)
    assert report["read"] == len(frame)
    assert report["outside"] == (~inside).sum() > 0
    assert (report["nan"], report["duplicates"], report["coverage"], report["converted"]) == (0, 0, 1.0, {})


@pytest.mark.parametrize("ending", FORMATS)
def test_rows_without_a_needed_value_are_dropped_and_counted(tmp_path, ending):
    frame = sky()
    inside = np.flatnonzero(PatchFrame(*CENTRE).separation(frame.ra, frame.dec) < RADIUS)
    for row, name in zip(inside[:5], ["ra", "dec", "pmra", "phot_g_mean_mag", "bp_rp"], strict=True):
        frame.loc[row, name] = np.nan
    frame.loc[inside[5], "parallax"] = np.nan
    found, report = load(store(frame, tmp_path / f"sky.{ending}"))
    assert report["nan"] == 5
    assert report["read"] == report["nan"] + report["outside"] + len(found)
    assert set(found.source_id) == set(frame.source_id[inside[5:]])
    assert found.parallax.isna().sum() == 1


@pytest.mark.parametrize("name", ["pmra", "truth"])
def test_a_column_of_arrays_is_refused(tmp_path, name):
    frame = sky()
    frame[name] = [[value, value] for value in frame[name]]
    frame.to_parquet(tmp_path / "sky.parquet")
    with pytest.raises(DataError, match=f"column {name} holds arrays"):
        load(tmp_path / "sky.parquet", carry=("truth",))


def test_a_column_without_any_value_is_told_from_an_empty_field(tmp_path):
    frame = sky().assign(bp_rp=np.nan)
    with pytest.raises(DataError, match=rf"no usable star .*\({len(frame)} rows were left out"):
        load(store(frame, tmp_path / "sky.parquet"))


@pytest.mark.parametrize("ending", ["fits", "ecsv", "vot"])
def test_masked_values_count_as_missing(tmp_path, ending):
    frame = sky()
    table = Table.from_pandas(frame.drop(columns="truth"))
    table["bp_rp"] = MaskedColumn(table["bp_rp"], mask=np.arange(len(frame)) < 7)
    path = tmp_path / f"sky.{ending}"
    table.write(path, format={"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[ending])
    assert load(path)[1]["nan"] == 7


def test_the_archives_bulk_file_is_ecsv_by_another_name(tmp_path):
    lines = store(sky(), tmp_path / "a.ecsv").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    head = [line.replace("- {name: ra, unit: deg", "- {name: ra, unit: rad") for line in lines[:start]]
    head.insert(2, "# delimiter: ','")
    body = sky().to_csv(index=False, na_rep="null")
    path = tmp_path / "GaiaSource_065536-131071.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("\n".join(head) + "\n" + body)
    with pytest.raises(DataError, match=r"ra of .* rows is outside 0 to 360"):
        load(path)  # read as radians, as its head says
    with gzip.open(path, "wt") as file:
        file.write("\n".join(head).replace("rad", "deg") + "\n" + body)
    assert load(path)[1]["read"] == len(sky())


@pytest.mark.parametrize("ending", FORMATS)
def test_a_missing_column_names_file_and_near_misses(tmp_path, ending):
    path = store(sky().rename(columns={"phot_g_mean_mag": "phot_g_mag"}), tmp_path / f"sky.{ending}")
    with pytest.raises(DataError, match=r"sky.*missing columns: phot_g_mean_mag \(like phot_g_mag") as error:
        load(path)
    assert "It has source_id, ra, dec" in str(error.value)
    with pytest.raises(DataError, match=r"missing columns: .*label"):
        examine(StarSettings(source="files", paths=(path,), carry=("label",)))


def test_capital_names_are_the_same_columns(tmp_path):
    path = store(sky().rename(columns=str.upper), tmp_path / "sky.csv")
    assert list(load(path)[0].columns) == list(REQUIRED)


@pytest.mark.parametrize("ending", ["parquet", "fits", "ecsv", "vot", "ecsv.gz"])
def test_units_are_converted_and_reported(tmp_path, ending):
    frame = sky()
    reference, _ = load(store(frame, tmp_path / "plain.csv"))
    other = frame.assign(
        ra=np.radians(frame.ra),
        dec=np.radians(frame.dec),
        pmra=frame.pmra / 1000.0,
        parallax=frame.parallax * 1e3,
    )
    units = UNITS | {"ra": "rad", "dec": "rad", "pmra": "arcsec / yr", "parallax": "uas"}
    found, report = load(store(other, tmp_path / f"sky.{ending}", units))
    assert set(report["converted"]) == {"ra", "dec", "pmra", "parallax"}
    assert report["converted"]["ra"] == "rad -> deg"
    for name in REQUIRED:
        np.testing.assert_allclose(found[name], reference[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ending", ["parquet", "fits", "ecsv", "vot"])
@pytest.mark.parametrize("unit", ["km / s", "mag"])
def test_a_unit_of_something_else_is_refused(tmp_path, ending, unit):
    path = store(sky(), tmp_path / f"sky.{ending}", UNITS | {"pmdec": unit})
    with pytest.raises(DataError, match=r"sky.*column pmdec has the unit .* not convertible to 'mas / yr'"):
        examine(StarSettings(source="files", paths=(path,)))


@pytest.mark.parametrize("text", ["mas.yr**-1", "Angular Velocity[mas/year]", "'mas/yr'"])
def test_spellings_of_gaias_units(tmp_path, text):
    assert load(store(sky(), tmp_path / "sky.parquet", UNITS | {"pmra": text}))[1]["converted"] == {}


def test_an_unknown_unit_is_refused(tmp_path):
    path = store(sky(), tmp_path / "sky.parquet", UNITS | {"ra": "degs"})
    with pytest.raises(DataError, match="'degs'"):
        load(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_identifiers_stored_as_floats_are_refused(tmp_path, ending):
    frame = sky().astype({"source_id": np.float64})
    with pytest.raises(DataError, match="went through floating point"):
        load(store(frame, tmp_path / f"sky.{ending}"))


@pytest.mark.parametrize("scale", [2**0, 2**1, 2**2])
@pytest.mark.parametrize("ending", ["parquet", "fits", "csv"])
def test_identifiers_rounded_by_a_float_are_refused_and_whole_ones_are_not(tmp_path, ending, scale):
    frame = sky()
    frame["source_id"] = 2**60 * scale + frame.source_id
    assert len(load(store(frame, tmp_path / f"whole.{ending}"))[0]) > 1000
    frame["source_id"] = frame.source_id.astype(np.float64).astype(np.int64)
    with pytest.raises(DataError, match=r"source_id went through floating point.*multiples of"):
        load(store(frame, tmp_path / f"rounded.{ending}"))


def test_small_counters_below_a_cell_number_are_refused_once_rounded(tmp_path):
    frame = sky()
    frame["source_id"] = ((17_000_000 + np.arange(len(frame), dtype=np.int64)) << 35) + 1
    assert len(load(store(frame, tmp_path / "whole.parquet"))[0]) > 1000
    frame["source_id"] = frame.source_id.astype(np.float64).astype(np.int64)
    with pytest.raises(DataError, match="went through floating point"):
        load(store(frame, tmp_path / "rounded.parquet"))


def test_identifiers_through_float32_are_refused(tmp_path):
    frame = sky()
    frame["source_id"] = frame.source_id.astype(np.float32).astype(np.int64) + (np.arange(len(frame)) << 40)
    with pytest.raises(DataError, match="went through floating point"):
        load(store(frame, tmp_path / "sky.parquet"))


def test_small_running_numbers_are_identifiers_too(tmp_path):
    frame = sky().assign(source_id=lambda f: np.arange(len(f)) * 4096)
    assert load(store(frame, tmp_path / "sky.csv"))[1]["duplicates"] == 0


def test_text_in_the_place_of_numbers_is_refused(tmp_path):
    frame = sky().astype({"source_id": object, "pmra": object})
    frame.loc[3, "source_id"] = "Gaia DR2 635559"
    with pytest.raises(DataError, match="'Gaia DR2 635559', which is no integer"):
        load(store(frame, tmp_path / "id.csv"))
    frame = sky().astype({"pmra": object})
    frame.loc[3, "pmra"] = "fast"
    with pytest.raises(DataError, match=r"pm\.csv: cannot be read.*fast"):
        load(store(frame, tmp_path / "pm.csv"))
    with pytest.raises(DataError, match="column pmra holds text"):
        load(store(frame.astype({"pmra": str}), tmp_path / "pm.parquet"))


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_rows_without_an_identifier_are_refused(tmp_path, ending):
    frame = sky().astype({"source_id": "Int64"})
    frame.loc[4, "source_id"] = pd.NA
    with pytest.raises(DataError, match="1 rows have no source_id"):
        load(store(frame, tmp_path / f"sky.{ending}"))


def test_repeated_rows_are_dropped_and_counted_within_and_between_files(tmp_path):
    frame = sky()
    once, _ = load(store(frame, tmp_path / "once.parquet"))
    inside = frame[PatchFrame(*CENTRE).separation(frame.ra, frame.dec) < RADIUS]
    first = store(pd.concat([frame[:900], inside[:20]]), tmp_path / "a.parquet")
    second = store(frame[600:], tmp_path / "b.fits")
    found, report = load(first, second)
    pd.testing.assert_frame_equal(found, once)
    both = inside.index.isin(range(600, 900)).sum()
    assert report["duplicates"] == 20 + both
    assert report["read"] == 920 + 900


def test_contradicting_repetitions_are_refused(tmp_path):
    frame = sky()
    inside = frame[PatchFrame(*CENTRE).separation(frame.ra, frame.dec) < RADIUS]
    wrong = inside[:3].assign(pmra=lambda f: f.pmra + 0.1)
    path = store(pd.concat([frame, wrong]), tmp_path / "sky.parquet")
    with pytest.raises(DataError, match=r"more than once with different pmra, as do 2 other stars"):
        load(path)


@pytest.mark.parametrize(("name", "value"), [("ra", -0.1), ("ra", 360.5), ("dec", 90.5), ("dec", -91.0)])
def test_impossible_positions_are_refused(tmp_path, name, value):
    frame = sky()
    frame.loc[7, name] = value
    with pytest.raises(DataError, match=rf"sky.csv: {name} of 1 rows is outside .* first {value} in row 7"):
        load(store(frame, tmp_path / "sky.csv"))


def test_a_table_that_does_not_cover_the_patch_is_refused(tmp_path):
    frame = sky(n=6000)
    x, _ = PatchFrame(*CENTRE).tangent(frame.ra, frame.dec)
    with pytest.raises(DataError, match=r"stars in only (4|5)\d % of it") as error:
        load(store(frame[x > 0.0], tmp_path / "half.parquet"))
    assert "min_coverage" in str(error.value)
    _, report = load(tmp_path / "half.parquet", min_coverage=0.3)
    assert 0.45 < report["coverage"] < 0.62  # the cells that the edge crosses count as covered
    _, report = load(store(frame[x > -4.0], tmp_path / "most.parquet"))
    assert 0.85 < report["coverage"] < 1.0


@pytest.mark.parametrize("n", [30, 300, 3000, 30_000])
def test_few_stars_all_over_the_patch_do_cover_it(tmp_path, n):
    assert load(store(sky(n=n, seed=n), tmp_path / "sky.parquet"))[1]["coverage"] > 0.97


def test_an_empty_field_says_where_the_stars_are(tmp_path):
    frame = sky(centre=(20.0, -40.0))
    with pytest.raises(DataError, match=r"south.csv \(ra 1\d.* to 2\d.*, dec -4\d.* to -3\d[^:]*\) \(0 rows"):
        load(store(frame, tmp_path / "south.csv"))
    radians = sky().assign(ra=lambda t: np.deg2rad(t.ra), dec=lambda t: np.deg2rad(t.dec))
    with pytest.raises(DataError, match=r"\(ra 2\..*: these look like radians, and degrees are needed\)"):
        load(store(radians, tmp_path / "sky.csv"))


@pytest.mark.parametrize("ending", ["parquet", "csv", "fits", "ecsv"])
def test_an_empty_field_is_refused(tmp_path, ending):
    elsewhere = store(sky(centre=(20.0, -40.0)), tmp_path / f"south.{ending}")
    with pytest.raises(DataError, match=r"no usable star within 5.0 deg of \(ra, dec\) = \(148.6, 24.2\)"):
        load(elsewhere)
    with pytest.raises(DataError, match=r"no rows|no usable star|cannot be read"):
        load(store(sky()[:0].astype({"truth": str}), tmp_path / f"empty.{ending}"))


@pytest.mark.parametrize("ending", ["parquet", "fits", "ecsv", "vot"])
def test_release_and_epoch_are_carried_along(tmp_path, ending):
    path = store(sky(), tmp_path / f"sky.{ending}", meta={"release": "Gaia EDR3"})
    report = load(path)[1]
    assert (report["release"], report["ref_epoch"]) == ("gaia-dr3", 2016.0)
    with pytest.raises(DataError, match=r"stars.release is gaia-dr2 .*releases cannot be mixed"):
        load(path, release="gaia-dr2")


def test_the_epoch_of_the_rows_tells_the_release(tmp_path):
    frame = sky().assign(ref_epoch=2015.5)
    report = load(store(frame, tmp_path / "a.csv"))[1]
    assert (report["release"], report["ref_epoch"]) == ("gaia-dr2", 2015.5)
    frame.loc[:50, "ref_epoch"] = 2016.0
    with pytest.raises(DataError, match="releases cannot be mixed"):
        load(store(frame, tmp_path / "b.csv"))
    with pytest.raises(
        DataError, match=r"release gaia-dr3 has the reference epoch 2016.0, but ref_epoch says"
    ):
        load(store(sky(), tmp_path / "c.ecsv", meta={"release": "dr3", "ref_epoch": 2015.5}))
    assert load(store(sky(), tmp_path / "d.csv"))[1]["release"] == "unknown"
    assert load(tmp_path / "d.csv", release="gaia-dr3")[1]["ref_epoch"] == 2016.0


def test_the_archives_coordinate_system_tells_the_epoch(tmp_path):
    path = store(sky(), tmp_path / "sky.vot")
    text = path.read_bytes()
    at = text.index(b"<TABLE")
    path.write_bytes(text[:at] + b'<COOSYS ID="c" epoch="J2015.5" system="ICRS"/>' + text[at:])
    assert load(path)[1]["release"] == "gaia-dr2"


def test_files_of_two_releases_are_refused(tmp_path):
    a = store(sky(seed=1), tmp_path / "a.parquet", meta={"release": "gaia-dr2"})
    b = store(sky(seed=2), tmp_path / "b.fits", meta={"RELEASE": "gaia-dr3"})
    with pytest.raises(DataError, match=r"a.parquet is gaia-dr2 .* but .*b.fits is gaia-dr3"):
        examine(StarSettings(source="files", paths=(a, b)))


@pytest.mark.parametrize("ending", FORMATS)
def test_torn_files_are_refused(tmp_path, ending):
    path = store(sky(), tmp_path / f"sky.{ending}")
    whole = path.read_bytes()
    for part in (0.03, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * part) - 3])
        with pytest.raises(DataError, match=r"sky\..*(cannot be read|cut short|missing columns)"):
            load(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_garbage_is_refused(tmp_path, ending):
    path = tmp_path / f"sky.{ending}"
    path.write_bytes(b"this is no table\n" * 100)
    with pytest.raises(DataError, match=r"sky\."):
        load(path)


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"no such file; correct stars.paths"):
        load(tmp_path / "none.parquet")
    (tmp_path / "sky.txt").write_text("x")
    with pytest.raises(DataError, match=r"unknown kind of table; valid: \.parquet"):
        load(tmp_path / "sky.txt")


def test_a_column_that_the_scan_computes_cannot_be_carried(tmp_path):
    path = store(sky().assign(phi=0.0), tmp_path / "sky.csv")
    with pytest.raises(DataError, match=r"\['phi'\] are computed by the scan"):
        load(path, carry=("phi",))


def test_carried_and_error_columns_keep_type_and_order(tmp_path):
    frame = sky().assign(pmra_error=0.1, ruwe=1.0, popid=np.arange(1500, dtype=np.int16) % 8, flag=True)
    a = store(frame, tmp_path / "a.fits")
    found, _ = load(a, carry=("popid", "flag", "truth"))
    assert list(found.columns) == [*REQUIRED, "pmra_error", "ruwe", "popid", "flag", "truth"]
    assert found.popid.dtype.kind == "i"
    assert found.flag.dtype == bool
    # an error column that only some of the files have says nothing about the others' stars
    b = store(sky(seed=9).assign(source_id=lambda f: f.source_id + 1), tmp_path / "b.csv")
    assert list(load(a, b)[0].columns) == list(REQUIRED)


def test_a_carried_column_that_is_empty_for_a_megabyte(tmp_path):
    frame = sky(n=12_000).assign(note="")
    frame.loc[11_990:, "note"] = "late"
    found, _ = load(
        store(frame.assign(note=frame.note.replace("", None)), tmp_path / "sky.csv"), carry=("note",)
    )
    assert set(found.note) <= {"", "late"}


def test_parquet_skips_row_groups_outside_the_patch(tmp_path, monkeypatch):
    far = pd.concat([sky(seed=3), *(sky(seed=s, centre=(148.6, d)) for s, d in ((4, -60.0), (5, 70.0)))])
    path = tmp_path / "sky.parquet"
    pq.write_table(pa.Table.from_pandas(far, preserve_index=False), path, row_group_size=1500)
    asked = []
    plain = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda s, size, row_groups, columns: (
            asked.append((row_groups, columns)) or plain(s, size, row_groups=row_groups, columns=columns)
        ),
    )
    found, report = load(path)
    assert [a for a in asked if len(a[1]) > 3] == [([0], list(REQUIRED))]
    assert report["read"] == 4500
    assert report["outside"] == 4500 - len(found)


def test_astropys_own_parquet_keeps_its_units(tmp_path):
    table = Table.from_pandas(sky().drop(columns="truth"))
    table["ra"] = np.radians(table["ra"]) * u.rad
    table.meta["release"] = "gaia-dr2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.write(tmp_path / "sky.parquet", format="parquet")
    _, report = load(tmp_path / "sky.parquet")
    assert report["converted"] == {"ra": "rad -> deg"}
    assert report["release"] == "gaia-dr2"
