"""Settings to TOML: every key below a comment that says what it is and in which unit."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from viamachinae.config.expected import NONE
from viamachinae.config.mocksky import MockProgenitor, MockStream
from viamachinae.config.settings import Settings

__all__ = ["dump", "toml_value"]

_WIDTH = 90
_TABLES: dict[tuple[str, str], type[BaseModel]] = {
    ("mock", "streams"): MockStream,
    ("mock", "progenitors"): MockProgenitor,
}
_HEAD = (
    "Settings of a scan; `viamachinae run THIS_FILE --out FOLDER` runs it. A line that is left out "
    f'takes its default. "{NONE}" means not set.'
)


def dump(settings: Settings) -> str:
    """Return the settings as a commented TOML text.

    Loading the text gives the same settings, as long as ``stars.paths`` are
    absolute or the text lies in the folder at which they start.

    Parameters
    ----------
    settings : Settings
        The whole tree.
    """
    sections = [_section(name, getattr(settings, name)) for name in Settings.model_fields]
    return "\n\n".join([_comment(_HEAD), *sections]) + "\n"


def _section(name: str, section: BaseModel) -> str:
    rows = [_comment(_first_paragraph(type(section))), f"[{name}]"]
    tables: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if (name, key) in _TABLES:
            tables += _tables(f"{name}.{key}", _TABLES[name, key], value, field)
        else:
            rows += _setting(key, value, field)
    return "\n\n".join(["\n".join(rows), *tables])


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n", maxsplit=1)[0].split())


def _setting(key: str, value: object, field: FieldInfo) -> Iterator[str]:
    yield _comment(field.description or key)
    if value is not None:
        yield f"{key} = {toml_value(value)}"
    elif field.default is None:
        yield f'# {key} = "{NONE}"'
    else:
        yield f'{key} = "{NONE}"'


def _tables(
    name: str, model: type[BaseModel], values: tuple[BaseModel, ...], field: FieldInfo
) -> Iterator[str]:
    if not values:
        keys = [_comment(f"{key}: {f.description}") for key, f in model.model_fields.items()]
        head = f"{field.description}: a table [[{name}]] for each, with the keys"
        yield "\n".join([_comment(head), *keys])
    for i, value in enumerate(values):
        rows = [f"[[{name}]]"]
        for key, f in model.model_fields.items():
            line = f"{key} = {toml_value(getattr(value, key))}"
            rows += [_comment(f.description or key), line] if i == 0 else [line]
        yield "\n".join(rows)


def _comment(text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def toml_value(value: object) -> str:
    """Return a value in TOML; long lists of lists go over several lines, tables stand in one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, Path)):
        # JSON's escapes are TOML's, except that TOML also wants DEL escaped.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        pairs = [f"{_key(str(k))} = {toml_value(v)}" for k, v in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, tuple):
        parts = [toml_value(v) for v in value]
        line = "[" + ", ".join(parts) + "]"
        if len(line) <= _WIDTH // 2 or len(parts) < 2:
            return line
        return "[\n" + "".join(f"    {part},\n" for part in parts) + "]"
    return repr(value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)
