"""Files that travel with the package but live beside it in a checkout."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from viamachinae.errors import ConfigError

__all__ = ["folder"]


def folder(name: str) -> Traversable:
    """Return a packaged folder: ``workflows``, ``slurm`` or ``catalogs``.

    The wheel holds these folders inside the package; a checkout and an editable
    installation have them beside it.

    Raises
    ------
    ConfigError
        The installation lacks the folder.
    """
    package = resources.files("viamachinae")
    inside = package.joinpath(name)
    if inside.is_dir():
        return inside
    beside = Path(str(package)).parent / name
    if (beside.parent / "pyproject.toml").is_file() and beside.is_dir():
        return beside
    msg = f"this installation of viamachinae has no folder {name!r}, looked in {inside}; install it again"
    raise ConfigError(msg)
