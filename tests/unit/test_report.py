from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from viamachinae.calibration import apply, compare, summarise
from viamachinae.config import Settings
from viamachinae.errors import DataError
from viamachinae.report import figures
from viamachinae.report.candidates import probability
from viamachinae.report.html import number, table
from viamachinae.report.page import ReportData, render
from viamachinae.report.roi_figures import _distribution, _motion_map
from viamachinae.report.skymap import LocalSky, circle, draw_whole_sky, extent
from viamachinae.report.style import figure
from viamachinae.schema import FRAGMENTS, MASKS, MEMBERS, PATCHES, REGIONS, ROIS, STREAMS, TRACKS
from viamachinae.sky.circles import GreatCircle
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.windows import WHOLE_REGION

CENTRES = {"P1": (148.6, 24.2), "P2": (146.9, 35.6)}
CIRCLE = GreatCircle.from_points(142.0, 20.0, 155.0, 41.0)
NAME = "VM-147.9+30.1"
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


def fake_stars(rng, ra, dec, n):
    x, y = (rng.uniform(-9.5, 9.5, 2 * n) for _ in range(2))
    inside = np.hypot(x, y) < 9.5
    ra, dec = PatchFrame(ra, dec).from_tangent(x[inside][:n], y[inside][:n])
    size = len(ra)
    return pd.DataFrame(
        {
            "source_id": rng.integers(1, 2**60, size),
            "ra": ra,
            "dec": dec,
            "pmra": rng.normal(-2, 4.5, size),
            "pmdec": rng.normal(-4, 4.5, size),
            "phot_g_mean_mag": 20.2 - rng.exponential(1.5, size),
            "bp_rp": rng.uniform(0.5, 1.0, size),
        }
    )


def fake_members(rng, n=160):
    members = n // 2
    phi1 = np.where(np.arange(n) < members, rng.uniform(-3, 21, n), rng.uniform(-4, 22, n))
    phi2 = np.where(np.arange(n) < members, rng.normal(0, 0.25, n), rng.uniform(-3, 3, n))
    ra, dec = CIRCLE.to_sky(phi1, phi2)
    spread = np.where(np.arange(n) < members, 0.4, 2.5)
    return pd.DataFrame(
        {
            "stream_id": NAME,
            "source_id": rng.integers(1, 2**60, n),
            "ra": ra,
            "dec": dec,
            "pmra": -6 + 0.05 * phi1 + rng.normal(0, spread),
            "pmdec": -12.5 + 0.03 * phi1 + rng.normal(0, spread),
            "phot_g_mean_mag": 20.2 - rng.exponential(1.0, n),
            "bp_rp": np.clip(rng.normal(0.65, 0.1, n), 0.5, 1),
            "phi1": phi1,
            "phi2": phi2,
            "log_r": rng.normal(1, 1, n),
            "on_line": rng.random(n) < 0.3,
            "membership": np.where(np.arange(n) < members, rng.beta(5, 1, n), rng.beta(0.4, 9, n)),
        }
    )


def fake_rois(rng):
    rows = []
    for patch in CENTRES:
        for region in range(-18, -13):
            for k, low in enumerate(np.arange(-18.0, 12.0)):
                near = abs(low + 8) < 3 and region < -14
                rows.append(
                    {"patch": patch, "coordinate": "pm_lambda", "region": region, "slice": k}
                    | {"low": float(region), "high": region + 6.0, "slice_low": low, "slice_high": low + 6}
                    | {"n_stars": 4000, "n_top": 100, "theta": 40.0, "r": 1.0, "n_line": 20, "expected": 8.0}
                    | {"significance_line": (7 if near else 1.5) + rng.gumbel(0, 0.5)}
                    | {"log10_p_line": -4.0, "statistic": 3.0, "log10_p": -4.0}
                    | {"top_rows": [1, 2], "on_line": [True, False], "near": near}
                )
    found = pd.DataFrame(rows)
    return found.assign(significance=found["significance_line"])


def fake_regions(regions=range(-18, -13), statistics=None):
    """One fit of the whole region each, or one a slice with the given statistics."""
    statistics = {WHOLE_REGION: 120.4} if statistics is None else statistics
    rows = [
        {"patch": patch, "coordinate": "pm_lambda", "region": k, "low": float(k), "high": k + 6.0}
        | {"n_sr": 31_234, "n_sb": 560_000, "n_fiducial": 4000, "ll_sr": -3.21, "ll_sb": -3.25}
        | {"statistic": statistic, "rounds_sr": 12.0, "rounds_sb": 14.0, "slice": part}
        | {"fraction": 0.0123 if statistic > 0 else np.nan, "restarts": np.nan}
        for patch in CENTRES
        for k in regions
        for part, statistic in statistics.items()
    ]
    return REGIONS.conform(pd.DataFrame(rows))


