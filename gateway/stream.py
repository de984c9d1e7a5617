"""Server-sent events in pieces, and text that is held back until it can no longer become a secret. No I/O.

Held back is only what could still turn into a hit: a trailing run of the characters that some pattern is made of, or a
line from a pattern's keyword on, each no longer than that pattern's longest match. Everything before it has been seen
whole. No timer releases held text; the end of the channel does, after a last scan.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.decoders import Unreadable
from gateway.engine import Engine
from gateway.fields import RESPONSE
from gateway.filter import Inspection
from gateway.pattern_files import Pattern
from gateway.reasons import Refusal
from gateway.validators.wallets import trailing_words

MAX_EVENT = 1 << 20
"""Bytes of one server-sent event; real ones are below 100 KiB."""

_CONTEXT = 8
"""Released characters kept for look-behinds, which span two at most."""
_LOOK_AHEAD = 2
_ASCII_LOWER = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)}
_CLASSES = {
    # hold class -> (characters a match is made of, characters it cannot begin with)
    "token": ("".join(map(chr, range(0x21, 0x7F))), ""),
    "digits": ("0123456789 ().+-", " ).-"),
    "upper": ("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ", " 0123456789"),
    "any": ("", ""),  # of unknown make: its whole length is held
}


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
        self._words = False
        for pattern in patterns:
            reach = pattern.width + _LOOK_AHEAD
            if pattern.hold in self._literals:
                self._literals[pattern.hold] += [(literal, reach) for literal in pattern.anchor]
            elif pattern.hold == "words":
                self._words = True
            elif pattern.hold != "none":
                self._reach[pattern.hold] = max(self._reach.get(pattern.hold, 0), reach)

    def live_from(self, text: str, start: int) -> int:
        """The first offset from `start` on at which a hit may begin that more text could complete or change."""
        live = end = len(text)
        for name, reach in self._reach.items():
            inside, not_first = _CLASSES[name]
            window = text[max(start, end - reach) :]
            run = window[len(window.rstrip(inside)) :] if inside else window
            live = min(live, end - len(run.lstrip(not_first)))
        if self._words:
            live = min(live, max(start, end - trailing_words(text)))
        for hold, literals in self._literals.items():
            # A keyword and its value share a line; a block goes on over lines.
            line = max(start, text.rfind("\n", start) + 1) if hold == "line" else start
            tail = text[line:].translate(_ASCII_LOWER) if literals else ""
            for literal, reach in literals:
                at = tail.find(literal, max(0, len(tail) - reach))
                if at < 0:
                    at = len(tail) - _partial(tail, literal)
                live = min(live, line + at)
        return live


def _partial(text: str, literal: str) -> int:
    """How many characters at the end of `text` are the beginning of `literal`."""
    for n in range(min(len(literal) - 1, len(text)), 0, -1):
        if text.endswith(literal[:n]):
            return n
    return 0


class Channel:
    """One text that arrives in pieces: goes in raw, comes out clean and late."""

    def __init__(
        self, engine: Engine, hold: HoldBack, inspection: Inspection, location: str, *, sealed: bool = False
    ) -> None:
        """`sealed`: the text is signed, so that it passes whole or not at all."""
        self._engine, self._hold, self._inspection, self._location = engine, hold, inspection, location
        self._sealed = sealed
        self._context = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be released now. A block is noted in the inspection; the caller must ask for its verdict first."""
        self._held += text
        self._inspection.count_output(text)
        full, start = self._context + self._held, len(self._context)
        return self._release(full, start, self._hold.live_from(full, start))

    def finish(self) -> str:
        """The rest, after a last scan."""
        full = self._context + self._held
        return self._release(full, len(self._context), len(full))

    def _release(self, full: str, start: int, cut: int) -> str:
        if cut <= start:
            return ""
        try:
            hits = self._engine.scan(full, start)
        except Unreadable:
            raise Refusal("WIRE.UNSCANNABLE", "limit", RESPONSE) from None
        moved = True
        while moved:  # a hit is released as a whole or not at all
            moved = False
            for hit in hits:
                if hit.match_start < cut < hit.end:
                    cut, moved = hit.match_start, True
        done = [h for h in hits if h.end <= cut]
        clean = self._inspection.apply(full[:cut], done, RESPONSE, self._location, fixed=self._sealed)
        self._context, self._held = full[max(0, cut - _CONTEXT) : cut], full[cut:]
        return clean[start:]
