"""Settings from TOML: read, checked in full before any work, refused with every problem at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

from viamachinae.config.locate import lines
from viamachinae.config.paths import resolve
from viamachinae.config.problems import Problem, refuse, validate
from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError

__all__ = ["load", "parse"]


def load(path: Path | str) -> Settings:
    """Read the settings of a scan from a TOML file.

    Parameters
    ----------
    path : Path or str
        The TOML file. Relative ``stars.paths`` start at its folder.

    Returns
    -------
    Settings
        With ``stars.source = "files"``, ``stars.paths`` are absolute paths of
        files that exist: patterns and folders are expanded, but for HATS
        catalogues. URLs stay as written; nobody asks for them here.

    Raises
    ------
    ConfigError
        The file cannot be read, is no TOML, or holds unknown keys, wrong types,
        impossible values or paths without a readable file; all problems in one
        message, each with line, key, value and what is valid.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        msg = f"{path}: no such file; `viamachinae init {path}` writes one to start from"
        raise ConfigError(msg) from error
    except IsADirectoryError as error:
        msg = f"{path} is a folder; name the TOML file of the scan"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{path}: not UTF-8 text (byte {error.start}); a scan is a TOML file"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    return parse(text, source=str(path), folder=path.parent)


def parse(text: str, *, source: str, folder: Path | None) -> Settings:
    """Return the settings that a TOML text holds.

    Parameters
    ----------
    text : str
        The TOML text.
    source : str
        What messages call it: the file.
    folder : Path or None
        Where relative ``stars.paths`` start; None leaves the paths as written
        and does not look for the files.

    Raises
    ------
    ConfigError
        As :func:`load`.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{source}: not valid TOML: {error}; a text needs quotes, a table a line [name] of its own"
        raise ConfigError(msg) from error
    settings, problems = validate(tree)
    if settings is None:
        raise refuse(source, problems, lines(text))
    if folder is None or settings.stars.source != "files":
        return settings
    files, faults = resolve(settings.stars.paths, folder)
    if faults:
        found = [
            Problem(("stars", "paths", i), f'stars.paths[{i}] = "{settings.stars.paths[i]}": {fault}')
            for i, fault in faults.items()
        ]
        raise refuse(source, found, lines(text))
    stars = settings.stars.model_copy(update={"paths": tuple(files)})
    return settings.model_copy(update={"stars": stars})
