"""Hashes of settings: the same for the same values, different for different ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from viamachinae.config.keys import section_hash
from viamachinae.config.settings import RegionSettings, ScanSettings, Settings, StarSettings
from viamachinae.errors import ConfigError


def test_hash_is_of_the_canonical_text():
    settings = Settings(scan=ScanSettings(name="x", seed=3))
    # sha256 of {"scan":{"keep_models":false,"name":"x","seed":3}}
    assert (
        section_hash(settings, "scan") == "71c13df5d329f0b5bdc268cc27dbf9a162ebba20e018a6e549cb1f9bff5d7ab8"
    )


def test_hash_is_the_same_in_another_process():
    code = (
        "from viamachinae.config.keys import section_hash; from viamachinae.config.settings import Settings;"
        "import sys; sys.stdout.write(section_hash(Settings(), 'density', 'mock', 'patches'))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert out.stdout == section_hash(Settings(), "density", "mock", "patches")


def test_order_of_sections_and_way_of_writing_do_not_matter():
    s = Settings()
    assert section_hash(s, "roi", "lines") == section_hash(s, "lines", "roi")
    same = Settings(regions=RegionSettings(width=6, stride=1))
    assert section_hash(same, "regions") == section_hash(s, "regions")


def test_a_changed_value_changes_only_its_section():
    s, t = Settings(), Settings(regions=RegionSettings(width=5))
    assert section_hash(s, "regions") != section_hash(t, "regions")
    assert section_hash(s, "regions.width") != section_hash(t, "regions.width")
    assert section_hash(s, "regions.stride") == section_hash(t, "regions.stride")
    assert section_hash(s, "roi", "density") == section_hash(t, "roi", "density")


def test_same_values_in_another_section_differ():
    assert section_hash(Settings(), "regions.width") != section_hash(Settings(), "roi.width")


def test_paths_do_not_enter():
    one, two = (Settings(stars=StarSettings(source="files", paths=(Path(p),))) for p in ("a.csv", "b.csv"))
    assert section_hash(one, "stars") == section_hash(two, "stars")
    with pytest.raises(ConfigError, match=r"no setting 'paths'"):
        section_hash(one, "stars.paths")


def test_unknown_or_no_section_is_refused():
    with pytest.raises(ConfigError, match=r"no section 'region'; valid: .*regions"):
        section_hash(Settings(), "region")
    with pytest.raises(ConfigError, match="at least one section"):
        section_hash(Settings())
