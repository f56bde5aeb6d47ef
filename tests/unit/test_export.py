from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import Unit

from viamachinae import __version__
from viamachinae.catalog import FORMATS, catalogue_paths, content_hash, read, write
from viamachinae.catalog import export as export_module
from viamachinae.errors import ConfigError, DataError
from viamachinae.schema import MEMBERS, STREAMS, TRACKS

META = {"settings_hash": "ab" * 32, "release": "gaia-dr3", "scan": "a scan whose name is long " * 8}
TABLES = {"streams": STREAMS, "members": MEMBERS, "tracks": TRACKS}


def fake(schema, n, seed=0):
    rng = np.random.default_rng(seed)
    columns = {}
    for column in schema.columns:
        if column.dtype == "string":
            columns[column.name] = [f"{column.name} {k % 3}" for k in range(n)]
        elif column.dtype == "bool":
            columns[column.name] = rng.random(n) < 0.5
        elif column.dtype.startswith("int"):
            columns[column.name] = rng.integers(0, 2**60 if column.dtype == "int64" else 100, n)
        else:
            columns[column.name] = rng.normal(size=n)
    return schema.conform(pd.DataFrame(columns))


def catalogue(n=3):
    streams, members, tracks = fake(STREAMS, n), fake(MEMBERS, 5 * n), fake(TRACKS, 2 * n)
    for frame in (streams, members, tracks):
        frame["stream_id"] = [f"VM-{k % max(n, 1):02d}" for k in range(len(frame))]
    streams["p_value"] = np.nan
    members.loc[members.index[::2], "log_r"] = np.nan
    members["truth"] = [["GD-1", None, ""][k % 3] for k in range(len(members))]
    return streams, members, tracks


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("n", [0, 1, 3])
def test_astropy_reads_back_what_was_written(tmp_path, kind, n):
    frames = dict(zip(TABLES, catalogue(n), strict=True))
    write(*frames.values(), tmp_path, META, [kind])
    for name, schema in TABLES.items():
        table = Table.read(tmp_path / f"{name}.{kind}")
        assert len(table) == len(frames[name])
        for column in schema.columns:
            got = table[column.name]
            assert Unit(got.unit or "") == Unit(column.unit), column.name
            assert got.description == column.description
            want = frames[name][column.name].to_numpy()
            if column.dtype == "string":
                assert [str(v) for v in got] == list(want)
            elif column.dtype.startswith("float"):
                filled = np.ma.filled(np.ma.asarray(got), np.nan).astype(float)
                np.testing.assert_array_equal(filled, want.astype(float), err_msg=column.name)
                assert got.dtype.itemsize == np.dtype(column.dtype).itemsize
            else:
                np.testing.assert_array_equal(np.asarray(got), want)
                assert got.dtype.kind == np.dtype(column.dtype).kind


