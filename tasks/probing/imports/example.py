"""A text that a regular expression matches, to prove an imported pattern by; None where none is found."""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]  # the one parser of this syntax; its result is checked by a match
from typing import Any

_FILL = "a0 _-A9."
_MAX = 400


def example_of(pattern: str) -> str | None:
    """The shortest obvious match. Look-arounds and back references are not solved; whatever is returned matches."""
    try:
        compiled = re.compile(pattern)
        text = _sequence(_parser.parse(pattern))
    except (re.error, RecursionError, _UnsolvedError, OverflowError):
        return None
    return text if len(text) <= _MAX and compiled.search(text) else None


class _UnsolvedError(Exception):
    pass


def _sequence(items: Any) -> str:
    return "".join(_one(str(op), argument) for op, argument in items)


def _one(op: str, argument: Any) -> str:
    match op:
        case "LITERAL":
            return chr(argument)
        case "NOT_LITERAL":
            return next(c for c in _FILL if ord(c) != argument)
        case "ANY":
            return "x"
        case "IN":
            return _member(argument)
        case "BRANCH":
            return _sequence(argument[1][0])
        case "SUBPATTERN":
            return _sequence(argument[-1])
        case "ATOMIC_GROUP":
            return _sequence(argument)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            return _sequence(argument[2]) * min(int(argument[0]), _MAX)
        case "AT":
            return ""
        case "ASSERT" if argument[0] == 1:
            return _sequence(argument[1])
    raise _UnsolvedError


def _member(items: Any) -> str:
    negated = str(items[0][0]) == "NEGATE"
    if negated:
        wanted = re.compile(_class(items))
        return next((c for c in _FILL if wanted.fullmatch(c)), "\u00e9")
    op, argument = str(items[0][0]), items[0][1]
    if op == "LITERAL":
        return chr(argument)
    if op == "RANGE":
        return chr(argument[0])
    return {"CATEGORY_DIGIT": "0", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " "}.get(str(argument), "-")


def _class(items: Any) -> str:
    """A negated character class, written again."""
    names = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
    parts = []
    for op, argument in items[1:]:
        match str(op):
            case "LITERAL":
                parts.append(re.escape(chr(argument)))
            case "RANGE":
                parts.append(f"{re.escape(chr(argument[0]))}-{re.escape(chr(argument[1]))}")
            case _:
                parts.append(names.get(str(argument), ""))
    return f"[^{''.join(parts)}]"
