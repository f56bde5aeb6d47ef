"""Settings of the sources that download: how an archive is asked, and how politely."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from viamachinae.config.section import Positive, Section

__all__ = ["ArchiveSettings"]


class ArchiveSettings(Section):
    """How stars are downloaded; only ``table`` and ``cell_order`` change what is downloaded."""

    url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = Field(
        "",
        description=(
            "TAP service; empty: the source's own (ESA for gaia-dr2 and gaia-dr3, GAVO for galaxia-dr2 and "
            "galaxia-dr3); a mirror serves as well"
        ),
    )
    table: Annotated[str, Field(pattern=r"^([A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*)?$")] = Field(
        "", description="table of the service, schema.name; empty: the source's own"
    )
    cell_order: Annotated[int, Field(ge=0, le=8)] = Field(
        4,
        description="HEALPix order of the cells that are downloaded once and shared by patches (4: 3.7 deg)",
    )
    chunk_rows: Annotated[int, Field(ge=1000)] = Field(
        500_000, description="most rows asked for at once; larger cells are cut into parts"
    )
    parallel: Annotated[int, Field(ge=1, le=16)] = Field(
        3, description="jobs that run at once on the service; be polite"
    )
    timeout: Positive = Field(60.0, description="seconds without a byte before a request is given up")
    budget: Positive = Field(
        3600.0,
        description="seconds that one part may take, over all tries and waits, before its cell fails",
    )
    login: bool = Field(
        False,
        description=(
            "log in at the service (ESA only), with VIAMACHINAE_GAIA_USER and VIAMACHINAE_GAIA_PASSWORD of "
            "the environment or the host's line in ~/.netrc"
        ),
    )
