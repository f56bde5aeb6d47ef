"""A finished scan in one file: the catalogue, the report, and the receipts that tell where they come from.

The archive is a tar file compressed with zstandard (``tar --zstd -xf`` unpacks it
into a scan folder). Its first member lists the sha256 of every other one, so that
it is verified in one pass, and packing the same folder twice gives the same bytes.
The receipts of results that stay behind say so, as after a purge: a run of the
unpacked scan makes them anew only when it needs them.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa

from viamachinae.errors import ConfigError, DataError
from viamachinae.scan.ledger import read_ledger
from viamachinae.scan.receipt import Receipt, receipt_text
from viamachinae.scan.results import finished, run_again
from viamachinae.scan.standing import standings
from viamachinae.scan.terms import TERMS
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


def pack(out: Path, to: Path, extra: Sequence[str] = (), *, replace: bool = False) -> Packed:
    """Write a finished scan into one archive.

    Parameters
    ----------
    out : Path
        The scan folder.
    to : Path
        The archive; its name ends in ``.tar.zst``.
    extra : sequence of str
        Of :data:`OPTIONAL`, the stages whose results go in too.
    replace : bool
        Whether an archive that is there already may go.

    Raises
    ------
    ConfigError
        No scan, a wrong ending, an archive that is there, an unknown stage, or a folder that cannot be
        written.
    DataError
        The scan is not finished, or a file of it is damaged or missing.
    """
    _check_asked(to, extra, replace=replace)
    scan = finished(out)
    ledger = read_ledger(out, index=False)
    found = standings(scan.store, scan.settings, ledger=ledger)
    if not found[-1].complete:
        msg = f"{out}: the report is not that of the candidates; finish the scan: {run_again(out)}"
        raise DataError(msg)
    held = {standing.stage: standing.receipts for standing in found}
    # Results of patches or settings that the scan has no more stay behind, whatever became of them.
    files = _files(out, held | {"calibration": ledger.of("calibration")}, (*ALWAYS, *extra))
    listed = {name: {"sha256": file.sha256, "size": file.size} for name, file in sorted(files.items())}
    text = json.dumps({"format": 1, "files": listed}, indent=1).encode() + b"\n"

    def write(temp: Path) -> int:
        with pa.output_stream(str(temp), compression="zstd") as raw, _tar(raw, "w|") as tar:
            _add(tar, _MANIFEST, io.BytesIO(text), len(text))
            for name, file in sorted(files.items()):
                with (out / name).open("rb") if file.content is None else io.BytesIO(file.content) as handle:
                    _add(tar, name, handle, file.size)
        _read_through(temp)
        return len(files)

    try:
        place(to, write)
    except OSError as error:
        msg = f"{to}: the archive cannot be written there ({error}); give another --to"
        raise ConfigError(msg) from error
    return Packed(to, len(files), sum(file.size for file in files.values()))


def _check_asked(to: Path, extra: Sequence[str], *, replace: bool) -> None:
    """Refuse what cannot be asked for, before any long work."""
    unknown = sorted(set(extra) - set(OPTIONAL))
    if unknown:
        msg = f"cannot add {', '.join(unknown)}: results that can be added are those of {', '.join(OPTIONAL)}"
        raise ConfigError(msg)
    if not to.name.endswith(ENDING):
        msg = f"{to}: the name of an archive ends in {ENDING}"
        raise ConfigError(msg)
    if to.exists() and not replace:
        msg = f"{to} exists and is left as it is; name another one with --to, or --force to replace it"
        raise ConfigError(msg)


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


@dataclass(frozen=True)
class _Member:
    """A file of the archive: its hash and size, and its content where that is not the file's own."""

    sha256: str
    size: int
    content: bytes | None = None


def _files(out: Path, held: Mapping[str, Mapping[str, Receipt]], stages: Sequence[str]) -> dict[str, _Member]:
    """Return what goes in by name; results are as their receipts say, or refused."""
    found: dict[str, _Member] = {}
    for stage, receipts in held.items():
        for name, receipt in receipts.items():
            path = f"receipts/{stage}/{name}.json"
            if stage not in stages:
                found[path] = _left_behind(receipt)
                continue
            found[path] = _as_it_is(out / path)
            for relative, entry in receipt.outputs.items():
                if not _same(out / relative, str(entry["sha256"])):
                    msg = (
                        f"{out / relative}: missing, or not as it was published; look with "
                        f"`viamachinae verify {out}`, finish with `{run_again(out)}`, and pack again"
                    )
                    raise DataError(msg)
                found[relative] = _Member(str(entry["sha256"]), int(entry["size"]))
    # A log may grow while it is read: it stays behind.
    found |= {name: _as_it_is(out / name) for name in ("scan.toml", TERMS) if (out / name).is_file()}
    return found


def _as_it_is(path: Path) -> _Member:
    return _Member(file_sha256(path), path.stat().st_size)


def _left_behind(receipt: Receipt) -> _Member:
    """Return the receipt of results that do not go in."""
    body = {**receipt.body, "outputs": {}, "gone": {**receipt.gone, **receipt.outputs}}
    text = receipt_text(body).encode()
    return _Member(hashlib.sha256(text).hexdigest(), len(text), text)


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
