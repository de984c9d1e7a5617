"""Check data against the part of JSON Schema 2020-12 that our content schemas use, with the line of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.strict_yaml import Lines

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_UNDERSTOOD = {"$schema", "$id", "$ref", "$defs", "title", "type", "enum", "pattern", "minLength", "maxLength"} | {
    *("minimum", "maximum", "minItems", "items", "required", "properties", "additionalProperties"),
}


class Shape:
    """A schema document. Raises ValueError at once if it uses a keyword that is not understood here."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._vet(schema)

    def _vet(self, schema: Mapping[str, Any]) -> None:
        if unknown := set(schema) - _UNDERSTOOD:
            raise ValueError(f"schema keywords not understood: {sorted(unknown)}")
        for key in ("properties", "$defs"):
            for child in schema.get(key, {}).values():
                self._vet(child)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), Mapping):
                self._vet(schema[key])

    def check(self, data: Any, lines: Lines, path: Path | str) -> None:
        """Raises ConfigError with path:line at the first value that does not fit."""
        self._check(data, self._root, (), lines, path)

    def _check(
        self, value: Any, schema: Mapping[str, Any], at: tuple[str | int, ...], lines: Lines, path: Path | str
    ) -> None:
        def fail(problem: str, where: tuple[str | int, ...] = at) -> ConfigError:
            name = ".".join(map(str, where)) or "the file"
            return ConfigError(f"{name}: {problem}", path, _line(lines, where))

        if "$ref" in schema:
            target: Any = self._root
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            schema = target
        if "enum" in schema and value not in schema["enum"]:
            raise fail(f"{value!r} is not one of {', '.join(map(str, schema['enum']))}")
        if "type" in schema:
            wanted = _TYPES[schema["type"]]
            if not isinstance(value, wanted) or (isinstance(value, bool) and schema["type"] in ("integer", "number")):
                raise fail(f"must be {'an' if schema['type'][0] in 'aio' else 'a'} {schema['type']}")
        if isinstance(value, str):
            if "pattern" in schema and not re.search(schema["pattern"], value):
                raise fail(f"{value!r} does not match {schema['pattern']}")
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                raise fail(f"length {len(value)} is out of bounds")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                raise fail(f"{value} is out of bounds")
        elif isinstance(value, list):
            if len(value) < schema.get("minItems", 0):
                raise fail(f"needs at least {schema['minItems']} items")
            for i, item in enumerate(value):
                self._check(item, schema.get("items", {}), (*at, i), lines, path)
        elif isinstance(value, dict):
            for name in schema.get("required", ()):
                if name not in value:
                    raise fail(f"the field `{name}` is missing; add it")
            known = schema.get("properties", {})
            extra = schema.get("additionalProperties", {})
            for name, item in value.items():
                if name in known:
                    self._check(item, known[name], (*at, name), lines, path)
                elif extra is False:
                    raise fail(f"unknown field; known here: {', '.join(sorted(known))}", (*at, name))
                else:
                    self._check(item, extra, (*at, name), lines, path)


def _line(lines: Lines, at: tuple[str | int, ...]) -> int:
    while at and at not in lines:
        at = at[:-1]
    return lines.get(at, 1)
