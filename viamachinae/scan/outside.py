"""Fingerprints of files that come from outside the scan folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from viamachinae.errors import DataError

__all__ = ["file_fingerprint"]

_PART = 1 << 20
_PARQUET = b"PAR1"


def file_fingerprint(path: Path) -> str:
    """Return a fingerprint of a file's content that does not depend on its place or times.

    Size and, for Parquet, the bytes of the footer (which hold the statistics of
    every column chunk); for anything else the first and the last MiB. A change
    that keeps all of these is not seen.

    Raises
    ------
    DataError
        The file cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            head = handle.read(min(size, _PART))
            handle.seek(max(0, size - 8))
            end = handle.read()
            if head[:4] == _PARQUET and end[-4:] == _PARQUET:
                footer = min(size, int.from_bytes(end[:4], "little") + 8)
                handle.seek(size - footer)
                head, tail = b"", handle.read()
            else:
                handle.seek(max(0, size - _PART))
                tail = handle.read()
    except OSError as error:
        msg = f"{path}: cannot be read ({error}); check stars.paths"
        raise DataError(msg) from error
    return f"{size}:{hashlib.sha256(head + tail).hexdigest()}"
