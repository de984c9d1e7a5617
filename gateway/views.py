"""A text and what it can be read as, each reading with the way back to the text: offsets of every hit lead there."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gateway.decoders import INLINE, REVERSED, Piece
from gateway.normalize import OTHER, Skeleton
from gateway.pattern_files import Pattern

VIEWS = (
    *("skeleton", "leet", "base64", "base32", "hex", "gzip", "ascii85", "percent", "entity", "escape"),
    *("quoted_printable", "utf7", "codes", "spaced", "control", "invisible", "bidi", "reversed"),
)
"""What a text is read as besides what it says: as it looks (Unicode forms, homoglyphs, zero-width characters), and
decoded."""
CONTEXT = 512
"""Characters on each side of a decoded piece that are scanned with it, for the keyword before or the rest after."""
_ASCII, _VALUE = re.compile("[ -~]+"), re.compile("[ -~]{8}")
NEAR = 2
"""Characters from a decoded piece at which a hit still owes something to it: what look-arounds span."""


class Hit(NamedTuple):
    """A validated match, as character offsets into the scanned text."""

    pattern: Pattern
    match_start: int
    """Where the match, with its keyword, begins."""
    start: int
    """Where the secret begins."""
    end: int
    view: str = "raw"
    """How the text had to be read: `raw`, or of `VIEWS` those it took, from the outermost in: `base64+percent`."""

    def moved(self, by: int) -> Hit:
        """The same hit in a text in which it stands `by` characters further on."""
        if by == 0:
            return self
        return self._replace(match_start=self.match_start + by, start=self.start + by, end=self.end + by)


class View:
    """A text with its way back to the one it was made from. This one: the text itself."""

    def __init__(self, text: str, parent: View | None = None) -> None:
        self.text, self.parent = text, parent

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end), not empty, stands in the parent's text."""
        return start, end

    def decoded(self, start: int, end: int, near: int) -> str | None:
        """What made something else of the text at [start, end) or `near` to it, None if it is as in the parent."""
        return None

    def new(self, start: int, end: int, near: int) -> bool:
        """Whether what stands at [start, end) could not be seen in any view above."""
        view: View | None = self
        while isinstance(view, SkeletonView):
            start, end = view.back(start, max(end, start + 1))
            view = view.parent
        return view is None or view.parent is None or view.decoded(start, end, near) is not None

    def turned(self, start: int, end: int) -> bool:
        """Whether what stands at [start, end) was turned around in a view above, and only single characters of it were
        decoded since.
        """
        return self.parent is not None and self.parent.turned(*self.back(start, end))

    def plain(self, value: str, at: int, text: str, match_start: int, start: int, end: int) -> tuple[int, int, int]:
        """Where a value, which is at `at` in this view, begins and ends in the original text, if not in an encoding."""
        return match_start, start, end

    def hit(self, pattern: Pattern, match_start: int, start: int, end: int, limit: int) -> Hit | None:
        """A match in this view as a hit in the text itself; None if it was to be seen above, or lies before `limit`."""
        if self.parent is None:
            return Hit(pattern, match_start, start, end) if match_start >= limit else None
        if not self.new(match_start, end, NEAR):
            return None
        names: list[str] = []
        value, at = self.text[start:end], start
        view: View = self
        while view.parent is not None:
            name = view.decoded(match_start, end, NEAR)
            if name is not None:
                names.append(name)
            match_start = view.back(match_start, match_start + 1)[0]
            start, end = view.back(start, end)
            view = view.parent
        encodings = [name for name in reversed(names) if name != "skeleton"]
        if encodings and value in view.text[start:end]:
            match_start, start, end = self.plain(value, at, view.text, match_start, start, end)
        if (end <= limit) if encodings else (match_start < limit):
            return None
        return Hit(pattern, match_start, start, end, "+".join(encodings) or (names[0] if names else "raw"))


class SkeletonView(View):
    def __init__(self, read: Skeleton, parent: View) -> None:
        # What looks like nothing must not come to look like a letter when a text that is made of this one is read.
        super().__init__(read.text.replace(OTHER, "\ufffd"), parent)
        self._read = read

    def back(self, start: int, end: int) -> tuple[int, int]:
        return self._read.span(start, end)

    def plain(self, value: str, at: int, text: str, match_start: int, start: int, end: int) -> tuple[int, int, int]:
        above, stop = self.back(at, at + len(value))
        if self.parent is None or self.parent.text[above:stop] != value:
            return match_start, start, end
        return self.parent.plain(value, above, text, match_start, start, end)

    def decoded(self, start: int, end: int, near: int) -> str:
        return "skeleton"


