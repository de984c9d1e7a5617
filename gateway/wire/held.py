"""What readers of streamed replies share: channels for texts, and what is held of a call until it is whole. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.decoders import Unreadable
from gateway.fields import RESPONSE, Fields
from gateway.filter import ALONE, BETWEEN, Inspection
from gateway.joined import seamless
from gateway.reasons import Refusal
from gateway.stream import Channel, hold_back
from gateway.wire.format import malformed

MAX_HELD = 256 << 10
"""Characters of all unfinished calls and signatures of one reply that are held; longer ones end the stream."""
_PIECE = 16
"""Counted for each piece on top of its text, for empty pieces take room too."""


SEAM = 100
"""Characters on each side of the place where two texts meet; the longest of the short secrets fit."""


class Seam:
    """Where one text ended that clients show before the next, as in blocks one after the other."""

    def __init__(self) -> None:
        self.before = ""


class Held:
    """The texts of one streamed reply that are not sent yet."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self._engine = inspection.rules.engines[RESPONSE]
        self._hold = hold_back(self._engine)
        self._size = 0

    def channel(self, seam: Seam | None = None, *, sealed: bool = False) -> TextChannel:
        """For one text; `sealed`: it is signed, so that it passes whole or not at all."""
        channel = Channel(self._engine, self._hold, self.inspection, "assistant", sealed=sealed)
        return TextChannel(channel, seam or Seam(), self._look)

    def _look(self, before: str, after: str) -> None:
        """Note what only two texts together make. The first is sent already, so what would be redacted is blocked."""
        for between in BETWEEN:
            joined, end = before + between + after, len(before)
            try:
                found = self._engine.scan(seamless(joined))
            except Unreadable:
                raise Refusal("WIRE.UNSCANNABLE", "limit", RESPONSE) from None
            hits = [h for h in found if h.start < end and h.end > end + len(between)]
            hits = [h for h in hits if h.pattern.category not in ALONE]
            self.inspection.apply(joined, hits, RESPONSE, "assistant", fixed=True)
            if hits:
                return

    def keep(self, parts: list[str], text: Any) -> None:
        """Add to what is held of a call or signature. Raises Refusal when `text` is none, or too much is held."""
        if not isinstance(text, str):
            raise malformed(RESPONSE)
        self.inspection.count_output(text)
        self._size += len(text) + _PIECE
        if self._size > MAX_HELD:
            raise Refusal("WIRE.LIMIT", "upstream", RESPONSE)
        parts.append(text)

    def release(self, parts: list[str]) -> str:
        """What was held, as one text."""
        text = "".join(parts)
        self._size -= len(text) + _PIECE * len(parts)
        return text

    def sealed(self, text: str) -> None:
        """Scan what is passed on as it is."""
        fields = Fields(RESPONSE)
        fields.fixed(text, "assistant")
        self.inspection.scan(fields)

    def call(self, name: str, call: dict[str, Any], raw: str) -> str:
        """Check and filter a call with all members but its arguments, `raw`; returns these as they may be sent."""
        arguments, fields = {"input": raw}, Fields(RESPONSE)
        parsed = fields.json_text(arguments, "input", "tool_args")
        fields.members(call, "tool_args")
        self.inspection.tool_call(name, parsed, RESPONSE, "tool_args")
        self.inspection.scan(fields)
        return arguments["input"]


class TextChannel:
    """A `Channel` whose beginning is read together with the end of the text before it."""

    def __init__(self, channel: Channel, seam: Seam, look: Callable[[str, str], None]) -> None:
        self._channel, self._seam, self._look = channel, seam, look
        self._before, self._head, self._tail = seam.before, "", ""

    def feed(self, text: str) -> str:
        """See `Channel.feed`."""
        if self._before and len(self._head) < SEAM:
            self._head = (self._head + text)[:SEAM]
            self._look(self._before, self._head)
        self._tail = (self._tail + text)[-SEAM:]
        return self._channel.feed(text)

    def finish(self) -> str:
        """See `Channel.finish`."""
        self._seam.before = (self._before + self._tail)[-SEAM:]
        return self._channel.finish()
