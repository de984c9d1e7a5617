"""One way to write a JSON value: RFC 8785, the JSON Canonicalization Scheme. No I/O."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson

EXACT = 1 << 53
"""Whole numbers from here on lie outside of what RFC 8785 covers (I-JSON, RFC 7493); they keep all their digits."""


def canonical_json(value: Any) -> bytes:
    """The bytes to hash for `value`, a value as a JSON parser returns it.

    Raises ValueError for NaN and infinity, and UnicodeEncodeError for lone surrogates.
    """
    if _plain(value):  # then orjson's order and digits are those of the RFC
        with contextlib.suppress(TypeError):  # lone surrogates; `_write` says so in its own error
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return _write(value).encode("utf-8")


def _plain(value: Any) -> bool:
    """Whether `value` has no fractions, no numbers beyond 64 bit and only ASCII keys."""
    if isinstance(value, dict):
        return all(key.isascii() for key in value) and all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    return not isinstance(value, float) and (not isinstance(value, int) or abs(value) < EXACT)


def _write(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))  # section 3.2.3
        return "{" + ",".join(f"{_text(name)}:{_write(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return _number(value)
    return str(value) if type(value) is int else orjson.dumps(value).decode()


def _text(value: str) -> str:
    value.encode("utf-8")  # refuses lone surrogates by the documented error
    return orjson.dumps(value).decode()


def _number(value: float) -> str:
    """As ECMAScript's Number::toString writes it (section 3.2.2.3)."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError("not a JSON number")
    if value == 0:
        return "0"
    sign, mantissa, exponent = _decimal(value)
    digits, point = mantissa, exponent + 1  # 0.digits * 10**point
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _decimal(value: float) -> tuple[str, str, int]:
    """(sign, shortest digits that read back as `value`, exponent of the first one)."""
    text = repr(value)
    sign, text = ("-", text[1:]) if text.startswith("-") else ("", text)
    mantissa, _, power = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = whole + fraction
    stripped = digits.lstrip("0")
    exponent = len(whole) - 1 - (len(digits) - len(stripped)) + int(power or 0)
    return sign, stripped.rstrip("0"), exponent
