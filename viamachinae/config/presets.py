"""Where a user starts from: presets, and the named scans that travel with the package."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from viamachinae.config.dump import dump
from viamachinae.config.read import parse
from viamachinae.config.resources import folder as packaged
from viamachinae.config.settings import (
    DensitySettings,
    PatchSettings,
    RegionSettings,
    ScanSettings,
    ScorerSettings,
    SelectionSettings,
    Settings,
    StarSettings,
)
from viamachinae.errors import ConfigError

__all__ = ["PRESETS", "preset_text", "workflow", "workflow_text", "workflows"]

PRESETS = {
    "default": "the mock sky with every setting at its default",
    "field": "your own table of stars around one position",
    "gaia": "one field of Gaia DR3, downloaded from the archive",
    "published": "the default, with the density model and training as published (ANODE; slow)",
}


def _published() -> Settings:
    """Return the defaults with ANODE and its model (Nachman & Shih 2020, arXiv:2001.04990).

    The published training runs a fixed number of epochs and averages the ten
    best: patience and star presentations are set so that nothing ends it early.
    """
    density = DensitySettings(
        name="maf",
        blocks=15,
        hidden=128,
        batch_norm=True,
        preprocessing="logit",
        batch_size=256,
        learning_rate=1e-4,
        max_epochs=50,
        max_star_steps=50_000_000,
        rounds=50,
        patience=50,
        best_epochs=10,
    )
    scorer = ScorerSettings(name="anode", sideband_start="cold", start="cold")
    return Settings(scan=ScanSettings(name="published"), density=density, scorer=scorer)


def _field() -> Settings:
    """Return settings for one field: its centre, its table, and fewer stars in a region."""
    return Settings(
        scan=ScanSettings(name="field"),
        stars=StarSettings(source="files", paths=("stars.parquet",)),
        patches=PatchSettings(centres=((148.6, 24.2),)),
        regions=RegionSettings(min_stars=5_000),
    )


def _gaia() -> Settings:
    """Return settings for one field whose stars the archive has, with the cuts of the papers for DR3."""
    return Settings(
        scan=ScanSettings(name="gaia"),
        stars=StarSettings(source="gaia-dr3"),
        selection=SelectionSettings(ruwe_max=1.4),
        patches=PatchSettings(centres=((148.6, 24.2),)),
    )


def preset_text(name: str) -> str:
    """Return the TOML text of a preset or of a packaged scan.

    Raises
    ------
    ConfigError
        There is neither of that name.
    """
    makers = {"default": Settings, "field": _field, "gaia": _gaia, "published": _published}
    if name in makers:
        return dump(makers[name]())
    return _text(name, "preset", {**PRESETS, **dict.fromkeys(workflows())})


def workflows() -> tuple[str, ...]:
    """Return the names of the scans that travel with the package, sorted."""
    files = (entry.name for entry in packaged("workflows").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def workflow_text(name: str) -> str:
    """Return the TOML text of a packaged scan.

    Raises
    ------
    ConfigError
        There is none of that name.
    """
    return _text(name, "workflow", dict.fromkeys(workflows()))


def workflow(name: str, folder: Path | None = None) -> Settings:
    """Return the settings of a packaged scan.

    Parameters
    ----------
    name : str
        One of :func:`workflows`.
    folder : Path, optional
        Folder at which relative ``stars.paths`` start; the files must exist.
        Left out: the paths stay as written and nobody looks for the files.

    Raises
    ------
    ConfigError
        There is none of that name, or its files are missing in ``folder``.
    """
    return parse(workflow_text(name), source=f"workflow {name}", folder=folder)


def _text(name: str, kind: str, valid: dict[str, str | None]) -> str:
    if name not in workflows():
        close = get_close_matches(name, valid, n=1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        msg = f"no {kind} {name!r}{hint}; valid: {', '.join(valid)}"
        raise ConfigError(msg)
    return packaged("workflows").joinpath(f"{name}.toml").read_text(encoding="utf-8")
