"""Write the settings of a new scan."""

from __future__ import annotations

from pathlib import Path

from viamachinae.config.presets import preset_text
from viamachinae.errors import ConfigError

__all__ = ["write_config"]


def write_config(path: Path, preset: str = "default", force: bool = False) -> Path:
    """Write a commented TOML file with every setting.

    Parameters
    ----------
    path : Path
        The file to write; its folder must exist.
    preset : str
        A preset (``default``, ``field``, ``published``) or a packaged scan.
    force : bool
        Replace a file that exists.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ConfigError
        The preset is unknown, the file exists, or it cannot be written.
    """
    text = preset_text(preset)
    if path.is_dir():
        msg = f"{path} is a folder; name the file to write, as in {path / 'scan.toml'}"
        raise ConfigError(msg)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        msg = f"{path} exists and is left as it is; choose another name, or --force to replace it"
        raise ConfigError(msg) from error
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}; the folder must exist and be writable"
        raise ConfigError(msg) from error
    return path