def fake_streams(rois):
    fragments = [
        {"fragment": f"{patch}-1", "patch": patch, "pole_ra": CIRCLE.pole_ra, "pole_dec": CIRCLE.pole_dec}
        | {"ra": 148.0, "dec": 30.0, "significance": 8.0, "n_rois": 12, "n_trainings": 4, "n_stars": 40}
        | {"pmra": -6.0, "pmdec": -12.0, "star_rows": [1], "source_ids": [1]}
        | {"roi_rows": np.flatnonzero(rois[rois["patch"] == patch]["near"]).tolist()}
        for patch in CENTRES
    ]
    stream = (
        {"stream_id": NAME, "significance": 11.3, "p_value": np.nan, "n_members": 74, "n_expected": 81.2}
        | {"n_patches": 2, "n_trainings": 8, "ra": 147.9, "dec": 30.1, "pole_ra": CIRCLE.pole_ra}
        | {"pole_dec": CIRCLE.pole_dec, "length": 24.0, "width": 0.27, "pmra": -5.5, "pmdec": -12.2}
        | {"fragments": "P1-1 P2-1"}
    )
    return STREAMS.conform(pd.DataFrame([stream])), FRAGMENTS.conform(pd.DataFrame(fragments))


def fake_report(n_stars=300, **changes):
    rng = np.random.default_rng(4)
    patches = pd.DataFrame(
        [
            {"patch": p, "ra": ra, "dec": dec, "l": 200.0, "b": 50.0, "radius": 15.0, "healpix": -1}
            for p, (ra, dec) in CENTRES.items()
        ]
    )
    rois = fake_rois(rng)
    streams, fragments = fake_streams(rois)
    phi1 = np.linspace(-3, 21, 25)
    ra, dec = CIRCLE.to_sky(phi1, 0.02 * phi1)
    tracks = {"stream_id": NAME, "phi1": phi1, "phi2": 0.02 * phi1, "ra": ra, "dec": dec}
    tracks |= {"pmra": -6 + 0.05 * phi1, "pmdec": -12.5 + 0.03 * phi1}
    parts = {
        "settings": Settings.model_validate({"scan": {"name": "fake"}}),
        "patches": PATCHES.conform(patches),
        "streams": streams,
        "members": MEMBERS.conform(fake_members(rng)),
        "tracks": TRACKS.conform(pd.DataFrame(tracks)),
        "rois": ROIS.conform(rois.drop(columns="near")),
        "fragments": fragments,
        "regions": fake_regions(),
        "star_counts": {p: {"read": 700_000, "parallax_dropped": 13, "kept": 699_987} for p in CENTRES},
        "seconds": {"patches": 0.1, "stars": 12.0, "scores": 340.5},
        "stars": {p: fake_stars(rng, *centre, n_stars) for p, centre in CENTRES.items()},
    }
    return ReportData(**{**parts, **changes})


def empty_report(**changes):
    none = {"streams": STREAMS, "members": MEMBERS, "tracks": TRACKS, "fragments": FRAGMENTS}
    return fake_report(**{**{name: schema.empty() for name, schema in none.items()}, **changes})


