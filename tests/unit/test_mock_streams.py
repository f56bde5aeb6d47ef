"""Injected streams: where their stars lie, how they move and how bright they are."""

import healpy
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from viamachinae.config.settings import MockSettings, MockStream
from viamachinae.errors import ConfigError
from viamachinae.stars.mock.noise import proper_motion_errors
from viamachinae.stars.mock.sequences import ridge_line
from viamachinae.stars.mock.streams import stream_stars, stream_track

STREAM = MockStream(
    name="GD",
    n_stars=6000,
    start=(140.0, 15.0),
    end=(150.0, 50.0),
    width=0.3,
    distance=(7.0, 10.0),
    pm_along=(-12.0, -8.0),
    pm_across=(-3.0, 1.0),
    pm_dispersion=0.2,
    feh=-2.0,
)
MOCK = MockSettings(streams=(STREAM,))


@pytest.fixture(scope="module")
def stars():
    return stream_stars(MOCK, 3)


def test_every_requested_star_is_there_once(stars):
    assert len(stars) == 6000
    assert (stars.phot_g_mean_mag < MOCK.g_max).all()
    assert stars.source_id.is_unique
    pixel = healpy.ang2pix(4096, stars.ra.to_numpy(), stars.dec.to_numpy(), nest=True, lonlat=True)
    np.testing.assert_array_equal(stars.source_id.to_numpy() >> 35, pixel)
    assert (stars.truth == "GD").all()


def test_the_track_runs_evenly_from_start_to_end_with_the_width_asked_for(stars):
    start, end = (SkyCoord(*p, unit="deg") for p in (STREAM.start, STREAM.end))
    where = SkyCoord(stars.ra.to_numpy(), stars.dec.to_numpy(), unit="deg")
    # Along and across by spherical trigonometry from the start, independently of the package.
    s, angle = start.separation(where).rad, (start.position_angle(where) - start.position_angle(end)).rad
    across = -np.degrees(np.arcsin(np.sin(s) * np.sin(angle)))
    along = np.degrees(np.arctan2(np.sin(s) * np.cos(angle), np.cos(s)))
    length = start.separation(end).deg
    assert across.std() == pytest.approx(0.3, rel=0.04)
    assert abs(across.mean()) < 0.015
    assert along.min() > -0.01
    assert along.max() < length + 0.01
    assert np.abs(np.histogram(along, bins=6, range=(0, length))[0] / 1000 - 1).max() < 0.13


def test_proper_motions_follow_the_request_at_both_ends(stars):
    start, end = (SkyCoord(*p, unit="deg") for p in (STREAM.start, STREAM.end))
    where = SkyCoord(stars.ra.to_numpy(), stars.dec.to_numpy(), unit="deg")
    direction = np.where(
        where.separation(end).deg > 2.0, where.position_angle(end).rad, end.position_angle(start).rad + np.pi
    )
    forward = stars.pmra * np.sin(direction) + stars.pmdec * np.cos(direction)
    left = -stars.pmra * np.cos(direction) + stars.pmdec * np.sin(direction)
    fraction = start.separation(where).deg / start.separation(end).deg
    for motion, (first, last) in ((forward, STREAM.pm_along), (left, STREAM.pm_across)):
        slope, zero = np.polyfit(fraction, motion, 1)
        assert zero == pytest.approx(first, abs=0.08)
        assert zero + slope == pytest.approx(last, abs=0.12)
    bright = (stars.phot_g_mean_mag < 17.5) & (where.separation(end).deg > 2.0)
    residual = (forward - np.interp(fraction, (0, 1), STREAM.pm_along))[bright]
    errors = np.hypot(0.2, proper_motion_errors(stars.phot_g_mean_mag[bright].to_numpy(), "gaia-dr2")[0])
    assert (residual / errors).std() == pytest.approx(1.0, abs=0.12)


def test_left_is_outward_radial_cross_direction():
    circle = stream_track(MockStream(name="n", n_stars=1, start=(10, -5), end=(10, 5), pm_along=(1, 1)))
    pmra, pmdec = circle.unrotate_pm([5.0], [0.0], [2.0], [3.0])  # northwards; left of it lies west
    np.testing.assert_allclose([pmra[0], pmdec[0]], [-3.0, 2.0], atol=1e-12)


def test_distances_show_in_parallax_and_magnitude(stars):
    fraction = (
        SkyCoord(*STREAM.start, unit="deg")
        .separation(SkyCoord(stars.ra.to_numpy(), stars.dec.to_numpy(), unit="deg"))
        .deg
        / SkyCoord(*STREAM.start, unit="deg").separation(SkyCoord(*STREAM.end, unit="deg")).deg
    )
    near, far = stars[fraction < 0.1], stars[fraction > 0.9]
    for part, distance in ((near, 7.15), (far, 9.85)):
        weights = part.parallax_error.astype(float) ** -2
        mean = (part.parallax * weights).sum() / weights.sum()
        assert mean == pytest.approx(1.0 / distance, abs=4.0 / np.sqrt(weights.sum()))
        blue = part.phot_g_mean_mag[(part.bp_rp < 0.62) & (part.bp_rp > 0.45) & (part.phot_g_mean_mag > 17.0)]
        assert blue.min() == pytest.approx(3.3 + 10 + 5 * np.log10(distance), abs=0.6)


def test_stars_lie_on_the_old_sequence_of_their_metallicity():
    bright = STREAM.model_copy(update={"distance": (3.0, 3.0)})
    stars = stream_stars(MockSettings(streams=(bright,)), 1)
    stars = stars[stars.phot_g_mean_mag < 17.5]
    _, m_g, colour = ridge_line(-2.0)
    modulus = 10 + 5 * np.log10(3.0)
    main_sequence = (stars.phot_g_mean_mag - modulus).between(m_g[12] + 0.3, 7.0)
    expected = np.interp(stars.phot_g_mean_mag - modulus, m_g[12::-1], colour[12::-1])
    assert main_sequence.sum() > 200
    assert np.abs(stars.bp_rp - expected)[main_sequence].max() < 0.15


def test_streams_do_not_depend_on_each_other(stars):
    other = STREAM.model_copy(update={"name": "other", "n_stars": 500})
    both = stream_stars(MockSettings(streams=(STREAM, other)), 3)
    assert both.source_id.is_unique
    np.testing.assert_array_equal(both.ra[both.truth == "GD"], stars.ra)
    assert (both.truth == "other").sum() == 500
    assert len(stream_stars(MockSettings(), 3)) == 0


def test_a_stream_too_far_away_is_refused_by_name():
    far = STREAM.model_copy(update={"distance": (10.0, 900.0)})
    with pytest.raises(ConfigError, match=r"'GD' at a distance of 900 kpc has no stars .* g_max = 20\.2"):
        stream_stars(MockSettings(streams=(far,)), 0)


@pytest.mark.parametrize("end", [(140.0, 15.0), (320.0, -15.0)])
def test_ends_that_fix_no_track_are_refused_by_name(end):
    bad = STREAM.model_copy(update={"end": end})
    with pytest.raises(ConfigError, match="'GD' has no track from"):
        stream_track(bad)
