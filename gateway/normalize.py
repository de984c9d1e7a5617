"""Text as a reader sees it: the skeleton in ASCII, and where each of its characters stands in the text. No I/O.

One table says for every code point what it reads as: a letter or digit whose look it has (compatibility forms, other
scripts, accents dropped), a space, nothing at all (invisible characters), or something else. Taking a text through the
table costs one pass of numpy; ASCII text needs none, for it is its own skeleton.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

HOMOGLYPHS = Path(__file__).with_name("homoglyphs.txt")
OTHER = "\xff"
"""Stands in a skeleton for a character that looks like no ASCII one."""

_FOREIGN = 0x80
"""The first code point that is not ASCII."""
_DELETE, _EXPANDS, _OTHER = 0x80, 0xFE, 0xFF
_SIGNS = 1_000
"""Invisible characters of a text up to which it is looked at what each of them stands behind."""
_MAX_EXPANSION = 8
"""Characters that one may stand for; Unicode's longest, an Arabic phrase of 18, has no ASCII in it."""
_INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0\U0001d159"
"""Blank, though Unicode classes them as letters or symbols."""
_BLOCKS = (range(0x80, 0x3400), range(0xA000, 0xAC00), range(0xD7B0, 0xD7FF), range(0xF900, 0x12000),
           range(0x16800, 0x17000), range(0x1B000, 0x20000), range(0xE0000, 0xE1000))  # fmt: skip
"""Code points that may read as something: without CJK, Hangul, cuneiform and hieroglyphs."""
_LATIN = re.compile(r"LATIN (?:SMALL|CAPITAL|LETTER SMALL CAPITAL|LETTER) (?:LETTER |CAPITAL )?([A-Z])(?: WITH .*)?")
_SYMBOL = re.compile(r"(?:NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER|REGIONAL INDICATOR SYMBOL LETTER) ([A-Z])")
_Numbers = npt.NDArray[Any]


class Skeleton:
    """An ASCII reading of a text; `OTHER` where there is none."""

    def __init__(
        self, points: _Numbers, codes: _Numbers, lengths: _Numbers | None, altered: _Numbers, gone: _Numbers
    ) -> None:
        self.plain: bytes = codes.tobytes()
        self.text = self.plain.decode("latin-1")
        self.gone = gone
        """Offsets in the text of invisible characters."""
        self._points = points
        self._codes = codes
        self._altered = altered
        """Offsets in the text of characters that read as others."""
        self._lengths = lengths
        """How many characters each one of the text reads as; None = one each."""

    @property
    def in_place(self) -> bool:
        """Whether every character reads as one character."""
        return self._lengths is None

    @property
    def direct(self) -> bytes:
        """The text, if it is `in_place`: one byte per character, 0xFF for all that is not ASCII."""
        direct: bytes = (self._codes | (self._points >= _FOREIGN).view(np.uint8) * np.uint8(_OTHER)).tobytes()
        return direct

    def pieces(self, width: int) -> list[tuple[int, int]]:
        """[start, end) of the text, if it is `in_place`, with all that is at most `width` from a character that reads
        as another one; all of it if that is most of it.
        """
        if len(self._altered) * width * 2 > len(self._points):
            return [(0, len(self._points))]
        pieces: list[tuple[int, int]] = []
        for at in self._altered.tolist():
            start, end = max(0, at - width), at + width
            if pieces and start <= pieces[-1][1]:
                start, _ = pieces.pop()
            pieces.append((start, end))
        return pieces

    @cached_property
    def marks(self) -> bytes:
        """1 for a character of the skeleton that another one, or one that reads as none, made or is next to; else 0."""
        marks = np.zeros(len(self._points), dtype=np.uint8)
        marks[self._altered] = 1
        if self._lengths is None:
            return marks.tobytes()
        marks = np.repeat(marks, self._lengths)
        behind = self._ends[self._lengths == 0]
        marks[behind[behind < len(marks)]] = 1
        marks[behind[behind > 0] - 1] = 1
        return marks.tobytes()

    def origin(self, at: int) -> int:
        """The offset in the text of the character that the skeleton's character at `at` was read from."""
        if self._lengths is None:
            return at
        return int(np.searchsorted(self._ends, at, side="right"))

    def after(self, offset: int) -> int:
        """How many of the skeleton's characters were read from the text before `offset`."""
        if self._lengths is None:
            return offset
        return int(self._ends[offset - 1]) if offset else 0

    @cached_property
    def _ends(self) -> _Numbers:
        """How many of the skeleton's characters were read from the text up to each of its characters."""
        return np.cumsum(np.ones(len(self._points), bool) if self._lengths is None else self._lengths, dtype=np.intp)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end) of the skeleton, not empty, stands in the text."""
        return self.origin(start), self.origin(end - 1) + 1


@dataclass(frozen=True, slots=True)
class _Tables:
    codes: _Numbers
    """code point -> what it reads as, or one of the three marks above."""
    rows: _Numbers
    """code point that reads as several characters -> its row in the two below."""
    expansions: _Numbers
    lengths: _Numbers


def code_points(text: str) -> _Numbers:
    """The code points of a text, lone surrogates too."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def one_byte_each(points: _Numbers) -> bytes:
    """A text with 0xFF for all that is not ASCII, so that offsets stay what they are."""
    return np.where(points < _FOREIGN, points, _OTHER).astype(np.uint8).tobytes()