class Checker(HTMLParser):
    """Collects links and ids, and fails on a tag that is not closed where it should be."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.addresses, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[k] for k in ("href", "src", "srcset", "action", "data") if k in values]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.words.append(data)


def checked(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def page():
    return render(fake_report())


def test_page_is_whole_and_stands_alone(page):
    checker = checked(page)
    assert page.startswith("<!DOCTYPE html>")
    assert "script" not in checker.tags
    assert "link" not in checker.tags
    assert "url(" not in page
    assert "@import" not in page
    for address in checker.addresses:
        assert address.startswith(("data:image/png;base64,", "#")), address[:60]
    inner = {address[1:] for address in checker.addresses if address.startswith("#")}
    assert inner
    assert inner <= set(checker.ids)
    assert len(checker.ids) == len(set(checker.ids))
    assert checker.tags.count("img") == 4


def test_candidate_and_its_numbers_are_there(page):
    text = " ".join(checked(page).words)
    for expected in (
        NAME,
        "11.3",
        "not calibrated",
        "1 stream candidate in 2 patches",
        "699,987",
        "340.5",
        "sum to 81",
    ):
        assert expected in text
    assert "nan" not in text.lower().split()


def test_calibrated_candidates_show_p_values():
    plain = fake_report()
    null = pd.DataFrame({"stream_id": ["a", "b"], "significance": [5.0, 12.0]})
    table_ = compare(plain.streams, null, 500, 9000)
    rates = summarise(plain.streams, null, 500, 9000)
    data = fake_report(streams=apply(plain.streams, table_), calibration=table_, rates=rates)
    text = " ".join(checked(render(data)).words)
    assert "not calibrated" not in text
    assert "null scan at least this significant: 1; false" in text
    assert "false-positive rate is 11 %" in text


def test_no_candidates_is_a_page_too_whatever_the_names():
    many = fake_regions(range(-80, 70), {-1: 3.0, 4: -2.0})
    checker = checked(render(empty_report(regions=many, star_counts={"<P&1>": {"a<b": 1}})))
    text = " ".join(checker.words)
    assert "No stream candidate in 2 patches" in text
    assert "there is no candidate" in text
    assert "<P&1>" in checker.words
    assert "a<b" in checker.words
    assert "300 scored signal regions, by patch and coordinate" in text
    assert checker.tags.count("img") == 2


def test_a_region_has_one_line_with_its_best_fit():
    data = empty_report(regions=fake_regions(range(-18, -13), {-3: -2.0, -1: 31.5, 4: 7.0}))
    page = render(data)
    text = " ".join(checked(page).words)
    assert "in 10 signal regions" in text
    assert "10 scored signal regions" in text
    table_ = page[page.index("Of each signal region the fit of best statistic") :]
    rows = table_[: table_.index("</table>")].split("<tr>")[2:]
    assert len(rows) == 10
    for row in rows:
        # Slice -1 of a stride of 1 and a width of 6 mas/yr.
        cells = [">3<", ">−1.0 to 5.0<", ">31.5<", ">0.0123<"]
        assert all(cell in row for cell in cells), row
    assert (data.best_fits()["statistic"] == 31.5).all()
    assert "whole region" in render(empty_report())


def test_the_best_fit_of_a_region_has_a_statistic_if_any_has():
    data = empty_report(regions=fake_regions([0], {-1: np.nan, 4: -7.0, 5: -9.0}))
    assert data.best_fits()["slice"].tolist() == [4, 4]
    assert data.best_fits()["fits"].tolist() == [3, 3]
    none = empty_report(regions=fake_regions([0], {-1: np.nan}))
    assert none.best_fits()["slice"].tolist() == [-1, -1]


def test_lines_that_count_for_nothing_are_drawn_at_zero():
    rois = fake_report().rois
    rois.loc[rois["region"] == -15, "significance"] = -np.inf
    data = fake_report(rois=rois)
    stream = data.streams.iloc[0]
    ours, axes = figure(3, 3), figure(3, 3).add_subplot()
    _distribution(axes, data, np.zeros(len(rois), bool))
    shown = sum(patch.get_height() for patch in axes.patches)
    assert shown == len(rois)
    mesh = _motion_map(ours.add_subplot(), rois, data.candidate_rois(stream), data)
    every = _motion_map(ours.add_subplot(), fake_report().rois, data.candidate_rois(stream), data)
    assert mesh.get_array().mask.sum() == every.get_array().mask.sum()
    assert NAME in render(data)


def test_nothing_at_all_is_a_page_too():
    schemas = {"patches": PATCHES, "rois": ROIS, "regions": REGIONS, "streams": STREAMS, "members": MEMBERS}
    schemas |= {"tracks": TRACKS, "fragments": FRAGMENTS}
    tables = {name: schema.empty() for name, schema in schemas.items()}
    page = render(fake_report(**tables, stars={}, star_counts={}, seconds={}))
    assert "No signal region" in page
    assert "No star counts" in page


def test_a_candidate_without_fragments_members_or_stars():
    page = render(
        fake_report(fragments=FRAGMENTS.empty(), members=MEMBERS.empty(), tracks=TRACKS.empty(), stars={})
    )
    assert NAME in page
    assert "0 regions of interest make" in page


def test_same_results_same_page(page):
    assert render(fake_report()) == page


def test_rois_of_a_candidate_are_its_fragments():
    data = fake_report()
    mine = data.candidate_rois(data.streams.iloc[0])
    assert (data.rois["significance"].to_numpy()[mine] > 4).all()
    assert set(data.rois["patch"][mine]) == set(CENTRES)
    wanted = sum(len(rows) for rows in data.fragments["roi_rows"])
    assert mine.sum() == wanted > 0


def test_background_counts_a_star_once_and_is_thinned():
    frame = fake_stars(np.random.default_rng(1), 10.0, 5.0, 100)
    data = fake_report(stars={"P1": frame, "P2": frame.iloc[50:]})
    assert len(data.background(["P1", "P2"], 1000)) == 100
    assert 25 <= len(data.background(["P1", "P2"], 30)) <= 30
    assert len(data.background(["P3"], 30)) == 0


def test_background_without_a_colour_is_refused():
    with pytest.raises(DataError, match=r"P1 lack the columns \['bp_rp'\]"):
        fake_report(stars={"P1": fake_stars(np.random.default_rng(1), 10.0, 5.0, 10).drop(columns="bp_rp")})


@pytest.mark.parametrize(("ra", "dec"), [(0.1, 0.0), (359.9, -45.0), (120.0, 89.0), (30.0, -90.0)])
def test_circles_have_their_radius_and_maps_keep_area(ra, dec):
    points = circle(ra, dec, 15.0)
    np.testing.assert_allclose(PatchFrame(ra, dec).separation(*points), 15.0, atol=1e-9)
    x, y = LocalSky(figure(3, 3).add_subplot(), ra, dec, 20.0).project(*points)
    area = 0.5 * np.abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    assert area == pytest.approx(np.degrees(np.degrees(2 * np.pi * (1 - np.cos(np.radians(15))))), rel=1e-3)


def test_right_ascension_increases_to_the_left():
    axes = figure(3, 3).add_subplot()
    x, _ = LocalSky(axes, 359.0, 30.0, 20.0).project([4.0], [30.0])
    assert x[0] > 0
    assert axes.get_xlim()[0] > axes.get_xlim()[1]


def test_extent_holds_every_patch():
    ra, dec, radius = extent(fake_report().patches)
    assert (ra, dec) == (pytest.approx(147.8, abs=0.2), pytest.approx(29.9, abs=0.2))
    assert radius == pytest.approx(15 + 5.75, abs=0.1)
    whole = pd.DataFrame({"ra": [0.0, 180.0], "dec": [0.0, 0.0], "radius": [15.0, 15.0]})
    assert extent(whole)[2] == 180


def test_an_all_sky_scan_has_a_map():
    ra = np.arange(0.0, 360.0, 30.0)
    patches = pd.DataFrame({"patch": [f"A{v:.0f}" for v in ra], "ra": ra, "dec": 40 * (-1) ** np.arange(12)})
    patches = PATCHES.conform(patches.assign(l=ra, b=50.0, radius=15.0, healpix=1))
    page = checked(render(empty_report(patches=patches, tracks=fake_report(10).tracks)))
    assert page.tags.count("img") == 2


def test_numbers_are_set_well():
    assert number(-1234.567) == "−1,234.57"
    assert number(float("nan")) == "–"
    assert probability(0.05) == "0.05"
    assert probability(0.5) == "0.50"
    assert "not calibrated" in probability(float("nan"))
    assert probability(3.2e-7) == "3.2 × 10<sup>−7</sup>"
    assert "class=num" in table(["a", "b"], [["x", "1"]])


def fake_masks():
    """Three circles in the first patch, one across the edge of the second, one that holds no star."""
    kinds = ["globular cluster", "dwarf galaxy", "open cluster", "user", "open cluster"]
    masks = {"name": ["NGC 1", "A & B", "HSC 1", "user 1", "HSC 2"], "kind": kinds}
    masks |= {"ra": [148.6, 150.0, 140.0, 146.9, 149.0], "dec": [24.2, 26.0, 24.2, 45.6, 20.0]}
    masks |= {"radius": [0.2, 1.0, 0.25, 1.0, 0.25], "pmra": np.nan, "pmdec": np.nan, "reference": "x"}
    return MASKS.conform(pd.DataFrame(masks))


def masked_part(page):
    start = page.index("<h3>Masked known objects</h3>")
    return page[start : page.index("<h3>", start + 4)]


def test_masked_objects_are_listed_most_stars_first():
    counts = {"HSC 1": 3, "A & B": 1205, "NGC 1": 40, "HSC 2": 0}
    page = render(fake_report(masks=fake_masks(), masked=counts))
    part = masked_part(page)
    text = " ".join(checked(page).words)
    assert "Circles of 5 known objects reach into the searched sky" in text
    assert "open cluster: 2" in text
    assert "kept 1,248 stars from being ranked" in text
    assert "a star that two patches search counts twice" in text
    rows = part[part.index("<tbody>") :].split("<tr>")[1:]
    assert [row[4 : row.index("</td>")] for row in rows] == ["A &amp; B", "NGC 1", "HSC 1", "<b>all</b>"]
    assert "dwarf galaxy" in rows[0]
    assert ">150.00<" in rows[0]
    assert ">1,205<" in rows[0]
    assert "<b>1,248</b>" in rows[3]
    # all but half of the user's circle, on the edge of the second patch
    area = np.pi * (0.2**2 + 1.0 + 2 * 0.25**2 + 0.5)
    shown = float(part[part.index("They take ") + 10 :].split()[0])
    assert shown == pytest.approx(area, rel=0.05)


def test_many_masked_objects_are_summed_up():
    counts = {f"HSC {i}": i for i in range(1, 31)}
    part = masked_part(render(fake_report(masks=fake_masks(), masked=counts)))
    rows = part[part.index("<tbody>") :].split("<tr>")[1:]
    assert len(rows) == 22
    assert "HSC 30<" in rows[0]
    assert "10 more" in rows[20]
    assert ">55<" in rows[20]
    assert "465" in rows[21]
    assert "–" in rows[0]  # the table of masks does not know it


def test_a_scan_without_masks_says_so():
    assert "No known object was masked" in masked_part(render(empty_report()))
    assert "No known object was masked" in masked_part(render(empty_report(masks=fake_masks().iloc[:0])))
    only = masked_part(render(empty_report(masks=fake_masks())))
    assert "kept 0 stars" in only
    assert "<table>" not in only


def test_masks_are_drawn_where_they_are():
    masks = fake_masks()
    local = LocalSky(figure(3, 3).add_subplot(), 148.6, 24.2, 10.0)
    local.holes(masks)
    (drawn,) = local.axes.collections
    paths = [path.vertices for path in drawn.get_paths()]
    assert len(paths) == 4  # the user's circle is outside
    np.testing.assert_allclose(np.hypot(*paths[0].T), 0.2, rtol=1e-3)
    inside = LocalSky(figure(3, 3).add_subplot(), 150.0, 26.0, 0.1)
    inside.holes(masks)
    assert len(inside.axes.collections[0].get_paths()) == 1  # it holds the whole panel
    plain, with_masks = render(fake_report()), render(fake_report(masks=masks))
    assert plain.count("data:image/png") == with_masks.count("data:image/png")
    assert first_figure(plain) != first_figure(with_masks)


def first_figure(page):
    return page.split("data:image/png;base64,")[1].split('"')[0]


def test_masks_are_drawn_on_a_map_of_the_whole_sky():
    axes = figure(6, 3).add_subplot(projection="mollweide")
    data = fake_report()
    draw_whole_sky(axes, data.patches.iloc[:0], 10.0, data.tracks.iloc[:0], fake_masks())
    assert len(axes.lines) == 5


@pytest.mark.parametrize(
    ("stars", "words"),
    [
        ({"source": "mock"}, "embedded mock sky"),
        ({"source": "files", "paths": ["a.parquet"], "release": "gaia-dr2"}, "files, gaia-dr2"),
        ({"source": "gaia-dr3"}, "Gaia DR3"),
        ({"source": "galaxia-dr2"}, "GDR2mock (Galaxia)"),
    ],
)
def test_the_page_says_where_the_stars_come_from(stars, words):
    data = empty_report(settings=Settings.model_validate({"scan": {"name": "fake"}, "stars": stars}))
    assert words in checked(render(data)).words


def test_figures_show_the_photometry_that_was_used(monkeypatch):
    def dusty(table):
        return table.assign(g_0=table["phot_g_mean_mag"] - 0.3, bp_rp_0=table["bp_rp"] - 0.1)

    plain = fake_report()
    shown = []
    monkeypatch.setattr(
        figures, "_layers", lambda axes, back, members, place: shown.append(getattr(back[1], "name", ""))
    )
    figures.candidate_figure(plain, plain.streams.iloc[0])
    assert "phot_g_mean_mag" in shown
    assert "g_0" not in shown
    stars = {patch: dusty(table) for patch, table in plain.stars.items()}
    figures.candidate_figure(replace(plain, members=dusty(plain.members), stars=stars), plain.streams.iloc[0])
    assert "g_0" in shown
