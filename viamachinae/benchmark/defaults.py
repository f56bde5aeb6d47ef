"""The settings that the benchmark reads, also where pydantic, which holds them, is missing."""

from __future__ import annotations

from dataclasses import dataclass, field, is_dataclass, replace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from viamachinae.config.settings import DensitySettings, Settings

__all__ = ["BareSettings", "changed", "settings"]


@dataclass(frozen=True)
class _Density:
    """As ``DensitySettings``."""

    name: str = "mixture"
    blocks: int = 5
    hidden: int = 128
    components: int = 10
    bins: int = 8
    batch_norm: bool = False
    preprocessing: str = "physical"
    batch_size: int = 1024
    learning_rate: float = 4e-3
    gradient_clip: float = 5.0
    max_epochs: int = 30
    max_star_steps: int = 5_000_000
    rounds: int = 30
    patience: int = 8
    best_epochs: int = 10
    validation_fraction: float = 0.1
    max_validation: int = 20_000


@dataclass(frozen=True)
class _Regions:
    """As ``RegionSettings``."""

    width: float = 6.0
    stride: float = 1.0
    min_stars: int = 20_000
    max_stars: int = 1_000_000


@dataclass(frozen=True)
class _Scorer:
    """As ``ScorerSettings``."""

    folds: int = 2
    sideband_start: str = "trunk"
    start: str = "cold"


@dataclass(frozen=True)
class _Trunk:
    """As ``TrunkSettings``."""

    tuning_star_steps: int = 1_000_000


@dataclass(frozen=True)
class BareSettings:
    """What the benchmark reads of ``Settings``, with the same defaults: a test holds the two equal."""

    density: _Density = field(default_factory=_Density)
    regions: _Regions = field(default_factory=_Regions)
    scorer: _Scorer = field(default_factory=_Scorer)
    trunk: _Trunk = field(default_factory=_Trunk)


def settings() -> Settings:
    """Return the default settings; :class:`BareSettings` where pydantic is missing."""
    try:
        from viamachinae.config.settings import Settings
    except ModuleNotFoundError:  # a machine with torch and numpy alone
        return cast("Settings", BareSettings())
    return Settings()


def changed(density: DensitySettings, **changes: Any) -> DensitySettings:
    """Return the settings with some of them changed."""
    if is_dataclass(density):
        return cast("DensitySettings", replace(density, **changes))
    return type(density)(**(density.model_dump() | changes))
