"""Server-sent events in pieces, and text that is held back until it can no longer become a secret. No I/O.

Held back is only what could still turn into a hit: a trailing run of the characters that some pattern is made of, or a
line from a pattern's keyword on, each no longer than that pattern's longest match, counted in what the text reads as;
and the beginnings of values that are written in pieces or invisibly. Everything before it has been seen whole. No timer
releases held text; the end of the channel does, after a last scan.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from gateway.decoders import CONTROLS, Unreadable
from gateway.egress import URL_LENGTH
from gateway.engine import Engine
from gateway.fields import RESPONSE
from gateway.filter import Inspection
from gateway.joined import seamless
from gateway.normalize import code_points, one_byte_each, skeleton
from gateway.pattern_files import Pattern
from gateway.reasons import Refusal
from gateway.validators.wallets import trailing_words

MAX_EVENT = 1 << 20
"""Bytes of one server-sent event; real ones are below 100 KiB."""

MAX_HELD = 16 << 10
"""Characters of one channel that are held, invisible ones among them. Real text never has so many."""

_CONTEXT, _WIDE_CONTEXT = 160, 512
"""Released characters kept: look-behinds need two, a keyword that shows only when it is decoded some more, and many
where some of them may be invisible."""
_LOOK_AHEAD = 2
_OPEN_LINK = re.compile(
    r"(?:!|!?\[[^\[\]]{0,300}(?:\](?:[(:]\s{0,3}\S{0,2000})?)?|<(?:/?[a-z]{0,8}|[a-z]{2,8}\b[^<>]{0,2600})"
    r"|(?:url\(|@import)[ \t]{0,3}\S{0,2000})\Z",
    re.ASCII | re.IGNORECASE,
)
"""What may go on as an image, link or tag with an address in it."""
_LINK_LENGTH = 2_700
"""Characters of the longest of them."""
_ASCII_LOWER = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)}
_CLASSES = {
    # hold class -> (characters a match is made of, characters it cannot begin with)
    "token": ("".join(map(chr, range(0x21, 0x7F))), ""),
    "digits": ("0123456789 ().+-", " ).-"),
    "upper": ("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", " 0123456789"),
    "any": ("", ""),  # of unknown make: its whole length is held
}
_TAIL = 2_048
"""Characters of a value that is written in pieces, as far as it is held."""
_GAP = r" \t\n.,:;|/*~+_\x2d\xff"
_B64 = "A-Za-z0-9+/_=-"
_PIECEWISE = re.compile(
    rf"[{_GAP}]{{0,3}}(?:[A-Za-z0-9][{_GAP}]{{1,3}}){{3,}}"  # single letters
    r"|[ :,\n-]{0,2}[0-9A-Fa-f]{0,2}(?:[xX]0)?(?:[ :,\n-]{1,2}[0-9A-Fa-f]{2}(?:[xX]0)?){3,}"  # bytes
    r"|[,; ]{0,2}[0-9]{0,3}(?:[,; ]{1,2}[0-9]{2,3}){3,}"  # character codes
    rf"|[{_B64}]*(?:[ \t]{{0,8}}\n\r?[{_B64}]{{12,}})+"  # wrapped base64
    r"|\S{0,200}(?:\n\r?=\S{1,200})+"  # quoted-printable
    r"|[!-u\n\r]*~<"  # ascii85
)
"""Values in pieces at the end of a text, for the text read backwards. Three pieces are out before one shows."""
_UNSEEN = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef\u2062\u2064\u200b-\u200d]+")
_TURNED = "\u202e"


class SseParser:
    """Incremental reader of `text/event-stream` (WHATWG HTML, 9.2.6); hands out the data of each event."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, raw: bytes) -> list[str]:
        """The data of all events that `raw` completes. Raises Refusal when one is too large or not UTF-8."""
        if self._after_cr and raw:
            raw = raw[1:] if raw.startswith(b"\n") else raw
            self._after_cr = False
        buffer = self._rest + raw
        events: list[str] = []
        lines = buffer.splitlines(keepends=True)
        self._rest = b""
        if lines and not lines[-1].endswith((b"\r", b"\n")):
            self._rest = lines.pop()
        elif lines and lines[-1].endswith(b"\r"):
            self._after_cr = True  # a line feed may follow in the next piece and belongs to this line end
        for line in lines:
            self._line(line.rstrip(b"\r\n"), events)
        if self._size + len(self._rest) > MAX_EVENT:
            raise Refusal("WIRE.LIMIT", "upstream", RESPONSE)
        return events

    def _line(self, line: bytes, events: list[str]) -> None:
        if not line:
            if self._data:
                try:
                    events.append(b"\n".join(self._data).decode("utf-8"))
                except UnicodeDecodeError:
                    raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE) from None
            self._data, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)


