"""Downloads from a Dataverse on this machine, with all that can go wrong on the way."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from viamachinae.errors import DataError, ResumeError
from viamachinae.stars.dataverse import download

NAMES = ("north.fits", "south.fits")
DATASET = "doi:10.0/TEST"


class Dataverse:
    """Two files behind the two addresses that are used; ``mood`` says how it answers."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.files = {name: rng.bytes(3_000_000 + i) for i, name in enumerate(NAMES)}
        self.sums = {
            name: hashlib.md5(content, usedforsecurity=False).hexdigest()
            for name, content in self.files.items()
        }
        self.mood = "well"
        self.asked = []

    def listing(self):
        files = [
            {"dataFile": {"id": i, "filename": name, "md5": self.sums[name], "filesize": len(content)}}
            for i, (name, content) in enumerate(self.files.items())
        ]
        return json.dumps({"status": "OK", "data": {"latestVersion": {"files": files}}}).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers as the :class:`Dataverse` of its server is in the mood to."""

    def do_GET(self):
        state = self.server.state
        state.asked.append((self.path, self.headers.get("Range")))
        if state.mood == "busy":
            self.send_error(503)
        elif state.mood == "page":
            self.answer(200, b"<html>maintenance</html>")
        elif self.path.startswith("/api/datasets/:persistentId/?persistentId=doi%3A10.0%2FTEST"):
            self.answer(200, state.listing())
        else:
            self.file(state.files[NAMES[int(self.path.rpartition("/")[2])]])

    def file(self, content):
        mood, begin = self.server.state.mood, 0
        if self.headers.get("Range") and mood != "no ranges":
            begin = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = bytes(len(content) - begin) if mood == "damages" else content[begin:]
        part = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if begin else {}
        self.answer(206 if begin else 200, body, part, 1_000_000 if mood == "breaks off" else None)

    def answer(self, status, body, headers=(), cut=None):
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **dict(headers)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.state = Dataverse()
    httpd.state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield httpd.state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


def fetch(server, folder):
    return download(DATASET, NAMES, folder, server=server.url)


def test_files_arrive_whole_and_are_fetched_once(server, tmp_path):
    folder = tmp_path / "a" / "b"
    assert fetch(server, folder) == [folder / name for name in NAMES]
    for name in NAMES:
        assert (folder / name).read_bytes() == server.files[name]
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    before = len(server.asked)
    fetch(server, folder)
    assert [path for path, _ in server.asked[before:] if "datafile" in path] == []


def test_a_damaged_file_is_fetched_anew(server, tmp_path):
    fetch(server, tmp_path)
    (tmp_path / NAMES[0]).write_bytes(b"short")
    fetch(server, tmp_path)
    assert (tmp_path / NAMES[0]).read_bytes() == server.files[NAMES[0]]


@pytest.mark.parametrize("then", ["well", "no ranges"])
def test_a_download_that_broke_off_goes_on(server, tmp_path, then):
    server.mood = "breaks off"
    with pytest.raises(ResumeError, match="run the same command again"):
        fetch(server, tmp_path)
    assert not (tmp_path / NAMES[0]).exists()
    (part,) = tmp_path.iterdir()
    assert 0 < part.stat().st_size <= 1_000_000
    server.mood = then
    fetch(server, tmp_path)
    assert (tmp_path / NAMES[0]).read_bytes() == server.files[NAMES[0]]
    asked = [value for path, value in server.asked if path.endswith("datafile/0")]
    assert asked[0] is None
    assert asked[1].startswith("bytes=")
    assert not list(tmp_path.glob(".*"))


def test_other_bytes_are_never_put_in_place(server, tmp_path):
    server.mood = "damages"
    with pytest.raises(DataError, match=r"what came has the MD5 sum [0-9a-f]{32}, that of north.fits is"):
        fetch(server, tmp_path)
    assert not list(tmp_path.iterdir())
    server.mood = "well"
    assert fetch(server, tmp_path)[0].read_bytes() == server.files[NAMES[0]]


def test_servers_that_cannot_answer(server, tmp_path):
    server.mood = "busy"
    with pytest.raises(ResumeError, match="refuses: 503"):
        fetch(server, tmp_path)
    server.mood = "page"
    with pytest.raises(DataError, match=r"does not list north.fits, south.fits"):
        fetch(server, tmp_path)
    server.mood = "well"
    with pytest.raises(DataError, match=r"does not list west.fits"):
        download(DATASET, ["west.fits"], tmp_path, server=server.url)
    assert not list(tmp_path.iterdir())
