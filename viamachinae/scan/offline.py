"""What a scan lacks that only a network brings."""

from __future__ import annotations

from collections.abc import Sequence

from viamachinae.config.paths import is_url
from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.scan.outside import files_fingerprint
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task

__all__ = ["kept_fingerprints", "lacking", "remote_files", "require_everything", "tables_of_stars"]

#: Patches, and cells, that a message names.
_NAMED = 5


def remote_files(settings: Settings) -> list[str]:
    """Return the tables of stars that lie on other machines."""
    return [path for path in settings.stars.paths if is_url(path)] if settings.stars.source == "files" else []


def kept_fingerprints(store: Store) -> list[str] | None:
    """Return the fingerprints of the tables of stars with which the patches were loaded.

    ``None`` when no patch was, or not all from the same tables: then only the tables themselves tell.
    """
    receipts = store.receipts("stars")
    found = {tuple(str(f) for f in receipt.body["work"].get("files", ())) for receipt in receipts}
    known = next(iter(found)) if len(found) == 1 else ()
    return list(known) or None


def tables_of_stars(settings: Settings, store: Store, *, offline: bool) -> list[str] | None:
    """Return the fingerprints of the tables of stars, ``None`` when only a network could tell them."""
    if settings.stars.source != "files":
        return []
    if offline and remote_files(settings):
        return kept_fingerprints(store)
    return files_fingerprint(settings.stars.paths)


def require_everything(settings: Settings, store: Store, stars: Sequence[Task]) -> None:
    """Refuse to go on when the stars of a patch need a network.

    Parameters
    ----------
    settings : Settings
        The scan.
    store : Store
        Its folder.
    stars : sequence of Task
        The patches whose stars are not loaded yet.

    Raises
    ------
    DataError
        Cells, files or maps are missing here.
    """
    found = lacking(settings, store, stars)
    if found:
        msg = f"--offline: {found}; then run the same command again"
        raise DataError(msg)


def lacking(settings: Settings, store: Store, stars: Sequence[Task]) -> str:
    """Return what is missing here for the stars of some patches and how to get it, empty when nothing is."""
    needed = {ref.name: ref for task in stars for ref in task.of("cells")}
    cells = [name for name in sorted(needed) if not store.done(needed[name])]
    missing = {
        f"{len(cells)} cell{'s' * (len(cells) != 1)} of {settings.stars.source}": cells,
        "tables on other machines": remote_files(settings),
        "dust maps": _maps(settings),
    }
    lines = [f"  {what}: {_few(names)}" for what, names in missing.items() if names]
    if not stars or not lines:
        return ""
    advice = (
        "get them where there is a network, with the same settings: "
        f"`viamachinae fetch SCAN.toml --out {store.root}`"
    )
    if missing["dust maps"]:
        advice += ", the maps with `viamachinae data fetch sfd`"
    many, patches = "es" * (len(stars) != 1), _few([task.name for task in stars])
    what = f"the stars of {len(stars)} patch{many} ({patches}) need what is not here:"
    return "\n".join([what, *lines, advice])


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _maps(settings: Settings) -> list[str]:
    if settings.extinction.map != "sfd":
        return []
    from viamachinae.stars.sfd import FILES, folder_of

    folder = folder_of(settings.extinction)
    return [str(folder / name) for name in FILES if not (folder / name).is_file()]