class DecodedView(View):
    """Windows of the parent's text with pieces in them replaced by what they read as, NUL after each window."""

    def __init__(self, parent: View, groups: Iterable[Sequence[Piece]]) -> None:
        self._begins: list[int] = []
        self._segments: list[tuple[int, Piece | None]] = []
        """(where it begins in the parent, the piece or None for text as it was)."""
        self._pieces: list[tuple[int, int, str]] = []
        self._length = 0
        parts: list[str] = []
        for pieces in groups:
            for window in _windows(pieces):
                self._window(parent.text, window, parts)
        super().__init__("".join(parts), parent)

    def _window(self, text: str, pieces: Sequence[Piece], parts: list[str]) -> None:
        at = max(0, pieces[0].start - CONTEXT)
        for piece in pieces:
            self._segment(text[at : piece.start], at, None, parts)
            self._pieces.append((self._length, self._length + len(piece.text), piece.name))
            self._segment(piece.text, piece.start, piece, parts)
            at = piece.end
        self._segment(text[at : at + CONTEXT] + "\0", at, None, parts)

    def _segment(self, text: str, origin: int, piece: Piece | None, parts: list[str]) -> None:
        if text:
            self._begins.append(self._length)
            self._segments.append((origin, piece))
            self._length += len(text)
            parts.append(text)

    def turned(self, start: int, end: int) -> bool:
        first, last = bisect_left(self._pieces, (start, 0, "")), bisect_left(self._pieces, (end, 0, ""))
        # The one before may reach into it.
        names = {name for _, stop, name in self._pieces[max(0, first - 1) : last] if stop > start}
        return REVERSED in names or (names <= INLINE and super().turned(start, end))

    def readable(self) -> bool:
        """Whether a decoded piece is ASCII text, and with what is around it as long as a value."""
        return any(
            name != "control"
            and _ASCII.fullmatch(self.text, start, end) is not None
            and _VALUE.search(self.text, max(0, start - 7), end + 7) is not None
            for start, end, name in self._pieces
        )

    def back(self, start: int, end: int) -> tuple[int, int]:
        first, last = bisect_right(self._begins, start) - 1, bisect_right(self._begins, end - 1) - 1
        origin, piece = self._segments[first]
        begin = origin if piece else origin + start - self._begins[first]
        origin, piece = self._segments[last]
        stop = piece.end if piece else origin + end - self._begins[last]
        if stop <= begin:
            # Over the end of a window, behind which may stand what lies before it in the parent.
            within = range(first, last + 1)
            begin = min(begin, *(self._segments[n][0] for n in within))
            stop = max(stop, *(self._stop(n) for n in within))
        return begin, stop if self.parent is None else min(stop, len(self.parent.text))

    def _stop(self, n: int) -> int:
        """Where a segment ends in the parent."""
        origin, piece = self._segments[n]
        after = self._begins[n + 1] if n + 1 < len(self._begins) else self._length
        return piece.end if piece else origin + after - self._begins[n]

    def plain(self, value: str, at: int, text: str, match_start: int, start: int, end: int) -> tuple[int, int, int]:
        first = bisect_right(self._begins, at) - 1
        last = bisect_right(self._begins, at + len(value) - 1)
        low, high = self._begins[first], self._begins[last] if last < len(self._begins) else len(self.text)
        if self.text.count(value, low, high) == text.count(value, start, end):
            # Each of them stands there as it is, and only what is around it was encoded.
            for _ in range(self.text.count(value, low, at) + 1):
                found = start = text.index(value, start)
                start += 1
            return found, found, found + len(value)
        return match_start, start, end

    def decoded(self, start: int, end: int, near: int) -> str | None:
        i = bisect_left(self._pieces, (end + near, 0, "")) - 1
        return self._pieces[i][2] if i >= 0 and self._pieces[i][1] + near > start else None


def _windows(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Pieces whose surroundings meet; one that overlaps the one before starts a window of its own."""
    window: list[Piece] = []
    for piece in pieces:
        if window and not window[-1].end <= piece.start <= window[-1].end + 2 * CONTEXT:
            yield window
            window = []
        window.append(piece)
    if window:
        yield window
