"""Archives and merged folders as a user meets them: what is refused, what is told, what goes on."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from fake_scan import CENTRES, NAMES, STAGES, run, settings

from viamachinae.cli import main as cli
from viamachinae.errors import ConfigError, ExitCode
from viamachinae.scan import suspects as suspects_room
from viamachinae.scan.merge import merge
from viamachinae.scan.options import RunOptions
from viamachinae.scan.pack import check_archive, pack
from viamachinae.scan.results import read_settings
from viamachinae.scan.sections import VERSIONS
from viamachinae.scan.status import scan_status
from viamachinae.scan.store import Store
from viamachinae.scan.suspects import suspects
from viamachinae.scan.task import Products, Task
from viamachinae.scan.verify import verify
from viamachinae.schema import ROIS, publish

STRICT = RunOptions(agree=lambda _: False)
MORE = settings(patches={"centres": CENTRES})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out"
    run(out)
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert isinstance(end.value.code, int)
    return end.value.code


def unpacked(archive: Path, to: Path) -> Path:
    to.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", str(archive), "-C", str(to)], check=True)
    return to


@pytest.mark.skipif(shutil.which("zstd") is None, reason="tar calls zstd")
@pytest.mark.parametrize("extra", [(), ("stars",)])
def test_an_unpacked_scan_is_finished_and_makes_nothing_anew(
    out: Path, tmp_path: Path, extra: tuple[str, ...]
) -> None:
    again = unpacked(pack(out, tmp_path / "a.tar.zst", extra).path, tmp_path / "again")
    assert all(stage.done == stage.total for stage in scan_status(again).stages)
    assert not run(again, options=STRICT)
    assert verify(again).sound
    assert pack(again, tmp_path / "b.tar.zst", extra).files == check_archive(tmp_path / "a.tar.zst").files


@pytest.mark.skipif(shutil.which("zstd") is None, reason="tar calls zstd")
def test_an_unpacked_scan_makes_anew_what_other_settings_need(out: Path, tmp_path: Path) -> None:
    again = unpacked(pack(out, tmp_path / "a.tar.zst", ["scores"]).path, tmp_path / "again")
    calls = run(again, settings(lines={"n_angle": 90}))
    assert calls == {"stars": 2, "lines": 2, "fragments": 2, "streams": 1, "report": 1}


def test_an_archive_is_not_replaced_unless_that_is_said(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "scan.tar.zst"
    assert code_of("pack", str(out)) == ExitCode.COMPLETE
    assert f"tar --zstd -xf {archive} -C FOLDER" in capsys.readouterr().out
    assert code_of("verify", str(archive)) == ExitCode.COMPLETE
    archive.write_text("another scan's")
    assert code_of("pack", str(out)) == ExitCode.CONFIG
    assert "--force" in capsys.readouterr().err
    assert archive.read_text() == "another scan's"
    assert code_of("pack", str(out), "--force") == ExitCode.COMPLETE
    assert check_archive(archive).files


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_leaves_no_archive(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path) -> Path:
        temp = path.with_name(f".{path.name}.full.tmp")
        temp.symlink_to("/dev/full")
        return temp

    monkeypatch.setattr(publish, "temporary", full)
    assert code_of("pack", str(out)) == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert "No space left" in error
    assert "--to" in error
    assert not list(tmp_path.glob("*.zst"))


@pytest.mark.parametrize("harm", ["receipt", "version", "file"])
def test_merge_tells_what_it_leaves(
    out: Path,
    tmp_path: Path,
    harm: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if harm == "receipt":
        Store(out).withdraw(Store(out).receipts("lines")[0].ref)
    elif harm == "version":
        monkeypatch.setitem(VERSIONS, "lines", VERSIONS["lines"] + 1)  # type: ignore[arg-type]
    else:
        (out / "rois" / f"{NAMES[0]}.parquet").unlink()
    assert code_of("merge", str(out), "--out", str(tmp_path / "both")) == ExitCode.COMPLETE
    told = " ".join(capsys.readouterr().out.split())
    left = {"receipt": 1, "version": 4, "file": 1}[harm]
    assert f"{out}: not taken: {left} result{'s' * (left != 1)} of other settings" in told
    monkeypatch.undo()
    run(tmp_path / "both")
    assert verify(tmp_path / "both").sound


def test_merge_tells_results_that_differ(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(out, tmp_path / "other")
    for receipt in Store(other).receipts("lines"):
        Store(other).withdraw(receipt.ref)

    def otherwise(task: Task, store: Store, given: object) -> Products:
        return Products({f"rois/{task.name}.parquet": lambda path: path.write_text("other")})

    run(other, stages={**STAGES, "lines": otherwise})
    assert code_of("merge", str(out), str(other), "--out", str(tmp_path / "both")) == ExitCode.COMPLETE
    told = capsys.readouterr().out
    assert "2 suspect: results of the folders differ" in told
    assert f"lines/{NAMES[0]}" in told
    assert len(suspects(tmp_path / "both")) == 2


@pytest.mark.parametrize("difference", [1e-6, 0.1])
def test_folders_from_two_processors_may_differ_a_little(
    out: Path, tmp_path: Path, difference: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processor on which they are merged plays no part."""
    other = shutil.copytree(out, tmp_path / "other")

    def lines(shift: float) -> Callable[..., Products]:
        def stage(task: Task, store: Store, given: object) -> Products:
            rois = ROIS.empty().reindex(range(3))
            rois = rois.astype(dict.fromkeys(rois.select_dtypes("float").columns, "float64"))
            numbers = rois.select_dtypes("float").columns
            rois[numbers] = 1.0 + shift
            return Products({f"rois/{task.name}.parquet": rois.to_parquet})

        return stage

    for folder, shift in ((out, 0.0), (other, difference)):
        for receipt in Store(folder).receipts("lines"):
            Store(folder).withdraw(receipt.ref)
        monkeypatch.setattr("viamachinae.scan.provenance.processor", lambda shift=shift: f"type {shift}")
        run(folder, stages={**STAGES, "lines": lines(shift)})
    monkeypatch.setattr(suspects_room, "processor", lambda: "type 0.0")
    merged = merge([out, other], tmp_path / "both")
    assert len(merged.different) == (0 if difference < 1e-3 else 2)


