"""The stages, their versions, and the settings that each of them reads: what names a result.

A change of a setting that no stage reads redoes nothing; one that a late stage reads leaves the early
results valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from viamachinae.config.keys import section_hash
from viamachinae.config.settings import Settings

__all__ = [
    "SCORER_SECTIONS",
    "SECTIONS",
    "SKY",
    "STAGES",
    "TRAINING",
    "VERSIONS",
    "hash_of",
    "sections",
    "settings_hash",
]

#: Name of the one task of a stage whose unit of work is the sky.
SKY = "sky"

#: Stages in the order in which they run.
STAGES = ("patches", "cells", "stars", "plan", "trunk", "scores", "lines", "fragments", "streams", "report")

#: Stages whose tasks train densities.
TRAINING = ("trunk", "scores")

#: Raised by hand when a stage gives other results for the same settings and inputs.
VERSIONS: Mapping[str, int] = dict.fromkeys((*STAGES, "calibration"), 1) | {
    "stars": 2,
    "trunk": 2,
    "scores": 3,
    "lines": 2,
    "report": 3,
}

#: Settings that each stage reads beyond those of its inputs: a section, or one key of it.
#: A mirror serves the same rows, so ``archive.url`` is in no key. The masks that touch a patch enter its
#: stars as work (:func:`star_tasks`), so that others redo nothing. The fiducial cuts are flags of the stars
#: table, and only fiducial stars keep their scores. The edges of the signal regions reach the scores through
#: the plan; ``group_size`` never does.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "patches": ("patches", "fiducial.radius", "fiducial.masks", "masks"),
    "cells": (
        "stars.source",
        "archive.table",
        "selection.parallax_max",
        "selection.g_max",
    ),
    "stars": (
        "stars.source",
        "stars.release",
        "stars.carry",
        "stars.columns",
        "selection",
        "extinction.map",
        "fiducial.radius",
        "fiducial.g_max",
        "fiducial.colour",
        "fiducial.pm_min",
        "fiducial.photometry",
        "patches.radius",
        "mock",
        "scan.seed",
    ),
    "plan": (
        "regions.coordinates",
        "regions.width",
        "regions.stride",
        "regions.limits",
        "regions.min_stars",
        "regions.max_stars",
    ),
    "trunk": (
        "scan.seed",
        "density",
        "trunk.centre",
        "trunk.density",
        "trunk.g_max",
        "trunk.max_star_steps",
        "patches.radius",
        "selection.g_max",
        "mock.release",
    ),
    "scores": (
        "scan.seed",
        "scan.keep_models",
        "scorer",
        "density",
        "trunk.tuning_star_steps",
        "trunk.tuning_learning_rate",
        "patches.radius",
    ),
    "lines": ("roi", "lines", "scorer.name", "regions.coordinates", "fiducial.radius"),
    "fragments": ("fragments",),
    "streams": ("streams", "members", "fiducial.radius"),
    "calibration": ("fiducial.radius", "fiducial.masks", "masks"),
    "report": ("scan", "stars.source", "stars.release", "patches", "fiducial", "masks", "extinction",
               "regions", "roi", "scorer", "density", "lines", "fragments", "streams", "members",
               "selection", "mock"),
}  # fmt: skip

#: Settings that the scores depend on beyond these, by the scorer.
SCORER_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "anode": (),
    "cwola": ("trees",),
    "cathode": ("trees",),
    "residual": ("residual", "roi"),
    # The backgrounds of both are trained by one function.
    "r-anode": ("r_anode", "roi", "residual.background_star_steps"),
}


def sections(settings: Settings, stage: str) -> tuple[str, ...]:
    """Return the settings that ``stage`` reads in this scan: sections, or single keys of them."""
    names = SECTIONS[stage]
    if stage == "stars" and settings.stars.source != "mock":
        # Real stars depend neither on the mock sky nor on a random number; Galaxia's get seeded errors.
        seeded = settings.stars.source.startswith("galaxia-")
        names = tuple(name for name in names if name != "mock" and (seeded or name != "scan.seed"))
    return names + (SCORER_SECTIONS[settings.scorer.name] if stage == "scores" else ())


def settings_hash(settings: Settings, stage: str) -> str:
    """Return the hash of the settings that ``stage`` reads."""
    return hash_of(settings, *sections(settings, stage))


def hash_of(settings: Settings, *names: str) -> str:
    """Return :func:`section_hash`, which the thousands of tasks of a scan ask for again and again."""
    return _hash_of(_Same(settings), names)


@dataclass(frozen=True, eq=False)
class _Same:
    """Settings that equal themselves alone: they are frozen, and comparing whole trees takes longer."""

    settings: Settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.settings is other.settings

    def __hash__(self) -> int:
        return id(self.settings)


@lru_cache(maxsize=256)
def _hash_of(same: _Same, names: tuple[str, ...]) -> str:
    return section_hash(same.settings, *names)
