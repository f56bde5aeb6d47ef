"""Settings of the embedded mock sky and the streams injected into it."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from viamachinae.config.section import Dec, Finite, NotNegative, Positive, Ra, Section

__all__ = [
    "MockProgenitor",
    "MockSettings",
    "MockStream",
]

#: Haversine of about 0.001 arcsec.
_SAME_POINT = 1e-17


class MockStream(Section):
    """A stream injected into the mock sky, along a great circle."""

    name: Annotated[str, Field(min_length=1)] = Field(description="label of the stream's stars")
    n_stars: Annotated[int, Field(ge=1)] = Field(description="stars to the faint limit")
    start: tuple[Ra, Dec] = Field(description="[ra, dec] (deg) of one end of the track")
    end: tuple[Ra, Dec] = Field(description="[ra, dec] (deg) of the other end")
    width: Positive = Field(0.2, description="Gaussian sigma across the track (deg)")
    distance: tuple[Positive, Positive] = Field((8.0, 8.0), description="distance at both ends (kpc)")
    pm_along: tuple[Finite, Finite] = Field(
        description="proper motion along the track, towards its end, at both ends (mas/yr)"
    )
    pm_across: tuple[Finite, Finite] = Field(
        (0.0, 0.0), description="proper motion to the left of the track at both ends (mas/yr)"
    )
    pm_dispersion: NotNegative = Field(0.1, description="intrinsic dispersion of each proper motion (mas/yr)")
    feh: Annotated[float, Field(ge=-2.5, le=-0.5)] = Field(
        -2.0, description="metallicity [Fe/H] (dex) of the old sequence"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        (ra, dec), (end_ra, end_dec) = ([math.radians(v) for v in point] for point in (self.start, self.end))
        hav = math.sin((end_dec - dec) / 2) ** 2
        hav += math.cos(dec) * math.cos(end_dec) * math.sin((end_ra - ra) / 2) ** 2
        if min(hav, 1 - hav) < _SAME_POINT:
            msg = (
                f"start and end {list(self.end)} are the same or opposite points: no great circle joins them"
            )
            raise ValueError(msg)
        return self


class MockProgenitor(Section):
    """A stream injected into the mock sky as what its progenitor loses on its orbit.

    Needs gala (`pip install 'viamachinae[orbits]'`).
    """

    name: Annotated[str, Field(min_length=1)] = Field(description="label of the stream's stars")
    n_stars: Annotated[int, Field(ge=1)] = Field(
        description="stars brighter than g_max over the whole stream, both arms, wherever on the sky"
    )
    ra: Ra = Field(description="right ascension (deg) of the progenitor today")
    dec: Dec = Field(description="its declination (deg)")
    distance: Positive = Field(description="its distance (kpc)")
    pmra: Finite = Field(description="its proper motion along ra, times cos(dec) (mas/yr)")
    pmdec: Finite = Field(description="its proper motion along dec (mas/yr)")
    radial_velocity: Finite = Field(description="its radial velocity from the Sun (km/s)")
    mass: Annotated[float, Field(gt=0, le=1e9)] = Field(
        2e4, description="its mass (solar masses), held constant; the stream's width grows with its cube root"
    )
    scale_radius: Positive = Field(
        0.004, description="scale radius (kpc) of its Plummer sphere, which its stars feel"
    )
    age: Annotated[float, Field(gt=0, le=13)] = Field(
        3.0, description="time (Gyr) since its first stars escaped; they do so evenly in time"
    )
    spray: Literal["chen", "fardal"] = Field(
        "chen", description="how stars escape: Chen et al. (2025) or Fardal et al. (2015)"
    )
    potential: Literal["MilkyWayPotential2022", "MilkyWayPotential"] = Field(
        "MilkyWayPotential2022", description="gala's model of the Milky Way's mass"
    )
    feh: Annotated[float, Field(ge=-2.5, le=-0.5)] = Field(
        -2.0, description="metallicity [Fe/H] (dex) of the stars"
    )
    stellar_age: Annotated[float, Field(ge=8, le=12.5)] = Field(12.0, description="age (Gyr) of the stars")


class MockSettings(Section):
    """The embedded mock sky."""

    g_max: Annotated[float, Field(gt=10, le=21)] = Field(20.2, description="faint limit in G (mag)")
    release: Literal["gaia-dr2", "gaia-dr3"] = Field(
        "gaia-dr2", description="release whose errors by magnitude are imitated"
    )
    density: Annotated[float, Field(gt=0, le=2)] = Field(
        1.0, description="number of stars relative to the Milky Way's"
    )
    streams: tuple[MockStream, ...] = Field((), description="injected streams")
    progenitors: tuple[MockProgenitor, ...] = Field(
        (), description="injected streams that follow from the orbit of a progenitor"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*(s.name for s in self.streams), *(p.name for p in self.progenitors)]
        if len(set(names)) != len(names):
            msg = f"streams need different names, got {names}"
            raise ValueError(msg)
        return self
