"""Which line of a TOML text holds which key: messages about settings point at it."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["Location", "line_of", "lines"]

Location = tuple[str | int, ...]

_BARE_END = ",]}#\n"


def lines(text: str) -> dict[Location, int]:
    """Return the line of every table, key and array element of a TOML text.

    Parameters
    ----------
    text : str
        A text that ``tomllib`` reads without an error: the scan relies on it
        and checks no grammar.

    Returns
    -------
    dict
        From location to line, counted from 1. A location holds keys and
        positions: ``("mock", "streams", 0, "width")``. Keys are found in
        tables, arrays of tables, dotted keys and inline tables alike.
    """
    return _Scanner(text).scan()


def line_of(found: dict[Location, int], location: Location) -> int | None:
    """Return the line of a location, or of the nearest one that encloses it."""
    for end in range(len(location), 0, -1):
        if location[:end] in found:
            return found[location[:end]]
    return None


class _Scanner:
    """One pass over a valid TOML text."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.starts = [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]
        self.found: dict[Location, int] = {}
        self.tables: dict[Location, int] = {}  # position of the last table of each array of tables

    def scan(self) -> dict[Location, int]:
        base: Location = ()
        while self._skip("\n") < len(self.text):
            if self.text[self.at] == "[":
                base = self._header()
            else:
                self._assignment(base)
        return self.found

    def _skip(self, also: str) -> int:
        """Pass blanks, comments and the characters ``also``; return the position."""
        while self.at < len(self.text):
            if self.text[self.at] == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.text[self.at] in " \t" + also:
                self.at += 1
            else:
                break
        return self.at

    def _mark(self, location: Location, at: int) -> None:
        self.found.setdefault(location, bisect_right(self.starts, at))

    def _header(self) -> Location:
        start = self.at
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        keys = self._keys()
        self.at += 2 if array else 1
        base: Location = ()
        for i, key in enumerate(keys):
            base = (*base, key)
            self._mark(base, start)
            if array and i == len(keys) - 1:
                self.tables[base] = self.tables.get(base, -1) + 1
            if base in self.tables:
                base = (*base, self.tables[base])
                self._mark(base, start)
        return base

    def _keys(self) -> list[str]:
        """Read a key, dotted or not, and stop behind it."""
        keys = []
        while True:
            self._skip("")
            if self.text[self.at] in "\"'":
                keys.append(self._string())
            else:
                start = self.at
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                keys.append(self.text[start : self.at])
            self._skip("")
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _assignment(self, base: Location) -> None:
        start = self.at
        for key in self._keys():
            base = (*base, key)
            self._mark(base, start)
        self.at += 1  # the equals sign
        self._skip("")
        self._value(base)

    def _value(self, location: Location) -> None:
        mark = self.text[self.at]
        if mark in "\"'":
            self._string()
        elif mark == "[":
            self._array(location)
        elif mark == "{":
            self._inline_table(location)
        else:
            while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
                self.at += 1

    def _array(self, location: Location) -> None:
        self.at += 1
        i = 0
        while self.text[self._skip("\n,")] != "]":
            self._mark((*location, i), self.at)
            self._value((*location, i))
            i += 1
        self.at += 1

    def _inline_table(self, location: Location) -> None:
        self.at += 1
        while self.text[self._skip("\n,")] != "}":
            self._assignment(location)
        self.at += 1

    def _string(self) -> str:
        """Read a string of any of the four kinds; return what stands between its quotes."""
        mark = self.text[self.at]
        quote = mark * 3 if self.text.startswith(mark * 3, self.at) else mark
        start = self.at + len(quote)
        end = start
        while not self.text.startswith(quote, end):
            end += 2 if mark == '"' and self.text[end] == "\\" else 1
        while len(quote) == 3 and self.text.startswith(mark, end + 3):
            end += 1  # up to two quotes may stand just before the closing three
        self.at = end + len(quote)
        return self.text[start:end]
