"""The scan: what hyperscan, or `re` alone, points at in a text and all that the text can be read as, then verified.

A text is looked at as it is, as its ASCII skeleton, and where something in it is encoded, as a new text in which the
pieces with their surroundings are decoded, again up to three layers deep. Offsets of every hit lead back to the text.
Work is counted, not timed: a text that would take more than its share is refused, never passed unscanned.
"""

from __future__ import annotations

import importlib
import re
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from gateway.decoders import DECODERS, INLINE, Piece, Unreadable, hidden, unescape
from gateway.normalize import OTHER, Skeleton, code_points, one_byte_each, skeleton
from gateway.pattern_files import Pattern
from gateway.triggers import MARGIN, Trigger, triggers
from gateway.validators import PLAUSIBLE

hyperscan: Any
try:
    hyperscan = importlib.import_module("hyperscan")
except ImportError:  # there is no build for every processor
    hyperscan = None

VIEWS = (
    *("skeleton", "leet", "base64", "base32", "hex", "gzip", "ascii85", "percent", "entity", "escape"),
    *("quoted_printable", "utf7", "codes", "spaced", "control", "invisible", "bidi", "reversed"),
)
"""What a text is read as besides what it says: as it looks (Unicode forms, homoglyphs, zero-width characters), and
decoded."""
MAX_DEPTH = 3
"""Layers of encoding that are taken off; a text with more is refused."""
CONTEXT = 512
"""Characters on each side of a decoded piece that are scanned with it, for the keyword before or the rest after."""

_UNIT = 64 << 10
_EVENTS = 12_288
"""Places per 64 KiB of text that hyperscan may point at."""
_VERIFICATIONS = 4_096
"""Units of work per 64 KiB: two for an expression that does not match, two and more, by its length, for a match."""
_HARD_STOP_MS = 250
"""Processor time per 64 KiB of text at which a scan ends, in case the counts are wrong about some text. So much more
than any text is known to take, because a garbage collection may fall into it."""
_LOOKS = 32
"""Units of work between looks at that clock, which costs a system call."""
_PIECES = 1_024
"""Decoded pieces per 64 KiB."""
_GROWTH = 4
"""Decoded text may be this many times as long as the text, and 16 KiB more."""
_REVERSED = 600
"""Characters of a value written backwards, on each side of what points at it."""
_STEPS = 16
"""Places at which a match is tried one by one."""
_NEAR = 2
"""Characters from a decoded piece at which a hit still owes something to it: what look-arounds span."""

_KEYED = ("credentials", "api_keys", "secrets")
_BACKWARDS = -1
_Owner = tuple[int, int, int]
"""(number of a pattern, nearest, farthest), see `Trigger`."""
_ALONE = ("base64", "codes", "spaced")
"""Decoders whose triggers have so many ways to begin that they slow down others."""
_PAD = bytes(MARGIN)
_WIDEST = 256
"""Bytes that no match of a trigger is longer than."""
_BEHIND = re.compile(r"\(\?<!.*?\)")
_WORD = re.compile(r"[^ \t\r\n\0]+")


@dataclass(frozen=True, slots=True)
class Hit:
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
        return replace(self, match_start=self.match_start + by, start=self.start + by, end=self.end + by)


Candidate = tuple[int, int, int]
"""(first, last, n): a match of pattern number n may begin at `first` to `last`."""


class Findings(NamedTuple):
    """What a matcher points at in one text."""

    candidates: list[Candidate]
    """In what the text looks like, in order of their beginning."""
    direct: list[Candidate]
    """In the text as it is."""
    places: dict[int, list[int]]
    """Number of a decoder -> where its triggers end, both in order: readings are added in it."""


