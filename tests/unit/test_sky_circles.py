"""Great circles: their coordinates, their constructors, their fit."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from viamachinae.errors import DataError
from viamachinae.sky.circles import GreatCircle
from viamachinae.sky.frame import PatchFrame

RA = st.floats(0.0, 360.0, exclude_max=True)
DEC = st.floats(-90.0, 90.0)


def sky(ra, dec):
    return SkyCoord(ra * u.deg, dec * u.deg)


def test_phi1_starts_nearest_the_origin_and_grows_along_pole_cross_origin():
    equator = GreatCircle(0.0, 90.0, 30.0, 12.0)
    ra, dec = [30.0, 40.0, 20.0, 30.0, 210.0], [0.0, 0.0, 0.0, 90.0, 5.0]
    np.testing.assert_allclose(equator.phi1(ra, dec)[:3], [0.0, 10.0, -10.0], atol=1e-12)
    np.testing.assert_allclose(equator.phi2(ra, dec), [0.0, 0.0, 0.0, 90.0, 5.0], atol=1e-12)
    assert abs(equator.phi1(210.0, 5.0)) == pytest.approx(180.0)


@settings(max_examples=60, deadline=None)
@given(pole=st.tuples(RA, DEC), origin=st.tuples(RA, DEC), star=st.tuples(RA, DEC))
def test_phi2_is_the_distance_from_the_circle_and_phi1_from_its_start(pole, origin, star):
    to_pole = sky(*origin).separation(sky(*pole)).deg
    if not 1e-3 < to_pole < 180.0 - 1e-3:
        return
    circle = GreatCircle(*pole, *origin)
    assert circle.phi2(*star) == pytest.approx(90.0 - sky(*star).separation(sky(*pole)).deg, abs=1e-7)
    again = circle.to_sky(circle.phi1(*star), circle.phi2(*star))
    assert sky(*again).separation(sky(*star)).deg < 1e-9
    start = circle.to_sky(0.0, 0.0)
    assert sky(*start).separation(sky(*origin)).deg == pytest.approx(abs(90.0 - to_pole), abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(first=st.tuples(RA, DEC), second=st.tuples(RA, DEC))
def test_from_points_runs_from_the_first_to_the_second(first, second):
    apart = sky(*first).separation(sky(*second)).deg
    if not 0.01 < apart < 179.99:
        return
    circle = GreatCircle.from_points(*first, *second)
    np.testing.assert_allclose(circle.phi2([first[0], second[0]], [first[1], second[1]]), 0.0, atol=1e-9)
    assert circle.phi1(*first) == pytest.approx(0.0, abs=1e-9)
    assert circle.phi1(*second) == pytest.approx(apart, abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(centre=st.tuples(RA, DEC), theta=st.floats(-180.0, 180.0), r=st.floats(-20.0, 20.0))
def test_a_line_of_the_tangent_plane_is_a_great_circle(centre, theta, r):
    frame = PatchFrame(*centre)
    circle = GreatCircle.from_tangent_line(frame, theta, r)
    cos, sin = np.cos(np.radians(theta)), np.sin(np.radians(theta))
    along = np.linspace(-40.0, 40.0, 9)
    ra, dec = frame.from_tangent(r * cos - along * sin, r * sin + along * cos)
    np.testing.assert_allclose(circle.phi2(ra, dec), 0.0, atol=1e-9)
    np.testing.assert_allclose(circle.phi1(ra[4], dec[4]), 0.0, atol=1e-9)
    back_x, back_y = frame.tangent(*circle.to_sky(np.linspace(-30.0, 30.0, 7), 0.0))
    np.testing.assert_allclose(back_x * cos + back_y * sin, r, atol=1e-9)
    assert abs(circle.phi2(frame.ra, frame.dec)) == pytest.approx(
        np.degrees(np.arctan(np.radians(abs(r)))), abs=1e-9
    )


@pytest.mark.parametrize(
    "truth", [(34.59, 29.73, 200.0, 59.4), (120.0, 0.0, 210.0, 5.0), (0.0, 90.0, 5.0, 0.0)]
)
def test_fit_recovers_the_circle_of_scattered_stars(truth):
    circle = GreatCircle(*truth)
    rng = np.random.default_rng(3)
    n, sigma = 400, 0.3
    ra, dec = circle.to_sky(rng.uniform(-20.0, 20.0, n), rng.normal(0.0, sigma, n))
    found = GreatCircle.fit(ra, dec)
    # slope and offset of a line of n stars over 40 deg: below 4 standard errors
    assert found.angle_to(circle) < 4.0 * np.degrees(sigma / np.sqrt(n) / 11.5) + 4.0 * sigma / np.sqrt(n)
    assert found.pole_dec >= 0.0
    assert abs(found.phi1(ra, dec).mean()) < 0.1


def test_fit_is_exact_without_scatter_and_obeys_weights():
    circle = GreatCircle(34.59, 29.73, 200.0, 59.4)
    ra, dec = circle.to_sky(np.linspace(-10.0, 10.0, 21), 0.0)
    assert GreatCircle.fit(ra, dec).angle_to(circle) < 1e-9
    other_ra, other_dec = circle.to_sky(np.linspace(-5.0, 5.0, 5), 8.0)
    weights = np.r_[np.ones(21), np.zeros(5)]
    together = np.r_[ra, other_ra], np.r_[dec, other_dec]
    assert GreatCircle.fit(*together, weights).angle_to(circle) < 1e-9
    assert GreatCircle.fit(*together).angle_to(circle) > 0.1


def test_fit_of_a_whole_circle_has_some_origin_on_it():
    circle = GreatCircle(34.59, 29.73, 200.0, 59.4)
    ra, dec = circle.to_sky(np.arange(0.0, 360.0, 10.0), 0.0)
    found = GreatCircle.fit(ra, dec)
    assert found.angle_to(circle) < 1e-7
    assert abs(found.phi2(found.origin_ra, found.origin_dec)) < 1e-6


def test_angle_is_blind_to_the_sign_of_the_pole():
    a, b = GreatCircle(20.0, 70.0, 200.0, 10.0), GreatCircle(200.0, -70.0, 200.0, 10.0)
    assert a.angle_to(b) < 1e-9
    tilted = GreatCircle(20.0, 70.0 - 1e-5, 200.0, 10.0)
    assert a.angle_to(tilted) == pytest.approx(1e-5, rel=1e-6)
    assert GreatCircle(0.0, 90.0, 0.0, 0.0).angle_to(GreatCircle(5.0, 0.0, 90.0, 0.0)) == pytest.approx(90.0)


@pytest.mark.parametrize("star", [(150.0, 30.0), (0.0, -50.0), (359.9999, 10.0), (5.0, 89.9)])
def test_proper_motions_round_trip(star):
    circle = GreatCircle(34.59, 29.73, 200.0, 59.4)
    phi1, phi2 = circle.to_frame(*star)
    pm1, pm2 = circle.rotate_pm(*star, -6.5, -12.0)
    np.testing.assert_allclose(circle.unrotate_pm(phi1, phi2, pm1, pm2), (-6.5, -12.0), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GreatCircle(10.0, 20.0, 10.0, 20.0),
        lambda: GreatCircle(10.0, 20.0, 190.0, -20.0),
        lambda: GreatCircle(10.0, 120.0, 0.0, 0.0),
        lambda: GreatCircle.from_points(10.0, 20.0, 10.0, 20.0),
        lambda: GreatCircle.from_points(10.0, 20.0, 190.0, -20.0),
        lambda: GreatCircle.fit([10.0, 10.0], [20.0, 20.0]),
        lambda: GreatCircle.fit([10.0], [20.0]),
        lambda: GreatCircle.fit([], []),
        lambda: GreatCircle.fit([10.0, np.nan], [20.0, 20.0]),
        lambda: GreatCircle.fit([10.0, 30.0], [20.0, 20.0], [1.0, -1.0]),
        lambda: GreatCircle.fit([10.0, 30.0], [20.0, 20.0], [1.0]),
    ],
)
def test_what_fixes_no_circle_is_refused(make):
    with pytest.raises(DataError, match="great circle"):
        make()