def test_all_formats_say_the_same(tmp_path):
    paths = write(*catalogue(), tmp_path, META)
    assert paths == catalogue_paths(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    for name in TABLES:
        metas = [read(tmp_path / f"{name}.{kind}")[1] for kind in FORMATS]
        for meta in metas:
            for key, value in META.items():
                assert str(meta[key]).strip() == value.strip()
            assert meta["viamachinae_version"] == __version__
            assert meta["table"] == name
            assert len(meta["content_sha256"]) == 64
        assert len({meta["content_sha256"] for meta in metas}) == 1


def test_carried_columns_survive_missing_values(tmp_path):
    write(*catalogue(), tmp_path, META)
    for kind in FORMATS:
        table, _ = read(tmp_path / f"members.{kind}")
        truth = ["" if np.ma.is_masked(v) else str(v) for v in table["truth"]]
        assert truth[:3] == ["GD-1", "", ""]


def test_other_readers_find_units_and_descriptions(tmp_path):
    write(*catalogue(), tmp_path, META)
    header = fits.getheader(tmp_path / "members.fits", 1)
    number = list(MEMBERS.names).index("pmra") + 1
    assert header[f"TUNIT{number}"] == "mas yr-1"
    assert header[f"TCOMM{number}"] == MEMBERS["pmra"].description
    assert header["VMROWS"] == 15
    field = pq.read_schema(tmp_path / "members.parquet").field("pmra")
    assert field.metadata[b"unit"] == b"mas / yr"
    assert pd.read_parquet(tmp_path / "streams.parquet")["p_value"].isna().all()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_catalogue_tells_which_software_made_it(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(export_module, "git_commit", lambda: "c0ffee-dirty")
    write(*catalogue(), tmp_path, META, [kind])
    _, meta = read(tmp_path / f"members.{kind}")
    assert meta["git_commit"] == "c0ffee-dirty"
    assert f"numpy={np.__version__}" in meta["versions"].split()
    # What the scan was made with goes before what exports it.
    monkeypatch.setattr(export_module, "git_commit", lambda: "another")
    write(*catalogue(), tmp_path, {**META, "git_commit": "first", "versions": "numpy=1"}, [kind])
    _, meta = read(tmp_path / f"members.{kind}")
    assert (meta["git_commit"], meta["versions"]) == ("first", "numpy=1")


def test_same_rows_give_the_same_bytes(tmp_path):
    first = write(*catalogue(), tmp_path / "a", META)
    second = write(*catalogue(), tmp_path / "b", META)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.__setitem__("ra", t["ra"] + 1e-12),
        lambda t: t.reverse(),
        lambda t: t.rename_column("ra", "RA"),
        lambda t: t["ra"].__setattr__("unit", "rad"),
        lambda t: t.remove_row(0),
        lambda t: t.__setitem__("on_line", ~t["on_line"]),
    ],
)
def test_hash_sees_every_change(tmp_path, change):
    write(*catalogue(), tmp_path, META, ["parquet"])
    table, meta = read(tmp_path / "members.parquet")
    assert content_hash(table) == meta["content_sha256"]
    change(table)
    assert content_hash(table) != meta["content_sha256"]


def test_hash_refuses_other_types():
    with pytest.raises(DataError, match="'z'"):
        content_hash(Table({"z": [1 + 2j]}))


def test_a_cut_file_is_noticed(tmp_path):
    write(*catalogue(), tmp_path, META, ["ecsv"])
    path = tmp_path / "members.ecsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-2]) + "\n")
    assert len(Table.read(path)) == 13
    with pytest.raises(DataError, match="13 rows, 15 declared"):
        read(path)


@pytest.mark.filterwarnings("ignore::astropy.utils.exceptions.AstropyWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_torn_file_is_refused(tmp_path, kind):
    write(*catalogue(200), tmp_path, META, [kind])
    path = tmp_path / f"members.{kind}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="export the catalogue again"):
        read(path)


def test_a_failing_writer_leaves_the_old_file(tmp_path, monkeypatch):
    write(*catalogue(), tmp_path, META, ["ecsv"])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def torn(table, path):
        Path(path).write_text("half a fi")
        msg = "disk full"
        raise OSError(msg)

    monkeypatch.setitem(export_module.WRITERS, "ecsv", torn)
    with pytest.raises(OSError, match="disk full"):
        write(*catalogue(2), tmp_path, META, ["ecsv"])
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_bad_requests_are_refused(tmp_path):
    tables = catalogue()
    with pytest.raises(ConfigError, match=r"votable.*valid formats: ecsv, fits, parquet"):
        write(*tables, tmp_path, META, ["votable"])
    with pytest.raises(ConfigError, match="no format"):
        write(*tables, tmp_path, META, [])
    with pytest.raises(DataError, match="release"):
        write(*tables, tmp_path, {"settings_hash": "x"})
    with pytest.raises(DataError, match=r"members name the candidates \['VM-02'\]"):
        write(tables[0].iloc[:2], *tables[1:], tmp_path, META)
    with pytest.raises(DataError, match="unique"):
        write(pd.concat([tables[0], tables[0]]), *tables[1:], tmp_path, META)
    with pytest.raises(DataError, match="not a catalogue file"):
        read(tmp_path / "streams.txt")
    assert not list(tmp_path.iterdir())
