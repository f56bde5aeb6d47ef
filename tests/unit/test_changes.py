"""What a run asks before it makes finished results anew, and what ends it when another run interferes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_scan import CENTRES, STAGES, run, settings

from viamachinae.config.settings import Settings
from viamachinae.config.toml import dump
from viamachinae.errors import ConfigError, TaskError
from viamachinae.scan import masking, terms
from viamachinae.scan.changes import Changes
from viamachinae.scan.groups import Group
from viamachinae.scan.merge import merge
from viamachinae.scan.options import RunOptions
from viamachinae.scan.pack import check_archive, pack
from viamachinae.scan.prepare import prepare
from viamachinae.scan.results import read_settings
from viamachinae.scan.sections import VERSIONS
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.terms import TERMS, Terms, require_terms


def no(_: Changes) -> bool:
    return False


STRICT = RunOptions(agree=no)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scan") / "out"
    run(out)
    return out


@pytest.fixture
def out(done: Path, tmp_path: Path) -> Path:
    return shutil.copytree(done, tmp_path / "scan")


def keys(out: Path, stage: str) -> set[str]:
    return {receipt.key for receipt in Store(out).receipts(stage)}


def without_terms(out: Path) -> None:
    (out / TERMS).unlink()


def with_torn_terms(out: Path) -> None:
    (out / TERMS).write_text((out / TERMS).read_text()[:-20])


def with_terms(out: Path) -> None:
    assert Terms.read(out) == Terms.of(settings())


@pytest.mark.parametrize("folder", [with_terms, without_terms, with_torn_terms])
def test_a_stage_that_the_program_makes_differently_is_asked_for(
    out: Path, folder: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(out)
    monkeypatch.setitem(VERSIONS, "lines", VERSIONS["lines"] + 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"makes lines differently.*2 of lines, 2 of fragments.*--yes"):
        run(out, options=STRICT)
    assert run(out) == {"lines": 2, "fragments": 2, "streams": 1, "report": 1}
    assert not run(out, options=STRICT)


def test_an_older_program_asks_too(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, "report", VERSIONS["report"] - 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"makes report differently: .*: 1 of report"):
        run(out, options=STRICT)


def test_what_was_agreed_to_is_not_asked_again_when_the_run_is_stopped(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(task: Task, store: Store, given: Settings) -> Products:
        raise ZeroDivisionError

    monkeypatch.setitem(VERSIONS, "lines", VERSIONS["lines"] + 1)  # type: ignore[arg-type]
    with pytest.raises(TaskError):
        run(out, stages={**STAGES, "lines": broken})
    assert run(out, options=STRICT) == {"lines": 2, "fragments": 2, "streams": 1, "report": 1}


def test_other_known_objects_are_asked_for(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (masking, terms):
        monkeypatch.setattr(room, "all_masks_key", lambda _: "other")
    for name in ("viamachinae.scan.plan", "viamachinae.scan.standing"):
        monkeypatch.setattr(f"{name}.all_masks_key", lambda _: "other")
    with pytest.raises(ConfigError, match=r"known objects that are masked have changed: .*1 of patches"):
        run(out, options=STRICT)


def test_another_grouping_of_the_regions_is_asked_for(out: Path) -> None:
    with pytest.raises(ConfigError, match=r"regions.group_size: 1 -> 3.*4 of scores, 2 of lines"):
        run(out, settings(regions={"group_size": 3}), STRICT)


def test_settings_that_were_edited_in_the_folder_are_asked_for(out: Path) -> None:
    """The folder's own file is often the one that is run."""
    changed = settings(lines={"n_angle": 90})
    (out / "scan.toml").write_text(dump(changed))
    with pytest.raises(ConfigError, match=r"lines, report were made with other settings.*edited.*2 of lines"):
        run(out, changed, STRICT)
    assert run(out, changed) == {"lines": 2, "fragments": 2, "streams": 1, "report": 1}


def test_a_folder_without_its_settings_is_asked_for(out: Path) -> None:
    (out / "scan.toml").unlink()
    with pytest.raises(ConfigError, match=r"made with other settings.*2 of lines"):
        run(out, settings(lines={"n_angle": 90}), STRICT)
    (out / "scan.toml").unlink()
    assert not run(out, options=STRICT)


@pytest.mark.parametrize("lost", ["stars", "plan", "scores", "fragments", "streams"])
def test_lost_results_do_not_hide_what_is_made_anew(out: Path, lost: str) -> None:
    for receipt in Store(out).receipts(lost):
        Store(out).withdraw(receipt.ref)
    with pytest.raises(ConfigError, match=r"lines.n_angle: 180 -> 90.*2 of lines"):
        run(out, settings(lines={"n_angle": 90}), STRICT)


@pytest.mark.parametrize("folder", [with_terms, without_terms, with_torn_terms])
@pytest.mark.parametrize("lost", ["patches", "stars", "plan", "scores", "fragments", "streams"])
def test_settings_that_cannot_be_read_beside_lost_results_need_no_consent(
    out: Path, lost: str, folder: Callable[[Path], None]
) -> None:
    folder(out)
    before = keys(out, lost)
    (out / "scan.toml").write_text("[scan]\nname = ")
    receipt = Store(out).receipts(lost)[-1]
    Store(out).withdraw(receipt.ref)
    assert run(out, options=STRICT) == {lost: 1}
    assert read_settings(out) == settings()
    assert keys(out, lost) == before


