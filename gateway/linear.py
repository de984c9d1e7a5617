"""Which regular expressions may be run: those whose time grows linearly with the text, whatever the text is.

The standard library's `re` tries every way to read a text, so an expression is checked when it is read: every repeat
has an upper bound, nothing variable stands inside a repeat, there are no back references. Each place of a text is then
tried in bounded time; `count_ways` says how bounded.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

MAX_WIDTH = 6_144
"""Characters of the longest hit of any pattern: a stream may have to hold this much back."""

_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")
_ALL = (1 << 129) - 1
"""A bit for each ASCII character, and one for all others."""
_CATEGORIES = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_SPACE": " \t\n\r\f\v",
    "CATEGORY_WORD": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
}
Item = tuple[Any, Any]
"""An operator of a parsed expression and its operand."""


def parse_expression(expression: str) -> Any:
    """The parse tree of the standard library. Raises re.error when there is none."""
    return importlib.import_module("re._parser").parse(expression)


def check_linear(expression: str) -> int:
    """The greatest width of a match in characters.

    Raises ValueError, saying what to change, unless the expression is safe by construction; re.error when it is none.
    """
    tree = parse_expression(expression)
    if tree.state.flags & ~re.UNICODE:
        raise ValueError("flags inside the expression are not read; use `ignore_case`")
    _check(tree, inside_repeat=False)
    width = int(tree.getwidth()[1])
    if width > MAX_WIDTH:
        raise ValueError(f"a match may be {width} characters long; at most {MAX_WIDTH} are held in a stream")
    return width


def _check(tree: Any, inside_repeat: bool) -> None:
    for op, value in tree:
        name = str(op)
        if name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError("back references are not linear")
        if name == "BRANCH":
            if inside_repeat:
                raise ValueError("alternatives inside a repeat may be ambiguous; write them out")
            for branch in value[1]:
                _check(branch, inside_repeat)
        elif name in _REPEATS:
            low, high, body = value
            if int(high) > MAX_WIDTH:
                raise ValueError("every repeat needs an upper bound")
            if inside_repeat and low != high:
                raise ValueError("a repeat of variable length inside a repeat is not linear")
            _check(body, (inside_repeat or int(high) > 1) and not _alternates(body))
        elif name in ("ASSERT", "ASSERT_NOT"):
            if int(value[1].getwidth()[1]) > 2:
                raise ValueError("a look-around may span two characters at most")
            _check(value[1], inside_repeat)
        elif name == "SUBPATTERN":
            if value[1] or value[2]:
                raise ValueError("flags inside the expression are not read; use `ignore_case`")
            _check(value[3], inside_repeat)
        elif name not in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT"):
            raise ValueError("atomic groups and possessive repeats are not supported")


def _alternates(body: Any) -> bool:
    """Whether a repeated body is a round of runs of characters, none of which can take from the next.

    Such as words and the spaces between them: there is one way to read a text so, hence nothing to try again.
    """
    runs = [_run_of(op, value) for op, value in _opened(body)]
    if len(runs) < 2 or any(run is None for run in runs):
        return False
    return not any(run & after for run, after in zip(runs, [*runs[1:], runs[0]], strict=True) if run and after)


def _opened(body: Any) -> Any:
    """The inside of a body that is one group."""
    return body[0][1][3] if len(body) == 1 and str(body[0][0]) == "SUBPATTERN" else body


def _run_of(op: Any, value: Any) -> int | None:
    """The characters of a run of one or more of a set; None for all else."""
    if str(op) in _REPEATS:
        low, _, inner = value
        return _run_of(*inner[0]) if int(low) > 0 and len(inner) == 1 else None
    return None if str(op) not in ("LITERAL", "NOT_LITERAL", "ANY", "IN") else members(op, value)


def members(op: Any, value: Any) -> int:
    """The characters of a set as a bit mask, letters in both cases."""
    name = str(op)
    if name == "ANY":
        return _ALL
    mask, negate = 0, name == "NOT_LITERAL"
    for kind, v in [(name, value)] if name != "IN" else [(str(k), v) for k, v in value]:
        if kind == "NEGATE":
            negate = True
        elif kind == "CATEGORY":
            chars = sum(1 << ord(c) for c in _CATEGORIES[str(v).replace("_NOT_", "_")])
            mask |= _ALL ^ chars if "_NOT_" in str(v) else chars
        else:
            first, last = v if kind == "RANGE" else (v, v)
            for c in range(min(int(first), 128), min(int(last), 128) + 1):
                mask |= 1 << c
    for c in range(26):
        if mask & (1 << (65 + c) | 1 << (97 + c)):
            mask |= 1 << (65 + c) | 1 << (97 + c)
    return _ALL ^ mask if negate else mask


def count_ways(expression: str) -> int:
    """An upper bound on the ways `re` may try to read the text at one place before it gives up.

    Only a repeat that can take characters from what follows it, and an alternative, add ways: they multiply.
    """
    return _ways(list(parse_expression(expression)), ())


def _ways(items: Sequence[Item], after: Sequence[Item]) -> int:
    total = 1
    for i, (op, value) in enumerate(items):
        rest = (*items[i + 1 :], *after)
        name = str(op)
        if name == "SUBPATTERN":
            total *= _ways(list(value[3]), rest)
        elif name == "BRANCH":
            total *= sum(_ways(list(branch), rest) for branch in value[1])
        elif name in _REPEATS:
            low, high, body = value
            if not _alternates(body):
                total *= _ways(list(body), rest)
            if low != high and rest and _reach(body) & _first(rest):
                total *= int(high) - int(low) + 1
    return total


def _reach(body: Any) -> int:
    """The characters that a repeat can give back or take: all that are in its body."""
    mask = 0
    for op, value in body:
        name = str(op)
        if name == "SUBPATTERN":
            mask |= _reach(value[3])
        elif name == "BRANCH":
            for branch in value[1]:
                mask |= _reach(branch)
        elif name in _REPEATS:
            mask |= _reach(value[2])
        elif name not in ("AT", "ASSERT", "ASSERT_NOT"):
            mask |= members(op, value)
    return mask


def _first(items: Iterable[Item]) -> int:
    """The characters that what follows may begin with; all of them if it may be empty or depends on its place."""
    mask = 0
    for op, value in items:
        name = str(op)
        if name == "SUBPATTERN":
            mask |= _first(value[3])
            if int(value[3].getwidth()[0]):
                return mask
        elif name == "BRANCH":
            for branch in value[1]:
                mask |= _first(branch)
            if all(int(branch.getwidth()[0]) for branch in value[1]):
                return mask
        elif name in _REPEATS:
            mask |= _first(value[2])
            if int(value[0]) and int(value[2].getwidth()[0]):
                return mask
        elif name in ("AT", "ASSERT", "ASSERT_NOT"):
            return _ALL
        else:
            return mask | members(op, value)
    return mask


def required_literals(expression: str) -> tuple[str, ...]:
    """Literals, in lower case, of which every match contains one; of several choices the longest. () when none."""
    return _literals(list(parse_expression(expression)))


def _literals(items: Sequence[Item]) -> tuple[str, ...]:
    choices: list[tuple[str, ...]] = []
    text = ""
    for op, value in [*items, ("END", None)]:
        name = str(op)
        if name == "LITERAL" and int(value) < 128:
            text += chr(value).lower()
            continue
        if text:
            choices.append((text,))
            text = ""
        if name == "SUBPATTERN":
            choices.append(_literals(list(value[3])))
        elif name in _REPEATS and int(value[0]) > 0:
            choices.append(_literals(list(value[2])))
        elif name == "BRANCH":
            branches = [_literals(list(branch)) for branch in value[1]]
            choices.append(tuple(dict.fromkeys(x for b in branches for x in b)) if all(branches) else ())
    return max(choices, key=lambda c: min(map(len, c), default=0), default=())


def longest_match(expression: str) -> str:
    """A text as long as a match can be, which look-arounds may still refuse. For trying what an expression costs."""
    return _longest(parse_expression(expression))


def _longest(items: Iterable[Item]) -> str:
    text = ""
    for op, value in items:
        name = str(op)
        if name == "SUBPATTERN":
            text += _longest(value[3])
        elif name == "BRANCH":
            text += max((_longest(branch) for branch in value[1]), key=len)
        elif name in _REPEATS:
            text += _longest(value[2]) * int(value[1])
        elif name not in ("AT", "ASSERT", "ASSERT_NOT"):
            text += _member(op, value)
    return text


def _member(op: Any, value: Any) -> str:
    if str(op) == "LITERAL":
        return chr(value)
    mask = members(op, value)
    for c in (*b"a0A", *range(33, 127), *range(128)):
        if mask >> c & 1:
            return chr(c)
    return "\u00e9"
