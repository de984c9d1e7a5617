"""What readers of streamed replies share: channels for texts, and what is held of a call until it is whole. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.stream import Channel, HoldBack
from gateway.wire.format import malformed

MAX_HELD = 256 << 10
"""Characters of all unfinished calls and signatures of one reply that are held; longer ones end the stream."""
_PIECE = 16
"""Counted for each piece on top of its text, for empty pieces take room too."""


class Held:
    """The texts of one streamed reply that are not sent yet."""

    def __init__(self, inspection: Inspection) -> None:
        self.inspection = inspection
        self._engine = inspection.rules.engines[RESPONSE]
        self._hold = HoldBack(self._engine.patterns)
        self._size = 0

    def channel(self, *, sealed: bool = False) -> Channel:
        """For one text; `sealed`: it is signed, so that it passes whole or not at all."""
        return Channel(self._engine, self._hold, self.inspection, "assistant", sealed=sealed)

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
