"""Kills the process that imports it at a named place of the package, once; the package knows nothing of it.

Python imports a module of this name when it starts, if its folder comes first in ``PYTHONPATH``. The places
are told by a variable: a JSON list of ``[module, attribute, "before" or "after", words, n]``. At the n-th
passage of the function with these words among its arguments, the process ends with SIGKILL. Each place has
a flag, a file made at that moment: where it stands already, nothing happens.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

PLACES, FLAG = "VIAMACHINAE_CRASH_PLACES", "VIAMACHINAE_CRASH_FLAG"


def _die(flag: str) -> None:
    """End this process at once, if it is the first here."""
    try:
        handle = os.open(flag, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return
    os.write(handle, str(os.getpid()).encode())
    os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(real: Callable[..., Any], when: str, words: str, n: int, flag: str) -> Callable[..., Any]:
    passages = 0

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal passages
        meant = words in " ".join(map(str, (*args, *kwargs.values())))
        passages += meant
        now = meant and passages == n
        if now and when == "before":
            _die(flag)
        result = real(*args, **kwargs)
        if now and when == "after":
            _die(flag)
        return result

    return call


def _patch(module: ModuleType, name: str, place: Sequence[Any], flag: str) -> None:
    _, _, when, words, n = place
    owner: Any = module
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    setattr(owner, last, _wrapped(getattr(owner, last), when, words, n, flag))


class _Finder(importlib.abc.MetaPathFinder):
    """Wraps functions of modules as these are loaded, before anybody imports from them."""

    def __init__(self, places: Sequence[Sequence[Any]], flag: str) -> None:
        self._places, self._flag = places, flag
        self._busy: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        mine = [(i, place) for i, place in enumerate(self._places) if place[0] == name]
        if not mine or name in self._busy:
            return None
        self._busy.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._busy.discard(name)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for i, place in mine:
                _patch(module, place[1], place, f"{self._flag}.{i}")

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if PLACES in os.environ:
    _found = json.loads(os.environ[PLACES])
    sys.meta_path.insert(0, _Finder(_found, os.environ[FLAG]))
    # What is loaded when Python starts is wrapped on the spot.
    for _i, _place in enumerate(_found):
        if _place[0] in sys.modules:
            _patch(sys.modules[_place[0]], _place[1], _place, f"{os.environ[FLAG]}.{_i}")
