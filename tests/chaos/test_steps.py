"""A process that ends at any single step of publishing: before and after it there is one whole result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chaos_scan import Fault

from viamachinae.errors import DataError
from viamachinae.scan.store import Store
from viamachinae.scan.task import Products, Task
from viamachinae.scan.writers import text_writer
from viamachinae.schema.publish import sweep

FILES = ("a/one.txt", "a/two.txt", "b/three.txt")
#: What changes a folder or flushes it.
STEPS = (
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (Path, "write_text"),
    (Path, "open"),
)


class _EndedError(BaseException):
    """The process is gone: nothing behind this runs, no cleaning up either."""


def task(key: str) -> Task:
    return Task("stars", "p1", key)


def publish(store: Store, key: str) -> None:
    products = Products({name: text_writer(f"{name} of {key}") for name in FILES})
    store.publish(task(key), products, started=time.time())


def end_at(step: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every step from one number on fail; return the list in which they are counted."""
    seen: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and (len(args) < 2 or "r" in str(args[1])):
                return real(*args, **kwargs)
            seen.append(name)
            if len(seen) > step:
                raise _EndedError
            return real(*args, **kwargs)

        return call

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    return seen


def content(store: Store, key: str) -> list[str] | None:
    """Return what a reader gets of a result; ``None`` when there is none."""
    try:
        return [store.verified(task(key), name).read_text() for name in FILES]
    except DataError:
        return None


@pytest.mark.parametrize("before", ["", "old", "new"])
def test_publishing_that_ends_at_any_step(
    tmp_path: Path, fault: Fault, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {key: [f"{name} of {key}" for name in FILES] for key in ("old", "new")}
    steps, ended = 0, True
    fault.of("process ended at a step of publishing", f"over {before or 'nothing'}")
    while ended:
        store = Store(tmp_path / f"{steps}")
        if before:
            publish(store, before)
        with monkeypatch.context() as patched:
            end_at(steps, patched)
            try:
                publish(store, "new")
                ended = False
            except _EndedError:
                ended = True
        for key in ("old", "new"):
            if store.done(task(key)):
                assert content(store, key) == whole[key]
        assert content(store, "old") in (None, whole["old"])
        assert content(store, "new") in (None, whole["new"])
        sweep(store.root)
        publish(store, "new")
        assert content(store, "new") == whole["new"]
        steps += 1
    assert steps > 5
    fault.commands, fault.survived, fault.times = 1, True, steps - 1
