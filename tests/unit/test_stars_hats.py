"""HATS catalogues: which partitions a patch needs, and what is said of those that are not in order."""

import shutil
import sys
import warnings

import healpy
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from viamachinae.config.settings import StarSettings
from viamachinae.errors import DataError
from viamachinae.scan.outside import file_fingerprint
from viamachinae.sky.frame import PatchFrame
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.formats import read_columns
from viamachinae.stars.files.hats import catalogue
from viamachinae.stars.files.tables import examine, read

hats = pytest.importorskip("hats")
properties = pytest.importorskip("hats.catalog.dataset.table_properties")
parquet_metadata = pytest.importorskip("hats.io.parquet_metadata")
partition_info = pytest.importorskip("hats.catalog.partition_info")
healpix_pixel = pytest.importorskip("hats.pixel_math.healpix_pixel")
paths = pytest.importorskip("hats.io.paths")

CENTRE, RADIUS = (148.6, 24.2), 8.0


def sky(n=30_000, seed=0):
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0.0, 360.0, n), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    index = healpy.ang2pix(2**29, ra, dec, nest=True, lonlat=True)
    columns = {
        "_healpix_29": index,
        "source_id": ((index >> 34) << 35) + rng.integers(1, 2**27, n) * 128,
        "ra": ra,
        "dec": dec,
        "pmra": rng.normal(0.0, 5.0, n),
        "pmdec": rng.normal(-2.0, 5.0, n),
        "parallax": rng.normal(0.3, 0.3, n),
        "phot_g_mean_mag": rng.uniform(12.0, 20.0, n),
        "bp_rp": rng.uniform(0.3, 1.5, n),
    }
    return pd.DataFrame(columns).sort_values("_healpix_29", ignore_index=True)


