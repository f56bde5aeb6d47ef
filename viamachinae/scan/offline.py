"""What a scan lacks that only a network brings."""

from __future__ import annotations

from collections.abc import Sequence

from viamachinae.config.paths import is_url
from viamachinae.config.settings import Settings
from viamachinae.errors import DataError
from viamachinae.scan.store import Store
from viamachinae.scan.task import Task

__all__ = ["kept_fingerprints", "remote_files", "require_everything"]


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
        Cells, files or maps are missing here; all of them are named.
    """
    if not stars:
        return
    needed = {ref.name: ref for task in stars for ref in task.of("cells")}
    cells = [name for name in sorted(needed) if not store.done(needed[name])]
    missing = {
        f"{len(cells)} cells of {settings.stars.source}": cells,
        "tables on other machines": remote_files(settings),
        "dust maps": _maps(settings),
    }
    lines = [f"  {what}: {', '.join(names)}" for what, names in missing.items() if names]
    if lines:
        advice = (
            "get them where there is a network, with `viamachinae fetch` and the same settings and folder"
        )
        if missing["dust maps"]:
            advice += ", the maps with `viamachinae data fetch sfd`"
        many, patches = "es" * (len(stars) != 1), ", ".join(task.name for task in stars)
        msg = (
            f"--offline: the stars of {len(stars)} patch{many} ({patches}) need what is not here:\n"
            + "\n".join(lines)
            + f"\n{advice}; then run the same command again"
        )
        raise DataError(msg)


def _maps(settings: Settings) -> list[str]:
    if settings.extinction.map != "sfd":
        return []
    from viamachinae.stars.sfd import FILES, folder_of

    folder = folder_of(settings.extinction)
    return [str(folder / name) for name in FILES if not (folder / name).is_file()]
