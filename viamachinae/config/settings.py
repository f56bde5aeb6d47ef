"""The settings tree of a scan: frozen, validated, every field described with its unit.

Published numbers of the method (Via Machinae 1.0-3.0, ANODE) are the defaults
here and constants nowhere else; where a default departs from the papers, the
description says why.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "COORDINATES",
    "Coordinate",
    "DensitySettings",
    "FiducialSettings",
    "FragmentSettings",
    "LineSettings",
    "MemberSettings",
    "MockSettings",
    "MockStream",
    "PatchSettings",
    "RegionSettings",
    "RoiSettings",
    "RunnerSettings",
    "ScanSettings",
    "ScorerSettings",
    "SelectionSettings",
    "Settings",
    "StarSettings",
    "StreamSettings",
]

Coordinate = Literal["pm_phi_coslambda", "pm_lambda"]
COORDINATES: tuple[Coordinate, ...] = ("pm_phi_coslambda", "pm_lambda")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ra = Annotated[float, Field(ge=0, lt=360, allow_inf_nan=False)]
Dec = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Circle = tuple[Ra, Dec, Positive]

#: Haversine of about 0.001 arcsec.
_SAME_POINT = 1e-17


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _ascending(name: str, pair: tuple[float, float] | None) -> None:
    if pair is not None and pair[0] >= pair[1]:
        msg = f"{name} must rise from low to high, got [{pair[0]}, {pair[1]}]"
        raise ValueError(msg)


class ScanSettings(_Section):
    """What this scan is called and what its random numbers start from."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "scan", description="name of the scan, used in reports; letters, digits, . _ -"
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="seed from which every random draw of the scan is derived"
    )
    keep_models: bool = Field(False, description="keep the trained flows (checkpoints) of every region")


