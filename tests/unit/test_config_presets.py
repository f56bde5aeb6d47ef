"""What a user starts from: presets, packaged scans, and the file that `init` writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from viamachinae.cli.init import write_config
from viamachinae.config.presets import PRESETS, preset_text, workflow, workflow_text, workflows
from viamachinae.config.reference import markdown
from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump, load, parse
from viamachinae.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_packaged_scans_are_the_files_of_the_repository():
    assert workflows() == tuple(sorted(p.stem for p in (ROOT / "workflows").glob("*.toml")))
    assert {"demo", "gd1", "gd1-semireal", "dr2-allsky"} <= set(workflows())


@pytest.mark.parametrize("name", workflows())
def test_packaged_scan_is_valid_and_survives_a_round_trip(name):
    settings = workflow(name)
    assert settings.scan.name == name
    assert parse(dump(settings), source=name, folder=None) == settings


def test_packaged_scan_finds_its_files_in_a_folder(tmp_path):
    with pytest.raises(ConfigError, match=r"workflow gd1-semireal, line \d+: stars\.paths\[0\]"):
        workflow("gd1-semireal", tmp_path)
    (tmp_path / "gd1_semireal.parquet").write_text("x")
    settings = workflow("gd1-semireal", tmp_path)
    assert settings.stars.paths == (str(tmp_path / "gd1_semireal.parquet"),)


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(ConfigError, match=r"no workflow 'dmo', did you mean 'demo'.*gd1-semireal"):
        workflow_text("dmo")
    with pytest.raises(ConfigError, match=r"no preset 'publishd', did you mean 'published'.*default.*demo"):
        preset_text("publishd")
    with pytest.raises(ConfigError, match="no workflow"):
        workflow_text("../pyproject")


def test_gd1_patches_are_tiles_of_the_published_tiling():
    healpy = pytest.importorskip("healpy")
    coordinates = pytest.importorskip("astropy.coordinates")
    ra, dec = np.array(workflow("gd1").patches.centres).T
    sky = coordinates.SkyCoord(ra, dec, unit="deg").galactic
    pixels = healpy.ang2pix(6, sky.l.deg, sky.b.deg, lonlat=True)
    l, b = healpy.pix2ang(6, pixels, lonlat=True)  # noqa: E741
    centre = coordinates.SkyCoord(l, b, unit="deg", frame="galactic")
    assert len(set(pixels)) == 21
    assert sky.separation(centre).deg.max() < 1e-3
    assert (b > 30).all()


def test_published_preset_is_the_published_model():
    density = parse(preset_text("published"), source="published", folder=None).density
    assert (density.blocks, density.hidden, density.batch_norm) == (15, 128, True)
    assert (density.batch_size, density.learning_rate, density.best_epochs) == (256, 1e-4, 10)
    assert density.preprocessing == "logit"
    # nothing ends a training early on the largest region
    assert density.patience >= density.max_epochs
    assert density.max_star_steps >= density.max_epochs * Settings().regions.max_stars


def test_init_writes_a_file_that_loads(tmp_path):
    path = write_config(tmp_path / "scan.toml", "default")
    assert load(path) == Settings()


@pytest.mark.parametrize("preset", [*PRESETS, *workflows()])
def test_init_writes_every_preset(tmp_path, preset):
    path = write_config(tmp_path / "scan.toml", preset)
    settings = parse(path.read_text(), source=preset, folder=None)
    for name in map(str, settings.stars.paths):
        table = tmp_path / name.replace("*", "a")
        table.parent.mkdir(exist_ok=True)
        table.write_text("x")
    assert load(path).patches == settings.patches


def test_init_never_replaces_a_file_unasked(tmp_path):
    path = tmp_path / "scan.toml"
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"exists and is left as it is.*--force"):
        write_config(path, "default")
    assert path.read_text() == "mine"
    write_config(path, "default", force=True)
    assert load(path) == Settings()


def test_init_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        write_config(tmp_path, "default")
    with pytest.raises(ConfigError, match="the folder must exist"):
        write_config(tmp_path / "no" / "scan.toml", "default")
    with pytest.raises(ConfigError, match="no preset"):
        write_config(tmp_path / "scan.toml", "other")
    assert not list(tmp_path.iterdir())


def test_page_of_settings_is_current():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == markdown(), "run `make docs` and commit docs/settings.md"
