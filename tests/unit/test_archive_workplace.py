"""The folder of a download: what is finished, what is torn, which jobs are under way."""

from __future__ import annotations

import os

import pyarrow as pa
import pyarrow.parquet as pq

from viamachinae.stars.archive.workplace import Workplace

TABLE = pa.table({"source_id": [1, 2, 3]})


def test_a_part_counts_only_with_its_receipt_and_undamaged(tmp_path):
    place = Workplace(tmp_path / "deep" / "cell")
    assert place.part("0-4") is None
    place.publish("0-4", TABLE, 77)
    assert Workplace(tmp_path / "deep" / "cell").part("0-4").equals(TABLE)
    assert (Workplace(tmp_path / "deep" / "cell").size("0-4"), place.size("4-8")) == (77, 0)
    file, receipt = (tmp_path / "deep" / "cell" / f"0-4.{end}" for end in ("parquet", "json"))
    good = receipt.read_text()
    for bad in ('{"rows": 2, ' + good[good.index('"sha') :], "[]", "", "{"):
        receipt.write_text(bad)
        assert place.part("0-4") is None
    receipt.write_text(good)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert place.part("0-4") is None
    pq.write_table(pa.table({"source_id": [1, 2, 4]}), file)  # whole, but not what was published
    assert place.part("0-4") is None
    file.unlink()
    assert place.part("0-4") is None


def test_the_journal_survives_and_forgets(tmp_path):
    place = Workplace(tmp_path)
    place.keep_job("0-4", "http://a/async/1", "SELECT 1")
    place.keep_job("4-8", "http://a/async/2", "SELECT 2")
    again = Workplace(tmp_path)
    assert again.job("0-4") == "http://a/async/1"
    again.forget_job("0-4")
    again.forget_job("0-4")
    assert again.jobs() == {"4-8": "http://a/async/2"}
    (tmp_path / "4-8.job").write_text('{"query": "SELECT 2"}')
    assert again.jobs() == {}


def test_clearing_leaves_nothing(tmp_path):
    place = Workplace(tmp_path)
    place.publish("0-4", TABLE, 77)
    place.keep_plan({"asked": "x"})
    place.keep_job("0-4", "http://a/async/1", "SELECT 1")
    place.clear()
    assert list(tmp_path.iterdir()) == []
    assert place.plan() is None


def test_what_a_dead_process_was_writing_is_swept_away(tmp_path):
    place = Workplace(tmp_path)
    scratch = place.scratch("0-4.vot")
    scratch.write_bytes(b"x")
    Workplace(tmp_path)
    assert scratch.exists()  # this process lives
    dead = scratch.with_name(scratch.name.replace(f"~{os.getpid()}~", "~4194305~"))
    scratch.rename(dead)
    Workplace(tmp_path)
    assert not dead.exists()
