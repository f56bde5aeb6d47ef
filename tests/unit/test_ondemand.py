"""Tables on demand look like a mapping, and few of them are in memory at a time."""

from __future__ import annotations

import pytest

from viamachinae.scan.ondemand import OnDemand


def test_values_are_read_when_asked_for_and_the_last_few_stay() -> None:
    read: list[str] = []

    def value(name: str) -> str:
        read.append(name)
        return name.upper()

    tables = OnDemand(["a", "b", "c"], value, kept=2)
    assert list(tables) == ["a", "b", "c"]
    assert len(tables) == 3
    assert "a" in tables
    assert "d" not in tables
    assert read == []
    assert [tables[name] for name in "aabac"] == ["A", "A", "B", "A", "C"]
    assert read == ["a", "b", "c"]
    assert tables["b"] == "B"
    assert read == ["a", "b", "c", "b"]


def test_a_name_that_it_does_not_have_is_no_key() -> None:
    with pytest.raises(KeyError, match="d"):
        OnDemand(["a"], str.upper)["d"]
