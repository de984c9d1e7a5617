"""Where a text must be looked at closely: hyperscan, or `re` alone, points at candidates and at encodings.

Both implementations lead to the same hits; what they point at is verified by the engine.
"""

from __future__ import annotations

import importlib
import re
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from gateway.decoders import DECODERS, Unreadable
from gateway.normalize import Skeleton
from gateway.pattern_files import Pattern
from gateway.triggers import MARGIN, Trigger, triggers
from gateway.validators import STARTS

hyperscan: Any
try:
    hyperscan = importlib.import_module("hyperscan")
except ImportError:  # there is no build for every processor
    hyperscan = None

_KEYED = ("credentials", "api_keys", "secrets")
BACKWARDS = -1
_Owner = tuple[int, int, int]
"""(number of a pattern, nearest, farthest), see `Trigger`."""

_APART = (("base64", "base32", "hex"), ("codes",), ("spaced",), ("control",))
"""Decoders whose triggers have so many ways to begin that they slow down those of others, but not each other's."""
_PAD = bytes(MARGIN)
_LONG = 16_384
"""Bytes from which on patterns that have `STARTS` are looked for in the whole text at once."""
_WORD = 16
"""Bytes of a word and what may stand behind it."""
WIDEST = 256
"""Bytes that no match of a trigger is longer than."""
_BEHIND = re.compile(r"\(\?<!.*?\)")

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
        pieces = read.pieces(WIDEST)
        lengths = accumulate((end - start + MARGIN for start, end in pieces), initial=MARGIN)
        direct = read.direct
        joined = _PAD.join((b"", *(direct[start:end] for start, end in pieces), b""))
        whole = pieces == [(0, len(direct))]
        return cls(_PAD + read.plain + _PAD, joined, list(lengths), [start for start, _ in pieces], whole)

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


class HyperscanMatcher:
    """All patterns in one pass of hyperscan, all encodings in a second. May be shared by threads."""

    effort = 1

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = _groups(patterns)
        self._encodings = _encodings(patterns)

    def find(self, data: Bytes, most: int) -> Findings:
        """See `Matcher`."""
        places: dict[int, list[int]] = {}
        for database, numbers in self._encodings:
            events = database.scan(data.plain, most)
            most -= len(events)
            for end, expression in events:
                places.setdefault(numbers[expression], []).append(end - MARGIN)
        return Findings(*self.candidates(data, most), {number: places[number] for number in sorted(places)})

    def candidates(self, data: Bytes, most: int) -> tuple[list[Candidate], list[Candidate]]:
        """See `Matcher`."""
        found: list[Candidate] = []
        direct: list[Candidate] = []
        # All scans before anything is made of what they find, since any of them may find too much.
        plain = self._scanned(data.plain, most)
        if data.direct is not None:
            for events, group in self._scanned(data.direct, most):
                _collect([(data.place(end), e) for end, e in events], group, direct)
            for first, last, number in self._stretches(data.direct):
                direct.append((data.place(first + 1) - 1, data.place(last + 1) - 1, number))
        for events, group in plain:
            _collect([(end - MARGIN, e) for end, e in events], group, found)
        found += [(first - MARGIN, last - MARGIN, number) for first, last, number in self._stretches(data.plain)]
        found.sort()
        if data.direct is None:
            return found, found
        # What is far from the pieces is the same in both readings.
        return found, sorted(direct if data.whole else {*direct, *found})

    def _scanned(self, data: bytes, most: int) -> list[tuple[list[tuple[int, int]], _Group]]:
        """The events of each group that has some."""
        found = []
        for group in self._patterns:
            if (group.anywhere is None or len(data) < _LONG) and (events := group.database.scan(data, most)):
                most -= len(events)
                found.append((events, group))
        return found

    def _stretches(self, data: bytes) -> Iterator[Candidate]:
        """In a long text, what `_scanned` leaves out."""
        for group in self._patterns if len(data) >= _LONG else ():
            if group.anywhere is not None:
                numbers = {number for number, _, _ in group.owned}
                # From the word before on, which may be one in the other reading of the text.
                for first, last in group.anywhere(data):
                    yield from ((max(MARGIN, first - _WORD), last, number) for number in numbers)


def _collect(events: Sequence[tuple[int, int]], group: _Group, found: list[Candidate]) -> None:
    """Add a candidate for every pattern that owns the expression of an event."""
    if group.anywhere is not None:
        # Found at nearly every word, and looked at as a whole.
        reach = min(farthest - nearest for _, nearest, farthest in group.owned)
        for start, end in _runs([at for at, _ in events], reach + 1):
            found += [(max(0, start - farthest), end - nearest, n) for n, nearest, farthest in group.owned]
        return
    for at, expression in events:
        for number, nearest, farthest in group.owners[expression]:
            found.append((at - farthest if at > farthest else 0, at - nearest, number))


def _runs(places: Sequence[int], gap: int) -> Iterator[tuple[int, int]]:
    """(first, last) of places that are at most `gap` apart; `places` are in order, at least one."""
    first = last = places[0]
    for place in places:
        if place - last > gap:
            yield first, last
            first = place
        last = place
    yield first, last


