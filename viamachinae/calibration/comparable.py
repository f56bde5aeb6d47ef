"""May a null scan calibrate a scan? Only when both form candidates in the same way."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from viamachinae.config import Settings
from viamachinae.errors import ConfigError

__all__ = ["IGNORED", "check_comparable", "differences"]

_log = logging.getLogger(__name__)

#: Settings that may differ between a scan and its null scan, with the reason.
#: Everything that is not named here is compared, so a new setting is compared by default.
IGNORED: Mapping[str, str] = {
    "scan": "a name, a seed and what is kept do not shape candidates",
    "stars": "another sky is the point of a null scan",
    "archive": "how another sky is downloaded",
    "extinction.folder": "where the maps lie",
    "patches.centres": "another part of the sky; the rates are scaled by area",
    "patches.nside": "another tiling; the rates are scaled by area",
    "patches.b_min": "another part of the sky; the rates are scaled by area",
    "patches.exclude": "another part of the sky; the rates are scaled by area",
    "fiducial.masks": "known objects of the real sky; the masked area is taken off",
    "masks": "known objects of the real sky; the masked area is taken off",
    "regions.group_size": "shares out work, never changes a result",
    "mock.streams": "a null sky has none",
    "mock.progenitors": "a null sky has none",
    "runner": "shares out work, never changes a result",
}


#: Settings that the null scan may leave out: they mend what a mock sky does not have.
_REAL_ONLY: Mapping[str, object] = {
    "selection.ruwe_max": None,
    "selection.flux_excess_sigma": None,
    "selection.zero_point": False,
    "extinction.map": "none",
}

#: Sources whose stars are behind dust, so that they need the correction as much as real ones.
_REDDENED = ("galaxia-dr2", "galaxia-dr3")


def check_comparable(settings: Settings, null_settings: Settings) -> None:
    """Refuse a null scan that does not calibrate a scan.

    Parameters
    ----------
    settings, null_settings : Settings
        Settings of the scan and of its null scan.

    Raises
    ------
    ConfigError
        A setting that shapes candidates differs (every one is named with both
        values), the null scan has injected streams, it reads the very
        tables of the scan or Gaia's own sky, or the two skies have the errors of
        different Gaia releases or other faint limits.

    Notes
    -----
    A warning is logged where the faint limit of one sky alone is known.
    """
    null = null_settings.mock
    names = [*(s.name for s in null.streams), *(p.name for p in null.progenitors)]
    if null_settings.stars.source == "mock" and names:
        msg = (
            f"the null scan has injected streams {names}; "
            "make it with mock.streams empty, and mock.progenitors as well"
        )
        raise ConfigError(msg)
    if settings.stars.source == "files" == null_settings.stars.source:
        shared = sorted({str(p) for p in settings.stars.paths} & {str(p) for p in null_settings.stars.paths})
        if shared:
            msg = (
                f"scan and null scan both read {shared}; a null scan needs a sky without streams, "
                "such as a Galaxia mock of the same field, in stars.paths"
            )
            raise ConfigError(msg)
    if null_settings.stars.source.startswith("gaia-"):
        msg = (
            f'the null scan has stars.source = "{null_settings.stars.source}", the real sky with its '
            'streams; make it of a sky without, such as "galaxia-dr2" or "galaxia-dr3"'
        )
        raise ConfigError(msg)
    found = differences(settings, null_settings)
    if found:
        lines = [f"  {key}: {a!r} in the scan, {b!r} in the null scan" for key, (a, b) in found.items()]
        msg = (
            "the null scan cannot calibrate this scan: settings that shape candidates differ:\n"
            + "\n".join(lines)
            + "\nrun the null scan again with the scan's values; only these may differ: "
            + ", ".join(IGNORED)
        )
        raise ConfigError(msg)
    _check_releases(settings, null_settings)
    _check_depths(settings, null_settings)


def _check_releases(settings: Settings, null_settings: Settings) -> None:
    """Refuse a null sky measured as another release measures: DR2's proper motions are half as precise."""
    ours, theirs = _release(settings), _release(null_settings)
    if ours != theirs and "unknown" not in (ours, theirs):
        msg = (
            f"the scan has stars of {ours}, the null scan the errors of {theirs}; make the null scan with "
            f'stars.source = "{ours.replace("gaia", "galaxia")}", or with mock.release or stars.release = '
            f'"{ours}"'
        )
        raise ConfigError(msg)


def _release(settings: Settings) -> str:
    """Return the Gaia release whose errors the stars have, ``unknown`` where the settings do not say."""
    return settings.mock.release if settings.stars.source == "mock" else settings.stars.gaia_release


def _check_depths(settings: Settings, null_settings: Settings) -> None:
    """Refuse a null sky to another faint limit: its densities are trained on other stars."""
    ours, theirs = _faint_limit(settings), _faint_limit(null_settings)
    if ours == theirs:
        return
    words = f"the scan has stars {_depth(settings)}, the null scan {_depth(null_settings)}"
    advice = "give both the same selection.g_max, which a mock sky must reach (mock.g_max)"
    if ours is None or theirs is None:
        _log.warning("%s: unless they are as deep, candidates are not as frequent; %s", words, advice)
        return
    msg = f"{words}: candidates are not as frequent; {advice}"
    raise ConfigError(msg)


def _faint_limit(settings: Settings) -> float | None:
    """Return the faint limit in G (mag) of the stars, None where the settings do not say."""
    limits = [settings.selection.g_max, settings.mock.g_max if settings.stars.source == "mock" else None]
    return min((limit for limit in limits if limit is not None), default=None)


def _depth(settings: Settings) -> str:
    limit = _faint_limit(settings)
    if limit is None:
        return f'to an unknown limit (stars.source = "{settings.stars.source}" without selection.g_max)'
    name = "selection.g_max" if limit == settings.selection.g_max else "mock.g_max"
    return f"to G = {limit} ({name})"


def differences(settings: Settings, null_settings: Settings) -> dict[str, tuple[object, object]]:
    """Return the settings that shape candidates and differ, with both values.

    Parameters
    ----------
    settings, null_settings : Settings
        Settings of the scan and of its null scan.

    Returns
    -------
    dict
        ``section.key`` to (value in the scan, value in the null scan), in the
        order of the settings tree.

    Notes
    -----
    Some settings are ignored under a condition. The mock sky's count only when
    both scans are made of it. ``selection.g_max`` does not where both skies end at the
    same G, since a mock sky ends at ``mock.g_max``. Cuts on the quality of the measurements, the
    zero-point of the parallaxes and the correction for dust may be absent from
    the null scan: they mend what a mock sky does not have. The Galaxia catalogues
    have dust: there the correction counts.
    """
    ours, theirs = _flat(settings), _flat(null_settings)
    both_mock = settings.stars.source == null_settings.stars.source == "mock"
    limit = _faint_limit(settings)
    as_deep = limit is not None and limit == _faint_limit(null_settings)
    found: dict[str, tuple[object, object]] = {}
    for key, value in ours.items():
        section = key.split(".")[0]
        if key in IGNORED or section in IGNORED or (section == "mock" and not both_mock):
            continue
        if key == "selection.g_max" and as_deep:
            continue
        reddened = key == "extinction.map" and null_settings.stars.source in _REDDENED
        if key in _REAL_ONLY and theirs[key] == _REAL_ONLY[key] and not reddened:
            continue
        if value != theirs[key]:
            found[key] = (value, theirs[key])
    return found


def _flat(settings: Settings) -> dict[str, object]:
    return {
        f"{section}.{key}": value
        for section, keys in settings.model_dump().items()
        for key, value in keys.items()
    }