def test_settings_that_cannot_be_read_are_told_from_others(out: Path) -> None:
    (out / "scan.toml").write_text("[scan]\nname = ")
    with pytest.raises(ConfigError, match=r"cannot be read.*2 of lines"):
        run(out, settings(lines={"n_angle": 90}), STRICT)
    # A change that was agreed to and stopped half-way leaves results of both.
    run(out, settings(lines={"n_angle": 90}))
    Store(out).withdraw(Store(out).receipts("fragments")[0].ref)
    (out / "scan.toml").write_text("[scan]\nname = ")
    assert run(out, settings(lines={"n_angle": 90}), STRICT) == {"fragments": 1}


def test_a_run_ends_when_another_one_gives_the_folder_other_settings(tmp_path: Path) -> None:
    out, other = tmp_path / "out", settings(lines={"n_angle": 90})
    entered = []

    def overtaken(task: Task, store: Store, given: Settings) -> Products:
        if not entered:
            entered.append(task.id)
            run(out, other)
        return STAGES["lines"](task, store, given)

    with pytest.raises(ConfigError, match=r"another run has given this folder other settings.*--out"):
        run(out, stages={**STAGES, "lines": overtaken})
    assert read_settings(out) == other
    assert not run(out, other, STRICT)  # all of it stands: the first run published nothing more
    with pytest.raises(ConfigError, match=r"lines.n_angle: 90 -> 180"):
        run(out, options=STRICT)


def test_patches_may_be_added_while_others_are_searched(tmp_path: Path) -> None:
    out, more = tmp_path / "out", settings(patches={"centres": CENTRES})
    entered = []

    def joined(task: Task, store: Store, given: Settings) -> Products:
        if not entered:
            entered.append(task.id)
            run(out, more)
        return STAGES["scores"](task, store, given)

    with pytest.raises(ConfigError, match="other settings or stars meanwhile, of streams"):
        run(out, stages={**STAGES, "scores": joined})
    assert not run(out, more, STRICT)


@pytest.mark.parametrize("change", [{"lines": {"n_angle": 90}}, {"patches": {"centres": CENTRES}}])
def test_a_group_with_other_settings_is_refused(out: Path, change: dict[str, Any]) -> None:
    before = (out / "scan.toml").read_bytes()
    with pytest.raises(ConfigError, match=r"settings differ.*--yes"):
        run(out, settings(**change), RunOptions(agree=no, group=Group(1, 4)))
    assert (out / "scan.toml").read_bytes() == before


def test_groups_of_different_numbers_share_a_folder(tmp_path: Path) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    first = run(out, options=RunOptions(agree=no, group=Group(1, 2)))
    assert first["fragments"] == 1
    rest = [run(out, options=RunOptions(agree=no, group=Group(i, 3))) for i in (1, 2, 3)]
    assert sum(calls["fragments"] for calls in rest) == 1  # what a group did, no other does again
    assert [calls.total() for calls in rest].count(0) == 2  # one patch was done, one group is empty
    assert run(out, options=STRICT) == {"streams": 1, "report": 1}
    run(whole)
    assert keys(out, "streams") == keys(whole, "streams")


def test_terms_travel_with_a_packed_and_a_merged_scan(out: Path, tmp_path: Path) -> None:
    packed = pack(out, tmp_path / "scan.tar.zst")
    without_terms(out)
    assert pack(out, tmp_path / "less.tar.zst").files == packed.files - 1
    assert check_archive(packed.path).files == packed.files
    merge([out, out], tmp_path / "both")
    assert Terms.read(tmp_path / "both") == Terms.of(settings())


def test_tables_that_were_agreed_to_are_not_asked_for_again(tmp_path: Path) -> None:
    out = tmp_path / "scan"
    run(out)
    store = Store(out)
    prepare(settings(), store, ["other"], lambda _: True)
    prepare(settings(), store, ["other"], lambda changes: pytest.fail(str(changes)))
    # A run that does not know the tables neither asks nor forgets.
    prepare(settings(), store, [], lambda changes: pytest.fail(str(changes)))
    with pytest.raises(ConfigError, match="tables of stars have changed"):
        prepare(settings(), store, ["third"], lambda _: False)


def test_a_run_with_other_tables_publishes_nothing_beside_another(tmp_path: Path) -> None:
    ours, theirs = Terms.of(settings(), ["a"]), Terms.of(settings(), ["b"])
    theirs.keep(tmp_path)
    require_terms(ours, tmp_path, "patches")
    with pytest.raises(ConfigError, match="other settings or stars"):
        require_terms(ours, tmp_path, "lines")


def test_a_flipped_bit_in_what_was_agreed_to_asks_nothing(tmp_path: Path) -> None:
    out = tmp_path / "scan"
    run(out)
    text = (out / TERMS).read_text()
    digest = Terms.of(settings()).stages["trunk"][1]
    (out / TERMS).write_text(text.replace(digest, "0" + digest[1:] if digest[0] != "0" else "1" + digest[1:]))
    assert Terms.read(out) is None
    assert not run(out, options=STRICT)
    assert Terms.read(out) == Terms.of(settings())
