"""What an answer says to a reader."""

from __future__ import annotations

import html
import re

__all__ = ["brief", "said"]

_MOST = 300  # characters that fit in a message
_READ = 1 << 16  # bytes of an answer that are looked at
_STATUS = re.compile(
    r"<(?:\w+:)?INFO\b[^>]*QUERY_STATUS[^>]*?(?:/>|>(.*?)</(?:\w+:)?INFO>)", re.DOTALL | re.IGNORECASE
)


def said(answer: bytes | str) -> str:
    """Return what an answer says, in one line: of a VOTable its status, of a page its text."""
    text = answer[:_READ].decode("utf-8", "replace") if isinstance(answer, bytes) else answer[:_READ]
    if status := _STATUS.search(text):
        text = status[1] or ""
    else:
        text = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.DOTALL | re.IGNORECASE)
        text = re.sub(r"<!--.*?-->|<[^>]*>", " ", text, flags=re.DOTALL)
    return brief(html.unescape(text.replace("<![CDATA[", " ").replace("]]>", " ")))


def brief(text: str) -> str:
    """Return a text in one line that fits in a message."""
    text = " ".join(text.split())
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."
