"""Catalogues of the archives: names, tables and cuts, and the queries made of them."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError
from viamachinae.schema import CELLS
from viamachinae.stars.archive.catalogues import catalogue_for, names_in
from viamachinae.stars.archive.queries import Query

SOURCES = ("gaia-dr2", "gaia-dr3", "galaxia-dr2", "galaxia-dr3")
REQUIRED = [column.name for column in CELLS.columns if not column.optional]


def settings(source: str, **sections: object) -> Settings:
    return Settings.model_validate({"stars": {"source": source}, **sections})


@pytest.mark.parametrize("source", SOURCES)
def test_every_required_column_has_a_name_in_every_catalogue(source):
    catalogue = catalogue_for(settings(source))
    assert catalogue.name == source
    assert set(REQUIRED) <= set(catalogue.columns) <= set(CELLS.names)
    assert all(names_in(text) for texts in catalogue.columns.values() for text in texts)


def test_tables_and_services_are_the_archives_own_unless_the_settings_say_otherwise():
    found = {source: catalogue_for(settings(source)) for source in SOURCES}
    assert {s: (c.url, c.table, c.release) for s, c in found.items()} == {
        "gaia-dr2": ("https://gea.esac.esa.int/tap-server/tap", "gaiadr2.gaia_source", "gaia-dr2"),
        "gaia-dr3": ("https://gea.esac.esa.int/tap-server/tap", "gaiadr3.gaia_source", "gaia-dr3"),
        "galaxia-dr2": ("https://dc.g-vo.org/tap", "gdr2mock.main", "gaia-dr2"),
        "galaxia-dr3": ("https://dc.g-vo.org/tap", "gedr3mock.main", "gaia-dr3"),
    }
    mirror = settings("gaia-dr2", archive={"url": "http://mirror.example/tap/", "table": "mine.sources"})
    catalogue = catalogue_for(mirror)
    assert (catalogue.url, catalogue.table) == ("http://mirror.example/tap", "mine.sources")
    assert catalogue.ruwe_table == "mine.ruwe"


def test_the_main_table_is_that_of_astroquery():
    spec = importlib.util.find_spec("astroquery")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs the files of astroquery")
    # read, not imported: importing astroquery.gaia asks the archive for its messages
    source = Path(spec.submodule_search_locations[0], "gaia", "__init__.py").read_text(encoding="utf-8")
    (names,) = [
        node.value.args[0].value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MAIN_GAIA_TABLE"
    ]
    assert names == catalogue_for(settings("gaia-dr3")).table


def test_sources_without_a_network_have_no_catalogue():
    with pytest.raises(ConfigError, match=r'"mock" downloads nothing.*galaxia-dr3'):
        catalogue_for(settings("mock"))


@pytest.mark.parametrize(
    ("source", "selection", "cuts"),
    [
        ("gaia-dr3", {}, ("parallax < 1.15",)),
        ("gaia-dr2", {"g_max": 20.5}, ("parallax < 1.15", "phot_g_mean_mag < 20.5")),
        ("gaia-dr3", {"zero_point": True}, ("parallax < 1.15",)),
        ("gaia-dr3", {"parallax_max": -0.25}, ("parallax < (-0.1)",)),
        ("gaia-dr3", {"parallax_max": None}, ()),
        (
            "galaxia-dr3",
            {"g_max": 20.0},
            ("parallax < 1.0 + 6 * parallax_error", "phot_g_mean_mag < 20.0"),
        ),
    ],
)
def test_cuts_are_pushed_with_the_margin_of_what_comes_later(source, selection, cuts):
    assert catalogue_for(settings(source, selection=selection)).cuts == cuts


def test_the_zero_point_moves_no_star_across_the_pushed_cut():
    zpt = pytest.importorskip("zero_point.zpt")
    zpt.load_tables()
    # what passes a cut at 1 mas when corrected has less than the pushed limit as it stands in the archive
    (cut,) = catalogue_for(settings("gaia-dr3")).cuts
    margin = float(cut.split("<")[1]) - 1.0
    largest = []
    for solved, low, high in ((31, 1.1, 1.9), (95, 1.24, 1.72)):
        edges = (
            np.linspace(6.001, 20.999, 101),
            np.linspace(low, high, 49)[1:-1],
            np.linspace(-90.0, 90.0, 19),
        )
        g, colour, beta = (axis.ravel() for axis in np.meshgrid(*edges))
        nan = np.full(g.shape, np.nan)
        nu, pseudo = (colour, nan) if solved == 31 else (nan, colour)
        largest.append(zpt.get_zpt(g, nu, pseudo, beta, np.full(g.shape, solved)).max())
    assert 0.78 * margin < max(largest) < margin


def test_columns_that_a_table_lacks_are_left_out_and_spellings_are_tried_in_turn():
    mock = catalogue_for(settings("galaxia-dr2"))
    present = [*REQUIRED, "visiblilty_periods_used", "l", "b"]
    expressions = mock.expressions(present)
    assert list(expressions) == [c for c in CELLS.names if c in (*REQUIRED, "visibility_periods_used")]
    assert expressions["visibility_periods_used"] == "visiblilty_periods_used"
    assert "popid" in mock.expressions([*present, "popid"])
    assert "ruwe" not in mock.columns
    light = catalogue_for(settings("gaia-dr3")).expressions(["phot_bp_mean_mag", "phot_rp_mean_mag"])
    assert light["bp_rp"] == "phot_bp_mean_mag - phot_rp_mean_mag"
    dr2 = catalogue_for(settings("gaia-dr2"))
    assert dr2.expressions(["matched_observations"]) == {"matched_transits": "matched_observations"}


def test_queries_name_their_table_range_cuts_and_columns():
    catalogue = catalogue_for(settings("gaia-dr2", selection={"g_max": 20.0}))
    query = Query(
        catalogue, {"source_id": "source_id", "matched_transits": "matched_observations"}, ruwe=True
    )
    assert query.columns == ("source_id", "ruwe", "matched_transits")
    assert query.rows(8, 16) == (
        "SELECT s.source_id, s.matched_observations AS matched_transits, r.ruwe "
        "FROM gaiadr2.gaia_source AS s "
        "LEFT OUTER JOIN gaiadr2.ruwe AS r ON s.source_id = r.source_id "
        "WHERE s.source_id BETWEEN 8 AND 15 AND s.parallax < 1.15 AND s.phot_g_mean_mag < 20.0"
    )
    assert query.count(8, 16) == (
        "SELECT COUNT(*) AS n_rows FROM gaiadr2.gaia_source AS s "
        "WHERE s.source_id BETWEEN 8 AND 15 AND s.parallax < 1.15 AND s.phot_g_mean_mag < 20.0"
    )


def test_the_cut_of_a_mock_marks_every_column():
    catalogue = catalogue_for(settings("galaxia-dr3"))
    text = Query(catalogue, {"source_id": "source_id"}).count(0, 4)
    assert text.endswith("s.parallax < 1.0 + 6 * s.parallax_error")
    assert not re.search(r"(?<![.\w])(parallax|source_id)\b", text)
