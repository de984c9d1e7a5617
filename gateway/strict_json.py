"""One reading of JSON: what the gateway inspects is what it forwards (RFC 8259, with tighter rules)."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.reasons import Refusal

MAX_DEPTH = 64
"""Levels of nesting of any body; real ones have fewer than 20, and every walk recurses this far."""
EXACT = 1 << 53
"""From here on a float cannot say which integer was sent."""


def parse(raw: bytes, max_depth: int = MAX_DEPTH, scope: str = "request") -> Any:
    """The value in `raw`.

    Raises Refusal `WIRE.MALFORMED` for anything but UTF-8 JSON without BOM, NaN, lone surrogates or numbers that lose
    their value; too deep nesting too. Duplicate keys collapse to the last one, here and thereby upstream.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Refusal("WIRE.MALFORMED", "json" if scope == "request" else "upstream", scope) from None
    level = [value]
    for _ in range(max_depth):
        below: list[Any] = []
        for item in level:
            kind = type(item)  # the parser makes no subclasses
            if kind is str:
                continue
            if kind is dict:
                below.extend(item.values())
            elif kind is list:
                below.extend(item)
            elif kind is float and abs(item) >= EXACT:
                raise Refusal("WIRE.MALFORMED", "number" if scope == "request" else "upstream", scope)
        if not below:
            return value
        level = below
    raise Refusal("WIRE.MALFORMED", "depth" if scope == "request" else "upstream", scope)
