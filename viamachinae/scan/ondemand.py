"""Tables of many patches that are never all in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

__all__ = ["KEPT", "OnDemand"]

Value = TypeVar("Value")

#: What is kept: more than the patches that overlap one another, far fewer than those of a sky.
KEPT = 8


class OnDemand(Mapping[str, Value], Generic[Value]):
    """A mapping whose values are read when asked for; the last few stay.

    Parameters
    ----------
    names : sequence of str
        Its keys, in order.
    read : callable
        Returns the value of a key.
    kept : int
        Values that stay in memory, those asked for last.
    """

    def __init__(self, names: Sequence[str], read: Callable[[str], Value], kept: int = KEPT) -> None:
        self._names = dict.fromkeys(names)
        self._read = read
        self._most = kept
        self._kept: OrderedDict[str, Value] = OrderedDict()

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)
            self._kept[name] = self._read(name)
        self._kept.move_to_end(name)
        return self._kept[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
