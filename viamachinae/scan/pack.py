"""A finished scan in one file: the catalogue, the report, and the receipts that tell where they come from.

The archive is a tar file compressed with zstandard (``tar --zstd -xf`` unpacks it
into a scan folder). Its first member lists the sha256 of every other one, so that
it is verified in one pass, and packing the same folder twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from viamachinae.errors import ConfigError, DataError
from viamachinae.scan.ledger import Ledger, read_ledger
from viamachinae.scan.results import finished
from viamachinae.scan.sections import STAGES
from viamachinae.scan.standing import standings
from viamachinae.schema.publish import file_sha256, place

__all__ = ["ALWAYS", "ENDING", "OPTIONAL", "Packed", "check_archive", "pack"]

ENDING = ".tar.zst"
_MANIFEST = "MANIFEST.json"
#: Stages whose results are always packed: what a reader needs, and what is small.
ALWAYS = ("patches", "plan", "lines", "fragments", "streams", "report", "calibration")
#: Stages whose results are packed when asked for.
OPTIONAL = ("cells", "stars", "trunk", "scores")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Packed:
    """What an archive holds.

    Parameters
    ----------
    path : Path
        The archive.
    files : int
        Its members, without the list of them.
    bytes : int
        Their size, unpacked.
    """

    path: Path
    files: int
    bytes: int


def pack(out: Path, to: Path, extra: Sequence[str] = ()) -> Packed:
    """Write a finished scan into one archive.

    Parameters
    ----------
    out : Path
        The scan folder.
    to : Path
        The archive; its name ends in ``.tar.zst``.
    extra : sequence of str
        Of :data:`OPTIONAL`, the stages whose results go in too.

    Raises
    ------
    ConfigError
        No scan, a wrong ending, an unknown stage, or a folder that cannot be written.
    DataError
        The scan is not finished, or a file of it is damaged or missing.
    """
    unknown = sorted(set(extra) - set(OPTIONAL))
    if unknown or not to.name.endswith(ENDING):
        msg = (
            f"cannot pack {', '.join(unknown) or out} into {to}: the name ends in {ENDING}, "
            f"and results that can be added are those of {', '.join(OPTIONAL)}"
        )
        raise ConfigError(msg)
    scan = finished(out)
    ledger = read_ledger(out, index=False)
    last = standings(scan.store, scan.settings, files=False, ledger=ledger)[-1]
    if not last.complete:
        msg = f"{out}: the report is not that of the candidates; finish the scan with `viamachinae run`"
        raise DataError(msg)
    files = _files(out, ledger, (*ALWAYS, *extra))
    listed = {name: {"sha256": digest, "size": size} for name, (digest, size) in sorted(files.items())}
    text = json.dumps({"format": 1, "files": listed}, indent=1).encode() + b"\n"

    def write(temp: Path) -> int:
        with pa.output_stream(str(temp), compression="zstd") as raw, _tar(raw, "w|") as tar:
            _add(tar, _MANIFEST, io.BytesIO(text), len(text))
            for name, (_, size) in sorted(files.items()):
                with (out / name).open("rb") as handle:
                    _add(tar, name, handle, size)
        _read_through(temp)
        return len(files)

    try:
        place(to, write)
    except OSError as error:
        msg = f"{to}: the archive cannot be written there ({error}); give another --to"
        raise ConfigError(msg) from error
    return Packed(to, len(files), sum(size for _, size in files.values()))


def check_archive(path: Path) -> Packed:
    """Read an archive from end to end and compare every member with its hash.

    Raises
    ------
    DataError
        It cannot be read, or a member is damaged, missing or not in the list.
    """
    try:
        sizes = _read_through(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, tarfile.TarError, pa.ArrowException) as error:
        msg = f"{path}: not a whole archive of a scan ({error}); pack the scan folder again"
        raise DataError(msg) from error
    return Packed(path, len(sizes), sum(sizes.values()))


def _files(out: Path, ledger: Ledger, stages: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return name -> (sha256, size) of what goes in; results are as their receipts say, or refused."""
    found: dict[str, tuple[str, int]] = {}
    for stage in (*STAGES, "calibration"):
        for name, receipt in ledger.of(stage).items():
            path = out / "receipts" / stage / f"{name}.json"
            found[path.relative_to(out).as_posix()] = (file_sha256(path), path.stat().st_size)
            for relative, entry in receipt.outputs.items() if stage in stages else ():
                if not _same(out / relative, str(entry["sha256"])):
                    msg = (
                        f"{out / relative}: missing, or not as it was published; look with "
                        f"`viamachinae verify {out}`, finish with `viamachinae run`, and pack again"
                    )
                    raise DataError(msg)
                found[relative] = (str(entry["sha256"]), int(entry["size"]))
    # A log may grow while it is read: it stays behind.
    settings = out / "scan.toml"
    found["scan.toml"] = (file_sha256(settings), settings.stat().st_size)
    return found


def _same(path: Path, digest: str) -> bool:
    try:
        return file_sha256(path) == digest
    except OSError:
        return False


@contextmanager
def _tar(raw: object, mode: str) -> Iterator[tarfile.TarFile]:
    with tarfile.open(fileobj=raw, mode=mode, format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        yield tar


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    """Add a member that tells neither its owner nor a time: equal folders give equal archives."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    tar.addfile(member, content)


def _read_through(path: Path) -> dict[str, int]:
    """Return the size of every member, each compared with the list.

    Raises
    ------
    ValueError
        One differs, lacks, or is too many.
    """
    sizes: dict[str, int] = {}
    listed: dict[str, dict[str, str]] | None = None
    with pa.input_stream(str(path), compression="zstd") as raw, _tar(raw, "r|") as tar:
        for member in tar:
            handle = tar.extractfile(member)
            if handle is None:
                msg = f"{member.name} is no file"
                raise ValueError(msg)
            if listed is None:
                listed = json.loads(handle.read())["files"] if member.name == _MANIFEST else {}
                continue
            digest = hashlib.sha256()
            while block := handle.read(_BLOCK):
                digest.update(block)
            if member.name not in listed or digest.hexdigest() != listed[member.name]["sha256"]:
                msg = f"{member.name} is damaged or not in its list"
                raise ValueError(msg)
            sizes[member.name] = member.size
    if not listed or listed.keys() != sizes.keys():
        msg = f"{len((listed or {}).keys() - sizes.keys())} files of its list are missing"
        raise ValueError(msg)
    return sizes
