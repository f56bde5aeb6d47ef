"""Settings of the field: which stars, which cuts, which patches."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from viamachinae.config.section import Circle, Dec, Finite, NotNegative, Positive, Ra, Section, ascending

__all__ = [
    "STAR_COLUMNS",
    "FiducialSettings",
    "PatchSettings",
    "SelectionSettings",
    "StarSettings",
]

#: Columns of stars that a scan reads by name, where a table has them.
STAR_COLUMNS = (
    *("source_id", "ra", "dec", "pmra", "pmdec", "parallax", "phot_g_mean_mag", "bp_rp"),
    *("pmra_error", "pmdec_error", "parallax_error", "pmra_pmdec_corr", "ruwe", "phot_bp_rp_excess_factor"),
    *("astrometric_params_solved", "nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat"),
    *("ref_epoch", "release"),
)


def _as_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


#: A path or a URL, as text: a ``Path`` would make ``https:/`` of ``https://``.
_Place = Annotated[
    str, BeforeValidator(_as_text), WithJsonSchema({"type": "string", "format": "place", "minLength": 1})
]


class StarSettings(Section):
    """Where the stars come from."""

    source: Literal["gaia-dr2", "gaia-dr3", "galaxia-dr2", "galaxia-dr3", "files", "mock"] = Field(
        "mock",
        description=(
            '"gaia-dr2", "gaia-dr3": download from Gaia\'s archive; "galaxia-dr2", "galaxia-dr3": download '
            'the streamless mock catalogues GDR2mock and GeDR3mock (see [archive]); "files": tables with '
            'Gaia column names; "mock": the embedded mock sky'
        ),
    )
    paths: tuple[_Place, ...] = Field(
        (),
        description=(
            'tables to read with source = "files": files (Parquet, FITS, ECSV, VOTable, CSV), patterns, '
            "folders, HATS catalogues, on this machine or as URLs (https://, s3://); relative paths start at "
            "the folder of the TOML file"
        ),
    )
    release: Literal["gaia-dr2", "gaia-dr3", "unknown"] = Field(
        "unknown", description="Gaia release of the files; ids of different releases are never mixed"
    )
    carry: tuple[str, ...] = Field(
        (), description='further columns of the files to carry along to the members, e.g. ["truth"]'
    )
    columns: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        default={},
        description=(
            'what the files call a column, where it is not Gaia\'s name, e.g. { pmra = "PMRA_CORR" }; '
            "capitals do not matter otherwise"
        ),
    )
    min_coverage: Annotated[float, Field(ge=0, le=1)] = Field(
        0.8, description="smallest part of a patch's area in which the files must have stars"
    )

    @property
    def downloads(self) -> bool:
        """Whether the stars come from an archive, cell by cell."""
        return self.source.startswith(("gaia-", "galaxia-"))

    @property
    def gaia_release(self) -> Literal["gaia-dr2", "gaia-dr3", "unknown"]:
        """The Gaia release that the stars follow, ``unknown`` where the source does not say.

        The Galaxia catalogues follow one each; the embedded mock sky the one of ``mock.release``.
        """
        if self.downloads:
            return "gaia-dr2" if self.source.endswith("-dr2") else "gaia-dr3"
        return self.release if self.source == "files" else "unknown"

    @field_validator("columns")
    @classmethod
    def _known(cls, columns: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        known = (*STAR_COLUMNS, *info.data.get("carry", ()))
        for name in columns:
            if name not in known:
                close = get_close_matches(name.lower(), known, n=1)
                hint = f", did you mean {close[0]!r}?" if close else ""
                msg = (
                    f"{name!r} is no column of the stars{hint}; valid: {', '.join(known)} (carry adds others)"
                )
                raise ValueError(msg)
        taken: dict[str, str] = {}
        for name, own in columns.items():
            if taken.setdefault(own, name) != name:
                msg = f"{taken[own]} and {name} are both read from {own!r}; give each its own column"
                raise ValueError(msg)
        return columns

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "" in self.paths:
            msg = "paths holds an empty text; name a file, a folder or a URL"
            raise ValueError(msg)
        for name in ("paths", "columns"):
            if self.source != "files" and getattr(self, name):
                msg = (
                    f'{name} is said of files alone, and source = "{self.source}" reads none: leave it out, '
                    'or set source = "files"'
                )
                raise ValueError(msg)
        if self.downloads and self.release not in ("unknown", self.gaia_release):
            msg = (
                f'release = "{self.release}" is not that of source = "{self.source}"; release is said of '
                "files alone: leave it out"
            )
            raise ValueError(msg)
        if self.source == "files" and not self.paths:
            msg = 'source = "files" needs paths: a list of at least one table'
            raise ValueError(msg)
        return self


class SelectionSettings(Section):
    """Cuts on the stars before anything is trained; all use the photometry as measured."""

    parallax_max: Finite | None = Field(1.0, description="largest parallax (mas); none: leave out")
    g_max: Positive | None = Field(
        None, description="faintest G magnitude (mag) kept for training, as measured, whatever the dust"
    )
    ruwe_max: Positive | None = Field(
        None, description="largest RUWE; the papers use 1.4 with Gaia DR3 (needs a ruwe column)"
    )
    flux_excess_sigma: Positive | None = Field(
        None,
        description=(
            "largest size of the corrected BP/RP flux excess C*, in its scatter at the star's G, both as "
            "measured (Riello et al. 2021; Gaia DR3 only, needs phot_bp_rp_excess_factor); 3 to 5 is common"
        ),
    )
    zero_point: bool = Field(
        False,
        description=(
            "cut on the parallax corrected for its zero-point (Lindegren et al. 2021; Gaia DR3 only, needs "
            "the package gaiadr3-zeropoint); where the correction is not valid, on the parallax as it is"
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.zero_point and self.parallax_max is None:
            msg = (
                "zero_point = true changes no star without a cut on the parallax: set parallax_max, or leave "
                "zero_point out"
            )
            raise ValueError(msg)
        return self


class PatchSettings(Section):
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


class FiducialSettings(Section):
    """Cuts after training, before the stars are ranked (Shih et al. 2021, 2023)."""

    radius: Positive = Field(10.0, description="radius of the searched inner circle of a patch (deg)")
    photometry: Literal["corrected", "raw"] = Field(
        "corrected",
        description=(
            'what g_max and colour cut: "corrected": corrected for extinction where extinction.map is set, '
            'as measured where it is not; "raw": always as measured'
        ),
    )
    g_max: Positive = Field(20.2, description="faintest G magnitude (mag), see photometry")
    colour: tuple[Finite, Finite] = Field(
        (0.5, 1.0), description="[low, high] of BP-RP (mag), see photometry"
    )
    pm_min: NotNegative = Field(
        2.0,
        description="a star passes when |pm_phi_coslambda| or |pm_lambda| is larger (mas/yr)",
    )
    masks: tuple[Circle, ...] = Field(
        (), description="[[ra, dec, radius], ...] (deg): stars of known objects, left out"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        ascending("colour", self.colour)
        return self
