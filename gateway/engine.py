"""Patterns and the scan: a literal that must occur, a bounded regular expression around it, then a validator.

Pure `re`, with windows around the literals: the time to scan a text grows linearly with it (see `gateway.linear`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from gateway.pattern_files import Pattern

_DIGITS = re.compile("[0-9]{2,}")
_ASCII_LOWER = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Hit:
    """A validated match, as character offsets into the scanned text."""

    pattern: Pattern
    match_start: int
    """Where the match, with its keyword, begins."""
    start: int
    """Where the secret begins."""
    end: int


class Engine:
    """A set of patterns, ready to scan. Stateless: one may be shared."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)

    def scan(self, text: str, start: int = 0) -> list[Hit]:
        """All hits that begin at `start` or later, in order; what lies before is seen by look-behinds only."""
        hits: list[Hit] = []
        if len(text) - start < 3:
            return hits
        folded = text.translate(_ASCII_LOWER) if not text.isascii() else text.lower()
        digits: list[tuple[int, int]] | None = None
        for pattern in self.patterns:
            if pattern.anchor:
                places = _occurrences(pattern, folded, start)
            elif pattern.trigger is not None:
                places = [m.span() for m in pattern.trigger.finditer(text, start)]
            else:
                if digits is None:
                    digits = [m.span() for m in _DIGITS.finditer(text, start)]
                places = digits
            for low, high in _windows(pattern, places, start, len(text)):
                hits.extend(_verify(pattern, text, low, high))
        hits.sort(key=lambda h: (h.start, -h.end))
        return hits


def _occurrences(pattern: Pattern, folded: str, start: int) -> list[tuple[int, int]]:
    """Where the literals of a pattern lie."""
    places: list[tuple[int, int]] = []
    for literal in pattern.anchor:
        at = folded.find(literal, start)
        while at >= 0:
            places.append((at, at))
            at = folded.find(literal, at + 1)
    places.sort()
    return places


def _windows(pattern: Pattern, places: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Merged stretches in which a match may lie, each wide enough for the match and its look-ahead."""
    reach = pattern.width + 2
    windows: list[tuple[int, int]] = []
    for first, last in places:
        low, high = max(start, first - reach), min(end, last + reach)
        if windows and low <= windows[-1][1]:
            windows[-1] = (windows[-1][0], high)
        else:
            windows.append((low, high))
    return windows


def _verify(pattern: Pattern, text: str, low: int, high: int) -> Iterable[Hit]:
    search = pattern.verify.search
    found = search(text, low, high)
    while found is not None:
        group = "secret" if "secret" in pattern.verify.groupindex else 0
        value = found.group(group)
        accepted = len(value) if pattern.validate is None else pattern.validate(value)
        if accepted:
            begin = found.start(group)
            yield Hit(pattern, found.start(), begin, begin + accepted)
            found = search(text, begin + accepted, high)
        else:
            # A refused candidate must not hide one that begins inside it.
            found = search(text, found.start() + 1, high)
