"""Catalogues too large to load: what is skipped, what is read, and that nothing is missed."""

import gzip
import os

import healpy
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from viamachinae.config.settings import Settings, StarSettings
from viamachinae.config.toml import dump, load, parse
from viamachinae.errors import ConfigError, DataError
from viamachinae.scan.outside import file_fingerprint
from viamachinae.scan.sections import settings_hash
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.files import text
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.formats import read_columns
from viamachinae.stars.files.partition import cells_named
from viamachinae.stars.files.region import Near, Region
from viamachinae.stars.files.tables import examine, read

CENTRES = [(148.6, 24.2), (0.4, -30.0), (200.0, 88.0), (45.0, 0.0), (359.9, -89.5)]
RADIUS = 6.0
GROUP = 700


def gaia(n=40_000, seed=0):
    """A whole sky in the order of its identifiers, which hold the cells of the positions."""
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0.0, 360.0, n), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    cells = healpy.ang2pix(4096, ra, dec, nest=True, lonlat=True).astype(np.int64)
    columns = {
        "source_id": (cells << 35) + rng.integers(1, 2**27, n) * 128,
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(0.0, 5.0, n),
        "pmdec": rng.normal(-2.0, 5.0, n),
        "parallax": rng.normal(0.3, 0.3, n),
        "phot_g_mean_mag": rng.uniform(12.0, 20.0, n),
        "bp_rp": rng.uniform(0.3, 1.5, n),
    }
    return pd.DataFrame(columns).sort_values("source_id", ignore_index=True)


def healpix29(frame):
    return frame.assign(
        _healpix_29=healpy.ang2pix(2**29, frame.ra.to_numpy(), frame.dec.to_numpy(), nest=True, lonlat=True)
    )


def inside(frame, centre, radius=RADIUS):
    return frame[PatchFrame(*centre).separation(frame.ra, frame.dec) <= radius]


def write(frame, path, statistics=True, rows=GROUP):
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(
        table, path, row_group_size=rows, write_statistics=statistics, write_page_checksum=True,
        compression="none", use_dictionary=False,
    )  # fmt: skip
    return path


def stars_of(centre, *paths, radius=RADIUS, **options):
    settings = StarSettings(source="files", paths=paths, min_coverage=0.0, **options)
    return read(settings, *centre, radius)


def check(found, report, frame, centre, radius=RADIUS):
    """Stars and counts are those of a table that was read as a whole."""
    expected = inside(frame, centre, radius).sort_values("source_id", ignore_index=True)
    assert len(expected) > 20
    pd.testing.assert_frame_equal(found[list(REQUIRED)], expected[list(REQUIRED)])
    assert report["read"] == len(frame)
    assert report["read"] == report["outside"] + report["nan"] + report["duplicates"] + len(found)


def torn(path, groups, columns=None):
    """Overwrite the pages of row groups: whoever decodes them meets a wrong checksum."""
    footer = pq.read_metadata(path)
    with path.open("r+b") as file:
        for group in groups:
            for i in range(footer.num_columns):
                chunk = footer.row_group(group).column(i)
                if columns is None or chunk.path_in_schema in columns:
                    file.seek(chunk.data_page_offset)
                    file.write(b"\xff" * chunk.total_compressed_size)
    return path


