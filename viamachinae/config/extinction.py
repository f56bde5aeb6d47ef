"""Settings of the correction for Galactic dust."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from viamachinae.config.section import Section

__all__ = ["ExtinctionSettings"]


class ExtinctionSettings(Section):
    """Correction of G and BP-RP for Galactic extinction; raw and corrected values are both kept."""

    map: Literal["none", "sfd"] = Field(
        "none",
        description=(
            '"sfd": the all-sky map of Schlegel, Finkbeiner & Davis (1998), see `viamachinae data fetch`; '
            "densities and fiducial cuts then use the corrected photometry, the selection the raw"
        ),
    )
    folder: Path | None = Field(
        None, description="where the maps lie; none: where `viamachinae data fetch` puts them"
    )
