"""What the benchmark of the mock sky is asked to compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from viamachinae.config.mocksky import MockSettings
from viamachinae.errors import ConfigError
from viamachinae.stars.mock.noise import Release

__all__ = ["Options", "needed", "release_of"]


@dataclass(frozen=True)
class Options:
    """What is compared.

    Parameters
    ----------
    galaxia : Path
        Parquet table of a simulated sky without streams.
    real : Path, optional
        Parquet table of real stars with proper motions and parallaxes; photometry is not needed.
    g_max : float
        Faint limit in G of both skies (mag).
    parallax_max : float
        Largest parallax of both skies (mas).
    release : {"gaia-dr2", "gaia-dr3"}
        Whose errors the mock sky imitates.
    seed : int
        Of the mock sky.

    Raises
    ------
    ConfigError
        A file does not exist, or a number is impossible.
    """

    galaxia: Path
    real: Path | None = None
    g_max: float = MockSettings().g_max
    parallax_max: float = 1.0
    release: Release = "gaia-dr2"
    seed: int = 0

    def __post_init__(self) -> None:
        for option, path in (("--galaxia", self.galaxia), ("--real", self.real)):
            if path is not None and not path.is_file():
                msg = f"{option} {path}: no such file; give a Parquet table of stars"
                raise ConfigError(msg)
        if not 10.0 < self.g_max <= 21.0 or not self.parallax_max > 0.0:
            msg = (
                f"cannot compare skies to G = {self.g_max:g} with parallaxes up to {self.parallax_max:g} "
                "mas: give --g-max from 10 to 21 and a positive --parallax-max"
            )
            raise ConfigError(msg)


def needed(galaxia: Path | None) -> Path:
    """Return the file of the simulated sky.

    Raises
    ------
    ConfigError
        None is given.
    """
    if galaxia is None:
        msg = (
            "the mock sky is compared with a simulated sky: give --galaxia FILE, a Parquet table of all "
            "stars of a field with ra, dec, pmra, pmdec, parallax, phot_g_mean_mag and bp_rp, errors included"
        )
        raise ConfigError(msg)
    return galaxia


def release_of(name: str) -> Release:
    """Return the release of this name.

    Raises
    ------
    ConfigError
        There is no such release.
    """
    known = get_args(Release)
    if name not in known:
        msg = f"unknown release {name!r}; valid: {', '.join(known)}"
        raise ConfigError(msg)
    return cast("Release", name)