class Bytes(NamedTuple):
    """A text as one byte per character, between margins of zeros."""

    plain: bytes
    """What it looks like; 0xFF for what looks like nothing in ASCII."""
    direct: bytes | None = None
    """As it is where that is something else, with 0xFF for all that is not ASCII: pieces with margins between them."""
    begins: Sequence[int] = ()
    """Where the pieces begin in `direct`."""
    origins: Sequence[int] = ()
    """Where they begin in the text."""
    whole: bool = False
    """Whether they are all of it."""

    @classmethod
    def of(cls, read: Skeleton | bytes) -> Bytes:
        """Of a skeleton that is `in_place`, or of what says the same in both ways."""
        if isinstance(read, bytes):
            return cls(_PAD + read + _PAD)
        pieces = read.pieces(_WIDEST)
        lengths = accumulate((end - start + MARGIN for start, end in pieces), initial=MARGIN)
        direct = read.direct
        joined = _PAD.join((b"", *(direct[start:end] for start, end in pieces), b""))
        return cls(_PAD + read.plain + _PAD, joined, list(lengths), [start for start, _ in pieces], len(pieces) == 1)

    def place(self, end: int) -> int:
        """Where in the text is what ends at `end` in `direct`."""
        n = bisect_left(self.begins, end) - 1
        return self.origins[n] + end - self.begins[n] if n >= 0 else 0


class Matcher(Protocol):
    """Finds where a text must be looked at closely. Both implementations lead to the same hits."""

    effort: int
    """Verifications for one of a matcher that only points at what its trigger matches."""

    def find(self, data: Bytes, most: int) -> Findings:
        """Candidates in the text as it is and as it looks, and encodings in what it looks like.

        Raises Unreadable at more than `most` places.
        """
        ...

    def candidates(self, data: Bytes, most: int) -> tuple[list[Candidate], list[Candidate]]:
        """The former alone: (in what the text looks like, in the text as it is)."""
        ...


class _Budget:
    """What one scan may still cost."""

    def __init__(self, length: int, effort: int) -> None:
        units = max(1.0, length / _UNIT)
        self.events = int(_EVENTS * units)
        self._left = {"verifications": int(_VERIFICATIONS * units) * effort, "pieces": int(_PIECES * units),
                      "decoded": _GROWTH * length + (16 << 10)}  # fmt: skip
        self._most_ns = int(_HARD_STOP_MS * units * 1e6)
        self._since: int | None = None
        self._spent = 0

    def spend(self, what: str, amount: int = 1) -> None:
        """Raises Unreadable when nothing is left."""
        self._left[what] -= amount
        self._spent += 1
        if self._left[what] < 0 or (self._spent % _LOOKS == 0 and self._overdue()):
            raise Unreadable

    def _overdue(self) -> bool:
        """Whether the time is up; it runs from the first look, since ordinary texts need none."""
        now = time.thread_time_ns()
        if self._since is None:
            self._since = now
        return now - self._since > self._most_ns


class _View:
    """A text with its way back to the one it was made from. This one: the text itself."""

    def __init__(self, text: str, parent: _View | None = None) -> None:
        self.text, self.parent = text, parent

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Where [start, end), not empty, stands in the parent's text."""
        return start, end

    def decoded(self, start: int, end: int, near: int) -> str | None:
        """What made something else of the text at [start, end) or `near` to it, None if it is as in the parent."""
        return None

    def new(self, start: int, end: int, near: int) -> bool:
        """Whether what stands at [start, end) could not be seen in any view above."""
        view: _View | None = self
        while isinstance(view, _SkeletonView):
            start, end = view.back(start, max(end, start + 1))
            view = view.parent
        return view is None or view.parent is None or view.decoded(start, end, near) is not None

    def plain(self, value: str, at: int, text: str, match_start: int, start: int, end: int) -> tuple[int, int, int]:
        """Where a value, which is at `at` in this view, begins and ends in the original text, if not in an encoding."""
        return match_start, start, end

    def hit(self, pattern: Pattern, match_start: int, start: int, end: int, limit: int) -> Hit | None:
        """A match in this view as a hit in the text itself; None if it was to be seen above, or lies before `limit`."""
        if not self.new(match_start, end, _NEAR):
            return None
        names: list[str] = []
        value, at = self.text[start:end], start
        view: _View = self
        while view.parent is not None:
            name = view.decoded(match_start, end, _NEAR)
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