def groups_near(frame, centre):
    """Row groups with a star within the patch or a little outside."""
    near = PatchFrame(*centre).separation(frame.ra, frame.dec) <= RADIUS + 0.2
    return sorted(set(np.flatnonzero(near) // GROUP))


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("statistics", [["source_id"], ["_healpix_29"], ["ra", "dec"], True, False])
def test_whatever_statistics_there_are_the_stars_are_the_same(tmp_path, statistics, centre):
    frame = healpix29(gaia())
    found, report = stars_of(centre, write(frame, tmp_path / "sky.parquet", statistics))
    check(found, report, frame, centre)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("statistics", [["source_id"], ["_healpix_29"], True])
def test_row_groups_of_other_cells_are_never_decoded(tmp_path, statistics, centre):
    frame = healpix29(gaia())
    path = write(frame, tmp_path / "sky.parquet", statistics)
    read_groups = groups_near(frame, centre)
    # the first one shows whether identifiers hold cells; neighbours may share a cell at the edge
    spared = {g + d for g in read_groups for d in (-1, 0, 1)} | {0}
    others = sorted(set(range(pq.read_metadata(path).num_row_groups)) - spared)
    assert len(others) > 30
    torn(path, others)
    found, report = stars_of(centre, path)
    check(found, report, frame, centre)
    first = frame.iloc[others[0] * GROUP + GROUP // 2]
    with pytest.raises(DataError, match=r"sky.parquet: cannot be read as Parquet"):
        stars_of((first.ra, first.dec), path)


def test_without_statistics_only_the_positions_of_other_groups_are_decoded(tmp_path):
    frame = gaia()
    path = write(frame, tmp_path / "sky.parquet", statistics=False)
    others = set(range(pq.read_metadata(path).num_row_groups)) - set(groups_near(frame, CENTRES[0]))
    torn(path, others, [n for n in REQUIRED if n not in ("ra", "dec")])
    found, report = stars_of(CENTRES[0], path)
    check(found, report, frame, CENTRES[0])


@pytest.mark.parametrize("centre", [(148.6, 24.2), (45.0, 0.5)])
def test_running_numbers_are_not_taken_for_cells(tmp_path, centre):
    frame = gaia().assign(source_id=lambda f: np.arange(len(f), dtype=np.int64) * 4096)
    found, report = stars_of(centre, write(frame, tmp_path / "sky.parquet", ["source_id"]))
    check(found, report, frame, centre)


def test_stars_on_the_other_side_of_a_cell_edge_are_found(tmp_path):
    """Identifiers of all stars name the cell of a place an arc minute away."""
    frame = gaia(4000, seed=1)
    moved = PatchFrame(*CENTRES[0])
    rng = np.random.default_rng(2)
    s, angle = 1.05 * np.sqrt(rng.uniform(size=4000)), rng.uniform(0.0, 2.0 * np.pi, 4000)
    ra, dec = moved.from_tangent(s * np.cos(angle), s * np.sin(angle))
    cells = healpy.ang2pix(4096, ra + 1.0 / 60.0, dec, nest=True, lonlat=True).astype(np.int64)
    frame = frame.assign(ra=ra, dec=dec, source_id=(cells << 35) + rng.integers(1, 2**27, 4000) * 128)
    frame = frame.sort_values("source_id", ignore_index=True)
    path = write(frame, tmp_path / "sky.parquet", ["source_id"], rows=50)
    assert len(cells) == frame.source_id.nunique()
    found, report = stars_of(CENTRES[0], path, radius=1.0)
    check(found, report, frame, CENTRES[0], radius=1.0)


def test_positions_that_no_star_can_have_are_refused_not_skipped(tmp_path):
    frame = gaia().assign(ra=lambda f: np.where(f.ra > 180.0, f.ra - 360.0, f.ra))
    with pytest.raises(DataError, match=r"ra of \d+ rows is outside 0 to 360 deg"):
        stars_of((200.0, 10.0), write(frame, tmp_path / "sky.parquet"))


@pytest.mark.parametrize("centre", CENTRES)
def test_a_box_or_cell_that_holds_a_star_of_the_patch_is_never_excluded(centre):
    frame = healpix29(gaia(20_000, seed=3))
    region = Region(*centre, RADIUS)
    near = Near(region, "ra", "dec", "source_id")
    for start in range(0, len(frame), 37):
        part = frame[start : start + 37]
        for names in (["ra", "dec"], ["source_id"], ["_healpix_29"], ["ra"], ["dec"]):
            spans = {n: (part[n].min(), part[n].max()) for n in names}
            if near.excludes(spans, lambda: True):
                assert inside(part, centre).empty
    assert near.excludes({"dec": (centre[1] + 7, centre[1] + 8)}, lambda: False) == (centre[1] + 8 <= 90)
    assert not near.excludes({}, lambda: True)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("GaiaSource_000000-003111.csv.gz", (8, 0, 3111)),
        ("https://host/gdr3/GaiaSource_786097-786431.csv.gz", (8, 786097, 786431)),
        ("converted/GaiaSource_786097-786431.parquet", (8, 786097, 786431)),
        (
            "GaiaSource_1000172165251650944_1000424567594791808.csv.gz",
            (12, 1000172165251650944 >> 35, 1000424567594791808 >> 35),
        ),
        ("cat/dataset/Norder=3/Dir=0/Npix=266.parquet", (3, 266, 266)),
        ("cat/Norder%3D3/Dir%3D0/Npix%3D266/part0.snappy.parquet?x=1", (3, 266, 266)),
        ("GaiaSource_000-000-000.csv", None),
        ("GaiaSource_786431-786097.csv", None),
        ("GaiaSource_000000-999999.csv", None),
        ("Norder=3/Dir=0/Npix=768.parquet", None),
        ("stars.parquet", None),
    ],
)
def test_names_that_say_which_cells_they_hold(name, cells):
    assert cells_named(name) == cells


ECSV = "# %ECSV 1.0\n# ---\n# delimiter: ','\n# datatype:\n"


def bulk_files(folder, frame, dr2=False):
    """Write a sky as the archive's bulk files: gzip, and for DR3 the head of ECSV."""
    units = {"ra": "deg", "dec": "deg", "pmra": "mas.yr**-1", "parallax": "mas", "bp_rp": "mag"}
    head = ECSV + "".join(
        f"# - {{name: {n}, {f'unit: {units[n]}, ' if n in units else ''}datatype: float64}}\n" for n in frame
    )
    paths = []
    for part in np.array_split(np.arange(len(frame)), 9):
        rows = frame.iloc[part]
        first, last = rows.source_id.iloc[[0, -1]]
        name = f"{first}_{last}" if dr2 else f"{first >> 43:06d}-{last >> 43:06d}"
        paths.append(folder / f"GaiaSource_{name}.csv.gz")
        with gzip.open(paths[-1], "wt", compresslevel=1) as file:
            file.write(("" if dr2 else head) + rows.to_csv(index=False, na_rep="" if dr2 else "null"))
    return paths


@pytest.mark.parametrize("dr2", [False, True])
def test_bulk_files_of_other_cells_are_not_read(tmp_path, monkeypatch, dr2):
    frame = gaia()
    frame.loc[::50, "parallax"] = np.nan
    frame.loc[inside(frame, CENTRES[0]).index[:3], "bp_rp"] = np.nan
    paths = bulk_files(tmp_path, frame, dr2)
    asked = []
    monkeypatch.setattr(
        "viamachinae.stars.files.tables.read_columns",
        lambda file, names, near: asked.append(file) or read_columns(file, names, near),
    )
    monkeypatch.setattr(text, "_BLOCK", 1 << 16)
    found, report = stars_of(CENTRES[0], *paths)
    rows = {str(p): len(part) for p, part in zip(paths, np.array_split(frame, 9), strict=True)}
    expected = inside(frame, CENTRES[0]).dropna(subset=["bp_rp"]).sort_values("source_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert 0 < len(asked) < 4
    assert report["read"] == sum(rows[file] for file in asked)
    assert report["read"] == report["outside"] + report["nan"] + report["duplicates"] + len(found)
    assert report["nan"] == 3


def test_text_is_read_in_blocks_without_a_row_lost(tmp_path, monkeypatch):
    frame = gaia(20_000).assign(note=lambda f: np.where(np.arange(len(f)) % 7, "a", "b,c"))
    frame.to_csv(tmp_path / "sky.csv", index=False)
    whole, _ = stars_of(CENTRES[0], tmp_path / "sky.csv", carry=("note",))
    monkeypatch.setattr(text, "_BLOCK", 1 << 14)
    names = {n: n for n in frame}
    chunks = list(read_columns(str(tmp_path / "sky.csv"), names))
    assert len(chunks) > 50
    assert [c.start for c in chunks] == list(np.cumsum([0, *(c.rows for c in chunks[:-1])]))
    found, report = stars_of(CENTRES[0], tmp_path / "sky.csv", carry=("note",))
    check(found, report, frame, CENTRES[0])
    pd.testing.assert_frame_equal(found, whole)


@pytest.mark.parametrize(
    ("early", "late", "kind"), [("", "7", "i"), ("", "late", "O"), ("3", "4.5", "f"), ("3", "late", "O")]
)
def test_a_late_row_settles_the_type_of_a_carried_column(tmp_path, monkeypatch, early, late, kind):
    frame = inside(gaia(), CENTRES[0], 5.9).reset_index(drop=True).assign(note=early)
    frame.loc[len(frame) - 1, "note"] = late
    frame.to_csv(tmp_path / "sky.csv", index=False)
    monkeypatch.setattr(text, "_BLOCK", 1 << 12)
    found, report = stars_of(CENTRES[0], tmp_path / "sky.csv", carry=("note",))
    check(found, report, frame, CENTRES[0])
    if kind == "O":
        assert set(found.note) == {early, late}
    else:
        np.testing.assert_array_equal(
            found.note.to_numpy(float), frame.note.replace("", "nan").to_numpy(float)
        )


def test_a_bulk_file_cut_short_is_refused(tmp_path):
    paths = bulk_files(tmp_path, gaia())
    for path in paths:
        path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"GaiaSource_\d+-\d+.csv.gz: cannot be read as CSV .*end-of-stream"):
        stars_of(CENTRES[0], *paths)


def test_rounded_identifiers_are_found_though_every_group_has_few(tmp_path):
    frame = gaia().assign(source_id=lambda f: f.source_id.astype(np.float64).astype(np.int64))
    path = write(frame[frame.dec > 0.0], tmp_path / "sky.parquet", rows=3)
    with pytest.raises(DataError, match="went through floating point"):
        stars_of((225.0, 40.0), path)  # numbers above 2**60, where rounding shows


def test_columns_by_other_names(tmp_path):
    frame = gaia()
    other = frame.rename(columns={"pmra": "PMRA_CORR", "source_id": "GAIA_ID", "ra": "RA_2016"})
    other["pmra"] = 99.0
    columns = {"pmra": "pmra_corr", "source_id": "GAIA_ID", "ra": "RA_2016"}
    for path in (write(other, tmp_path / "sky.parquet"), tmp_path / "sky.csv"):
        if path.suffix == ".csv":
            other.to_csv(path, index=False)
        found, report = stars_of(CENTRES[0], path, columns=columns)
        check(found, report, frame, CENTRES[0])
    source = examine(StarSettings(source="files", paths=[tmp_path / "sky.parquet"], columns=columns))[0]
    assert set(source.head.spans) == {"GAIA_ID", "RA_2016", "dec"}
    assert source.head.dec_range == (frame.dec.min(), frame.dec.max())


def test_a_name_that_the_file_lacks_is_refused_even_where_gaias_is_there(tmp_path):
    path = write(gaia(), tmp_path / "sky.parquet")
    with pytest.raises(DataError, match=r"missing columns: pmra_cor, for pmra \(like pmra\).*stars.columns"):
        stars_of(CENTRES[0], path, columns={"pmra": "pmra_cor"})
    with pytest.raises(DataError, match=r"missing columns: RUWE2, for ruwe"):
        stars_of(CENTRES[0], path, columns={"ruwe": "RUWE2"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            'columns = { pmRA = "PM" }',
            "'pmRA' is no column of the stars, did you mean 'pmra'?; valid: source_id",
        ),
        ('columns = { pmra = "PM", pmdec = "PM" }', "pmra and pmdec are both read from 'PM'"),
        ("columns = { pmra = 3 }", "stars.columns.pmra = 3: expected a text, not empty"),
        ('columns = { pmra = "" }', 'stars.columns.pmra = "": expected a text, not empty'),
        ('columns = "pmra"', 'stars.columns = "pmra": expected a table of names, each with a text'),
        ("paths = [3]", "stars.paths[0] = 3: expected a path or URL"),
        ('paths = [""]', "paths holds an empty text"),
    ],
)
def test_wrong_settings_of_files(line, words):
    with pytest.raises(ConfigError) as caught:
        parse(f"[stars]\n{line}\n", source="scan.toml", folder=None)
    assert str(caught.value).startswith("scan.toml, line 2: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_and_urls_survive_a_round_trip():
    text = (
        '[stars]\nsource = "files"\npaths = ["https://host/a.parquet", "s3://b/gaia"]\ncarry = ["my label"]\n'
        '[stars.columns]\npmra = "PMRA \\"corr\\""\n"my label" = "L"\n'
    )
    settings = parse(text, source="scan.toml", folder=None)
    assert settings.stars.columns == {"pmra": 'PMRA "corr"', "my label": "L"}
    assert settings.stars.paths == ("https://host/a.parquet", "s3://b/gaia")
    assert parse(dump(settings), source="scan.toml", folder=None) == settings


def test_folders_stand_for_the_parquet_below_them_and_never_for_a_scan(tmp_path):
    names = ("data/a.csv", "data/year=1/a.parquet", "data/x/y/b.pq", "data/x/c.csv", "data/_tmp/a.parquet",
             "data/x/.part.parquet", "data/out/stars/p.parquet", "data/out/scan.toml",
             "data/cat/hats.properties", "data/cat/dataset/Norder=0/Dir=0/Npix=0.parquet")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    toml = tmp_path / "scan.toml"
    url = "https://host/folder/"
    toml.write_text(
        f'[stars]\nsource = "files"\npaths = ["data", "{url}", "file://{tmp_path}/data/x/c.csv"]\n'
    )
    found = ("data/a.csv", "data/cat", "data/x/y/b.pq", "data/year=1/a.parquet")
    expected = (*(str(tmp_path / n) for n in found), url, str(tmp_path / "data/x/c.csv"))
    assert load(toml).stars.paths == expected


def test_a_partitioned_folder_is_read_by_patch(tmp_path):
    frame = gaia()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 4)):
        (tmp_path / f"sky/part={i}").mkdir(parents=True)
        write(frame.iloc[part], tmp_path / f"sky/part={i}/0.parquet")
    found, report = stars_of(CENTRES[0], tmp_path / "sky")
    check(found, report, frame, CENTRES[0])
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no table"):
        stars_of(CENTRES[0], tmp_path / "none")


