"""What to look for first: from a pattern's expression, a short piece of it that hyperscan finds in one pass. No I/O.

Every match of the expression holds a match of one of its triggers, at a known distance from its beginning. Expressions
are bounded (`check_linear`), so each is a few sequences of character sets with a count; a trigger is the stretch of
such a sequence that the fewest texts contain. A look-around of one character counts as a set of its own.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

MARGIN = 8
"""Zero bytes that must stand before and after a text, so that a character "that is no letter" is there to be found."""

BEHIND, AHEAD = -1, 1
_ALL = (1 << 256) - 1
_FOREIGN = _ALL ^ ((1 << 128) - 1)
_MAX_SEQUENCES = 64
_MAX_WIDTH = 28
"""Characters: longer ones cost hyperscan more than they save."""
_MAX_PLAY = 6
"""Characters by which a set inside a trigger may vary in number."""
_SHARES = [
    0.58 / 26 if chr(c).islower() else 0.06 / 26 if chr(c).isupper() else 0.06 / 10 if chr(c).isdigit()
    else 0.16 if c == 32 else 0.014 if c == 10 or chr(c) in ".,-_/:'\"()=" else 0.001 if c > 32 else 1e-4
    for c in range(128)
] + [0.02 / 128] * 128  # fmt: skip
"""Rough shares of bytes in prose, logs and code; they only choose among triggers."""
_CATEGORIES = {
    "CATEGORY_DIGIT": "0123456789",
    "CATEGORY_SPACE": " \t\n\r\f\v",
    "CATEGORY_WORD": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
}


@dataclass(frozen=True, slots=True)
class Trigger:
    """Ends `nearest` to `farthest` characters behind the beginning of the match it is part of."""

    expression: str
    nearest: int
    farthest: int


class _Run(NamedTuple):
    """A number of characters of a set (a bit mask of bytes).

    `guard`: only looked at; -1 = the one before the next run, 1 = the one after the last run.
    """

    chars: int
    low: int
    high: int
    guard: int = 0


_Sequence = tuple[_Run, ...]
_ANYTHING: _Sequence = (_Run(_ALL, 0, 1 << 20),)


@cache
def triggers(verify: re.Pattern[str], whole: bool = False, backwards: bool = False) -> tuple[Trigger, ...]:
    """Triggers of an ASCII expression without back references and unbounded repeats.

    `whole`: the expression is itself the beginning of every match, and written out entirely. `backwards`: triggers
    that find the text written from its end to its beginning; their distances mean nothing.
    """
    tree: Any = importlib.import_module("re._parser").parse(verify.pattern, verify.flags)
    found: dict[str, Trigger] = {}
    for sequence in _sequences(tree, bool(verify.flags & re.IGNORECASE)):
        first, last = (0, len(sequence) - 1) if whole else _rarest(sequence)
        trigger = _trigger(sequence, first, last, cut=not whole, backwards=backwards)
        known = found.get(trigger.expression, trigger)
        found[trigger.expression] = Trigger(
            trigger.expression, min(known.nearest, trigger.nearest), max(known.farthest, trigger.farthest)
        )
    return tuple(found.values())


def _sequences(tree: Iterable[tuple[Any, Any]], ignore_case: bool) -> list[_Sequence]:
    """The expression written out as alternatives without alternatives inside."""
    whole: list[_Sequence] = [()]
    for op, value in tree:
        parts = _parts(str(op), value, ignore_case)
        if len(whole) * len(parts) > _MAX_SEQUENCES:
            return [s + _ANYTHING for s in whole]
        whole = [s + p for s in whole for p in parts]
    return whole


def _parts(op: str, value: Any, ignore_case: bool) -> list[_Sequence]:
    if op == "SUBPATTERN":
        return _sequences(value[3], ignore_case)
    if op == "BRANCH":
        return [s for branch in value[1] for s in _sequences(branch, ignore_case)]
    if op in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, body = value
        parts = _sequences(body, ignore_case)
        if len(parts) == 1 and len(parts[0]) == 1 and parts[0][0][1:] == (1, 1, 0):
            return [(_Run(parts[0][0].chars, int(low), int(high)),)]
        if int(high) == 1:
            return [(), *parts] if int(low) == 0 else parts
        if len(parts) == 1:
            rest = () if low == high else _ANYTHING
            return [parts[0] * int(low) + rest]
        return [p + _ANYTHING for p in parts] if int(low) else [_ANYTHING]
    if op in ("ASSERT", "ASSERT_NOT"):
        around = _sequences(value[1], ignore_case)
        if any(len(s) != 1 or s[0][1:] != (1, 1, 0) for s in around):
            return [()]
        chars = 0
        for s in around:
            chars |= s[0].chars
        if op == "ASSERT_NOT":
            chars = _ALL ^ chars
        # The end of the text satisfies a negative look-around; there the margin's zeros stand.
        return [(_Run(chars, 1, 1, int(value[0])),)] if chars & 1 or op == "ASSERT" else [()]
    if op == "AT":
        return [()]
    return [(_Run(_chars(op, value, ignore_case), 1, 1),)]


def _chars(op: str, value: Any, ignore_case: bool) -> int:
    if op == "ANY":
        return _ALL ^ (1 << 10)
    items = [(op, value)] if op != "IN" else [(str(kind), v) for kind, v in value]
    mask, negate = 0, False
    for kind, v in items:
        if kind == "NEGATE":
            negate = True
        elif kind in ("LITERAL", "NOT_LITERAL"):
            mask |= _bit(int(v))
            negate |= kind == "NOT_LITERAL"
        elif kind == "RANGE":
            for c in range(int(v[0]), int(v[1]) + 1):
                mask |= _bit(c)
        elif kind == "CATEGORY":
            name = str(v)
            positive = name.replace("_NOT_", "_")
            chars = sum(1 << ord(c) for c in _CATEGORIES[positive])
            mask |= chars if positive == name else _ALL ^ chars
        else:
            raise ValueError(f"no trigger can be made of {kind}")
    if ignore_case:
        for c in range(26):
            if mask & (1 << (65 + c) | 1 << (97 + c)):
                mask |= 1 << (65 + c) | 1 << (97 + c)
    return _ALL ^ mask if negate else mask


def _bit(char: int) -> int:
    return 1 << char if char < 128 else _FOREIGN


def _rarest(sequence: _Sequence) -> tuple[int, int]:
    """First and last run of the stretch with the most information; of equals the first."""
    best: tuple[float, int, int] | None = None
    for first, left in enumerate(sequence):
        if left.low == 0 or left.guard == AHEAD:
            continue
        bits, width = 0.0, 0
        for last, run in enumerate(sequence[first:], first):
            if run.guard and not (run.guard == AHEAD or last == first):
                continue
            edge = min(run.low, _MAX_WIDTH - width)
            if edge > 0 and run.guard != BEHIND:
                gain = bits + _information(run.chars, edge)
                if best is None or gain > best[0] + 0.01:
                    best = (gain, first, last)
            if run.guard == AHEAD:
                continue
            if last > first and run.high - run.low > _MAX_PLAY:
                break
            bits += _information(run.chars, run.low)
            width += run.low if last == first else run.high
            if width >= _MAX_WIDTH:
                break
    if best is None:
        raise ValueError("an expression that matches the empty text has no trigger")
    return best[1], best[2]


def _trigger(sequence: _Sequence, first: int, last: int, cut: bool, backwards: bool) -> Trigger:
    nearest = sum(r.low for r in sequence[:first] if not r.guard)
    farthest = sum(r.high for r in sequence[:first] if not r.guard)
    width, sets = 0, list[str]()
    for i, run in enumerate(sequence[first : last + 1], first):
        if run.guard and i not in (first, last):
            continue
        low, high = run.low, run.high
        if cut and i == last:
            low = high = min(run.low, _MAX_WIDTH - width)
        elif cut and i == first:
            high = low  # as many as there must be, next to what follows; the others lie before
            farthest += run.high - run.low
        width += high
        sets.append(_written(run.chars, low, high))
        if run.guard != BEHIND:
            nearest, farthest = nearest + low, farthest + high
    return Trigger("".join(reversed(sets) if backwards else sets), nearest, farthest)


def _information(chars: int, count: int) -> float:
    """Bits of a run. Where a few characters of a set stand, more of them are likely, so further ones say little."""
    few = count if chars.bit_count() <= 2 else min(count, 4)
    return _bits(chars) * (few + (count - few) / 4)


@cache
def _bits(chars: int) -> float:
    """How much the presence of one of these characters says: -log2 of their share of ordinary text and code."""
    return -math.log2(max(1e-4, sum(share for c, share in enumerate(_SHARES) if chars >> c & 1)))


def _written(chars: int, low: int, high: int) -> str:
    count = "" if low == high == 1 else f"{{{low}}}" if low == high else f"{{{low},{high}}}"
    return _write_set(chars) + count


@cache
def _write_set(chars: int) -> str:
    """A bit mask of bytes as a set that `re` and hyperscan read alike."""
    ranges: list[str] = []
    c = 0
    while c < 256:
        if chars >> c & 1:
            end = c
            while end < 255 and chars >> (end + 1) & 1:
                end += 1
            ranges.append(f"\\x{c:02x}" if end == c else f"\\x{c:02x}-\\x{end:02x}")
            c = end
        c += 1
    return f"[{''.join(ranges)}]"
