"""Wordings that several commands share."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "listed"]

#: Names that are printed of a list.
_SHOWN = 10


def counted(n: int, noun: str) -> str:
    """Return a number and its noun, in the plural where there is not one of them."""
    return f"{n} {noun}{'s' * (n != 1)}"


def listed(title: str, names: Sequence[str]) -> list[str]:
    """Return a title and the first names, a line each."""
    more = [f"  and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [title, *(f"  {name}" for name in names[:_SHOWN]), *more]
