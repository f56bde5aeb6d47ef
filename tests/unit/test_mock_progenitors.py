"""Streams from a progenitor's orbit: where they run, how they move, what is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import astropy.units as u
import numpy as np
import pandas as pd
import pytest

from viamachinae.calibration.comparable import check_comparable
from viamachinae.config.mocksky import MockProgenitor, MockStream
from viamachinae.config.settings import MockSettings, Settings
from viamachinae.config.toml import dump, parse
from viamachinae.errors import ConfigError
from viamachinae.sky.circles import GreatCircle
from viamachinae.stars.mock import progenitors
from viamachinae.stars.mock.galactocentric import SUN_VELOCITY, proper_motions, sky_position
from viamachinae.stars.mock.progenitors import orbit, progenitor_stars, spray
from viamachinae.stars.mock.sequences import ridge_line
from viamachinae.stars.mock.sky import MOCK_COLUMNS, mock_sky
from viamachinae.stars.mock.streams import stream_stars

#: Palomar 5 as Vasiliev & Baumgardt (2021) have it.
PAL5 = MockProgenitor(
    name="Pal 5",
    n_stars=300,
    ra=229.019,
    dec=-0.121,
    distance=21.94,
    pmra=-2.726,
    pmdec=-2.653,
    radial_velocity=-58.61,
    mass=1.5e4,
    age=2.0,
    feh=-1.4,
)
MOCK = MockSettings(density=0.01, progenitors=(PAL5,))
DOCS = Path(__file__).resolve().parents[2] / "docs"
HALF = np.linspace(0.0, 0.06, 61)  # Gyr: the orbit over the length of the stream


@pytest.fixture(scope="module", autouse=True)
def gala():
    return pytest.importorskip("gala.potential")


@pytest.fixture(scope="module")
def sprayed():
    return spray(PAL5, 600, 4)


@pytest.fixture(scope="module")
def path():
    """The orbit around today: ra, dec, distance, pmra, pmdec."""
    past, future = (orbit(PAL5, s * HALF) for s in (-1.0, 1.0))
    xyz, velocity = (
        tuple(np.concatenate([a[:0:-1], b]) for a, b in zip(past[k], future[k], strict=True)) for k in (0, 1)
    )
    place = sky_position(xyz)
    return np.stack([*place, *proper_motions(*place, velocity)])


def test_the_orbit_starts_where_the_progenitor_is_seen(path):
    today = path[:, len(HALF) - 1]
    np.testing.assert_allclose(today, [PAL5.ra, PAL5.dec, PAL5.distance, PAL5.pmra, PAL5.pmdec], rtol=1e-7)


def test_energy_and_angular_momentum_stay_near_the_progenitors(sprayed, gala):
    potential = gala.MilkyWayPotential(version="v2")

    def constants(xyz, velocity):
        kinetic = 0.5 * sum(v**2 for v in velocity)
        energy = kinetic + potential.energy(np.stack(xyz) * u.kpc).to_value(u.km**2 / u.s**2)
        return energy, xyz[0] * velocity[1] - xyz[1] * velocity[0]

    xyz, velocity = orbit(PAL5, np.array([0.0, -1e-3]))
    energy, momentum = (v[0] for v in constants(xyz, velocity))
    stars = constants(sprayed.xyz, sprayed.velocity)
    assert np.abs(stars[0] / energy - 1.0).max() < 0.06
    assert np.abs(stars[1] / momentum - 1.0).max() < 0.2
    # leading stars fell inwards: they are bound more tightly
    assert np.median(stars[0][sprayed.leading]) < energy < np.median(stars[0][~sprayed.leading])


def test_two_arms_of_equal_numbers_leave_the_progenitor_and_follow_its_orbit(sprayed, path):
    assert sprayed.leading.sum() == (~sprayed.leading).sum() == 300
    ra, dec, _ = sky_position(sprayed.xyz)
    middle = len(HALF) - 1
    circle = GreatCircle.from_points(*path[:2, middle], *path[:2, middle + 4])
    phi1, phi2 = circle.to_frame(ra, dec)
    along, across = circle.to_frame(path[0], path[1])
    assert np.median(phi1[sprayed.leading]) > 2.0
    assert np.median(phi1[~sprayed.leading]) < -2.0
    assert sum((phi1 > -0.5) & (phi1 < 0.5)) > 5  # no gap at the progenitor
    near = np.abs(phi1) < 8.0
    away = phi2 - np.interp(phi1, along, across)
    assert np.abs(away[near]).max() < 1.0
    assert np.median(np.abs(away[near])) < 0.3


def test_motions_follow_the_orbits_as_seen_from_the_mocks_sun(sprayed, path):
    ra, dec, distance = sky_position(sprayed.xyz)
    seen = np.stack([distance, *proper_motions(ra, dec, distance, sprayed.velocity)])
    middle = len(HALF) - 1
    circle = GreatCircle.from_points(*path[:2, middle], *path[:2, middle + 4])
    phi1, along = circle.phi1(ra, dec), circle.phi1(path[0], path[1])
    near = np.abs(phi1) < 8.0
    for values, expected, within in zip(seen, path[2:], (1.0, 0.12, 0.12), strict=True):
        assert np.abs(values - np.interp(phi1, along, expected))[near].max() < within
    # at rest in the Galaxy at that place, it would show the Sun's reflex alone
    still = tuple(np.zeros(1) for _ in range(3))
    reflex = np.concatenate(proper_motions(*(np.array([v]) for v in (229.0, -0.1, 21.94)), still))
    assert np.hypot(*reflex) == pytest.approx(np.linalg.norm(SUN_VELOCITY) / (4.74 * 21.94), rel=0.35)


def test_stars_are_released_evenly_in_time(sprayed):
    assert sprayed.released.min() >= -2.0
    assert sprayed.released.max() <= 0.0
    counts = np.histogram(sprayed.released, bins=4, range=(-2.0, 0.0))[0]
    assert np.abs(counts - 150).max() < 4 * np.sqrt(150 * 2)


@pytest.fixture(scope="module")
def stars():
    return stream_stars(MOCK, 3)


def test_every_requested_star_is_there_once(stars):
    assert len(stars) == 300
    assert (stars.phot_g_mean_mag < MOCK.g_max).all()
    assert stars.source_id.is_unique
    assert (stars.truth == "Pal 5").all()
    assert np.isfinite(stars.drop(columns="truth").to_numpy(float)).all()


def test_the_seed_alone_decides(stars):
    progenitor_stars.cache_clear()
    pd.testing.assert_frame_equal(stars, stream_stars(MOCK, 3))
    assert not np.isin(stream_stars(MOCK, 4).ra, stars.ra).any()
    renamed = PAL5.model_copy(update={"name": "other"})
    assert not np.isin(stream_stars(MockSettings(progenitors=(renamed,)), 3).ra, stars.ra).any()


def test_stars_of_a_patch_are_those_of_the_stream_and_integrated_once(stars):
    mock_sky(MOCK, 3, 229.0, 0.0, 2.0)
    begin = time.perf_counter()
    sky = mock_sky(MOCK, 3, 231.0, 1.5, 2.0)
    assert time.perf_counter() - begin < 0.5
    assert tuple(sky.columns) == MOCK_COLUMNS
    own = sky[sky.truth == "Pal 5"]
    assert len(own) > 5
    assert set(own.source_id) < set(stars.source_id)
    assert sky.source_id.is_unique


def test_streams_of_both_kinds_stand_beside_each_other(stars):
    line = MockStream(name="line", n_stars=50, start=(220.0, 0.0), end=(240.0, 0.0), pm_along=(1.0, 1.0))
    both = stream_stars(MockSettings(streams=(line,), progenitors=(PAL5,)), 3)
    assert both.source_id.is_unique
    assert both.truth.value_counts().to_dict() == {"Pal 5": 300, "line": 50}
    np.testing.assert_array_equal(both.ra[both.truth == "Pal 5"], stars.ra)


def test_stars_lie_on_the_isochrone_at_their_distance():
    near = PAL5.model_copy(update={"n_stars": 400, "feh": -2.0})
    stars = progenitor_stars(near, 21.0, 8)
    assert (stars.g < 21.0).all()
    m_g = stars.g - 10.0 - 5.0 * np.log10(stars.distance)
    _, line, colour = ridge_line(-2.0, near.stellar_age)
    giants = (m_g < 2.0) & (m_g > -1.0) & (stars.bp_rp > 0.8)
    assert giants.sum() > 15
    order = np.argsort(line[14:21])
    expected = np.interp(m_g[giants], line[14:21][order], colour[14:21][order])
    assert np.median(np.abs(stars.bp_rp[giants] - expected)) < 0.02


def test_far_parts_of_a_stream_show_fewer_stars():
    """Particles of one stream, and its stars to a limit at which turn-off stars come in."""
    long = PAL5.model_copy(update={"n_stars": 500, "age": 5.0})
    particles = sky_position(spray(long, 1000, 1).xyz)[2]
    stars = progenitor_stars(long, 20.6, 1).distance
    assert stars.mean() < particles.mean() - 0.1


@pytest.mark.parametrize("how", ["chen", "fardal"])
@pytest.mark.parametrize("potential", ["MilkyWayPotential2022", "MilkyWayPotential"])
def test_every_spray_and_potential_makes_two_arms(how, potential):
    chosen = PAL5.model_copy(update={"spray": how, "potential": potential, "age": 0.5})
    made = spray(chosen, 41, 2)
    assert len(made.xyz[0]) == 42
    assert made.leading.sum() == 21


def test_a_heavier_progenitor_makes_a_longer_stream():
    light, heavy = (
        sky_position(spray(PAL5.model_copy(update={"mass": mass}), 200, 2).xyz)[0] for mass in (1e3, 1e5)
    )
    assert np.ptp(heavy) > 2.0 * np.ptp(light)


def test_an_unbound_progenitor_is_refused_with_the_speeds():
    wrong = PAL5.model_copy(update={"distance": 200.0})
    with pytest.raises(ConfigError, match=r"'Pal 5' is not bound .* km/s at .* kpc .* km/s escape; check"):
        stream_stars(MockSettings(progenitors=(wrong,)), 1)


def test_a_stream_without_stars_bright_enough_is_refused():
    far = PAL5.model_copy(update={"distance": 150.0, "pmra": 0.0, "pmdec": 0.0})
    with pytest.raises(ConfigError, match=r"'Pal 5' has 0 of 300 stars brighter than g_max = 15"):
        stream_stars(MockSettings(g_max=15.0, progenitors=(far,)), 1)


def test_without_gala_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gala.dynamics", None)
    progenitor_stars.cache_clear()
    with pytest.raises(ConfigError, match=r"gala, which is not .*; pip install 'viamachinae\[orbits\]'"):
        stream_stars(MOCK, 3)


def test_gala_is_loaded_by_progenitors_alone():
    code = (
        "import sys; from viamachinae.config.settings import MockSettings\n"
        "from viamachinae.stars.mock.sky import mock_sky\n"
        "mock_sky(MockSettings(density=0.01), 1, 200.0, 30.0, 1.0)\n"
        "assert 'gala' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_step_of_releases_is_fine_enough():
    assert progenitors._steps(PAL5) == 2000
    assert progenitors._steps(PAL5.model_copy(update={"age": 1e-4})) == 1


# --- settings ---

TEXT = """
[mock]
g_max = 20.5
[[mock.progenitors]]
name = "a"
n_stars = 5
ra = 10
dec = 20
distance = 8
pmra = -1
pmdec = 2
radial_velocity = 100
"""


def test_settings_of_progenitors_come_back_from_their_text():
    read = parse(TEXT, source="scan.toml", folder=None)
    assert read.mock.progenitors[0].mass == 2e4
    assert read.mock.progenitors[0].spray == "chen"
    assert parse(dump(read), source="scan.toml", folder=None) == read
    assert "# radial_velocity: its radial velocity" in dump(Settings())


def test_the_example_of_the_documentation_is_read_and_bound():
    text = (DOCS / "mock_streams.toml").read_text(encoding="utf-8")
    assert text.strip() in (DOCS / "mock.md").read_text(encoding="utf-8")
    for example in parse(text, source="mock_streams.toml", folder=None).mock.progenitors:
        assert len(spray(example.model_copy(update={"age": 0.2}), 10, 1).leading) == 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mass = -1", "mock.progenitors[0].mass = -1: expected a finite number above 0"),
        ("spray = 'drizzle'", 'spray = "drizzle": expected "chen" or "fardal"'),
        ("potential = 'M31'", 'expected "MilkyWayPotential2022" or "MilkyWayPotential"'),
        ("age = 14", "mock.progenitors[0].age = 14: expected"),
        ("width = 1", "mock.progenitors[0].width = 1: unknown key"),
    ],
)
def test_impossible_settings_are_refused(line, words):
    with pytest.raises(ConfigError) as caught:
        parse(TEXT + line, source="scan.toml", folder=None)
    assert words in str(caught.value)


def test_a_null_scan_has_no_progenitors():
    with pytest.raises(ConfigError, match=r"injected streams \['Pal 5'\]; make it with mock.streams empty"):
        check_comparable(Settings(), Settings(mock=MOCK))
    check_comparable(Settings(mock=MockSettings(progenitors=(PAL5,))), Settings())


def test_names_are_unique_among_streams_of_both_kinds():
    line = MockStream(name="Pal 5", n_stars=5, start=(0.0, 0.0), end=(9.0, 0.0), pm_along=(1.0, 1.0))
    with pytest.raises(ValueError, match="streams need different names"):
        MockSettings(streams=(line,), progenitors=(PAL5,))
