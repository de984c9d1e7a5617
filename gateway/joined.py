"""Many texts as one, so that one scan sees them all, and the seams between them, where a value may be cut. No I/O."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

APART = "\0"
"""Stands between texts that are looked at one by one: no pattern and no encoding goes on over it."""
REACH = 100
"""Characters at the beginning and end of a text that are read together with its neighbours'."""
FAR = 1_000
"""So many if they are without spaces, as long keys and encoded ones are."""
_SPACE = re.compile(r"\s")


class Part(NamedTuple):
    """[start, end) of the text of number `text`."""

    text: int
    start: int
    end: int


class Joined:
    """Texts one behind the other, with the way back from an offset to the text it lies in."""

    def __init__(self, pieces: Sequence[str], origins: Sequence[tuple[int, int]], between: str) -> None:
        """`origins`: of each piece (index of its text, offset in it)."""
        self.text = between.join(pieces)
        self._step = len(between)
        self._pieces, self._origins = pieces, origins
        self._begins: list[int] = []

    def locate(self, start: int, end: int) -> list[Part]:
        """What [start, end), not empty, is made of: one part, or several when it goes over seams."""
        if not self._begins:  # most texts hold nothing that must be located
            self._begins = [0, *accumulate(len(piece) + self._step for piece in self._pieces[:-1])]
        begins = self._begins
        first, last = bisect_right(begins, start) - 1, bisect_right(begins, end - 1) - 1
        parts: list[Part] = []
        for n in range(first, last + 1):
            index, offset = self._origins[n]
            begin = offset + max(0, start - begins[n])
            stop = begins[n + 1] - self._step if n < last else end
            if (stop := offset + stop - begins[n]) > begin:
                parts.append(Part(index, begin, stop))
        return parts


def seamless(text: str) -> str:
    """A text whose own NULs, which may not stand for a seam, are other control characters; of the same length."""
    return text.replace(APART, "\x01")


def apart(texts: Sequence[str]) -> Joined:
    """All texts, each for itself."""
    joined = Joined(texts, [(i, 0) for i in range(len(texts))], APART)
    if joined.text.count(APART) != max(0, len(texts) - 1):
        joined.text = APART.join(map(seamless, texts))
    return joined


def seams(texts: Sequence[str], indexes: Sequence[int], between: Sequence[str]) -> list[Joined]:
    """The ends of neighbouring texts, joined by each of `between`; what is far from any seam is left out."""
    pieces: list[str] = []
    origins: list[tuple[int, int]] = []
    for index in indexes:
        text = seamless(texts[index])
        head, tail = _ends(text)
        if head >= tail:
            pieces.append(text)
            origins.append((index, 0))
        else:
            pieces += (text[:head] + APART, text[tail:])
            origins += ((index, 0), (index, tail))
    return [Joined(pieces, origins, b) for b in between]


def _ends(text: str) -> tuple[int, int]:
    """Up to where the beginning of a text, and from where its end, is read together with its neighbours'."""
    if len(text) <= 2 * REACH:
        return len(text), 0
    backwards = text[-REACH - 1 : -FAR - 1 : -1]
    behind, before = _SPACE.search(text, REACH, FAR), _SPACE.search(backwards)
    head = behind.start() if behind else min(FAR, len(text))
    return head, len(text) - REACH - (before.start() if before else len(backwards))