def write(frame, folder, suffix=".parquet", kind="object", **names):
    """Write a catalogue with the library's own writers: cells of order 2, those of the north of order 3."""
    order2 = frame["_healpix_29"].to_numpy() >> 2 * 27
    order = np.where(frame[names.get("dec", "dec")] > 0.0, 3, 2)
    order = np.where(pd.Series(order).groupby(order2).transform("min") == 3, 3, 2)
    cells = frame["_healpix_29"].to_numpy() >> 2 * (29 - order)
    found = []
    for (o, cell), rows in frame.groupby([order, cells]):
        found.append(healpix_pixel.HealpixPixel(int(o), int(cell)))
        file = paths.new_pixel_catalog_file(folder, found[-1], npix_suffix=suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file.path, row_group_size=200)
    properties.TableProperties(
        catalog_name="tiny", catalog_type=kind, total_rows=len(frame), ra_column=names.get("ra", "ra"),
        dec_column=names.get("dec", "dec"), healpix_column="_healpix_29", healpix_order=29,
        npix_suffix=suffix, primary_catalog="other", margin_threshold=10.0,
    ).to_properties_file(folder)  # fmt: skip
    partition_info.PartitionInfo.from_healpix(found).write_to_file(catalog_path=folder)
    parquet_metadata.write_parquet_metadata(folder, create_metadata=True)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A catalogue that no test changes."""
    return write(sky(), tmp_path_factory.mktemp("hats") / "tiny")


def stars_of(*places, centre=CENTRE, **options):
    settings = StarSettings(source="files", paths=places, **{"min_coverage": 0.0} | options)
    return read(settings, *centre, RADIUS)


def check(found, report, frame, centre=CENTRE):
    inside = PatchFrame(*centre).separation(frame.ra, frame.dec) <= RADIUS
    expected = frame[inside].sort_values("source_id", ignore_index=True)
    assert len(expected) > 20
    pd.testing.assert_frame_equal(found[list(REQUIRED)], expected[list(REQUIRED)])
    assert report["read"] == len(frame) == report["outside"] + report["nan"] + len(found)


@pytest.mark.parametrize("centre", [CENTRE, (0.2, 0.5), (200.0, 87.0), (310.0, -41.0)])
def test_only_partitions_that_overlap_the_patch_are_opened(made, monkeypatch, centre):
    asked = []
    monkeypatch.setattr(
        "viamachinae.stars.files.tables.read_columns",
        lambda file, names, near: asked.append(file) or read_columns(file, names, near),
    )
    found, report = stars_of(made, centre=centre)
    check(found, report, sky(), centre)
    assert 1 < len(asked) < 25 < len(list(made.rglob("Npix=*.parquet")))


@pytest.mark.parametrize("suffix", ["/", ".snappy.parquet"])
def test_other_forms_of_partitions(tmp_path, suffix):
    check(*stars_of(write(sky(8000), tmp_path / "tiny", suffix)), sky(8000))


def test_a_collection_is_read_by_its_main_catalogue(tmp_path, made):
    shutil.copytree(made, tmp_path / "all/main")
    (tmp_path / "all/collection.properties").write_text(
        "obs_collection=all\nhats_primary_table_url=main\nall_margins=m\ndefault_margin=m\n"
    )
    check(*stars_of(tmp_path / "all"), sky())


def test_positions_by_the_names_that_the_catalogue_states(tmp_path):
    frame = sky(8000)
    other = frame.rename(columns={"ra": "RAdeg", "dec": "DEdeg", "pmra": "pmRA1"})
    folder = write(other, tmp_path / "tiny", ra="RAdeg", dec="DEdeg")
    check(*stars_of(folder, columns={"pmra": "pmRA1"}), frame)


def test_a_catalogue_behind_a_url(made):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(made), "/hats/tiny", recursive=True)
    check(*stars_of("memory://hats/tiny"), sky())
    assert file_fingerprint("memory://hats/tiny") == file_fingerprint("memory://hats/tiny/")


def test_a_missing_partition_is_named(tmp_path, made):
    shutil.copytree(made, tmp_path / "tiny")
    cell = healpy.ang2pix(8, *CENTRE, nest=True, lonlat=True)
    gone = next((tmp_path / "tiny").rglob(f"Norder=3/**/Npix={cell}.parquet"))
    gone.unlink()
    with pytest.raises(
        DataError, match=rf"tiny: the HATS catalogue lists the partition .*{cell}.* no .*Npix={cell}"
    ):
        stars_of(tmp_path / "tiny")
    check(*stars_of(tmp_path / "tiny", centre=(310.0, -41.0)), sky(), (310.0, -41.0))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "hats.properties").write_text("x=1\n"), "cannot be read as a HATS catalogue"),
        (lambda d: shutil.rmtree(d / "dataset"), "no dataset/_common_metadata"),
    ],
)
def test_a_broken_catalogue_is_refused_in_one_line(tmp_path, made, spoil, words):
    shutil.copytree(made, tmp_path / "tiny")
    spoil(tmp_path / "tiny")
    with pytest.raises(DataError) as caught:
        examine(StarSettings(source="files", paths=(tmp_path / "tiny",)))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_margin_catalogue_is_no_catalogue_of_stars(tmp_path):
    folder = write(sky(2000), tmp_path / "margin", kind="margin")
    with pytest.raises(DataError, match=r"of type .*margin; name one of type object or source"):
        stars_of(folder)


def test_without_the_package_the_extra_is_named(made, monkeypatch):
    catalogue.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == "hats"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"pip install 'viamachinae\[hats\]'") as caught:
        stars_of(made)
    assert "\n" not in str(caught.value)


def test_fingerprints_of_catalogues_follow_their_files(tmp_path, made):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    assert file_fingerprint(copy) == file_fingerprint(made)
    file = sorted(copy.rglob("Npix=*.parquet"))[3]
    table = pq.read_table(file, partitioning=None)
    pq.write_table(table.slice(1), file)
    assert file_fingerprint(copy) != file_fingerprint(made)


def test_partitions_by_their_files_alone(made):
    """Named as files, without the library: the cells are in the paths."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(*stars_of(*sorted(made.rglob("Npix=*.parquet"))), sky())