class HoldBack:
    """How far a text may be released, given the patterns that are looked for."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self._reach: dict[str, int] = {}
        self._literals: dict[str, list[tuple[str, int]]] = {"line": [], "block": []}
        self._words = self._links = False
        for pattern in patterns:
            reach = pattern.width + _LOOK_AHEAD
            if pattern.hold in self._literals:
                self._literals[pattern.hold] += [(literal, reach) for literal in pattern.anchor]
            elif pattern.hold == "words":
                self._words = True
            elif pattern.hold == "link":
                self._links = True
                self._reach["token"] = max(self._reach.get("token", 0), URL_LENGTH)
            elif pattern.hold != "none":
                self._reach[pattern.hold] = max(self._reach.get(pattern.hold, 0), reach)
        self._beginnings = {hold: _beginnings(literals) for hold, literals in self._literals.items()}

    def live_from(self, text: str, start: int) -> int:
        """The first offset from `start` on at which a hit may begin that more text could complete or change."""
        if text.isascii():
            return self._joined_live(text, start)
        points = code_points(text)
        read = skeleton(points)
        if read is None:
            return self._joined_live(one_byte_each(points).decode("latin-1"), start)
        live = self._joined_live(read.text, read.after(start))
        live = read.origin(live) if live < len(read.text) else len(text)
        # A word begins behind a foreign letter, or goes on; which it is, is known only at its end.
        live = min(live, self._joined_live(one_byte_each(points).decode("latin-1"), start))
        if (unseen := _UNSEEN.match(text[: -_TAIL - 1 : -1])) is not None:
            live = min(live, len(text) - unseen.end())
        if (turned := text.rfind(_TURNED, start)) >= 0 and not text.endswith(("\u202c", "\n")):
            live = min(live, turned)
        return max(live, start)

    def _joined_live(self, text: str, start: int) -> int:
        """`_live` of the text, and of what it reads as without control characters."""
        live = self._live(text, start)
        if CONTROLS.search(text, max(start, len(text) - MAX_HELD)) is None:
            return live
        kept = [i for i, c in enumerate(text) if not CONTROLS.match(c)]
        joined = self._live("".join(text[i] for i in kept), bisect_left(kept, start))
        return min(live, kept[joined]) if joined < len(kept) else live

    def _live(self, text: str, start: int) -> int:
        live = end = len(text)
        for name, reach in self._reach.items():
            inside, not_first = _CLASSES[name]
            window = text[max(start, end - reach) :]
            run = window[len(window.rstrip(inside)) :] if inside else window
            live = min(live, end - len(run.lstrip(not_first)))
        if self._words:
            live = min(live, max(start, end - trailing_words(text)))
        if (pieces := _PIECEWISE.match(text[: -_TAIL - 1 : -1])) is not None:
            live = min(live, max(start, end - pieces.end()))
        if self._links and (found := _OPEN_LINK.search(text, max(start, end - _LINK_LENGTH))):
            live = min(live, found.start())
        for hold, literals in self._literals.items():
            # A keyword and its value share a line; a block goes on over lines.
            line = max(start, text.rfind("\n", start) + 1) if hold == "line" else start
            tail = text[line:].translate(_ASCII_LOWER) if literals else ""
            for literal, reach in literals:
                if literal in tail and (at := tail.find(literal, max(0, len(tail) - reach))) >= 0:
                    live = min(live, line + at)
            live = min(live, end - _begun(tail, self._beginnings[hold]))
        return live


_HOLDS: WeakKeyDictionary[Engine, HoldBack] = WeakKeyDictionary()


def hold_back(engine: Engine) -> HoldBack:
    """That of an engine's patterns, made once for each."""
    made = _HOLDS.get(engine)
    if made is None:
        made = _HOLDS[engine] = HoldBack(engine.patterns)
    return made


def _beginnings(literals: Iterable[tuple[str, int]]) -> tuple[frozenset[str], int]:
    """What a text may end with that could go on to be one of the literals, and the length of the longest."""
    begun = frozenset(literal[:n] for literal, _ in literals for n in range(1, len(literal)))
    return begun, max(map(len, begun), default=0)


def _begun(text: str, beginnings: tuple[frozenset[str], int]) -> int:
    """How many characters at the end of `text` are the beginning of a literal."""
    begun, longest = beginnings
    return next((n for n in range(min(longest, len(text)), 0, -1) if text[-n:] in begun), 0)


class Channel:
    """One text that arrives in pieces: goes in raw, comes out clean and late."""

    def __init__(
        self, engine: Engine, hold: HoldBack, inspection: Inspection, location: str, *, sealed: bool = False
    ) -> None:
        """`sealed`: the text is signed, so that it passes whole or not at all."""
        self._engine, self._hold, self._inspection, self._location = engine, hold, inspection, location
        self._sealed = sealed
        self._begin = 0
        """Where the context begins in the whole text."""
        self._context = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be released now. A block is noted in the inspection; the caller must ask for its verdict first."""
        self._held += text
        self._inspection.count_output(text)
        full, start = self._context + self._held, len(self._context)
        return self._release(full, start, self._hold.live_from(seamless(full), start))

    def finish(self) -> str:
        """The rest, after a last scan."""
        full = self._context + self._held
        return self._release(full, len(self._context), len(full))

    def _release(self, full: str, start: int, cut: int) -> str:
        if len(full) - start > MAX_HELD and cut <= start:
            raise Refusal("WIRE.UNSCANNABLE", "limit", RESPONSE)
        if cut <= start:
            return ""
        try:
            hits = self._engine.scan(seamless(full), start)
        except Unreadable:
            raise Refusal("WIRE.UNSCANNABLE", "limit", RESPONSE) from None
        late = [h for h in hits if h.start < start]
        if late:
            # Part of it is out, so it cannot be cut out any more.
            self._inspection.apply(full, late, RESPONSE, self._location, self._begin, fixed=True)
            hits = [h for h in hits if h.start >= start]
            if self._inspection.decision == "block":
                return ""
        moved = True
        while moved:  # a hit is released as a whole or not at all
            moved = False
            for hit in hits:
                if max(start, hit.match_start) < cut < hit.end:
                    cut, moved = max(start, hit.match_start), True
        done = [h for h in hits if h.end <= cut]
        clean = self._inspection.apply(full[:cut], done, RESPONSE, self._location, self._begin, fixed=self._sealed)
        kept = max(0, cut - (_CONTEXT if full.isascii() else _WIDE_CONTEXT))
        self._begin += kept
        self._context, self._held = full[kept:cut], full[cut:]
        return clean[start:]
