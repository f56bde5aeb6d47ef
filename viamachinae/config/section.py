"""What every section of the settings is made of: the frozen base, and types of values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "COORDINATES",
    "Circle",
    "Coordinate",
    "Dec",
    "Finite",
    "NotNegative",
    "Positive",
    "Ra",
    "Section",
    "ascending",
]

Coordinate = Literal["pm_phi_coslambda", "pm_lambda"]
COORDINATES: tuple[Coordinate, ...] = ("pm_phi_coslambda", "pm_lambda")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Ra = Annotated[float, Field(ge=0, lt=360, allow_inf_nan=False)]
Dec = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
Circle = tuple[Ra, Dec, Positive]


class Section(BaseModel):
    """A section of the settings: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def ascending(name: str, pair: tuple[float, float] | None) -> None:
    """Refuse a range that does not rise.

    Raises
    ------
    ValueError
        The first value is not below the second.
    """
    if pair is not None and pair[0] >= pair[1]:
        msg = f"{name} must rise from low to high, got [{pair[0]}, {pair[1]}]"
        raise ValueError(msg)
