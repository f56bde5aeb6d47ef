"""The settings tree of a scan: frozen, validated, every field described with its unit.

Published numbers of the method (Via Machinae 1.0-3.0, ANODE) are the defaults
here and constants nowhere else; where a default departs from the papers, the
description says why.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from viamachinae.config.archive import ArchiveSettings
from viamachinae.config.extinction import ExtinctionSettings
from viamachinae.config.field import FiducialSettings, PatchSettings, SelectionSettings, StarSettings
from viamachinae.config.masks import MaskSettings
from viamachinae.config.mocksky import MockSettings, MockStream
from viamachinae.config.residual import RAnodeSettings, ResidualSettings
from viamachinae.config.search import (
    DensitySettings,
    FragmentSettings,
    LineSettings,
    MemberSettings,
    RegionSettings,
    RoiSettings,
    ScorerSettings,
    StreamSettings,
    TrunkSettings,
)
from viamachinae.config.section import COORDINATES, Coordinate, Section
from viamachinae.config.trees import TreeSettings

__all__ = [
    "COORDINATES",
    "ArchiveSettings",
    "Coordinate",
    "DensitySettings",
    "ExtinctionSettings",
    "FiducialSettings",
    "FragmentSettings",
    "LineSettings",
    "MaskSettings",
    "MemberSettings",
    "MockSettings",
    "MockStream",
    "PatchSettings",
    "RAnodeSettings",
    "RegionSettings",
    "ResidualSettings",
    "RoiSettings",
    "RunnerSettings",
    "ScanSettings",
    "ScorerSettings",
    "SelectionSettings",
    "Settings",
    "StarSettings",
    "StreamSettings",
    "TreeSettings",
    "TrunkSettings",
]


class ScanSettings(Section):
    """What this scan is called and what its random numbers start from."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "scan", description="name of the scan, used in reports; letters, digits, . _ -"
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="seed from which every random draw of the scan is derived"
    )
    keep_models: bool = Field(False, description="keep the trained flows (checkpoints) of every region")


class RunnerSettings(Section):
    """Where and how tasks run; only ``device`` changes a result: a GPU draws and rounds otherwise."""

    workers: Annotated[int, Field(ge=0)] = Field(0, description="worker processes; 0: one a core")
    address: str = Field("", description='Ray cluster to join ("auto"); empty: start one here')
    inline: bool = Field(False, description="run in this process, without Ray (debugging)")
    device: Literal["cpu", "cuda", "auto"] = Field(
        "cpu",
        description=(
            'where densities train; "cuda": on one GPU a worker (raise regions.group_size, so that it trains '
            'many regions together); "auto": on a GPU where there is one'
        ),
    )
    mixed_precision: bool = Field(
        True, description="on a GPU, multiply matrices with ten-bit mantissas (likelihoods within 1e-3 nat)"
    )
    memory_gb: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description=(
            "memory of the models that a worker trains together (GB), beside the stars' own; a task that ran "
            "out of memory is tried again with half of it"
        ),
    )
    gpus_per_task: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description=(
            "GPUs of a task that trains, where device uses them: 1, or less than 1 for tasks that share one "
            "(0.5: two)"
        ),
    )
    nice: Annotated[int, Field(ge=0, le=19)] = Field(
        0, description="niceness of the workers of a cluster started here; 0: the priority of everything else"
    )
    grace: Annotated[float, Field(ge=1)] = Field(
        60.0,
        description=(
            "time (s) from a request to stop, or until the wall-time ends, in which running tasks may finish"
        ),
    )


class Settings(Section):
    """All settings of a scan."""

    scan: ScanSettings = Field(default_factory=ScanSettings)
    stars: StarSettings = Field(default_factory=StarSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    extinction: ExtinctionSettings = Field(default_factory=ExtinctionSettings)
    selection: SelectionSettings = Field(default_factory=SelectionSettings)
    patches: PatchSettings = Field(default_factory=PatchSettings)
    fiducial: FiducialSettings = Field(default_factory=FiducialSettings)
    masks: MaskSettings = Field(default_factory=MaskSettings)
    regions: RegionSettings = Field(default_factory=RegionSettings)
    roi: RoiSettings = Field(default_factory=RoiSettings)
    scorer: ScorerSettings = Field(default_factory=ScorerSettings)
    residual: ResidualSettings = Field(default_factory=ResidualSettings)
    r_anode: RAnodeSettings = Field(default_factory=RAnodeSettings)
    trees: TreeSettings = Field(default_factory=TreeSettings)
    density: DensitySettings = Field(default_factory=DensitySettings)
    trunk: TrunkSettings = Field(default_factory=TrunkSettings)
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
