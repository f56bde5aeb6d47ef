"""Small pieces of HTML: escaped text, tables, figures, folded sections."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

__all__ = ["details", "document", "facts", "number", "picture", "table", "text"]

_MINUS = "\u2212"


def text(value: object) -> str:
    """Return ``value`` as escaped text."""
    return escape(str(value), quote=True)


def number(value: float, digits: int = 2, missing: str = "–") -> str:
    """Return a number with ``digits`` decimals, a real minus sign, and ``missing`` for NaN."""
    value = float(value)
    if math.isnan(value):
        return missing
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", left: Iterable[int] = (0,)
) -> str:
    """Return a table of cells that are HTML already.

    Parameters
    ----------
    header : sequence of str
        Column titles (HTML).
    rows : iterable of sequence of str
        Cells (HTML).
    caption : str
        Plain text above the table.
    left : iterable of int
        Columns of words; all others are set as numbers, to the right.
    """
    words = set(left)

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{'' if i in words else ' class=num'}>{cell}</{tag}>" for i, cell in enumerate(cells)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide"><table>{title}<thead>{line("th", header)}</thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def facts(pairs: Mapping[str, str]) -> str:
    """Return a list of names and values (both HTML) as a row of figures."""
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs.items())
    return f'<dl class="facts">{items}</dl>'


def picture(address: str, alt: str, caption: str = "") -> str:
    """Return a figure from a ``data:`` address, with words for who cannot see it."""
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return f'<figure><img src="{address}" alt="{text(alt)}">{below}</figure>'


def details(summary: str, content: str) -> str:
    """Return ``content`` (HTML) folded under a line of plain text."""
    return f"<details><summary>{text(summary)}</summary>\n{content}\n</details>"


def document(title: str, style: str, body: str) -> str:
    """Return a whole page that needs nothing from elsewhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}\n</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
