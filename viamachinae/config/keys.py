"""Hashes of settings: the part of a task's key that says what was asked."""

from __future__ import annotations

import hashlib
import json

from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError

__all__ = ["section_hash"]

# Where a file lies is not what it holds: its content enters a key through the caller.
_LEFT_OUT = (("stars", "paths"),)


def section_hash(settings: Settings, *sections: str) -> str:
    """Return a hash of some sections of the settings.

    It depends on the values alone: not on the order of ``sections``, on whether
    a value was written down or is the default, nor on ``stars.paths``.

    Parameters
    ----------
    settings : Settings
        The whole tree.
    *sections : str
        Sections (``"density"``) or single settings (``"fiducial.radius"``).

    Returns
    -------
    str
        SHA-256 in hexadecimal, 64 characters.

    Raises
    ------
    ConfigError
        No section was named, or there is no such section or setting.
    """
    if not sections:
        msg = f"a hash needs at least one section; valid: {', '.join(Settings.model_fields)}"
        raise ConfigError(msg)
    tree = settings.model_dump(mode="json")
    for section, key in _LEFT_OUT:
        del tree[section][key]
    chosen = {name: _pick(tree, name) for name in sections}
    text = json.dumps(chosen, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _pick(tree: dict[str, dict[str, object]], name: str) -> object:
    section, _, key = name.partition(".")
    if section not in tree:
        msg = f"settings have no section {section!r}; valid: {', '.join(tree)}"
        raise ConfigError(msg)
    if not key:
        return tree[section]
    if key not in tree[section]:
        msg = f"section {section} has no setting {key!r} to hash; valid: {', '.join(tree[section])}"
        raise ConfigError(msg)
    return tree[section][key]
