"""What the name of a file says about the sky that it covers."""

from __future__ import annotations

import re
from urllib.parse import unquote

from viamachinae.stars.healpix import ID_BITS, ID_ORDER

__all__ = ["cells_named"]

# Gaia DR3 and EDR3: HEALPix cells of level 8; Gaia DR2: identifiers. Both ranges hold their ends.
_LEVEL_8 = re.compile(r"GaiaSource_(\d{6})-(\d{6})\.[^/]*$")
_IDENTIFIERS = re.compile(r"GaiaSource_(\d{8,19})_(\d{8,19})\.[^/]*$")
_HATS = re.compile(r"Norder=(\d+)/(?:Dir=\d+/)?Npix=(\d+)(?:\.[^/]*|/[^/]*)?$")


def cells_named(place: str) -> tuple[int, int, int] | None:
    """Return order, first and last HEALPix cell (NESTED) of a file by its name, None for other names.

    Parameters
    ----------
    place : str
        Path or URL of a bulk file of Gaia's archive (``GaiaSource_000000-003111.csv.gz`` and the
        like, converted ones included), or of a partition of a HATS catalogue.
    """
    name = unquote(place.partition("?")[0])
    if found := _LEVEL_8.search(name):
        cells = (8, int(found[1]), int(found[2]))
    elif found := _IDENTIFIERS.search(name):
        cells = (ID_ORDER, int(found[1]) >> ID_BITS, int(found[2]) >> ID_BITS)
    elif found := _HATS.search(name):
        cells = (int(found[1]), int(found[2]), int(found[2]))
    else:
        return None
    return cells if cells[1] <= cells[2] < 12 << 2 * cells[0] else None
