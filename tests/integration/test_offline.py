"""`run --offline`: what only a network brings is named at once, and what is here suffices where it can."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from viamachinae.cli import main as cli
from viamachinae.config.settings import MockSettings, Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, DataError, ExitCode
from viamachinae.scan.batch.ready import require_fetched
from viamachinae.scan.drive import run_scan
from viamachinae.scan.groups import Group
from viamachinae.scan.options import RunOptions
from viamachinae.scan.runner import InlineRunner
from viamachinae.schema import CELLS
from viamachinae.stars.archive import fetch
from viamachinae.stars.archive.fetch import Fetched
from viamachinae.stars.mock.cells import CELL_ORDER, cell_stars

SKY = MockSettings(density=0.05, g_max=19.0)
OFFLINE = RunOptions(offline=True)


def scan(**changes: dict[str, Any]) -> Settings:
    tree: dict[str, dict[str, Any]] = {
        "stars": {"source": "gaia-dr2"},
        "archive": {"cell_order": CELL_ORDER},
        "patches": {"centres": [[148.6, 24.2], [200.0, 60.0]], "radius": 3.0},
        "fiducial": {"radius": 2.0},
        "runner": {"inline": True},
    }
    for section, body in changes.items():
        tree[section] = tree.get(section, {}) | body
    return Settings.model_validate(tree)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An archive that serves the cells of a mock sky, and what it is asked for."""
    found: list[str] = []

    def fetch_cell(settings: Settings, cell: Any, workplace: Path, **_: Any) -> Fetched:
        found.append(cell.name)
        stars = cell_stars(SKY, 1, cell.pixel).drop(columns="truth").sort_values("source_id")
        stars = CELLS.conform(stars[stars["parallax"] < settings.selection.parallax_max])
        report = {"rows": len(stars), "bytes": 1, "release": "gaia-dr2"}
        return Fetched(CELLS.to_arrow(stars), report)

    def check_service(_settings: Settings) -> dict[str, Any]:
        found.append("service")
        return {}

    monkeypatch.setattr(fetch, "fetch_cell", fetch_cell)
    monkeypatch.setattr(fetch, "check_service", check_service)
    return found


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        msg = "the network was asked"
        raise AssertionError(msg)

    monkeypatch.setattr(socket.socket, "connect", refused)


def stars_of(settings: Settings, out: Path, options: RunOptions | None = None) -> dict[str, int]:
    return run_scan(settings, out, options, runner=InlineRunner(), stars_only=True).done_now


