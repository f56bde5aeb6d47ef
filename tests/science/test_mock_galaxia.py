"""The mock Milky Way beside a Galaxia realisation of the Besancon model, in the field of GD-1."""

from pathlib import Path

import healpy
import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from viamachinae.benchmark.mock.compare import bands, bins
from viamachinae.benchmark.mock.skies import latitude
from viamachinae.benchmark.mock.verdict import misses
from viamachinae.config.settings import MockSettings
from viamachinae.stars.mock.cells import cell_stars

GALAXIA = Path(__file__).resolve().parents[3] / "shared" / "data" / "galaxia" / "gd1_strip.parquet"
CENTRES = ((148.6, 24.2), (146.9, 35.6))

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not GALAXIA.exists(), reason="the Galaxia strip does not lie beside the project"),
]


@pytest.fixture(scope="module")
def skies():
    """The mock and Galaxia in every second cell that lies whole in the strip, at the same cuts."""
    galaxia = pd.read_parquet(GALAXIA)
    pixel = healpy.ang2pix(16, galaxia.ra.to_numpy(), galaxia.dec.to_numpy(), nest=True, lonlat=True)
    cells = [c for c in np.unique(pixel) if _whole(int(c))][::2]
    mock = pd.concat([cell_stars(MockSettings(), 11, int(c)) for c in cells], ignore_index=True)
    return mock[mock.parallax < 1.0], galaxia[np.isin(pixel, cells)]


def _whole(cell):
    corners = healpy.boundaries(16, cell, step=4, nest=True)
    return any(
        (healpy.ang2vec(ra, dec, lonlat=True) @ corners > np.cos(np.radians(14.95))).all()
        for ra, dec in CENTRES
    )


def test_counts_agree_by_magnitude(skies):
    mock, galaxia = skies
    assert len(galaxia) > 300_000
    assert len(mock) / len(galaxia) == pytest.approx(1.0, abs=0.05)
    edges = np.arange(14.0, 20.3, 1.0)
    ratio = np.histogram(mock.phot_g_mean_mag, edges)[0] / np.histogram(galaxia.phot_g_mean_mag, edges)[0]
    np.testing.assert_allclose(ratio, 1.0, atol=0.1)


def test_bins_of_colour_and_magnitude_keep_the_target_in_three_bands(skies):
    """Counts within 20 %, Kolmogorov-Smirnov distances below 0.1, wherever there are 2,000 stars."""
    mock, galaxia = skies
    b_mock, b_galaxia = (latitude(s) for s in skies)
    for low, high in bands(galaxia)[:3]:
        ours = mock[(b_mock >= low) & (b_mock < high)]
        theirs = galaxia[(b_galaxia >= low) & (b_galaxia < high)]
        rows = list(bins(ours, theirs))
        assert len(rows) > 20
        assert [found for row in rows for found in misses(row)] == []


@pytest.mark.parametrize("column", ["phot_g_mean_mag", "bp_rp", "pmra", "pmdec", "parallax"])
def test_distributions_agree(skies, column):
    mock, galaxia = skies
    assert ks_2samp(mock[column], galaxia[column]).statistic < 0.02


def test_the_fiducial_stars_near_gd1_are_as_many(skies):
    """Blue stars that move as GD-1 does are what a search there has to beat."""
    counts = []
    for sky in skies:
        blue = sky[sky.bp_rp.between(0.5, 1.0)]
        counts.append([blue.pmdec.between(low, low + 3.0).sum() for low in (-20.0, -17.0, -14.0, -11.0)])
    np.testing.assert_allclose(np.array(counts[0]) / counts[1], 1.0, atol=0.2)


def test_faint_blue_stars_are_as_many(skies):
    counts = [((s.phot_g_mean_mag > 19.0) & s.bp_rp.between(0.3, 0.6)).sum() for s in skies]
    assert counts[0] / counts[1] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("colour", [(0.5, 0.75), (0.75, 1.0), (1.0, 1.5), (1.5, 2.5)])
def test_motions_agree_colour_by_colour(skies, colour):
    mock, galaxia = (s[s.bp_rp.between(*colour)] for s in skies)
    for column in ("pmra", "pmdec"):
        assert ks_2samp(mock[column], galaxia[column]).statistic < 0.05