def test_a_folder_that_has_a_result_brings_it_to_one_that_lost_it(out: Path, tmp_path: Path) -> None:
    full = shutil.copytree(out, tmp_path / "full")
    shutil.rmtree(out / "stars")
    verify(out)
    merge([out, full], tmp_path / "both")
    assert run(tmp_path / "both") == {"patches": 1, "streams": 1, "report": 1}


def test_folders_with_other_settings_are_refused_by_name(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    run(other, settings(lines={"n_angle": 90}, patches={"centres": CENTRES[2:]}))
    assert code_of("merge", str(out), str(other), "--out", str(tmp_path / "both")) == ExitCode.CONFIG
    error = capsys.readouterr().err
    assert "lines.n_angle" in error
    assert str(other) in error
    assert not (tmp_path / "both").exists()
    with pytest.raises(ConfigError, match=r"lines\.n_angle"):
        merge([out], other)


def test_a_merged_folder_asks_before_it_makes_anew(out: Path, tmp_path: Path) -> None:
    other, both = tmp_path / "other", tmp_path / "both"
    run(other, settings(patches={"centres": CENTRES[2:]}))
    merge([out, other], both)
    assert run(both, MORE, STRICT) == {"patches": 1, "streams": 1, "report": 1}
    with pytest.raises(ConfigError, match=r"3 of lines"):
        run(both, settings(patches={"centres": CENTRES}, lines={"n_angle": 90}), STRICT)


def test_merging_goes_on_with_the_patches_that_are_there(out: Path, tmp_path: Path) -> None:
    other, both = tmp_path / "other", tmp_path / "both"
    run(other, settings(patches={"centres": CENTRES[2:]}))
    merge([out], both)
    merge([other], both)
    assert set(read_settings(both).patches.centres) == set(MORE.patches.centres)
    assert run(both, read_settings(both), STRICT) == {"patches": 1, "streams": 1, "report": 1}


def test_what_the_scan_has_no_more_is_not_packed_and_keeps_nothing_from_being(
    out: Path, tmp_path: Path
) -> None:
    run(out, settings(patches={"centres": CENTRES[:1]}))
    (out / "rois" / f"{NAMES[1]}.parquet").unlink()
    pack(out, tmp_path / "scan.tar.zst")
    with tarfile.open(
        fileobj=pa.input_stream(str(tmp_path / "scan.tar.zst"), compression="zstd"), mode="r|"
    ) as tar:
        names = [member.name for member in tar]
    assert not [name for name in names if NAMES[1] in name]
    assert f"rois/{NAMES[0]}.parquet" in names
