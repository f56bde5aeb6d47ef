"""Stellar streams injected into the mock sky, each drawn once for its whole track.

Those that follow from an orbit come from :mod:`viamachinae.stars.mock.progenitors`. Any other
stream runs along a great circle. Along it, its distance and mean proper motion
change linearly with the angle and its stars are spread evenly; across it they
are Gaussian. Its stars follow one old sequence of the stream's metallicity with
a Kroupa (2001, MNRAS 322, 231) mass function.
"""

# ruff: noqa: PLC0415 - healpy is slow to import: only where it is needed
from __future__ import annotations

import numpy as np
import pandas as pd

from viamachinae.config.mocksky import MockProgenitor, MockSettings, MockStream
from viamachinae.config.seeds import rng
from viamachinae.errors import ConfigError, DataError
from viamachinae.sky.circles import GreatCircle
from viamachinae.stars.healpix import ID_BITS, ID_ORDER
from viamachinae.stars.mock.cells import TrueStars, observe
from viamachinae.stars.mock.progenitors import progenitor_stars
from viamachinae.stars.mock.sequences import MassFunction, Population, luminosity_function

__all__ = ["stream_stars", "stream_track"]

_AGE = 12.0  # Gyr
_MASS_FUNCTION = MassFunction(1.3, 2.3, 0.5)
_ID_OFFSET = 1 << 34  # running numbers of stream stars start here, above those of any cell


def stream_track(stream: MockStream) -> GreatCircle:
    """Return the great circle of a stream: phi1 runs from 0 at its start towards its end.

    phi2 grows to the left of the direction of travel as seen from outside the
    celestial sphere, along (outward radial) x (direction): ``pm_along`` is the
    proper motion in phi1 (times cos phi2) and ``pm_across`` that in phi2.

    Parameters
    ----------
    stream : MockStream
        The stream; the shorter arc between its ends is its track.

    Raises
    ------
    ConfigError
        The ends are the same or opposite points of the sky.
    """
    try:
        return GreatCircle.from_points(*stream.start, *stream.end)
    except DataError as error:
        msg = (
            f"mock.streams: {stream.name!r} has no track from {list(stream.start)} to {list(stream.end)} "
            "(deg): they are the same or opposite points; give two others as start and end"
        )
        raise ConfigError(msg) from error


def stream_stars(mock: MockSettings, scan_seed: int) -> pd.DataFrame:
    """Return the stars of all injected streams over the whole sky.

    Each stream has exactly ``n_stars`` stars brighter than ``g_max``, whatever
    part of it a patch holds.

    Parameters
    ----------
    mock : MockSettings
        The streams, the limit in G and the release imitated.
    scan_seed : int
        Seed of the scan.

    Returns
    -------
    DataFrame
        The columns of :func:`viamachinae.stars.mock.sky.mock_sky`; no rows without streams.

    Raises
    ------
    ConfigError
        A stream has no track, or is too distant to have stars brighter than ``g_max``; a
        progenitor is not bound, or gala is not there to follow it.
    """
    import healpy

    tables = []
    number = _ID_OFFSET
    streams: list[MockStream | MockProgenitor] = [*mock.streams, *mock.progenitors]
    for stream in streams:
        generator = rng(scan_seed, "mock-stream", stream.name)
        table = observe(_stars(stream, mock.g_max, generator), mock, generator)
        pixel = healpy.ang2pix(
            1 << ID_ORDER, table["ra"].to_numpy(), table["dec"].to_numpy(), nest=True, lonlat=True
        )
        running = number + np.arange(len(table), dtype=np.int64)
        tables.append(
            table.assign(source_id=(pixel.astype(np.int64) << ID_BITS) + running, truth=stream.name)
        )
        number += len(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _stars(stream: MockStream | MockProgenitor, g_max: float, generator: np.random.Generator) -> TrueStars:
    if isinstance(stream, MockProgenitor):
        return progenitor_stars(stream, g_max, int(generator.integers(1 << 62)))
    return _draw(stream, g_max, generator)


def _draw(stream: MockStream, g_max: float, generator: np.random.Generator) -> TrueStars:
    circle = stream_track(stream)
    n = stream.n_stars
    length = float(circle.phi1(*stream.end))
    along = generator.random(n)
    phi1, phi2 = along * length, stream.width * generator.standard_normal(n)
    distance = np.interp(along, (0.0, 1.0), stream.distance)
    modulus = 10.0 + 5.0 * np.log10(distance)
    lf = luminosity_function(Population(stream.feh, 0.0, _AGE, _MASS_FUNCTION))
    if not (lf.count(g_max - modulus) > 0.0).all():
        msg = (
            f"mock.streams: {stream.name!r} at a distance of {max(stream.distance):g} kpc has no stars "
            f"brighter than g_max = {g_max:g}; lower the distance or raise g_max"
        )
        raise ConfigError(msg)
    m_g, colour = lf.sample(g_max - modulus, generator.random(n))
    spread = stream.pm_dispersion * generator.standard_normal((2, n))
    pm1 = np.interp(along, (0.0, 1.0), stream.pm_along) + spread[0]
    pm2 = np.interp(along, (0.0, 1.0), stream.pm_across) + spread[1]
    ra, dec = circle.to_sky(phi1, phi2)
    pmra, pmdec = circle.unrotate_pm(phi1, phi2, pm1, pm2)
    return TrueStars(ra, dec, distance, pmra, pmdec, modulus + m_g, colour)
