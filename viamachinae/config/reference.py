"""The page of docs/ that lists every setting, written from the settings tree."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel

from viamachinae.config.dump import toml_value
from viamachinae.config.expected import NONE, describe, schema_of
from viamachinae.config.mocksky import MockProgenitor, MockStream
from viamachinae.config.settings import Settings

__all__ = ["markdown"]

_HEAD = """\
# Settings

Every setting of a scan, with what it may be and its default. `make docs` writes this page from the
settings tree (`viamachinae/config/`); edit the descriptions there. A file of settings is
refused as a whole when it holds a key that is not listed here, a value of another type, or an
impossible value; the message lists every such place with its line.
"""


def markdown() -> str:
    """Return the reference of all settings as a Markdown page."""
    parts = [_HEAD]
    for name, section in Settings():
        parts.append(_section(f"[{name}]", type(section), (name,)))
        if name == "mock":
            parts.append(_section("[[mock.streams]]", MockStream, (name, "streams", 0)))
            parts.append(_section("[[mock.progenitors]]", MockProgenitor, (name, "progenitors", 0)))
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], location: tuple[str | int, ...]) -> str:
    rows = [
        f"## `{title}`\n",
        *_paragraphs(model),
        "| setting | default | valid | meaning |",
        "|---|---|---|---|",
    ]
    for key, field in model.model_fields.items():
        schema = schema_of((*location, key)) or {}
        default = "required" if field.is_required() else f"`{_default(field.default)}`"
        cells = [f"`{key}`", default, describe(schema), field.description or ""]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _paragraphs(model: type[BaseModel]) -> list[str]:
    text = (model.__doc__ or "").replace("``", "`")
    return [" ".join(block.split()) + "\n" for block in text.split("\n\n")]


def _default(value: object) -> str:
    return f'"{NONE}"' if value is None else " ".join(toml_value(value).split())


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