class _SkeletonView(_View):
    def __init__(self, read: Skeleton, parent: _View) -> None:
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


class _DecodedView(_View):
    """Windows of the parent's text with pieces in them replaced by what they read as, NUL after each window."""

    def __init__(self, parent: _View, groups: Iterable[Sequence[Piece]]) -> None:
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

    def readings(self) -> Iterator[tuple[str, str]]:
        """The decoded pieces, each with the name of its encoding."""
        return ((name, self.text[start:end]) for start, end, name in self._pieces if end > start)

    def back(self, start: int, end: int) -> tuple[int, int]:
        first, last = bisect_right(self._begins, start) - 1, bisect_right(self._begins, end - 1) - 1
        origin, piece = self._segments[first]
        begin = origin if piece else origin + start - self._begins[first]
        origin, piece = self._segments[last]
        return begin, piece.end if piece else origin + end - self._begins[last]

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


class HyperscanMatcher:
    """All patterns in one pass of hyperscan, all encodings in a second. May be shared by threads."""

    effort = 1

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        # Without a literal that could be looked for first, hyperscan runs through the whole text, and for all
        # expressions that are compiled with such a one.
        owners: dict[str, list[_Owner]] = {}
        alone: dict[tuple[str, ...], None] = {}
        for number, pattern in enumerate(patterns):
            found = _triggers(pattern)
            for t in found:
                owners.setdefault(t.expression, []).append((number, t.nearest, t.farthest))
            if pattern.trigger is not None and not pattern.anchor:
                alone[tuple(t.expression for t in found)] = None
        common = tuple(e for e in owners if not any(e in expressions for expressions in alone))
        self._patterns = [
            (_Database(expressions), [owners[e] for e in expressions])
            for expressions in (common, *alone)
            if expressions
        ]
        joined = [(n, e) for n, d in enumerate(DECODERS) if d.name not in _ALONE for e in d.triggers]
        joined += [(_BACKWARDS, e) for e in _backwards(patterns)]
        self._encodings = [(_Database(tuple(e for _, e in joined)), [n for n, _ in joined])]
        for n, decoder in enumerate(DECODERS):
            if decoder.name in _ALONE:
                self._encodings.append((_Database(decoder.triggers), [n] * len(decoder.triggers)))

    def find(self, data: Bytes, most: int) -> Findings:
        """See `Matcher`."""
        places: dict[int, list[int]] = {}
        for database, numbers in self._encodings:
            for end, expression in database.scan(data.plain, most):
                places.setdefault(numbers[expression], []).append(end - MARGIN)
        return Findings(*self.candidates(data, most), {number: places[number] for number in sorted(places)})

    def candidates(self, data: Bytes, most: int) -> tuple[list[Candidate], list[Candidate]]:
        """See `Matcher`."""
        found: list[Candidate] = []
        direct: list[Candidate] = []
        for database, owners in self._patterns:
            if events := database.scan(data.plain, most):
                _collect(((end - MARGIN, e) for end, e in events), owners, found)
            if data.direct is not None and (events := database.scan(data.direct, most)):
                _collect(((data.place(end), e) for end, e in events), owners, direct)
        found.sort()
        if data.direct is None:
            return found, found
        # What is far from the pieces is the same in both readings.
        return found, sorted(direct if data.whole else {*direct, *found})


def _collect(events: Iterable[tuple[int, int]], owners: Sequence[Sequence[_Owner]], found: list[Candidate]) -> None:
    """Add a candidate for every pattern that owns the expression of an event."""
    for at, expression in events:
        for number, nearest, farthest in owners[expression]:
            found.append((at - farthest if at > farthest else 0, at - nearest, number))