class _Group(NamedTuple):
    """Patterns that are looked for in one pass."""

    database: _Database
    owners: list[list[_Owner]]
    """Of each of its expressions."""
    anywhere: Callable[[bytes], list[tuple[int, int]]] | None = None
    """What is faster in long texts; see `Starts`."""

    @property
    def owned(self) -> list[_Owner]:
        """Of all of them."""
        return [owner for owners in self.owners for owner in owners]


def _groups(patterns: Sequence[Pattern]) -> list[_Group]:
    """Without a literal that could be looked for first, hyperscan runs through the whole text, and for all expressions
    that are compiled with such a one.
    """
    owners: dict[str, list[_Owner]] = {}
    alone: dict[tuple[str, ...], None] = {}
    for number, pattern in enumerate(patterns):
        found = _triggers(pattern)
        for t in found:
            owners.setdefault(t.expression, []).append((number, t.nearest, t.farthest))
        if pattern.trigger is not None and not pattern.anchor:
            alone[tuple(t.expression for t in found)] = None
    common = tuple(e for e in owners if not any(e in expressions for expressions in alone))
    groups = []
    for expressions in (common, *alone):
        if expressions:
            owned = [owners[e] for e in expressions]
            starts = {STARTS.get(patterns[number].validate) for those in owned for number, _, _ in those}
            one = starts.pop() if len(starts) == 1 else None
            groups.append(_Group(_Database(expressions), owned, one.anywhere if one else None))
    return groups


def _encodings(patterns: Sequence[Pattern]) -> list[tuple[_Database, list[int]]]:
    """Databases of the decoders' triggers, with the number of the decoder for each expression."""
    apart = {name for names in _APART for name in names}
    common = [(n, e) for n, decoder in enumerate(DECODERS) if decoder.name not in apart for e in decoder.triggers]
    common += [(BACKWARDS, e) for e in _backwards(patterns)]
    databases = [(_Database(tuple(e for _, e in common)), [n for n, _ in common])]
    for names in _APART:
        own = [(n, decoder) for n, decoder in enumerate(DECODERS) if decoder.name in names]
        expressions = [(n, e) for n, decoder in own for e in decoder.triggers]
        within, once = tuple(decoder.within for _, decoder in own), all(decoder.once for _, decoder in own)
        database = _Database(tuple(e for _, e in expressions), within if all(within) else (), once)
        databases.append((database, [n for n, _ in expressions]))
    return databases


class _Database:
    """Expressions in the form that hyperscan runs, with its working memory for each thread."""

    def __init__(self, expressions: tuple[str, ...], within: tuple[str, ...] = (), once: bool = False) -> None:
        """`within`: expressions that are tried first, because without a match of them there is none of the others.
        `once`: only the first match of each is asked for.
        """
        self._database = _compile(expressions, once)
        self._within = _Database(within) if within else None
        self._threads = threading.local()

    def scan(self, data: bytes, most: int) -> list[tuple[int, int]]:
        """(end, number of the expression) of every match, in order. Raises Unreadable at more than `most`."""
        events: list[tuple[int, int]] = []
        if self._within is not None and not self._within.found(data):
            return events

        def note(expression: int, _start: int, end: int, _flags: int, _context: object) -> bool:
            events.append((end, expression))
            return len(events) > most

        try:
            self._database.scan(data, note, scratch=self._scratch())
        except hyperscan.ScanTerminated:
            raise Unreadable from None
        if len(events) > 1:
            events.sort()
        return events

    def found(self, data: bytes) -> bool:
        """Whether any of the expressions matches."""
        try:
            self._database.scan(data, _stop, scratch=self._scratch())
        except hyperscan.ScanTerminated:
            return True
        return False

    def _scratch(self) -> Any:
        scratch = getattr(self._threads, "scratch", None)
        if scratch is None:
            # Two scans at a time must not share one (Hyperscan developer reference, "Scratch space").
            scratch = self._threads.scratch = hyperscan.Scratch(self._database)
        return scratch


def _stop(*_match: object) -> bool:
    return True


@lru_cache(maxsize=64)
def _compile(expressions: tuple[str, ...], once: bool) -> Any:
    """Once per process for each set of expressions: it takes some tenths of a second."""
    flags = hyperscan.HS_FLAG_DOTALL | (hyperscan.HS_FLAG_SINGLEMATCH if once else 0)
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[e.encode("latin-1") for e in expressions],
        ids=list(range(len(expressions))),
        elements=len(expressions),
        flags=flags,
    )
    return database


class ReMatcher:
    """The same with the standard library: whole texts are searched for every pattern whose literals occur in them."""

    effort = 64

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        expressions = [(n, e) for n, decoder in enumerate(DECODERS) for e in decoder.triggers]
        expressions += [(BACKWARDS, e) for e in _backwards(patterns)]
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
                if number != BACKWARDS and DECODERS[number].once:
                    break
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
