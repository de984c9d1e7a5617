"""The scan: what a matcher points at in a text and in all that the text can be read as, verified.

A text is looked at as it is, as its ASCII skeleton, and where something in it is encoded, as a new text in which the
pieces with their surroundings are decoded, again up to three layers deep. Offsets of every hit lead back to the text.
Work is counted, not timed: a text that would take more than its share is refused, never passed unscanned.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from gateway.decoders import DECODERS, INLINE, REVERSED, Piece, Unreadable, hidden, unescape
from gateway.matchers import BACKWARDS, Bytes, Candidate, HyperscanMatcher, Matcher, ReMatcher, hyperscan
from gateway.normalize import Skeleton, code_points, one_byte_each, skeleton
from gateway.pattern_files import Pattern
from gateway.validators import STARTS
from gateway.views import NEAR, DecodedView, Hit, SkeletonView, View

MAX_DEPTH = 3
"""Layers of encoding that are taken off; a text with more is refused."""

_UNIT = 64 << 10
_EVENTS = 7_168
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
_WORD = re.compile(r"[^ \t\r\n\0]+")


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
        yield Piece(start, done, text[start:done][::-1], REVERSED)


class Engine:
    """A set of patterns, ready to scan. Stateless: one may be shared."""

    def __init__(self, patterns: Iterable[Pattern], matcher: type[HyperscanMatcher | ReMatcher] | None = None) -> None:
        """`matcher`: by default hyperscan where it is installed."""
        self.patterns = tuple(patterns)
        self._groups = tuple("secret" if "secret" in p.verify.groupindex else 0 for p in self.patterns)
        self._starts = {n: STARTS[p.validate].near for n, p in enumerate(self.patterns) if p.validate in STARTS}
        chosen = matcher or (ReMatcher if hyperscan is None else HyperscanMatcher)
        self._matcher: Matcher = chosen(self.patterns)

    def scan(self, text: str, start: int = 0) -> list[Hit]:
        """All hits in the text and its readings, in order.

        Those in plain sight begin at `start` or later, what lies before is seen by look-behinds only; of those in an
        encoded piece the piece ends behind `start`. Raises Unreadable when more is hidden in the text than is decoded.
        """
        if len(text) - start < 3:
            return []
        hits = self._read(View(text), 0, start, _Budget(len(text), self._matcher.effort))
        hits.sort(key=lambda h: (h.start, -h.end))
        return hits

    def _read(self, view: View, depth: int, start: int, budget: _Budget) -> list[Hit]:
        """The hits in a view and in what is encoded in it."""
        text, source = view.text, view
        children: list[DecodedView] = []
        points = None if text.isascii() else code_points(text)
        read = None if points is None else skeleton(points)
        if read is None or points is None:
            found = self._matcher.find(
                Bytes.of(text.encode() if points is None else one_byte_each(points)), budget.events
            )
            hits = self._verify(view, found.candidates, start, budget)
        else:
            source = SkeletonView(read, view)
            gone = read.gone
            # Before the scan, which a text with too many of them can be spared.
            if len(gone) and (pieces := sorted(self._kept(hidden(text, gone), view, budget))):
                children.append(DecodedView(view, [pieces]))
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
        groups = self._pieces(source, found.places, budget)
        if groups:
            children.append(DecodedView(source, groups))
        for child in children:
            if depth == MAX_DEPTH:
                if child.readable():
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

    def _pieces(self, view: View, places: dict[int, list[int]], budget: _Budget) -> list[list[Piece]]:
        text = view.text
        groups = [self._kept(unescape(text), view, budget)]
        for number, ends in places.items():
            read = _reversed if number == BACKWARDS else DECODERS[number].read
            groups.append(self._kept(read(text, ends), view, budget))
        return [g for g in groups if g]

    def _kept(self, pieces: Iterable[Piece], view: View, budget: _Budget) -> list[Piece]:
        """Pieces that say something else than they look, and that were not there to be decoded one layer above."""
        kept, text = [], view.text
        for piece in pieces:
            budget.spend("pieces")
            budget.spend("decoded", len(piece.text))
            if piece.name == REVERSED and view.turned(piece.start, piece.end):
                continue  # a second time it would be what it was, and so on
            if view.new(piece.start, piece.end, 0) and piece.text != text[piece.start : piece.end]:
                if piece.name not in INLINE:
                    # A whole value of its own, whatever it stands next to.
                    before = "\0" if text[piece.start - 1 : piece.start].isalnum() else ""
                    after = "\0" if text[piece.end : piece.end + 1].isalnum() else ""
                    piece = piece._replace(text=before + piece.text + after) if before or after else piece
                kept.append(piece)
        return kept

    def _narrowed(self, text: str, candidates: Iterable[Candidate]) -> Iterator[Candidate]:
        """Candidates of patterns that can tell cheaply where a match may begin are narrowed down to that."""
        looked_at, starts = None, list[int]()
        for candidate in candidates:
            first, last, number = candidate
            if (look := self._starts.get(number)) is None:
                yield candidate
                continue
            if (look, first, last) != looked_at:
                looked_at, starts = (look, first, last), look(text, first, last)
            for start in starts:
                yield start, start, number

    def _verify(self, view: View, candidates: Sequence[Candidate], start: int, budget: _Budget) -> list[Hit]:
        hits: list[Hit] = []
        text, patterns = view.text, self.patterns
        go_on: dict[int, int] = {}
        earliest = start if view.parent is None else 0
        decoded = isinstance(view, DecodedView)
        for first, last, number in self._narrowed(text, candidates):
            at = go_on.get(number, earliest)
            if at > last:
                continue
            if at < first:
                at = first
            pattern, group = patterns[number], self._groups[number]
            end = last + pattern.width + 2
            if decoded and not view.new(at, end, NEAR):
                continue  # all of it was looked at in the view above
            while at <= last:
                match = _first_match(pattern.verify, text, at, last, end)
                if match is None:
                    # Those that go on over lines look for their end through all of their width.
                    more = pattern.width // 16 if pattern.hold == "block" else min(last - at, _STEPS) // 8
                    budget.spend("verifications", 2 + more)
                    at = last + 1
                    break
                value = match[group]
                budget.spend("verifications", 2 + len(value) // 32)
                accepted = len(value) if pattern.validate is None else pattern.validate(value)
                if accepted:
                    begin = match.start(group)
                    at = begin + accepted
                    if (hit := view.hit(pattern, match.start(), begin, at, start)) is not None:
                        hits.append(hit)
                else:
                    # A refused candidate must not hide one that begins inside it.
                    budget.spend("verifications")
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
            hits[n] = hits[n]._replace(start=start, end=end, match_start=min(hits[n].match_start, start))
        else:
            same.insert(at, (hit.start, len(hits)))
            hits.append(hit)
