"""Tables behind a web server: only the bytes needed are fetched, and every fault is told in one line."""

import gzip
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
from viamachinae.stars.files import text
from viamachinae.stars.files.columns import REQUIRED
from viamachinae.stars.files.tables import examine, read

pytest.importorskip("aiohttp")

CENTRE, RADIUS = (148.6, 24.2), 6.0


class Site:
    """A web server of a folder, which counts what it sends and can misbehave."""

    def __init__(self, folder):
        self.folder, self.sent, self.asked = folder, Counter(), []
        self.ranges, self.encoded, self.cut = True, False, None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                site.answer(self, body=False)

            def do_GET(self):
                site.answer(self, body=True)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request, body):
        path = self.folder / request.path.lstrip("/")
        if not path.is_file():
            request.send_error(404)
            return
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        self.asked.append((request.command, request.path, request.headers.get("Range")))
        partial = self.ranges and wanted
        whole = len(data)
        if partial:
            low, high = int(wanted[1]), min(int(wanted[2]), whole - 1)
            data = data[low : high + 1]
        request.send_response(206 if partial else 200)
        request.send_header("Content-Length", str(len(data)))
        if partial:
            request.send_header("Content-Range", f"bytes {low}-{high}/{whole}")
        if self.ranges:
            request.send_header("Accept-Ranges", "bytes")
            request.send_header("ETag", f'"{hash(path.read_bytes())}"')
        if self.encoded:
            request.send_header("Content-Encoding", "gzip")
        request.end_headers()
        if body:
            self.sent[request.path] += len(data)
            request.wfile.write(data[: self.cut])


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


def sky(n=60_000, seed=0):
    rng = np.random.default_rng(seed)
    ra, dec = rng.uniform(0.0, 360.0, n), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, n)))
    cells = healpy.ang2pix(4096, ra, dec, nest=True, lonlat=True).astype(np.int64)
    columns = {
        "source_id": (cells << 35) + rng.integers(1, 2**27, n) * 128,
        "ra": ra,
        "dec": dec,
        **{n_: rng.normal(0.0, 5.0, n) for n_ in REQUIRED[3:]},
        **{f"more_{i}": rng.normal(size=n) for i in range(8)},
    }
    return pd.DataFrame(columns).sort_values("source_id", ignore_index=True)


def check(frame, *urls):
    settings = StarSettings(source="files", paths=urls, min_coverage=0.0)
    found, report = read(settings, *CENTRE, RADIUS)
    inside = PatchFrame(*CENTRE).separation(frame.ra, frame.dec) <= RADIUS
    expected = frame.loc[inside, list(REQUIRED)].sort_values("source_id", ignore_index=True)
    pd.testing.assert_frame_equal(found, expected)
    assert report["read"] == len(frame) == report["outside"] + len(found)


def refused(*urls):
    with pytest.raises(DataError) as caught:
        read(StarSettings(source="files", paths=urls, min_coverage=0.0), *CENTRE, RADIUS)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_of_a_remote_parquet_file_only_the_parts_needed_are_fetched(site, tmp_path):
    frame = sky()
    path = tmp_path / "sky.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=1000)
    check(frame, f"{site.url}/sky.parquet")
    assert 0 < site.sent["/sky.parquet"] < 0.15 * path.stat().st_size
    assert all(asked for command, _, asked in site.asked if command == "GET")
    assert file_fingerprint(f"{site.url}/sky.parquet") == file_fingerprint(path)


def test_parquet_behind_a_server_of_whole_files_is_refused(site, tmp_path):
    pq.write_table(pa.Table.from_pandas(sky(5000), preserve_index=False), tmp_path / "sky.parquet")
    site.ranges = False
    assert re.search(r"sky.parquet: cannot be read .*range", refused(f"{site.url}/sky.parquet"))


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("ranges", [False, True])
def test_text_is_streamed_from_any_server(site, tmp_path, monkeypatch, ranges, encoded):
    """Servers may say of a gzipped file that its transfer is, and clients then unpack it."""
    frame = sky(20_000)
    (tmp_path / "sky.csv.gz").write_bytes(gzip.compress(frame.to_csv(index=False).encode(), 1))
    monkeypatch.setattr(text, "_BLOCK", 1 << 16)
    site.ranges, site.encoded = ranges, encoded
    check(frame, f"{site.url}/sky.csv.gz")
    assert not any(asked for _, _, asked in site.asked)


def test_versions_of_remote_text_enter_its_fingerprint(site, tmp_path):
    (tmp_path / "sky.csv").write_text("a,b\n1,2\n")
    (tmp_path / "copy.csv").write_text("a,b\n1,2\n")
    one = file_fingerprint(f"{site.url}/sky.csv")
    assert file_fingerprint(f"{site.url}/copy.csv") == one
    assert not any(command == "GET" for command, *_ in site.asked)
    (tmp_path / "sky.csv").write_text("a,b\n1,3\n")
    assert file_fingerprint(f"{site.url}/sky.csv") != one


def test_an_answer_cut_short_is_refused(site, tmp_path):
    sky(20_000).to_csv(tmp_path / "sky.csv", index=False)
    url = f"{site.url}/sky.csv"
    examine(StarSettings(source="files", paths=(url,)))
    site.cut = 100_000
    assert "sky.csv: cannot be read as CSV" in refused(url)


@pytest.mark.parametrize("name", ["none.parquet", "none.csv.gz", "none.fits", "folder/"])
def test_what_is_not_there_is_named(site, name):
    assert f"{site.url}/{name}: " in refused(f"{site.url}/{name}")
    site.server.shutdown()
    site.server.server_close()
    assert f"{site.url}/{name}: " in refused(f"{site.url}/{name}")
    with pytest.raises(DataError, match=r"none|folder"):
        file_fingerprint(f"{site.url}/{name}")


def test_a_hats_catalogue_behind_a_server(site, tmp_path):
    pytest.importorskip("hats")
    frame = sky(20_000)
    frame["_healpix_29"] = healpy.ang2pix(2**29, frame.ra, frame.dec, nest=True, lonlat=True)
    folder = tmp_path / "cat"
    for cell, rows in frame.groupby(frame["_healpix_29"] // 4**27):
        file = folder / f"dataset/Norder=2/Dir=0/Npix={cell}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), file)
    pq.write_metadata(pq.read_schema(file), folder / "dataset/_common_metadata")
    cells = "".join(f"2,{c}\n" for c in sorted(set(frame["_healpix_29"] // 4**27)))
    (folder / "partition_info.csv").write_text(f"Norder,Npix\n{cells}")
    (folder / "hats.properties").write_text(
        "obs_collection=cat\ndataproduct_type=object\nhats_nrows=20000\nhats_col_ra=ra\nhats_col_dec=dec\n"
    )
    check(frame, f"{site.url}/cat")
    opened = {path for path in site.sent if "Npix" in path}
    assert 1 <= len(opened) < 8
    assert file_fingerprint(f"{site.url}/cat") == file_fingerprint(f"{site.url}/cat/")
