"""What is wrong with settings, all of it, in words that name key, line, value and way out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from viamachinae.config.expected import NONE, describe, keys_of, nullable, place_of, schema_of
from viamachinae.config.locate import Location, line_of
from viamachinae.config.settings import Settings
from viamachinae.errors import ConfigError

__all__ = ["Problem", "name_of", "refuse", "validate"]

Tree = dict[str, Any]

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the settings.

    Parameters
    ----------
    location : tuple of str or int
        Keys and positions that lead to it, as in ``("patches", "radius")``.
    text : str
        What is wrong and what is valid.
    """

    location: Location
    text: str


def name_of(location: Location) -> str:
    """Return a location as it is written: ``mock.streams[0].width``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


def refuse(source: str, problems: list[Problem], found: dict[Location, int]) -> ConfigError:
    """Return the error that lists all problems of a text, in the order of its lines.

    Parameters
    ----------
    source : str
        File, as the user named it.
    problems : list of Problem
        At least one.
    found : dict
        Lines of the text, from :func:`viamachinae.config.locate.lines`.
    """
    rows = []
    for problem in problems:
        line = line_of(found, problem.location)
        where = source if line is None else f"{source}, line {line}"
        rows.append((line or 0, f"{where}: {problem.text}"))
    rows.sort(key=lambda row: row[0])
    texts = list(dict.fromkeys(text for _, text in rows))
    if len(texts) == 1:
        return ConfigError(texts[0])
    return ConfigError("\n  ".join([f"{len(texts)} problems in {source}:", *texts]))


def validate(tree: Tree) -> tuple[Settings | None, list[Problem]]:
    """Return the settings of a parsed TOML text, or everything that is wrong with it.

    A value that is wrong by itself hides the checks that compare settings, so
    wrong values are taken out and the rest is looked at again; what then
    speaks of a value taken out is not reported.

    Parameters
    ----------
    tree : dict
        As ``tomllib`` returns it.

    Returns
    -------
    settings : Settings or None
        None when there are problems.
    problems : list of Problem
        Empty when there are none.
    """
    tree = _with_null(tree)
    problems: list[Problem] = []
    removed: list[Location] = []
    rest = deepcopy(tree)
    while True:
        try:
            settings = Settings.model_validate_json(json.dumps(rest, default=_opaque), strict=True)
        except ValidationError as error:
            details = error.errors(include_url=False)
        else:
            return (None, problems) if problems else (settings, [])
        fresh = [d for d in details if not (d["type"] == "value_error" and _speaks_of(d, removed))]
        problems += [p for d in fresh for p in _explain(d, tree)]
        cut = [_cut(rest, d["loc"]) for d in details if d["loc"]]
        if not cut:
            return None, problems
        removed += cut


def _with_null(tree: Tree) -> Tree:
    """Return the tree with ``"none"`` read as "not set", where a setting may be that."""
    out: Tree = {}
    for section, body in tree.items():
        if isinstance(body, dict):
            out[section] = {k: None if v == NONE and nullable((section, k)) else v for k, v in body.items()}
        else:
            out[section] = body
    return out


def _opaque(value: object) -> Tree:
    """Stand in for dates and times, which no setting is."""
    return {"date": str(value)}


def _value_at(tree: object, location: Location) -> object:
    for step in location:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def _cut(tree: Tree, location: Location) -> Location:
    """Take the setting that holds ``location`` out of the tree; return where it was.

    The section stays, unless it is no table or the sum of its settings is at fault.
    """
    section = location[0]
    body = tree.get(str(section))
    if len(location) > 1 and isinstance(body, dict) and location[1] in body:
        del body[location[1]]
        return location[:2]
    tree.pop(str(section), None)
    return location[:1]


def _speaks_of(detail: ErrorDetails, removed: list[Location]) -> bool:
    """Return whether a comparison of settings was made with a default in place of a refused value."""
    place = detail["loc"]
    for location in removed:
        key = str(location[-1])
        if place and place[:1] == location[:1] and re.search(rf"\b{re.escape(key)}\b", detail["msg"]):
            return True
        if not place and (name_of(location) in detail["msg"] or f"{key}." in detail["msg"]):
            return True
    return False


def _explain(detail: ErrorDetails, tree: Tree) -> list[Problem]:
    location: Location = tuple(detail["loc"])
    if detail["type"] == "value_error":
        return _impossible(location, str(detail["ctx"]["error"]), tree)
    return _HANDLERS.get(detail["type"], _wrong_value)(location, tree)


def _shown(value: object) -> str:
    if isinstance(value, (date, time)):
        return str(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _wrong_value(location: Location, tree: Tree) -> list[Problem]:
    value = _value_at(tree, location)
    schema = schema_of(location)
    if schema is None:  # one element too many for its list
        location = location[:-1]
        schema = schema_of(location) or {}
    expected = describe(schema)
    if len(location) == 1 and schema.get("type") == "object":
        expected = f"a table, written [{location[0]}]"
    text = f"{name_of(location)} = {_shown(value)}: expected {expected}"
    about = schema.get("description")
    if about and len(location) > 1 and "\n" not in about:
        text += f" ({about})"
    return [Problem(location, text)]


def _unknown(location: Location, tree: Tree) -> list[Problem]:
    key, parent = str(location[-1]), location[:-1]
    valid = keys_of(parent)
    kind = "section" if not parent else "key"
    text = f"{name_of(location)} = {_shown(_value_at(tree, location))}: unknown {kind}"
    elsewhere = [s for s in place_of(key) if (s,) != parent]
    close = get_close_matches(key, valid, n=1)
    if close:
        text += f", did you mean {close[0]!r}?"
    elif parent and key in keys_of(()):
        text += f", it is a section: write it below a line [{key}] of its own"
    elif elsewhere:
        text += f", it belongs in {' or '.join(f'[{s}]' for s in elsewhere)}"
    where = f"keys of [{name_of(parent)}]" if parent else "sections"
    return [Problem(location, f"{text}; valid {where}: {', '.join(valid)}")]


def _missing(location: Location, tree: Tree) -> list[Problem]:
    if isinstance(location[-1], int):  # a list that is too short
        return _wrong_value(location[:-1], tree)
    schema = schema_of(location) or {}
    text = f"{name_of(location)} is missing: {describe(schema)} ({schema.get('description')})"
    return [Problem(location, text)]


def _impossible(location: Location, message: str, tree: Tree) -> list[Problem]:
    """Explain checks that compare settings; each line of the message is one problem."""
    found = []
    for line in message.splitlines():
        named = [k for k in keys_of(location) if re.search(rf"\b{k}\b", line)]
        written = [k for k in named if _value_at(tree, (*location, k)) is not None]
        place = (*location, *written[:1])
        if not location:  # a check across sections names its settings in full
            full = [tuple(m.split(".")) for m in re.findall(r"\b[a-z]+\.[a-z_]+\b", line)]
            place = next((f for f in full if _value_at(tree, f) is not None), ())
        start = f"{name_of(place)} = {_shown(_value_at(tree, place))}: " if place else ""
        found.append(Problem(place, start + line))
    return found


_HANDLERS: dict[str, Callable[[Location, Tree], list[Problem]]] = {
    "extra_forbidden": _unknown,
    "missing": _missing,
}