def remote(path, name):
    """Lay a copy of a file in the memory of this process, which fsspec reads as it does a URL."""
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open(f"memory://{name}", "wb") as file:
        file.write(path.read_bytes())
    return f"memory://{name}"


@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "fits", "vot"])
def test_every_format_is_read_from_a_url(tmp_path, ending):
    frame = gaia(10_000)
    path = tmp_path / f"sky.{ending}"
    if ending == "parquet":
        write(frame, path)
    elif ending.startswith("csv"):
        frame.to_csv(path, index=False)
    else:
        Table.from_pandas(frame).write(path, format={"fits": "fits", "vot": "votable"}[ending])
    found, report = stars_of(CENTRES[0], remote(path, f"{ending}/sky.{ending}"), radius=12.0)
    check(found, report, frame, CENTRES[0], radius=12.0)


def test_folders_and_patterns_at_a_url(tmp_path):
    frame = gaia()
    for i, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        remote(write(frame.iloc[part], tmp_path / "p.parquet"), f"folder/sub/{i}.parquet")
    remote(tmp_path / "p.parquet", "folder/_metadata.parquet")
    for url in ("memory://folder", "memory://folder/", "memory://folder/sub/*.parquet"):
        found, report = stars_of(CENTRES[0], url)
        check(found, report, frame, CENTRES[0])
        assert file_fingerprint(url) == file_fingerprint("memory://folder")
    with pytest.raises(DataError, match=r"memory://nowhere: (no table|cannot be reached)"):
        stars_of(CENTRES[0], "memory://nowhere")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://gone/a.parquet", "memory://gone/a.parquet: cannot be read"),
        ("nothing://host/a.parquet", "nothing://host/a.parquet: Protocol not known"),
    ],
)
def test_a_url_that_cannot_be_read_says_so_in_one_line(url, words):
    settings = StarSettings(source="files", paths=(url,))
    for work in (lambda: examine(settings), lambda: file_fingerprint(url)):
        with pytest.raises(DataError) as caught:
            work()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_fingerprints_depend_on_content_alone(tmp_path):
    frame = gaia(5000)
    a = write(frame, tmp_path / "a.parquet")
    (tmp_path / "x").mkdir()
    b = write(frame, tmp_path / "x/b.parquet")
    os.utime(b, (0, 0))
    assert file_fingerprint(a) == file_fingerprint(str(b)) == file_fingerprint(remote(a, "f/c.parquet"))
    assert file_fingerprint(f"file://{a}") == file_fingerprint(a)
    other = write(frame.assign(pmra=0.0), tmp_path / "c.parquet")
    assert file_fingerprint(other) != file_fingerprint(a)
    frame.to_csv(tmp_path / "a.csv", index=False)
    one = file_fingerprint(tmp_path / "a.csv")
    frame.assign(ra=frame.ra.where(frame.index != 1, 1.0)).to_csv(tmp_path / "a.csv", index=False)
    assert file_fingerprint(tmp_path / "a.csv") != one


def test_the_columns_are_part_of_the_key_of_the_stars():
    one, two = (
        Settings(stars=StarSettings(source="files", paths=("a.csv",), columns=columns))
        for columns in ({}, {"pmra": "PM"})
    )
    assert settings_hash(one, "stars") != settings_hash(two, "stars")
