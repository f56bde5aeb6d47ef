"""The catalogue of a finished scan, in the formats of the field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from viamachinae.errors import ConfigError
from viamachinae.scan.calibrate import calibration_of, read_calibration
from viamachinae.scan.provenance import catalogue_meta
from viamachinae.scan.results import finished

__all__ = ["export_scan"]


def export_scan(out: Path, to: Path, formats: Sequence[str] | None = None) -> list[Path]:
    """Write candidates, members and tracks of a scan; return the files.

    Parameters
    ----------
    out : Path
        Folder of the scan.
    to : Path
        Folder of the catalogue; made when it does not exist.
    formats : sequence of str, optional
        Some of ``ecsv``, ``fits``, ``parquet``; all by default.

    Raises
    ------
    ConfigError
        No scan, an unknown format, or a folder that cannot be written.
    DataError
        The scan is not finished.
    """
    from viamachinae.calibration.rates import apply
    from viamachinae.catalog import FORMATS, write

    scan = finished(out)
    streams = scan.streams()
    calibration = calibration_of(scan.store, scan.streams_task)
    if calibration is not None:
        streams = apply(streams, read_calibration(scan.store, calibration)[0])
    receipt = scan.store.receipt(scan.streams_task)
    meta = {
        "settings_hash": scan.streams_task.key,
        "release": scan.release(),
        "scan": scan.settings.scan.name,
        **(catalogue_meta(receipt.body) if receipt else {}),
    }
    members, tracks = scan.members(), scan.tracks()
    try:
        return write(streams, members, tracks, to, meta, formats or FORMATS)
    except OSError as error:
        msg = f"{to}: the catalogue cannot be written there ({error}); give another --to folder"
        raise ConfigError(msg) from error
