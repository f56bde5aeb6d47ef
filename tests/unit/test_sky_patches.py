"""The tiling, given fields, coverage, masks and areas."""

import healpy
import numpy as np
import pandas as pd
import pytest

from viamachinae.config.settings import PatchSettings
from viamachinae.errors import ConfigError
from viamachinae.schema import PATCHES
from viamachinae.sky.frame import PatchFrame
from viamachinae.sky.masks import masked, searched_area
from viamachinae.sky.patches import coverage, make_patches

SKY = 41252.96125


def cap(radius):
    return SKY * (1.0 - np.cos(np.radians(radius))) / 2.0


def lens(radius, apart):
    """Area (deg2) that two discs share, by integrating rings of the first."""
    edges = np.linspace(0.0, np.radians(radius), 20001)
    s = (edges[1:] + edges[:-1]) / 2.0
    d, r = np.radians(apart), np.radians(radius)
    cosine = (np.cos(r) - np.cos(s) * np.cos(d)) / (np.sin(s) * np.sin(d))
    ring = 2.0 * np.arccos(np.clip(cosine, -1.0, 1.0)) * np.sin(s) * np.diff(edges)
    return ring.sum() * (180.0 / np.pi) ** 2


def test_the_published_tiling_has_about_200_patches():
    patches = make_patches(PatchSettings())
    assert list(patches.columns) == list(PATCHES.names)
    assert 190 <= len(patches) <= 215
    assert patches.patch.is_unique
    assert (np.abs(patches.b) > 30.0).all()
    assert (patches.radius == 15.0).all()
    # a pixel covers 95.5 deg2: the published mean spacing of 9.8 deg
    assert np.sqrt(SKY / healpy.nside2npix(6)) == pytest.approx(9.8, abs=0.05)
    for ra, dec, radius in PatchSettings().exclude:
        assert (PatchFrame(ra, dec).separation(patches.ra, patches.dec) > radius).all()


def test_tiles_carry_the_place_of_their_galactic_pixel():
    patches = make_patches(PatchSettings(nside=3, b_min=0.0, exclude=()))
    row = patches.iloc[0]
    assert row.patch == f"P{row.healpix:04d}"
    longitude, latitude = healpy.pix2ang(3, int(row.healpix), lonlat=True)
    assert (row.l, row.b) == (longitude, latitude)
    # the Galactic poles and centre, as Gaia's documentation gives them, fix the frame
    pole = PatchFrame(192.85948, 27.12825)
    np.testing.assert_allclose(pole.separation(patches.ra, patches.dec), 90.0 - patches.b, atol=1e-4)
    away = PatchFrame(266.40499, -28.93617).separation(patches.ra, patches.dec)
    expected = np.degrees(np.arccos(np.cos(np.radians(patches.b)) * np.cos(np.radians(patches.l))))
    np.testing.assert_allclose(away, expected, atol=1e-4)


def test_names_survive_another_exclusion():
    before = make_patches(PatchSettings()).set_index("patch")
    after = make_patches(PatchSettings(exclude=((150.0, 30.0, 20.0),))).set_index("patch")
    both = before.index.intersection(after.index)
    assert 100 < len(both) < len(before)
    pd.testing.assert_frame_equal(before.loc[both], after.loc[both])


def test_given_centres_replace_the_tiling():
    centres = ((148.6, 24.2), (146.9, 35.6), (0.0, -0.5), (359.999, 89.9))
    patches = make_patches(PatchSettings(centres=centres, radius=5.0))
    assert list(patches.patch) == ["J0954.4+2412", "J0947.6+3536", "J0000.0-0030", "J2359.9+8954"]
    np.testing.assert_array_equal(patches[["ra", "dec"]].to_numpy(), centres)
    assert (patches.healpix == -1).all()
    assert (patches.radius == 5.0).all()
    assert patches.b[0] == pytest.approx(50.2, abs=0.6)


def test_the_same_field_twice_is_refused():
    with pytest.raises(ConfigError, match="same field J0954"):
        make_patches(PatchSettings(centres=((148.6, 24.2), (10.0, 0.0), (148.601, 24.201))))


def test_a_tiling_with_nothing_left_is_refused():
    with pytest.raises(ConfigError, match="b_min = 89"):
        make_patches(PatchSettings(b_min=89.9))


def test_coverage_is_the_union_of_the_discs():
    patches = make_patches(PatchSettings(centres=((10.0, 20.0), (10.0, 40.0), (200.0, -70.0)), radius=15.0))
    expected = 3.0 * cap(15.0) - lens(15.0, 20.0)
    assert coverage(patches).sky_fraction * SKY == pytest.approx(expected, rel=0.02)
    assert coverage(patches.iloc[:1]).sky_fraction * SKY == pytest.approx(cap(15.0), rel=0.02)
    assert coverage(PATCHES.empty()).sky_fraction == 0.0


@pytest.mark.parametrize("radius", [0.5, 3.0, 10.0, 15.0])
def test_area_of_one_and_of_two_overlapping_patches(radius):
    patches = make_patches(PatchSettings(centres=((148.6, 24.2), (148.6, 24.2 + radius)), radius=15.0))
    one = searched_area(patches.iloc[:1], radius)
    assert one.union == one.total == pytest.approx(cap(radius), rel=0.005)
    two = searched_area(patches, radius)
    assert two.total == pytest.approx(2.0 * cap(radius), rel=0.005)
    assert two.union == pytest.approx(2.0 * cap(radius) - lens(radius, radius), rel=0.005)


def test_masks_reduce_the_area_once_in_the_union_and_twice_in_the_sum():
    patches = make_patches(PatchSettings(centres=((148.6, 24.2), (148.6, 34.2))))
    mask = (148.6, 29.2, 1.5)  # inside both
    free, cut = searched_area(patches, 10.0), searched_area(patches, 10.0, (mask,))
    assert free.union - cut.union == pytest.approx(cap(1.5), rel=0.02)
    assert free.total - cut.total == pytest.approx(2.0 * cap(1.5), rel=0.02)
    outside = searched_area(patches, 10.0, ((300.0, -20.0, 5.0),))
    assert outside == free
    assert searched_area(PATCHES.empty(), 10.0).total == 0.0


def test_masked_equals_a_plain_comparison_of_all_pairs():
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0.0, 360.0, 4000), np.degrees(np.arcsin(rng.uniform(-1.0, 1.0, 4000)))
    circles = [
        (0.0, 0.0, 12.0),
        (359.0, 45.0, 9.0),
        (120.0, 89.0, 10.0),
        (10.0, -90.0, 5.0),
        (40.0, 5.0, 0.001),
    ]
    plain = np.any([PatchFrame(a, d).separation(ra, dec) <= r for a, d, r in circles], axis=0)
    assert 30 < plain.sum() < 400
    np.testing.assert_array_equal(masked(ra, dec, circles), plain)
    assert not masked(ra, dec, ()).any()
    assert masked(359.999, 0.0, [(0.001, 0.0, 0.01)]).all()