class _Database:
    """Expressions in the form that hyperscan runs, with its working memory for each thread."""

    def __init__(self, expressions: tuple[str, ...]) -> None:
        self._database = _compile(expressions)
        self._threads = threading.local()

    def scan(self, data: bytes, most: int) -> list[tuple[int, int]]:
        """(end, number of the expression) of every match, in order. Raises Unreadable at more than `most`."""
        events: list[tuple[int, int]] = []

        def note(expression: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            events.append((end, expression))
            return len(events) > most

        scratch = getattr(self._threads, "scratch", None)
        if scratch is None:
            # Two scans at a time must not share one (Hyperscan developer reference, "Scratch space").
            scratch = self._threads.scratch = hyperscan.Scratch(self._database)
        try:
            self._database.scan(data, note, scratch=scratch)
        except hyperscan.ScanTerminated:
            raise Unreadable from None
        if len(events) > 1:
            events.sort()
        return events


@lru_cache(maxsize=64)
def _compile(expressions: tuple[str, ...]) -> Any:
    """Once per process for each set of expressions: it takes some tenths of a second."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[e.encode("latin-1") for e in expressions],
        ids=list(range(len(expressions))),
        elements=len(expressions),
        flags=hyperscan.HS_FLAG_DOTALL,
    )
    return database


class ReMatcher:
    """The same with the standard library: whole texts are searched for every pattern whose literals occur in them."""

    effort = 64

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        expressions = [(n, e) for n, decoder in enumerate(DECODERS) for e in decoder.triggers]
        expressions += [(_BACKWARDS, e) for e in _backwards(patterns)]
        self._encodings = [(n, re.compile(e.encode("latin-1"), re.DOTALL), *_widths(e)) for n, e in expressions]

    def find(self, data: Bytes, most: int) -> Findings:
        """See `Matcher`."""
        ends: dict[int, set[int]] = {}
        for number, expression, shortest, longest in self._encodings:
            at = -1
            while (match := expression.search(data.plain, at + 1)) is not None:
                at = match.start()
                for end in range(at + shortest, min(at + longest, len(data.plain)) + 1):
                    # Hyperscan reports every end of a match, not only the one that is preferred.
                    if shortest == longest or expression.fullmatch(data.plain, at, end):
                        ends.setdefault(number, set()).add(end - MARGIN)
        if sum(map(len, ends.values())) > most:
            raise Unreadable
        return Findings(*self.candidates(data, most), {number: sorted(ends[number]) for number in sorted(ends)})

    def candidates(self, data: Bytes, most: int) -> tuple[list[Candidate], list[Candidate]]:
        """See `Matcher`."""
        looks, length = data.plain.lower(), len(data.plain) - 2 * MARGIN
        found = [
            (0, length, number)
            for number, pattern in enumerate(self._patterns)
            if not pattern.anchor or any(a.encode("latin-1", "replace") in looks for a in pattern.anchor)
        ]
        return found, found


def _widths(expression: str) -> tuple[int, int]:
    """Characters of the shortest and the longest match."""
    low, high = importlib.import_module("re._parser").parse(expression).getwidth()
    return int(low), int(high)


def _triggers(pattern: Pattern) -> tuple[Trigger, ...]:
    if pattern.trigger is None:
        return triggers(pattern.verify)
    # Written by hand: with the look-behind of the expression it is its beginning, else it lies somewhere in it.
    written = triggers(pattern.trigger, whole=True)
    behind = _BEHIND.match(pattern.trigger.pattern)
    if behind and pattern.verify.pattern.startswith(behind[0]):
        return written
    return tuple(Trigger(t.expression, min(t.nearest, pattern.width), pattern.width + 1) for t in written)


def _backwards(patterns: Sequence[Pattern]) -> tuple[str, ...]:
    """What points at a key that is written from its end to its beginning."""
    keyed = (p for p in patterns if p.category in _KEYED and p.anchor and p.hold == "token")
    return tuple(dict.fromkeys(t.expression for p in keyed for t in triggers(p.verify, backwards=True)))


def _reversed(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    """Runs without spaces in which a pattern was found that is written from its end to its beginning."""
    done = 0
    for end in ends:
        if end <= done:
            continue
        # The last character that was looked at may be the one behind the value.
        last = end - 1 if _WORD.match(text, end - 1, end) else end - 2
        before = text[max(done, last + 1 - _REVERSED) : last + 1].replace("\0", " ").split()
        if not before:
            continue
        start = last + 1 - len(before[-1])
        found = _WORD.match(text, last, last + _REVERSED)
        done = found.end() if found else end
        yield Piece(start, done, text[start:done][::-1], "reversed")


class Engine:
    """A set of patterns, ready to scan. Stateless: one may be shared."""

    def __init__(self, patterns: Iterable[Pattern], matcher: type[HyperscanMatcher | ReMatcher] | None = None) -> None:
        """`matcher`: by default hyperscan where it is installed."""
        self.patterns = tuple(patterns)
        self._groups = tuple("secret" if "secret" in p.verify.groupindex else 0 for p in self.patterns)
        self._plausible = tuple(PLAUSIBLE.get(p.validate) for p in self.patterns)
        chosen = matcher or (ReMatcher if hyperscan is None else HyperscanMatcher)
        self._matcher: Matcher = chosen(self.patterns)

    def scan(self, text: str, start: int = 0) -> list[Hit]:
        """All hits in the text and its readings, in order.

        Those in plain sight begin at `start` or later, what lies before is seen by look-behinds only; of those in an
        encoded piece the piece ends behind `start`. Raises Unreadable when more is hidden in the text than is decoded.
        """
        if len(text) - start < 3:
            return []
        hits = self._read(_View(text), 0, start, _Budget(len(text), self._matcher.effort))
        hits.sort(key=lambda h: (h.start, -h.end))
        return hits

    def _read(self, view: _View, depth: int, start: int, budget: _Budget) -> list[Hit]:
        """The hits in a view and in what is encoded in it."""
        text, source = view.text, view
        children: list[_DecodedView] = []
        points = None if text.isascii() else code_points(text)
        read = None if points is None else skeleton(points)
        if read is None or points is None:
            found = self._matcher.find(
                Bytes.of(text.encode() if points is None else one_byte_each(points)), budget.events
            )
            hits = self._verify(view, found.candidates, start, budget)
        else:
            source = _SkeletonView(read, view)
            if read.in_place:
                found = self._matcher.find(Bytes.of(read), budget.events)
                direct = found.direct
            else:
                found = self._matcher.find(Bytes.of(read.plain), budget.events)
                _, direct = self._matcher.candidates(Bytes.of(one_byte_each(points)), budget.events)
            hits = self._verify(view, direct, start, budget)
            # The second reading only where it says something else than the first.
            twice = self._changed(read, found.candidates)
            _add(hits, self._verify(source, twice, start, budget))
            gone = read.gone
            if len(gone) and (pieces := sorted(self._kept(hidden(text, gone), view, budget))):
                children.append(_DecodedView(view, [pieces]))
        groups = self._pieces(source, found.places, budget)
        if groups:
            children.append(_DecodedView(source, groups))
        for child in children:
            if depth == MAX_DEPTH:
                if any(name != "control" and text.isascii() and text.isprintable() for name, text in child.readings()):
                    raise Unreadable
                continue  # chance finds in what was decoded from something else
            budget.spend("decoded", len(child.text))
            _add(hits, self._read(child, depth + 1, start, budget))
        return hits

    def _changed(self, read: Skeleton, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those that may have to do with a character that reads as another one."""
        marks, patterns = read.marks, self.patterns
        return [
            (first, last, number)
            for first, last, number in candidates
            if marks.find(1, first - 1 if first else 0, last + patterns[number].width + 2) >= 0
        ]

    def _pieces(self, view: _View, places: dict[int, list[int]], budget: _Budget) -> list[list[Piece]]:
        text = view.text
        groups = [self._kept(unescape(text), view, budget)]
        for number, ends in places.items():
            read = _reversed if number == _BACKWARDS else DECODERS[number].read
            groups.append(self._kept(read(text, ends), view, budget))
        return [g for g in groups if g]

    def _kept(self, pieces: Iterable[Piece], view: _View, budget: _Budget) -> list[Piece]:
        """Pieces that say something else than they look, and that were not there to be decoded one layer above."""
        kept, text = [], view.text
        for piece in pieces:
            budget.spend("pieces")
            budget.spend("decoded", len(piece.text))
            if view.new(piece.start, piece.end, 0) and piece.text != text[piece.start : piece.end]:
                if piece.name not in INLINE:
                    # A whole value of its own, whatever it stands next to.
                    before = "\0" if text[piece.start - 1 : piece.start].isalnum() else ""
                    after = "\0" if text[piece.end : piece.end + 1].isalnum() else ""
                    piece = piece._replace(text=before + piece.text + after) if before or after else piece
                kept.append(piece)
        return kept

    def _verify(self, view: _View, candidates: Sequence[Candidate], start: int, budget: _Budget) -> list[Hit]:
        hits: list[Hit] = []
        text, patterns = view.text, self.patterns
        go_on: dict[int, int] = {}
        looked_at, none_before = None, 0
        earliest = start if view.parent is None else 0
        for first, last, number in candidates:
            at = go_on.get(number, earliest)
            if at > last:
                continue
            if at < first:
                at = first
            pattern, group = patterns[number], self._groups[number]
            if (plausible := self._plausible[number]) is not None:
                if (plausible, first, last) != looked_at:
                    looked_at, none_before = (plausible, first, last), plausible(text, first, last)
                if none_before:
                    go_on[number] = none_before
                    continue
            end = last + pattern.width + 2
            while at <= last:
                match = _first_match(pattern.verify, text, at, last, end)
                if match is None:
                    # Those that go on over lines look for their end through all of their width.
                    budget.spend("verifications", 2 + (pattern.width // 16 if pattern.hold == "block" else 0))
                    at = last + 1
                    break
                value = match[group]
                budget.spend("verifications", 2 + len(value) // 16)
                accepted = len(value) if pattern.validate is None else pattern.validate(value)
                if accepted:
                    begin = match.start(group)
                    at = begin + accepted
                    if (hit := view.hit(pattern, match.start(), begin, at, start)) is not None:
                        hits.append(hit)
                else:
                    # A refused candidate must not hide one that begins inside it.
                    budget.spend("verifications", 2)
                    at = match.start() + 1
            go_on[number] = at
        return hits


def _first_match(verify: re.Pattern[str], text: str, first: int, last: int, end: int) -> re.Match[str] | None:
    """The first match that begins at `first` to `last`."""
    if last - first > _STEPS:
        match = verify.search(text, first, end)
        return None if match is None or match.start() > last else match
    # One place after the other, for a search that fails would go on to `end`.
    for at in range(first, last + 1):
        if (match := verify.match(text, at, end)) is not None:
            return match
    return None


def _add(hits: list[Hit], more: Iterable[Hit]) -> None:
    """Add those of a further view; what overlaps a hit of the same pattern is the same value, read a second time."""
    known: dict[str, list[tuple[int, int]]] = {}
    for n, hit in enumerate(hits):
        known.setdefault(hit.pattern.id, []).append((hit.start, n))
    for hit in more:
        same = known.setdefault(hit.pattern.id, [])
        at = bisect_left(same, (hit.end, 0))
        if at and hits[n := same[at - 1][1]].end > hit.start:
            start, end = min(hits[n].start, hit.start), max(hits[n].end, hit.end)
            hits[n] = replace(hits[n], start=start, end=end, match_start=min(hits[n].match_start, start))
        else:
            same.insert(at, (hit.start, len(hits)))
            hits.append(hit)
