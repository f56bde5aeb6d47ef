"""Settings of the correction for Galactic dust."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from viamachinae.config.section import Section

__all__ = ["ExtinctionSettings"]


class ExtinctionSettings(Section):
    """Correction of G and BP-RP for Galactic extinction; raw and corrected values are both kept.

    What uses which: the selection cuts the raw magnitude, the densities and the memberships see the
    corrected photometry, and ``fiducial.photometry`` says what the fiducial cuts use.
    """

    map: Literal["none", "sfd"] = Field(
        "none",
        description=(
            '"none": no correction, every step uses the photometry as measured; "sfd": the all-sky map of '
            "Schlegel, Finkbeiner & Davis (1998), which `viamachinae data fetch sfd` downloads (needs the "
            "package dustmaps)"
        ),
    )
    folder: Path | None = Field(
        None,
        description=(
            "where the maps lie, a full path or one that starts with ~; none: where `viamachinae data fetch "
            "sfd` puts them"
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folder is not None and not self.folder.expanduser().is_absolute():
            msg = (
                f"folder must be a full path, since tasks run in other folders, got {str(self.folder)!r}; "
                f"perhaps {str(Path.cwd() / self.folder)!r}"
            )
            raise ValueError(msg)
        return self
