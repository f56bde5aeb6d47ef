"""Settings of the masks: which known objects are left out of the ranking, and how much around them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from viamachinae.config.section import NotNegative, Positive, Section

__all__ = ["MaskSettings"]


class MaskSettings(Section):
    """Known objects whose stars are never ranked; their facts travel with the package."""

    globular_clusters: bool = Field(True, description="mask globular clusters of the Milky Way")
    dwarf_galaxies: bool = Field(True, description="mask dwarf galaxies of the Milky Way")
    open_clusters: bool = Field(True, description="mask open clusters")
    magellanic_clouds: bool = Field(True, description="mask the Large and the Small Magellanic Cloud")
    half_light_radii: Positive = Field(
        5.0, description="radius of the circle of an object with a known size, in its half-light radii"
    )
    field_radii: NotNegative = Field(
        1.0,
        description=(
            "smallest radius of the circle of a globular cluster, in radii of the field in which Vasiliev & "
            "Baumgardt (2021) looked for its stars; 0: half-light radii alone"
        ),
    )
    min_radius: NotNegative = Field(
        0.2, description="smallest radius of a circle (deg); that of an object of unknown size"
    )
    max_radius: Positive = Field(2.0, description="largest radius of a circle (deg), but of the Clouds")
    open_cluster_radius: Positive = Field(
        0.25, description="radius of the circles of open clusters (deg), whose table has no sizes"
    )
    magellanic_radii: tuple[Positive, Positive] = Field(
        (10.0, 5.0), description="radii of the circles of the Large and the Small Magellanic Cloud (deg)"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_radius > self.max_radius:
            msg = f"min_radius = {self.min_radius:g} is above max_radius = {self.max_radius:g}"
            raise ValueError(msg)
        return self
