"""The parts of the mock Milky Way: errors, ridge lines, luminosity functions, densities, motions."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import CartesianDifferential, CartesianRepresentation, Galactic, SkyCoord

from viamachinae.config.settings import MockSettings
from viamachinae.stars.mock.cells import TrueStars, observe
from viamachinae.stars.mock.galactocentric import (
    SUN_R,
    SUN_Z,
    galactic_xyz,
    proper_motions,
    sky_position,
    space_velocity,
)
from viamachinae.stars.mock.milkyway import COMPONENTS, velocities
from viamachinae.stars.mock.noise import bp_rp_error, parallax_error, proper_motion_errors
from viamachinae.stars.mock.ridgelines import HB_START, OLD, OLD_AGE, OLD_FEH, YOUNG, YOUNG_AGE
from viamachinae.stars.mock.sequences import MassFunction, Population, luminosity_function, ridge_line

TURN_OFF = 12  # point of the ridge lines


def test_errors_are_gaias_by_magnitude():
    g = np.array([10.0, 13.0, 15.0, 18.0, 20.0])
    dr3 = parallax_error(g, "gaia-dr3")
    np.testing.assert_allclose(dr3, [0.013, 0.013, 0.030, 0.142, 0.74], rtol=0.5)
    assert dr3[0] == dr3[1]
    np.testing.assert_allclose(parallax_error(g, "gaia-dr2") / dr3, 1.24)
    for two, three in zip(*(proper_motion_errors(g, r) for r in ("gaia-dr2", "gaia-dr3")), strict=True):
        np.testing.assert_allclose(two / three, 1.92)
        assert (np.diff(three[1:]) > 0).all()
    assert (np.diff(bp_rp_error(g)) > 0).all()
    assert 0.08 < bp_rp_error(np.array([20.0]))[0] < 0.2


def test_colours_of_red_stars_are_the_less_sure():
    g = np.array([20.0, 20.0, 20.0])
    blue, middling, red = bp_rp_error(g, np.array([0.5, 1.0, 2.5]))
    assert middling == bp_rp_error(g[:1])[0]
    assert 0.85 < blue / middling < 1.0
    assert 1.5 < red / middling < 2.5
    np.testing.assert_allclose(bp_rp_error(np.array([8.0]), np.array([3.0])), 0.004, rtol=0.02)


def test_measured_values_scatter_by_their_errors():
    n = 20_000
    same = [np.full(n, v) for v in (150.0, 30.0, 2.0, -5.0, 3.0, 19.0, 0.8)]
    table = observe(TrueStars(*same), MockSettings(), np.random.default_rng(1))
    for column, true in (("pmra", -5.0), ("pmdec", 3.0), ("parallax", 0.5)):
        pull = (table[column] - true) / table[f"{column}_error"]
        assert abs(pull.mean()) < 0.03
        assert pull.std() == pytest.approx(1.0, abs=0.03)
    assert table.bp_rp.std() == pytest.approx(bp_rp_error(np.array([19.0]), np.array([0.8]))[0], rel=0.03)
    assert (table.phot_g_mean_mag == 19.0).all()


@pytest.mark.parametrize("lines", [OLD.reshape(-1, 3, 28), YOUNG], ids=["old", "young"])
def test_tables_are_ridge_lines(lines):
    assert lines.shape[1:] == (3, 28)
    mass, m_g, colour = lines.swapaxes(0, 1)
    assert (np.diff(mass) >= 0).all()
    assert (np.diff(m_g[:, : TURN_OFF + 1]) < 0).all()
    assert (colour[:, :HB_START].argmin(axis=1) == TURN_OFF).all()


def test_ridge_lines_go_through_their_nodes_and_between_them():
    for feh, lines in zip(OLD_FEH, OLD, strict=True):
        for age, line in zip(OLD_AGE, lines, strict=True):
            np.testing.assert_allclose(np.array(ridge_line(float(feh), float(age))), line, atol=1e-12)
    for age, line in zip(YOUNG_AGE, YOUNG, strict=True):
        np.testing.assert_allclose(np.array(ridge_line(0.02, float(age))), line, atol=1e-12)
    turn_offs = [ridge_line(feh)[2][TURN_OFF] for feh in (-2.5, -1.8, -1.2, -0.5, 0.2)]
    assert (np.diff(turn_offs) > 0).all()
    np.testing.assert_array_equal(ridge_line(-2.5), ridge_line(-2.18))
    np.testing.assert_array_equal(ridge_line(-1.0, 14.0), ridge_line(-1.0, 12.59))


@pytest.mark.parametrize("feh", [-1.8, -0.8, 0.0])
def test_younger_stars_turn_off_brighter_and_bluer(feh):
    lines = [ridge_line(feh, age) for age in (2.0, 3.0, 6.0, 9.0, 12.0)]
    assert (np.diff([line[1][TURN_OFF] for line in lines]) > 0).all()
    assert (np.diff([line[2][TURN_OFF] for line in lines]) > 0).all()


def test_a_range_of_ages_widens_the_turn_off():
    imf = MassFunction(1.6, 3.0)
    limits = np.full(200_000, 4.5)
    uniform = np.random.default_rng(1).random(len(limits))
    colours = []
    for population in (Population(-0.4, 0.2, 8.5, imf), Population(-0.4, 0.2, 8.5, imf, 6.0)):
        m_g, colour = luminosity_function(population).sample(limits, uniform)
        colours.append(colour[(m_g > 3.6) & (m_g < 4.0) & (colour < 0.9)])
    assert colours[1].std() > 1.15 * colours[0].std()
    assert np.median(colours[1]) == pytest.approx(np.median(colours[0]), abs=0.03)


def test_metal_poorer_stars_are_bluer_at_the_same_place():
    lf = luminosity_function(Population(-0.2, 0.0, 9.0, MassFunction(1.6, 3.0)))
    limits, uniform = np.full(5000, 9.0), np.random.default_rng(1).random(5000)
    m_g, colour = lf.sample(limits, uniform)
    shifted = lf.sample(limits, uniform, np.full(5000, -0.1))
    np.testing.assert_array_equal(shifted[0], m_g)
    poorer = ridge_line(-0.3, 9.0)
    dwarfs = (m_g > 5.2) & (m_g < 8.0)
    expected = np.interp(m_g[dwarfs], poorer[1][TURN_OFF::-1], poorer[2][TURN_OFF::-1])
    assert dwarfs.sum() > 1000
    np.testing.assert_allclose(shifted[1][dwarfs], expected, atol=0.01)
    assert (colour - shifted[1])[dwarfs].min() > 0.015


def test_mass_functions_integrate_their_power_laws():
    imf = MassFunction(1.3, 2.3, 0.5)
    m = np.linspace(0.1, 2.0, 200_001)
    density = np.where(m < 0.5, m**-1.3, 0.5 ** (2.3 - 1.3) * m**-2.3)
    ends = np.array([0.1, 2.0])
    assert np.diff(imf.number(ends))[0] == pytest.approx(np.trapezoid(density, m), rel=1e-6)
    assert np.diff(imf.mass(ends))[0] == pytest.approx(np.trapezoid(density * m, m), rel=1e-6)


def test_a_luminosity_function_samples_what_it_counts():
    lf = luminosity_function(Population(-1.5, 0.4, 12.0, MassFunction(1.3, 2.3, 0.5)))
    m_g, colour = lf.sample(np.full(40_000, 6.0), np.random.default_rng(0).random(40_000))
    assert m_g.max() < 6.0
    for limit in (-1.0, 1.0, 3.5, 4.5, 5.5):
        fraction = lf.count(np.array(limit)) / lf.count(np.array(6.0))
        assert (m_g < limit).mean() == pytest.approx(fraction, abs=4 * np.sqrt(fraction / 40_000))
    turn_off = (m_g > 3.7) & (m_g < 4.2)
    assert 0.5 < np.median(colour[turn_off]) < 0.75
    assert lf.count(np.array(-9.0)) == 0.0


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_profiles_are_one_at_the_sun_and_fall_with_height(component):
    here = component.profile(np.array(SUN_R), np.array(SUN_Z))
    assert here == pytest.approx(1.0, rel=0.01)
    assert (np.diff(component.profile(np.full(30, SUN_R), np.linspace(0.1, 6.0, 30))) < 0).all()


def test_scale_heights_and_slopes_are_those_of_the_model():
    thick, halo = COMPONENTS[4].profile, COMPONENTS[5].profile
    z = np.array([1.0, 1.8])
    assert -0.8 / np.diff(np.log(thick(np.full(2, SUN_R), z)))[0] == pytest.approx(0.8)
    r = np.array([8.0, 16.0])
    assert np.diff(np.log(halo(r, np.zeros(2))))[0] / np.log(2.0) == pytest.approx(-2.44)


def test_positions_and_proper_motions_agree_with_astropy():
    generator = np.random.default_rng(4)
    n = 200
    ra, dec = generator.uniform(0, 360, n), np.degrees(np.arcsin(generator.uniform(-1, 1, n)))
    distance = generator.uniform(0.1, 20, n)
    x, y, z = galactic_xyz(ra, dec, distance)
    galactic = SkyCoord(ra, dec, distance * u.kpc, unit=("deg", "deg", "kpc")).galactic.cartesian
    np.testing.assert_allclose([x + SUN_R, y, z - SUN_Z], galactic.xyz.value, atol=1e-5)
    v = generator.normal(0, 100, (3, n))
    pmra, pmdec = proper_motions(ra, dec, distance, (v[0], v[1], v[2]))
    relative = (v - np.array([[11.1], [242.24], [7.25]])) * u.km / u.s
    moving = Galactic(CartesianRepresentation(galactic.xyz, differentials=CartesianDifferential(relative)))
    icrs = SkyCoord(moving).icrs
    np.testing.assert_allclose(pmra, icrs.pm_ra_cosdec.to_value("mas/yr"), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(pmdec, icrs.pm_dec.to_value("mas/yr"), rtol=1e-5, atol=1e-3)


def test_places_and_velocities_come_back_from_the_sky():
    generator = np.random.default_rng(6)
    n = 50
    ra, dec = generator.uniform(0, 360, n), np.degrees(np.arcsin(generator.uniform(-1, 1, n)))
    distance = generator.uniform(0.1, 40, n)
    np.testing.assert_allclose(sky_position(galactic_xyz(ra, dec, distance)), [ra, dec, distance], rtol=1e-8)
    place = SkyCoord(
        ra * u.deg,
        dec * u.deg,
        distance * u.kpc,
        pm_ra_cosdec=generator.normal(0, 5, n) * u.mas / u.yr,
        pm_dec=generator.normal(0, 5, n) * u.mas / u.yr,
        radial_velocity=generator.normal(0, 100, n) * u.km / u.s,
    )
    expected = place.galactic.velocity.d_xyz.to_value("km/s") + np.array([[11.1], [242.24], [7.25]])
    pm = (place.pm_ra_cosdec.value, place.pm_dec.value)
    velocity = np.array(
        [
            space_velocity((ra[i], dec[i], distance[i]), (pm[0][i], pm[1][i], place.radial_velocity.value[i]))
            for i in range(n)
        ]
    ).T
    np.testing.assert_allclose(velocity, expected, atol=0.01)
    seen = proper_motions(ra, dec, distance, (velocity[0], velocity[1], velocity[2]))
    np.testing.assert_allclose(seen, pm, atol=1e-9)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_velocities_have_the_components_ellipsoid_and_rotation(component):
    n = 40_000
    at = (np.zeros(n), np.full(n, 8.0), np.zeros(n))  # a quarter turn from the Sun
    vx, vy, vz = velocities(component, at, np.random.default_rng(2))
    assert vx.mean() == pytest.approx(230.0 - component.lag, abs=3.0)  # rotation goes on from +y to +x
    assert abs(vy.mean()) < 3.0
    np.testing.assert_allclose([vy.std(), vx.std(), vz.std()], component.sigma, rtol=0.03)


def test_the_halos_ellipsoid_points_to_the_centre():
    halo = COMPONENTS[-1]
    n = 40_000
    _, _, vz = velocities(halo, (np.full(n, 1e-3), np.zeros(n), np.full(n, 8.0)), np.random.default_rng(2))
    assert vz.std() == pytest.approx(halo.sigma[0], rel=0.03)
