"""What a setting may be, in words, read from the settings tree itself."""

from __future__ import annotations

from functools import cache
from typing import Any

from viamachinae.config.settings import Settings

__all__ = ["NONE", "describe", "keys_of", "nullable", "place_of", "schema_of"]

Schema = dict[str, Any]

NONE = "none"  #: how TOML, which has no null, says that an optional setting is not set

_TYPES = {
    "number": "a finite number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a text",
    "object": "a table",
}
_BOUNDS = {
    "exclusiveMinimum": "above {}",
    "minimum": "at least {}",
    "exclusiveMaximum": "below {}",
    "maximum": "at most {}",
    "pattern": "matching {}",
}
_FORMATS = {"path": "a path", "place": "a path or URL"}


@cache
def _tree() -> Schema:
    return Settings.model_json_schema()


def _resolve(schema: Schema) -> Schema:
    """Follow a reference, keeping what stands beside it (the description)."""
    if "$ref" not in schema:
        return schema
    target = _tree()["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    return {**target, **{k: v for k, v in schema.items() if k != "$ref"}}


def _options(schema: Schema) -> list[Schema]:
    return [_resolve(option) for option in schema.get("anyOf", [schema])]


def _present(schema: Schema) -> Schema:
    """Return the schema of the value when it is set."""
    return next(o for o in _options(_resolve(schema)) if o.get("type") != "null")


def schema_of(location: tuple[str | int, ...]) -> Schema | None:
    """Return the JSON schema at a location of the tree, None where there is none."""
    here: Schema = _tree()
    for step in location:
        value = _present(here)
        if isinstance(step, str):
            names = value.get("properties", {})
            free = value.get("additionalProperties")
            if step not in names and not isinstance(free, dict):
                return None
            here = _resolve(names.get(step, free))
        elif "prefixItems" in value:
            if step >= len(value["prefixItems"]):
                return None
            here = _resolve(value["prefixItems"][step])
        elif "items" in value:
            here = _resolve(value["items"])
        else:
            return None
    return here


def keys_of(location: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the keys of the table at a location."""
    schema = schema_of(location)
    return tuple(_present(schema).get("properties", {})) if schema else ()


def place_of(key: str) -> tuple[str, ...]:
    """Return the sections that have a setting of this name."""
    return tuple(name for name in keys_of(()) if key in keys_of((name,)))


def nullable(location: tuple[str | int, ...]) -> bool:
    """Return whether the setting at a location may be :data:`NONE`."""
    schema = schema_of(location)
    return schema is not None and any(o.get("type") == "null" for o in _options(schema))


def describe(schema: Schema) -> str:
    """Return in words what values a schema allows, as in "a number above 0"."""
    words = " or ".join(_one(o) for o in _options(_resolve(schema)) if o.get("type") != "null")
    return f'{words}, or "{NONE}"' if len(_options(_resolve(schema))) > 1 else words


def _one(schema: Schema) -> str:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return " or ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in values)
    if schema.get("type") == "array":
        return _array(schema)
    if isinstance(schema.get("additionalProperties"), dict):
        return f"a table of names, each with {describe(schema['additionalProperties'])}"
    words = _FORMATS.get(schema.get("format", ""), _TYPES[schema["type"]])
    if schema.get("minLength"):
        words += ", not empty,"
    bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
    return " ".join([words, " and ".join(bounds)]).rstrip(" ,")


def _array(schema: Schema) -> str:
    if "prefixItems" in schema:
        items = [describe(s) for s in schema["prefixItems"]]
        if len(set(items)) == 1:
            return f"a list of {len(items)}, each {items[0]}"
        return "[" + ", ".join(items) + "]"
    least = f" of {schema['minItems']} or more" if "minItems" in schema else ""
    return f"a list{least}, each {describe(schema['items'])}"