def skeleton(points: _Numbers) -> Skeleton | None:
    """The ASCII reading of a text, None when every foreign character in it looks like nothing else."""
    tables = _tables()
    foreign = np.flatnonzero(points >= _FOREIGN)
    readings = tables.codes.take(points[foreign])
    altered = foreign[readings != _OTHER]
    if not len(altered):
        return None
    codes = points.astype(np.uint8)
    codes[foreign] = readings
    gone = foreign[readings == _DELETE]
    _join(codes, gone)
    kept = codes != _DELETE
    at = foreign[readings == _EXPANDS]
    if not len(at):
        if kept.all():
            return Skeleton(points, codes, None, altered, gone)
        return Skeleton(points, codes[kept], kept, altered, gone)
    lengths = kept.astype(np.uint8)
    which = tables.rows.take(points[at])
    sizes = tables.lengths[which]
    lengths[at] = sizes
    out = np.repeat(codes, lengths)
    begins = np.cumsum(lengths, dtype=np.int32)[at] - sizes
    for n in range(int(sizes.max())):
        long = sizes > n
        out[begins[long] + n] = tables.expansions[which[long], n]
    return Skeleton(points, out, lengths, altered, gone)


def _join(codes: _Numbers, gone: _Numbers) -> None:
    """Let an invisible sign behind one that looks like nothing look like nothing too: both are one sign, an emoji.

    No letters meet over it, and the text keeps its length, which spares it a second scan.
    """
    if len(gone) > _SIGNS:
        return
    for at in gone.tolist():
        if at and codes[at - 1] == _OTHER:
            codes[at] = _OTHER


@cache
def _tables() -> _Tables:
    glyphs = _homoglyphs()
    codes = np.full(0x110000, _OTHER, dtype=np.uint8)
    codes[:0x80] = np.arange(0x80)
    rows = np.zeros(0x110000, dtype=np.uint16)
    several: list[str] = []
    for point in (p for block in _BLOCKS for p in block):
        reading = _reading(chr(point), glyphs)
        if reading is None:
            continue
        if len(reading) < 2:
            codes[point] = ord(reading) if reading else _DELETE
        else:
            codes[point], rows[point] = _EXPANDS, len(several)
            several.append(reading)
    expansions = np.zeros((len(several), _MAX_EXPANSION), dtype=np.uint8)
    for n, reading in enumerate(several):
        expansions[n, : len(reading)] = np.frombuffer(reading.encode("latin-1"), dtype=np.uint8)
    return _Tables(codes, rows, expansions, np.array([*map(len, several)], dtype=np.uint8))


def _homoglyphs() -> dict[str, str]:
    lines = HOMOGLYPHS.read_text(encoding="utf-8").splitlines()
    return {glyph: line[0] for line in lines if not line.startswith("#") for glyph in line[2:]}


def _reading(char: str, glyphs: dict[str, str]) -> str | None:
    """What a character reads as: "" for invisible ones, None for those that look like nothing in ASCII."""
    kind = unicodedata.category(char)
    if kind in ("Cn", "Co", "Cs"):
        return "" if 0xE0000 <= ord(char) <= 0xE0FFF else None
    if 0xE0020 <= ord(char) <= 0xE007E:
        return chr(ord(char) - 0xE0000)  # tags repeat ASCII
    if kind in ("Cf", "Mn", "Me", "Cc") or char in _INVISIBLE:
        return ""
    if kind in ("Zs", "Zl", "Zp"):
        return " "
    if kind == "Nd":
        return str(unicodedata.digit(char))
    if char in glyphs:
        return glyphs[char]
    folded = unicodedata.normalize("NFKD", char)
    if folded.isascii():
        # Several letters or digits are ligatures and units; signs such as an ellipsis are one sign all the same.
        return folded if folded.isalnum() and len(folded) <= _MAX_EXPANSION else folded[:1]
    name = unicodedata.name(char, "") if kind != "Lo" else ""
    found = _LATIN.fullmatch(name) or _SYMBOL.fullmatch(name)
    if found:
        return found[1] if "CAPITAL LETTER" in name or "SYMBOL" in name else found[1].lower()
    if folded == char:
        return None
    parts = [c if c.isascii() else _reading(c, glyphs) for c in folded[: _MAX_EXPANSION + 1]]
    if all(p is None for p in parts):
        return None
    reading = "".join(OTHER if p is None else p for p in parts)
    return reading if reading.isascii() and len(reading) == 1 else None
