"""The patch frame against astropy, at poles, at ra 0/360 and at the patch edge."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, SkyOffsetFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from viamachinae.errors import DataError
from viamachinae.sky.frame import PatchFrame, SkyFrame

CENTRES = [
    (148.6, 24.2),
    (0.0, 0.0),
    (359.9999, -45.0),
    (0.0, 60.0),
    (77.0, 90.0),
    (213.0, -90.0),
    (12.0, 89.5),
    (300.0, -76.0),
]


def disc(ra, dec, radius, n=2000, seed=0):
    """Positions within ``radius`` deg of a centre, among them exactly on the rim, by astropy."""
    rng = np.random.default_rng(seed)
    distance = np.degrees(np.arccos(rng.uniform(np.cos(np.radians(radius)), 1.0, n)))
    distance[: n // 4] = radius
    points = SkyCoord(ra * u.deg, dec * u.deg).directional_offset_by(
        rng.uniform(0.0, 360.0, n) * u.deg, distance * u.deg
    )
    return points.ra.deg, points.dec.deg


def great_distance(ra1, dec1, ra2, dec2):
    return SkyCoord(ra1 * u.deg, dec1 * u.deg).separation(SkyCoord(ra2 * u.deg, dec2 * u.deg)).deg


@pytest.mark.parametrize("centre", CENTRES)
def test_equals_astropy_positions_and_proper_motions(centre):
    ra, dec = disc(*centre, 15.0)
    pmra, pmdec = np.random.default_rng(1).normal(0.0, 10.0, (2, ra.size))
    frame = PatchFrame(*centre)
    origin = SkyCoord(*centre, unit="deg")
    theirs = SkyCoord(
        ra * u.deg, dec * u.deg, pm_ra_cosdec=pmra * u.mas / u.yr, pm_dec=pmdec * u.mas / u.yr
    ).transform_to(SkyOffsetFrame(origin=origin, rotation=0 * u.deg))
    phi, lam = frame.to_frame(ra, dec)
    assert np.all(np.isfinite(phi))
    np.testing.assert_allclose(phi, theirs.lon.wrap_at(180 * u.deg).deg, rtol=0, atol=1e-9)
    np.testing.assert_allclose(lam, theirs.lat.deg, rtol=0, atol=1e-9)
    pm_phi, pm_lam = frame.rotate_pm(ra, dec, pmra, pmdec)
    # astropy moves through Cartesian velocities: good to about 1e-8 of the motion
    np.testing.assert_allclose(pm_phi, theirs.pm_lon_coslat.to_value(u.mas / u.yr), rtol=0, atol=1e-6)
    np.testing.assert_allclose(pm_lam, theirs.pm_lat.to_value(u.mas / u.yr), rtol=0, atol=1e-6)


@pytest.mark.parametrize("centre", CENTRES)
def test_separation_and_position_angle_equal_astropy(centre):
    ra, dec = disc(*centre, 15.0)
    frame, origin = PatchFrame(*centre), SkyCoord(*centre, unit="deg")
    points = SkyCoord(ra, dec, unit="deg")
    np.testing.assert_allclose(frame.separation(ra, dec), origin.separation(points).deg, rtol=0, atol=1e-9)
    turn = frame.position_angle(ra, dec) - origin.position_angle(points).deg
    np.testing.assert_allclose((turn + 180.0) % 360.0 - 180.0, 0.0, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    ra=st.floats(0.0, 360.0, exclude_max=True),
    dec=st.one_of(st.floats(-90.0, 90.0), st.sampled_from([-90.0, 90.0, 89.999999, -89.999999])),
    angle=st.floats(0.0, 360.0),
    distance=st.one_of(st.floats(0.0, 15.0), st.just(15.0)),
    pm=st.tuples(st.floats(-500.0, 500.0), st.floats(-500.0, 500.0)),
)
def test_round_trips_for_centres_anywhere(ra, dec, angle, distance, pm):
    frame = PatchFrame(ra, dec)
    # a star by its place in the frame: r (deg) along the position angle
    x = np.degrees(np.tan(np.radians(distance))) * np.sin(np.radians(angle))
    y = np.degrees(np.tan(np.radians(distance))) * np.cos(np.radians(angle))
    star_ra, star_dec = frame.from_tangent(x, y)
    assert 0.0 <= star_ra < 360.0
    assert abs(star_dec) <= 90.0
    assert frame.separation(star_ra, star_dec) == pytest.approx(distance, abs=1e-9)
    back_x, back_y = frame.tangent(star_ra, star_dec)
    assert np.hypot(back_x - x, back_y - y) < 1e-9
    phi, lam = frame.to_frame(star_ra, star_dec)
    again = frame.from_frame(phi, lam)
    assert great_distance(star_ra, star_dec, *again) < 1e-9
    pm_phi, pm_lam = frame.rotate_pm(star_ra, star_dec, *pm)
    assert np.hypot(pm_phi, pm_lam) == pytest.approx(np.hypot(*pm), rel=1e-12, abs=1e-12)
    # within an arcsecond of a pole, a rounding of the position turns east itself
    if 90.0 - abs(star_dec) > 1.0 / 3600.0:
        np.testing.assert_allclose(frame.unrotate_pm(phi, lam, pm_phi, pm_lam), pm, rtol=0, atol=1e-9)
        assert abs((again[0] - star_ra + 180.0) % 360.0 - 180.0) * np.cos(np.radians(star_dec)) < 1e-9


@pytest.mark.parametrize("dec", [90.0, -90.0])
def test_the_pole_itself_keeps_the_motion_of_its_longitude(dec):
    """At a pole, ra says which way east is; the motion must not depend on how it is written."""
    frame = PatchFrame(30.0, dec - 5.0 * np.sign(dec))
    here = np.array(frame.rotate_pm(120.0, dec, 3.0, -4.0))
    turned = np.radians(40.0)  # the same tangent vector, written at ra 160
    sign = np.sign(dec)
    east = 3.0 * np.cos(turned) - sign * 4.0 * np.sin(turned)
    north = -4.0 * np.cos(turned) - sign * 3.0 * np.sin(turned)
    np.testing.assert_allclose(here, frame.rotate_pm(160.0, dec, east, north), rtol=0, atol=1e-12)


def test_proper_motion_is_where_the_star_goes():
    frame = PatchFrame(148.6, 24.2)
    ra, dec = disc(148.6, 24.2, 15.0, n=200)
    pmra, pmdec = np.random.default_rng(2).normal(0.0, 10.0, (2, ra.size))
    years = 1000.0
    moved = SkyCoord(ra, dec, unit="deg").directional_offset_by(
        np.arctan2(pmra, pmdec) * u.rad, np.hypot(pmra, pmdec) * years * u.mas
    )
    phi0, lam0 = frame.to_frame(ra, dec)
    phi1, lam1 = frame.to_frame(moved.ra.deg, moved.dec.deg)
    pm_phi, pm_lam = frame.rotate_pm(ra, dec, pmra, pmdec)
    mas = 3.6e6
    np.testing.assert_allclose((lam1 - lam0) * mas / years, pm_lam, rtol=0, atol=2e-3)
    np.testing.assert_allclose(
        (phi1 - phi0) * mas / years * np.cos(np.radians(lam0)), pm_phi, rtol=0, atol=2e-3
    )


def test_signs_at_the_centre():
    frame = PatchFrame(148.6, 24.2)
    phi, lam = frame.to_frame([148.6, 148.7, 148.6], [24.2, 24.2, 24.3])
    np.testing.assert_allclose(phi, [0.0, 0.1 * np.cos(np.radians(24.2)), 0.0], atol=1e-6)
    assert lam[2] == pytest.approx(0.1)
    np.testing.assert_allclose(frame.rotate_pm(148.6, 24.2, 5.0, -7.0), (5.0, -7.0), atol=1e-12)


def test_behind_the_sky_the_tangent_plane_has_no_image():
    frame = PatchFrame(10.0, 20.0)
    x, y = frame.tangent([10.0, 190.0, 10.0], [20.0, -20.0, 50.0])
    assert np.isnan(x[1])
    assert np.isnan(y[1])
    assert y[2] == pytest.approx(np.degrees(np.tan(np.radians(30.0))))


def test_a_star_rounds_alike_alone_and_in_company():
    ra, dec = disc(10.0, 85.0, 15.0, n=501)
    frame = PatchFrame(10.0, 85.0)
    phi, lam = frame.to_frame(ra, dec)
    alone = [frame.to_frame(ra[i : i + 1], dec[i : i + 1]) for i in range(ra.size)]
    np.testing.assert_array_equal(phi, [a[0][0] for a in alone])
    np.testing.assert_array_equal(lam, [a[1][0] for a in alone])


@pytest.mark.parametrize("centre", [(np.nan, 0.0), (0.0, 90.1), (np.inf, 0.0)])
def test_an_impossible_centre_is_refused(centre):
    with pytest.raises(DataError, match="centre of a patch"):
        PatchFrame(*centre)


@pytest.mark.parametrize(
    "matrix", [np.eye(2), 2.0 * np.eye(3), np.diag([1.0, 1.0, -1.0]), np.full((3, 3), np.nan)]
)
def test_a_matrix_that_is_no_rotation_is_refused(matrix):
    with pytest.raises(DataError, match="rotation"):
        SkyFrame(matrix)