def test_missing_cells_are_named_at_once(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--offline") as caught:
        stars_of(scan(), tmp_path / "out", OFFLINE)
    assert asked == []
    stars_of(scan(), tmp_path / "fetched")
    names = sorted(set(asked) - {"service"})
    shown = f"{', '.join(names[:5])} and {len(names) - 5} more"
    assert f"  {len(names)} cells of gaia-dr2: {shown}\n" in str(caught.value)
    assert "the stars of 2 patches" in str(caught.value)
    assert "viamachinae fetch" in str(caught.value)


def test_what_was_fetched_is_enough(asked: list[str], tmp_path: Path) -> None:
    stars_of(scan(), tmp_path)
    asked.clear()
    # Other cuts need the stars again, out of the same cells.
    assert stars_of(scan(fiducial={"g_max": 18.0}), tmp_path, OFFLINE)["stars"] == 2
    # Cells that nobody needs any more may be gone.
    for path in (tmp_path / "cells").iterdir():
        path.unlink()
    assert stars_of(scan(fiducial={"g_max": 18.0}), tmp_path, OFFLINE)["stars"] == 0
    with pytest.raises(DataError, match="cells of gaia-dr2"):
        stars_of(scan(fiducial={"g_max": 19.0}), tmp_path, OFFLINE)
    assert asked == []


def test_jobs_are_submitted_once_the_cells_are_here(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"17 cells of gaia-dr2: .*\n.*viamachinae fetch SCAN.toml --out"):
        require_fetched(scan(), tmp_path)
    stars_of(scan(), tmp_path)
    asked.clear()
    require_fetched(scan(), tmp_path)
    require_fetched(scan(fiducial={"g_max": 18.0}), tmp_path)  # other stars, out of the same cells
    (path, *_) = sorted((tmp_path / "cells").iterdir())
    path.unlink()
    require_fetched(scan(), tmp_path)
    with pytest.raises(DataError, match=f"1 cell of gaia-dr2: {path.stem}"):
        require_fetched(scan(fiducial={"g_max": 18.0}), tmp_path)
    assert asked == []


def test_only_cells_of_the_own_group_are_needed(asked: list[str], tmp_path: Path) -> None:
    stars_of(scan(), tmp_path, RunOptions(group=Group(1, 2)))
    asked.clear()
    assert stars_of(scan(), tmp_path, RunOptions(offline=True, group=Group(1, 2)))["stars"] == 0
    with pytest.raises(DataError, match="the stars of 1 patch "):
        stars_of(scan(), tmp_path, RunOptions(offline=True, group=Group(2, 2)))
    assert list((tmp_path / "downloads").iterdir()) == []


def test_the_command_ends_with_65(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = tmp_path / "scan.toml"
    toml.write_text(dump(scan()), encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        cli.main(["run", str(toml), "--out", str(tmp_path / "out"), "--offline"])
    assert end.value.code == ExitCode.DATA
    assert "cells of gaia-dr2" in capsys.readouterr().err


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """Serve a folder of this machine as another one would."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_remote_tables_are_named_and_not_asked_once_they_are_loaded(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("aiohttp")
    stars_of(scan(stars={"source": "mock"}, mock={"density": 0.05}), tmp_path / "mock")
    tables = sorted((tmp_path / "mock" / "stars").glob("*.parquet"))
    served, out = tmp_path / "site", tmp_path / "out"
    served.mkdir()
    frame = pd.concat(pd.read_parquet(path) for path in tables)
    columns = ["source_id", "ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"]
    frame[columns].to_csv(served / "sky.csv", index=False)
    with site(served) as address:
        url = f"{address}/sky.csv"
        settings = scan(stars={"source": "files", "paths": [url], "min_coverage": 0.0})
        with pytest.raises(DataError, match="tables on other machines") as caught:
            stars_of(settings, out, OFFLINE)
        assert url in str(caught.value)
        assert stars_of(settings, out)["stars"] == 2
    request.getfixturevalue("unplugged")
    assert stars_of(settings, out, OFFLINE)["stars"] == 0
    with pytest.raises(DataError, match="tables on other machines"):
        stars_of(
            settings.model_copy(update={"fiducial": scan(fiducial={"g_max": 18.0}).fiducial}), out, OFFLINE
        )


def test_missing_dust_maps_are_named(asked: list[str], tmp_path: Path) -> None:
    settings = scan(extinction={"map": "sfd", "folder": str(tmp_path / "maps")})
    with pytest.raises(DataError) as caught:
        stars_of(settings, tmp_path / "out", OFFLINE)
    for name in ("SFD_dust_4096_ngp.fits", "SFD_dust_4096_sgp.fits"):
        assert str(tmp_path / "maps" / name) in str(caught.value)
    assert "viamachinae data fetch sfd" in str(caught.value)
    assert "cells of gaia-dr2" in str(caught.value)


def test_other_tables_under_the_same_name_redo_nothing_unless_that_is_agreed_to(tmp_path: Path) -> None:
    stars_of(scan(stars={"source": "mock"}, mock={"density": 0.05}), tmp_path / "mock")
    frame = pd.concat(pd.read_parquet(p) for p in sorted((tmp_path / "mock" / "stars").glob("*.parquet")))
    table, out = tmp_path / "sky.parquet", tmp_path / "out"
    frame.to_parquet(table)
    settings = scan(stars={"source": "files", "paths": [str(table)], "min_coverage": 0.0})
    refuse = RunOptions(agree=lambda _: False)
    assert stars_of(settings, out, refuse)["stars"] == 2
    assert stars_of(settings, out, refuse)["stars"] == 0
    frame.iloc[:-1].to_parquet(table)
    with pytest.raises(ConfigError, match=r"the tables of stars have changed.*2 of stars"):
        stars_of(settings, out, refuse)
    assert stars_of(settings, out)["stars"] == 2
    assert stars_of(settings, out, refuse)["stars"] == 0
