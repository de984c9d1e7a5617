"""Bedrock's streamed conversations: text through hold-back channels, tool calls held until whole. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from gateway.fields import RESPONSE
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.strict_json import parse
from gateway.wire.bedrock_blocks import only_member, tool_name
from gateway.wire.bedrock_errors import exception_type, message
from gateway.wire.event_stream import EventStreamParser, Message, write
from gateway.wire.format import Usage, count, malformed, unscannable
from gateway.wire.held import Held, Seam, TextChannel

MAX_OPEN = 16
"""Blocks that may be unfinished at once; the provider finishes one before the next."""
_TYPE = "application/json"


def converse_usage(body: Any) -> Usage:
    """The `usage` of a reply or event; what was read from the cache, or written to it, was sent too."""
    reported = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(reported, dict):
        return Usage()
    cached, sent = count(reported.get("cacheReadInputTokens")), count(reported.get("inputTokens"))
    if sent is not None:
        sent += (cached or 0) + (count(reported.get("cacheWriteInputTokens")) or 0)
    return Usage(sent, count(reported.get("outputTokens")), cached)


class ConverseStream:
    """One streamed reply; see `gateway.wire.format.Stream`. `metadata` ends it, or the connection does."""

    def __init__(self, inspection: Inspection) -> None:
        self._parser = EventStreamParser()
        self._inspection = inspection
        self._texts, self._seam = Held(inspection), Seam()
        self._open: dict[int, _Block] = {}
        self._next = 0
        self._began = self._stopped = False
        self._last = b""
        self.done = False
        self.usage = Usage()

    @property
    def complete(self) -> bool:
        """Whether the message ended, and no event is cut off."""
        return self._stopped and (self.done or self._parser.empty)

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """See `gateway.wire.format.Stream`."""
        for received in self._parser.feed(raw):
            piece = self._event(received)
            if piece:
                yield piece
            if self.done:
                return

    def end(self) -> bytes:
        """What ends the message, and the counts."""
        return self._last

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """An exception, after which clients read nothing."""
        headers = {
            ":message-type": "exception",
            ":exception-type": exception_type(refusal),
            ":content-type": _TYPE,
        }
        return write(headers, orjson.dumps({"message": message(refusal, request_id)}))

    def _event(self, received: Message) -> bytes:
        if received.headers.get(":message-type") != "event":
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        kind = received.headers.get(":event-type", "")
        value = parse(received.payload, scope=RESPONSE)
        if not isinstance(value, dict) or kind not in _READERS or self._began == (kind == "messageStart"):
            raise malformed(RESPONSE)
        if self._stopped != (kind == "metadata"):
            raise malformed(RESPONSE)
        value.pop("p", None)  # padding against guesses by length
        out = _READERS[kind](self, value)
        self._inspection.verdict(RESPONSE)
        return out

    def _message_start(self, value: dict[str, Any]) -> bytes:
        self._began = True
        return _write("messageStart", self._inspection.tree(value, RESPONSE, "metadata"))

    def _message_stop(self, value: dict[str, Any]) -> bytes:
        if self._open:
            raise malformed(RESPONSE)
        self._stopped = True
        self._last = _write("messageStop", self._inspection.tree(value, RESPONSE, "metadata"))
        return b""

    def _metadata(self, value: dict[str, Any]) -> bytes:
        self.usage = converse_usage(value)
        self._last += _write("metadata", self._inspection.tree(value, RESPONSE, "metadata"))
        self.done = True
        return b""

    def _block_start(self, value: dict[str, Any]) -> bytes:
        start: Any = value.get("start")
        if only_member(start, RESPONSE) != "toolUse":
            raise unscannable(RESPONSE)
        self._block(value, new=True).start(start["toolUse"])
        return b""

    def _block_delta(self, value: dict[str, Any]) -> bytes:
        delta: Any = value.get("delta")
        kind = only_member(delta, RESPONSE)
        return self._block(value).feed(kind, delta[kind])

    def _block_stop(self, value: dict[str, Any]) -> bytes:
        block = self._block(value)
        del self._open[block.index]
        return block.stop() + _write("contentBlockStop", {"contentBlockIndex": block.index})

    def _block(self, value: dict[str, Any], *, new: bool = False) -> _Block:
        """The block of an event; only those of calls begin with an event of their own."""
        index = value.get("contentBlockIndex")
        if type(index) is not int or (new and index in self._open):
            raise malformed(RESPONSE)
        if index not in self._open:
            if index < self._next or len(self._open) == MAX_OPEN:
                raise malformed(RESPONSE)
            self._next = index + 1
            self._open[index] = _Block(self._texts, self._seam, index)
        return self._open[index]


_READERS = {
    "messageStart": ConverseStream._message_start,
    "messageStop": ConverseStream._message_stop,
    "metadata": ConverseStream._metadata,
    "contentBlockStart": ConverseStream._block_start,
    "contentBlockDelta": ConverseStream._block_delta,
    "contentBlockStop": ConverseStream._block_stop,
}


class _Block:
    """A block of text, reasoning or one call; what it is shows in its first event."""

    def __init__(self, texts: Held, seam: Seam, index: int) -> None:
        self.index = index
        self._texts, self._seam = texts, seam
        self._kind: str | None = None
        self._channel: TextChannel | None = None
        self._call: dict[str, Any] | None = None
        self._parts: list[str] = []  # of the arguments, or of the signature

    def start(self, call: Any) -> None:
        if not isinstance(call, dict):
            raise malformed(RESPONSE)
        self._kind, self._call = "toolUse", call

    def feed(self, kind: str, value: Any) -> bytes:
        block = {"citation": "text"}.get(kind, kind)
        if self._kind not in (None, block):
            raise malformed(RESPONSE)
        self._kind = block
        if kind == "text":
            return self._text(value)
        if kind == "citation":
            return self._delta({"citation": self._texts.inspection.tree(value, RESPONSE, "assistant")})
        if kind == "reasoningContent":
            return self._reasoning(value)
        if kind == "toolUse" and self._call is not None and isinstance(value, dict) and value.keys() <= {"input"}:
            self._texts.keep(self._parts, value.get("input"))
            return b""
        raise unscannable(RESPONSE)

    def stop(self) -> bytes:
        out = b"" if self._channel is None else self._wrapped(self._channel.finish())
        held = self._texts.release(self._parts)
        if self._call is not None:
            raw = self._texts.call(tool_name(self._call, RESPONSE), self._call, held or "{}")
            start = {"start": {"toolUse": self._call}, "contentBlockIndex": self.index}
            return _write("contentBlockStart", start) + self._delta({"toolUse": {"input": raw}})
        if held:
            self._texts.sealed(held)
            out += self._delta({"reasoningContent": {"signature": held}})
        return out

    def _text(self, value: Any) -> bytes:
        if not isinstance(value, str):
            raise malformed(RESPONSE)
        if self._channel is None:
            sealed = self._kind == "reasoningContent"
            self._channel = self._texts.channel(None if sealed else self._seam, sealed=sealed)
        return self._wrapped(self._channel.feed(value))

    def _reasoning(self, value: Any) -> bytes:
        """Text as it comes; the signature after it; what is encrypted at once."""
        kind = only_member(value, RESPONSE)
        if kind == "text":
            return self._text(value["text"])
        if kind == "signature":
            self._texts.keep(self._parts, value["signature"])
            return b""
        if kind == "redactedContent" and isinstance(value[kind], str):
            self._texts.sealed(value[kind])
            return self._delta({"reasoningContent": value})
        raise unscannable(RESPONSE)

    def _wrapped(self, text: str) -> bytes:
        if not text:
            return b""
        return self._delta({"reasoningContent": {"text": text}} if self._kind == "reasoningContent" else {"text": text})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _write("contentBlockDelta", {"delta": delta, "contentBlockIndex": self.index})


def _write(kind: str, value: dict[str, Any]) -> bytes:
    headers = {":event-type": kind, ":content-type": _TYPE, ":message-type": "event"}
    return write(headers, orjson.dumps(value))
