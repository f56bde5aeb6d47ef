"""The mock sky as a table: the same stars whatever patch asks for them, with sound ids and limits."""

import healpy
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord

from viamachinae.config.settings import MockSettings, MockStream
from viamachinae.errors import ConfigError, DataError
from viamachinae.stars.mock.cells import cell_stars
from viamachinae.stars.mock.sky import MOCK_COLUMNS, mock_sky

STREAM = MockStream(name="A", n_stars=2000, start=(140.0, 20.0), end=(156.0, 30.0), pm_along=(-12.0, -11.0))
MOCK = MockSettings(density=0.2, streams=(STREAM,))


@pytest.fixture(scope="module")
def sky():
    return mock_sky(MOCK, 7, 148.6, 24.2, 4.0)


def positions(table):
    return SkyCoord(table.ra.to_numpy(), table.dec.to_numpy(), unit="deg")


def test_columns_and_types(sky):
    assert tuple(sky.columns) == MOCK_COLUMNS
    assert sky.source_id.dtype == np.int64
    assert {str(sky[c].dtype) for c in ("ra", "dec", "pmra", "pmdec")} == {"float64"}
    assert {str(sky[c].dtype) for c in sky if c.endswith("_error")} == {"float32"}
    assert set(sky.truth) == {"", "A"}


def test_every_value_is_finite_and_inside_its_limits(sky):
    assert np.isfinite(sky.drop(columns="truth").to_numpy(float)).all()
    assert sky.phot_g_mean_mag.max() < MOCK.g_max
    assert sky.phot_g_mean_mag.max() > MOCK.g_max - 0.01
    assert sky.ra.between(0, 360, inclusive="left").all()
    separation = positions(sky).separation(SkyCoord(148.6, 24.2, unit="deg")).deg
    assert separation.max() <= 4.0
    assert (separation > 3.9).sum() > 10
    assert (sky.parallax > 1.0).any()


def test_ids_are_unique_and_their_upper_bits_are_the_position(sky):
    assert sky.source_id.is_unique
    pixel = healpy.ang2pix(4096, sky.ra.to_numpy(), sky.dec.to_numpy(), nest=True, lonlat=True)
    np.testing.assert_array_equal(sky.source_id.to_numpy() >> 35, pixel)


def test_the_same_seed_gives_the_same_sky_and_another_seed_another(sky):
    pd.testing.assert_frame_equal(sky, mock_sky(MOCK, 7, 148.6, 24.2, 4.0))
    other = mock_sky(MOCK, 8, 148.6, 24.2, 4.0)
    assert len(other) == pytest.approx(len(sky), rel=0.05)
    assert not np.isin(other.pmra, sky.pmra).any()


def test_overlapping_patches_hold_the_same_stars(sky):
    other = mock_sky(MOCK, 7, 151.0, 26.0, 4.0)
    near_both = [
        t[
            (positions(t).separation(SkyCoord(148.6, 24.2, unit="deg")).deg < 4.0)
            & (positions(t).separation(SkyCoord(151.0, 26.0, unit="deg")).deg < 4.0)
        ].reset_index(drop=True)
        for t in (sky, other)
    ]
    assert len(near_both[0]) > 1000
    assert (near_both[0].truth == "A").any()
    pd.testing.assert_frame_equal(*near_both)


def test_a_stream_leaves_the_milky_way_as_it_is(sky):
    bare = mock_sky(MockSettings(density=0.2), 7, 148.6, 24.2, 4.0)
    pd.testing.assert_frame_equal(sky[sky.truth == ""].reset_index(drop=True), bare)


@pytest.mark.parametrize(("ra", "dec"), [(0.1, 40.0), (200.0, 89.5), (200.0, -89.5)])
def test_patches_across_ra_0_and_at_the_poles_are_full_circles(ra, dec):
    sky = mock_sky(MockSettings(density=0.1), 1, ra, dec, 3.0)
    frame = SkyCoord(ra, dec, unit="deg").skyoffset_frame()
    offset = positions(sky).transform_to(frame)
    east, north = offset.lon.wrap_at("180d").deg, offset.lat.deg
    counts = np.histogram2d(east, north, bins=[[-4, 0, 4], [-4, 0, 4]])[0]
    assert counts.min() > 0.6 * counts.max()


def test_density_scales_counts():
    counts = [len(mock_sky(MockSettings(density=d), 3, 200.0, 30.0, 3.0)) for d in (0.1, 0.4, 1.0)]
    assert counts[1] / counts[0] == pytest.approx(4.0, rel=0.1)
    assert counts[2] / counts[1] == pytest.approx(2.5, rel=0.1)


def test_a_brighter_limit_keeps_the_shape_of_the_counts():
    deep, shallow = (mock_sky(MockSettings(g_max=g), 3, 200.0, 30.0, 3.0) for g in (20.2, 18.0))
    assert len(shallow) == pytest.approx((deep.phot_g_mean_mag < 18.0).sum(), rel=0.1)


def test_no_seam_shows_between_cells():
    """Counts in small pixels follow one smooth surface across nine cells, which steps would spoil."""
    middle = int(healpy.ang2pix(16, 150.0, 25.0, nest=True, lonlat=True))
    cells = [middle, *map(int, healpy.get_all_neighbours(16, middle, nest=True))]
    stars = pd.concat([cell_stars(MockSettings(), 5, c) for c in cells])
    pixel = healpy.ang2pix(64, stars.ra.to_numpy(), stars.dec.to_numpy(), nest=True, lonlat=True)
    pixels, counts = np.unique(pixel, return_counts=True)
    assert len(pixels) == 9 * 16
    ra, dec = healpy.pix2ang(64, pixels, nest=True, lonlat=True)
    x, y = (ra - 150.0) / 5.0, (dec - 25.0) / 5.0
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1) / np.sqrt(counts)[:, None]
    _, chi2, _, _ = np.linalg.lstsq(surface, np.sqrt(counts), rcond=None)
    freedom = len(pixels) - 6
    assert abs(chi2[0] / freedom - 1.0) < 4.0 * np.sqrt(2.0 / freedom)


def test_a_field_in_the_plane_is_refused_before_it_fills_the_memory():
    with pytest.raises(ConfigError, match=r"too many stars near .* Galactic plane.*mock\.density \(now 1\)"):
        mock_sky(MockSettings(), 0, 266.4, -28.9, 1.0)


@pytest.mark.parametrize("radius", [0.0, -1.0, 181.0, np.nan])
def test_an_impossible_radius_is_refused(radius):
    with pytest.raises(ConfigError, match="radius of a mock sky"):
        mock_sky(MOCK, 0, 10.0, 10.0, radius)


def test_a_centre_off_the_sky_is_refused():
    with pytest.raises(DataError, match="no place on the sky"):
        mock_sky(MOCK, 0, 10.0, 91.0, 2.0)


def test_an_empty_sky_keeps_its_columns():
    empty = mock_sky(MockSettings(g_max=10.01, density=0.001), 0, 200.0, 30.0, 0.01)
    assert len(empty) == 0
    assert tuple(empty.columns) == MOCK_COLUMNS
    assert empty.source_id.dtype == np.int64