class StarSettings(_Section):
    """Where the stars come from."""

    source: Literal["files", "mock"] = Field(
        "mock", description='"files": tables with Gaia column names; "mock": the embedded mock sky'
    )
    paths: tuple[Path, ...] = Field(
        (),
        description=(
            'tables to read with source = "files" (Parquet, FITS, ECSV, VOTable, CSV); '
            "relative paths start at the folder of the TOML file"
        ),
    )
    release: Literal["gaia-dr2", "gaia-dr3", "unknown"] = Field(
        "unknown", description="Gaia release of the files; ids of different releases are never mixed"
    )
    carry: tuple[str, ...] = Field(
        (), description='further columns of the files to carry along to the members, e.g. ["truth"]'
    )
    min_coverage: Annotated[float, Field(ge=0, le=1)] = Field(
        0.8, description="smallest part of a patch's area in which the files must have stars"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.source == "files" and not self.paths:
            msg = 'source = "files" needs paths: a list of at least one table'
            raise ValueError(msg)
        return self


class SelectionSettings(_Section):
    """Cuts on the stars before anything is trained."""

    parallax_max: Finite | None = Field(1.0, description="largest parallax (mas); none: leave out")
    g_max: Positive | None = Field(None, description="faintest G magnitude (mag) kept for training")
    ruwe_max: Positive | None = Field(
        None, description="largest RUWE; the papers use 1.4 with Gaia DR3 (needs a ruwe column)"
    )


class PatchSettings(_Section):
    """How the sky is cut into patches."""

    radius: Annotated[float, Field(gt=0, le=30)] = Field(15.0, description="radius of a patch (deg)")
    centres: tuple[tuple[Ra, Dec], ...] = Field(
        (), description="[[ra, dec], ...] (deg, ICRS): search these fields instead of the tiling"
    )
    nside: Annotated[int, Field(ge=1)] = Field(6, description="HEALPix nside of the tiling (RING, Galactic)")
    b_min: Annotated[float, Field(ge=0, lt=90)] = Field(
        30.0, description="smallest |b| of a patch centre (deg); the disk is left out"
    )
    exclude: tuple[Circle, ...] = Field(
        ((80.894, -69.756, 15.0), (13.187, -72.829, 10.0)),
        description=(
            "[[ra, dec, radius], ...] (deg): tiles whose centre lies inside are left out; "
            "the default covers the Large and the Small Magellanic Cloud"
        ),
    )


class FiducialSettings(_Section):
    """Cuts after training, before the stars are ranked (Shih et al. 2021, 2023)."""

    radius: Positive = Field(10.0, description="radius of the searched inner circle of a patch (deg)")
    g_max: Positive = Field(20.2, description="faintest G magnitude (mag)")
    colour: tuple[Finite, Finite] = Field((0.5, 1.0), description="[low, high] of BP-RP (mag)")
    pm_min: NotNegative = Field(
        2.0,
        description="a star passes when |pm_phi_coslambda| or |pm_lambda| is larger (mas/yr)",
    )
    masks: tuple[Circle, ...] = Field(
        (), description="[[ra, dec, radius], ...] (deg): stars of known objects, left out"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ascending("colour", self.colour)
        return self


class RegionSettings(_Section):
    """Signal regions: windows in one proper-motion coordinate (the scan coordinate)."""

    coordinates: Annotated[tuple[Coordinate, ...], Field(min_length=1)] = Field(
        COORDINATES, description="scan coordinates, each searched in turn"
    )
    width: Positive = Field(6.0, description="width of a signal region (mas/yr)")
    stride: Positive = Field(1.0, description="distance between neighbouring regions (mas/yr)")
    limits: tuple[Finite, Finite] | None = Field(
        None,
        description="[low, high] (mas/yr): bounds on the edges of the regions; none: as far as min_stars",
    )
    min_stars: Annotated[int, Field(ge=1)] = Field(
        20_000, description="fewest stars of a region that is searched"
    )
    max_stars: Annotated[int, Field(ge=1)] = Field(
        1_000_000, description="most stars of a region that is searched"
    )
    group_size: Annotated[int, Field(ge=1)] = Field(
        1, description="regions of one task; changes how work is shared out, never a result"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = []
        if self.stride > self.width:
            fault = f"stride ({self.stride}) must not exceed width ({self.width}): stars would be skipped"
            faults.append(fault)
        if self.limits is not None and self.limits[0] >= self.limits[1]:
            faults.append(f"limits must rise from low to high, got {list(self.limits)}")
        elif self.limits is not None and self.limits[1] - self.limits[0] < self.width:
            faults.append(f"limits {list(self.limits)} hold no region of width {self.width}")
        if self.min_stars > self.max_stars:
            faults.append(f"min_stars ({self.min_stars}) must not exceed max_stars ({self.max_stars})")
        if len(set(self.coordinates)) != len(self.coordinates):
            faults.append("coordinates must not repeat")
        if faults:
            raise ValueError("\n".join(faults))
        return self


class RoiSettings(_Section):
    """Regions of interest: slices of a signal region in the orthogonal proper motion."""

    width: Positive = Field(6.0, description="width of a slice (mas/yr)")
    stride: Positive = Field(1.0, description="distance between neighbouring slices (mas/yr)")
    n_top: Annotated[int, Field(ge=10)] = Field(
        100, description="stars of highest log R kept in each region of interest"
    )
    min_stars: Annotated[int, Field(ge=10)] = Field(
        200,
        description=(
            "fewest fiducial stars of a slice that is searched, and never less than n_top: "
            "the best of too few are only a map of all"
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stride > self.width:
            msg = f"stride ({self.stride}) must not exceed width ({self.width}): stars would be skipped"
            raise ValueError(msg)
        return self


class ScorerSettings(_Section):
    """How stars are scored."""

    name: Literal["anode"] = Field("anode", description="scorer: log R of every star of a region")
    folds: Annotated[int, Field(ge=2, le=20)] = Field(
        2, description="folds of the cross-fit: a star is scored by the model that did not train on it"
    )
    start: Literal["sideband", "cold"] = Field(
        "sideband",
        description=(
            'where the signal-region models start: "sideband": from the sideband model, so that shared '
            'errors cancel; "cold": from random weights, as published'
        ),
    )
    learning_rate: Positive = Field(
        1e-3, description='peak learning rate of the signal-region models with start = "sideband"'
    )


class DensitySettings(_Section):
    """The conditional density model p(x | m) and its training.

    The published model (15 blocks of 128, batches of 256, Adam at 1e-4) is far
    slower at equal held-out likelihood; ``viamachinae init --preset published``
    writes it.
    """

    name: Literal["maf", "fast-maf", "mixture"] = Field(
        "maf",
        description=(
            'density family; "maf": masked autoregressive flow, the published reference; "fast-maf": such a '
            'flow without batch_norm, up to twice as fast; "mixture": autoregressive mixture of Gaussians '
            "in two hidden layers, no blocks"
        ),
    )
    blocks: Annotated[int, Field(ge=1)] = Field(5, description="autoregressive blocks of a flow")
    hidden: Annotated[int, Field(ge=1)] = Field(64, description="hidden units of a layer")
    components: Annotated[int, Field(ge=1)] = Field(
        10, description='Gaussians of each feature; only "mixture" has them'
    )
    batch_norm: bool = Field(
        False,
        description=(
            'batch normalisation between the blocks of "maf"; published: true, but slower and no better here'
        ),
    )
    preprocessing: Literal["physical", "logit"] = Field(
        "physical",
        description=(
            '"physical": cap to a normal, asinh(pm / 5), log(limit - G); '
            '"logit": min-max and logit of every feature, as published'
        ),
    )
    batch_size: Annotated[int, Field(ge=2)] = Field(1024, description="stars of a mini-batch")
    learning_rate: Positive = Field(
        4e-3, description="peak learning rate of Adam, after a warm-up and before a cosine decay"
    )
    gradient_clip: Positive = Field(5.0, description="largest norm of a gradient step")
    max_epochs: Annotated[int, Field(ge=1)] = Field(30, description="most passes over the stars")
    max_star_steps: Annotated[int, Field(ge=1)] = Field(
        5_000_000, description="most star presentations of one training; bounds the epochs of large samples"
    )
    patience: Annotated[int, Field(ge=1)] = Field(
        8, description="epochs without a better held-out likelihood before training stops"
    )
    best_epochs: Annotated[int, Field(ge=1)] = Field(
        10, description="densities are averaged over this many best epochs"
    )
    validation_fraction: Annotated[float, Field(gt=0, lt=0.9)] = Field(
        0.1, description="fraction of the training stars held out to judge epochs"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.batch_norm and self.name != "maf":
            msg = f'name = "{self.name}" has no batch normalisation: set batch_norm = false or name = "maf"'
            raise ValueError(msg)
        return self


class LineSettings(_Section):
    """The line finder (Hough transform) on the best stars of a region of interest."""

    width: Positive = Field(1.0, description="width of a line (deg)")
    n_angle: Annotated[int, Field(ge=18)] = Field(180, description="steps of the line angle over 180 deg")
    step: Positive = Field(0.1, description="step of the line's distance from the centre (deg)")
    rim: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.8,
        description="lines further from the centre than this fraction of the radius only graze the rim",
    )
    stretch: Positive = Field(
        2.0,
        description=(
            "length (deg) of the stretches of a line whose counts are compared: the two fullest count "
            "as no more than the third, so that a clump of stars makes no line"
        ),
    )


class FragmentSettings(_Section):
    """How regions of interest of one patch add up to a fragment."""

    min_significance: NotNegative = Field(
        4.0, description="least line significance (Gaussian sigma) of a region of interest"
    )
    min_trainings: Annotated[int, Field(ge=1)] = Field(
        2, description="least number of independent trainings (signal regions) that agree"
    )
    max_angle: Positive = Field(10.0, description="largest angle between the lines (deg)")
    max_distance: Positive = Field(1.0, description="largest distance between the lines (deg)")
    max_pm: Positive = Field(3.0, description="largest difference of mean proper motion (mas/yr)")


class StreamSettings(_Section):
    """How fragments of overlapping patches join into a stream candidate."""

    min_shared: Annotated[int, Field(ge=0)] = Field(
        3, description="least number of line stars that two fragments share where their patches overlap"
    )
    max_angle: Positive = Field(15.0, description="largest angle between the great circles (deg)")
    max_distance: Positive = Field(1.5, description="largest distance of the circles at the overlap (deg)")
    max_pm: Positive = Field(
        3.0, description="largest difference of proper motion, both continued to the overlap (mas/yr)"
    )


class MemberSettings(_Section):
    """The member list of a candidate."""

    half_width: Positive = Field(
        3.0, description="half width of the band along the track in which stars are judged (deg)"
    )
    pm_window: Positive = Field(
        5.0, description="largest distance in proper motion from the track of a judged star (mas/yr)"
    )
    degree: Annotated[int, Field(ge=0, le=5)] = Field(
        2, description="polynomial degree of the track in position and proper motion"
    )


class MockStream(_Section):
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


class MockSettings(_Section):
    """The embedded mock sky."""

    g_max: Annotated[float, Field(gt=10, le=21)] = Field(20.2, description="faint limit in G (mag)")
    release: Literal["gaia-dr2", "gaia-dr3"] = Field(
        "gaia-dr2", description="release whose errors by magnitude are imitated"
    )
    density: Annotated[float, Field(gt=0, le=2)] = Field(
        1.0, description="number of stars relative to the Milky Way's"
    )
    streams: tuple[MockStream, ...] = Field((), description="injected streams")

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [s.name for s in self.streams]
        if len(set(names)) != len(names):
            msg = f"streams need different names, got {names}"
            raise ValueError(msg)
        return self


class RunnerSettings(_Section):
    """Where and how tasks run; nothing here changes a result."""

    workers: Annotated[int, Field(ge=0)] = Field(0, description="worker processes; 0: one a core")
    address: str = Field("", description='Ray cluster to join ("auto"); empty: start one here')
    inline: bool = Field(False, description="run in this process, without Ray (debugging)")


class Settings(_Section):
    """All settings of a scan."""

    scan: ScanSettings = Field(default_factory=ScanSettings)
    stars: StarSettings = Field(default_factory=StarSettings)
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    patches: PatchSettings = Field(default_factory=PatchSettings)
    fiducial: FiducialSettings = Field(default_factory=FiducialSettings)
    regions: RegionSettings = Field(default_factory=RegionSettings)
    roi: RoiSettings = Field(default_factory=RoiSettings)
    scorer: ScorerSettings = Field(default_factory=ScorerSettings)
    density: DensitySettings = Field(default_factory=DensitySettings)
    lines: LineSettings = Field(default_factory=LineSettings)
    fragments: FragmentSettings = Field(default_factory=FragmentSettings)
    streams: StreamSettings = Field(default_factory=StreamSettings)
    members: MemberSettings = Field(default_factory=MemberSettings)
    mock: MockSettings = Field(default_factory=MockSettings)
    runner: RunnerSettings = Field(default_factory=RunnerSettings)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.fiducial.radius > self.patches.radius:
            msg = (
                f"fiducial.radius ({self.fiducial.radius}) must not exceed "
                f"patches.radius ({self.patches.radius})"
            )
            raise ValueError(msg)
        return self
