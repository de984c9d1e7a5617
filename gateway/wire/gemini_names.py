"""One spelling of a Gemini request: its fields go by two names each, and lists of one may be written bare. No I/O."""

from __future__ import annotations

import re
from typing import Any

from gateway.fields import REQUEST
from gateway.wire.format import malformed

_FREE = frozenset((
    "args", "parameters", "parametersJsonSchema", "response", "responseJsonSchema", "responseSchema", "partMetadata",
    "labels",
))  # fmt: skip
"""Members whose names are the client's own."""
_LISTS = frozenset(("contents", "parts", "tools", "functionDeclarations", "allowedFunctionNames", "mcpServers"))
_WORD = re.compile("_([a-z0-9])")


def canonical(body: dict[str, Any]) -> None:
    """Change `body` so that all fields have their camelCase names (ProtoJSON) and lists are lists.

    Raises Refusal where a field stands twice, under both names.
    """
    named: dict[str, Any] = {}
    for key, value in body.items():
        name = _WORD.sub(lambda found: found[1].upper(), key)
        if name in named:
            raise malformed(REQUEST)
        named[name] = [value] if name in _LISTS and isinstance(value, dict | str) else value
        if name not in _FREE:
            _inside(named[name])
    body.clear()
    body.update(named)


def _inside(value: Any) -> None:
    if isinstance(value, dict):
        canonical(value)
    elif isinstance(value, list):
        for item in value:
            _inside(item)
