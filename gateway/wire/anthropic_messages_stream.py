"""Anthropic's streamed messages: text through hold-back channels, tool calls held until whole. No I/O."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire.anthropic_blocks import CALLS, SEALED, block_type, call_name, read_block
from gateway.wire.anthropic_errors import error_body
from gateway.wire.format import Usage, count, malformed
from gateway.wire.held import Held, Seam
from gateway.wire.sse import SseStream, sse

MAX_OPEN = 16
"""Blocks that may be unfinished at once; providers finish one before the next."""

_TEXTS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
"""Blocks whose text is passed on as it comes -> the type of its deltas, the member with the text."""


def message_usage(body: Any) -> Usage:
    """The `usage` of a reply or event; what was read from the cache, or written to it, was sent too."""
    reported = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(reported, dict):
        return Usage()
    cached = count(reported.get("cache_read_input_tokens"))
    sent = count(reported.get("input_tokens"))
    if sent is not None:
        sent += (cached or 0) + (count(reported.get("cache_creation_input_tokens")) or 0)
    return Usage(sent, count(reported.get("output_tokens")), cached)


class MessageStream(SseStream):
    """One streamed reply; see `gateway.wire.format.Stream`."""

    def __init__(self, inspection: Inspection) -> None:
        super().__init__()
        self._inspection = inspection
        self.texts, self.seam = Held(inspection), Seam()
        self._open: dict[int, _Text | _Call] = {}
        self._next = 0
        self._began = False
        self.complete = False
        self.usage = Usage()

    def event(self, value: Any) -> bytes:
        """What to send for one event of the provider."""
        kind = block_type(value, RESPONSE)
        if kind == "ping":
            return _event("ping")
        if kind == "error":
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        if kind == "message_stop":
            if self._open:
                raise malformed(RESPONSE)
            self.done = self.complete = True
            return b""  # sent by `end`, once the exchange is recorded
        if kind not in _READERS or self._began == (kind == "message_start"):
            raise malformed(RESPONSE)
        out = _READERS[kind](self, value)
        self._inspection.verdict(RESPONSE)
        return out

    def end(self) -> bytes:
        """The last event."""
        return _event("message_stop")

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """An event with the error, after which clients read nothing."""
        return sse(error_body(refusal, request_id), "error")

    def _message_start(self, value: dict[str, Any]) -> bytes:
        message = value.get("message")
        if not isinstance(message, dict) or message.get("content") != []:
            raise malformed(RESPONSE)
        self._began = True
        self._count(message)
        return _event("message_start", message=self._inspection.tree(message, RESPONSE, "metadata"))

    def _message_delta(self, value: dict[str, Any]) -> bytes:
        if self._open:
            raise malformed(RESPONSE)
        self._count(value)
        return sse(self._inspection.tree(value, RESPONSE, "metadata"), "message_delta")

    def _count(self, reported: Any) -> None:
        """Later counts stand for the whole message; what an event leaves out is as it was."""
        seen = message_usage(reported)
        self.usage = Usage(*(old if new is None else new for old, new in zip(self.usage, seen, strict=True)))

    def _block_start(self, value: dict[str, Any]) -> bytes:
        index = value.get("index")
        block: Any = value.get("content_block")
        if type(index) is not int or index < self._next or len(self._open) == MAX_OPEN:
            raise malformed(RESPONSE)
        self._next = index + 1
        kind = block_type(block, RESPONSE)
        if kind in CALLS:
            self._open[index] = _Call(self, index, block)
            return b""
        if kind not in _TEXTS:
            self.read(block)
            return _event("content_block_start", index=index, content_block=block)
        text = self._open[index] = _Text(self, index, kind)
        return text.start(block)

    def _block_delta(self, value: dict[str, Any]) -> bytes:
        delta: Any = value.get("delta")
        return self._block(value).feed(block_type(delta, RESPONSE), delta)

    def _block_stop(self, value: dict[str, Any]) -> bytes:
        index = value.get("index")
        if type(index) is int and index < self._next and index not in self._open:
            return _event("content_block_stop", index=index)
        out = self._block(value).stop() + _event("content_block_stop", index=index)
        del self._open[value["index"]]
        return out

    def _block(self, value: dict[str, Any]) -> _Text | _Call:
        index = value.get("index")
        if type(index) is not int or index not in self._open:
            raise malformed(RESPONSE)
        return self._open[index]

    def read(self, block: dict[str, Any]) -> None:
        """Check and filter a block that is whole."""
        fields = Fields(RESPONSE)
        read_block(block, "assistant", fields, self._inspection)
        self._inspection.scan(fields)

    def citation(self, value: Any) -> Any:
        """A quotation with its source, filtered."""
        box, fields = [value], Fields(RESPONSE)
        fields.tree(box, 0, "assistant", SEALED)
        self._inspection.scan(fields)
        return box[0]


_READERS = {
    "message_start": MessageStream._message_start,
    "message_delta": MessageStream._message_delta,
    "content_block_start": MessageStream._block_start,
    "content_block_delta": MessageStream._block_delta,
    "content_block_stop": MessageStream._block_stop,
}


class _Text:
    """A block of text or reasoning."""

    def __init__(self, stream: MessageStream, index: int, kind: str) -> None:
        self._stream, self._index = stream, index
        self._delta, self._key = _TEXTS[kind]
        self._channel = stream.texts.channel(sealed=True) if kind == "thinking" else stream.texts.channel(stream.seam)
        self._signature: list[str] = []

    def start(self, block: dict[str, Any]) -> bytes:
        text, signature = block.get(self._key, ""), block.get("signature")
        if not isinstance(text, str):
            raise malformed(RESPONSE)
        block[self._key] = ""
        if signature:
            self._stream.texts.keep(self._signature, signature)
            block["signature"] = ""
        self._stream.read(block)
        return _event("content_block_start", index=self._index, content_block=block) + self._out(
            self._channel.feed(text) if text else ""
        )

    def feed(self, kind: str, delta: dict[str, Any]) -> bytes:
        text = delta.get(self._key)
        if kind == self._delta and isinstance(text, str):
            return self._out(self._channel.feed(text))
        if kind == "signature_delta" and self._key == "thinking":
            self._stream.texts.keep(self._signature, delta.get("signature"))
            return b""
        if kind == "citations_delta" and self._key == "text":
            citation = self._stream.citation(delta.get("citation"))
            return _delta(self._index, kind, citation=citation)
        raise malformed(RESPONSE)

    def stop(self) -> bytes:
        out = self._out(self._channel.finish())
        if self._signature:
            signature = self._stream.texts.release(self._signature)
            self._stream.texts.sealed(signature)
            out += _delta(self._index, "signature_delta", signature=signature)
        return out

    def _out(self, text: str) -> bytes:
        return _delta(self._index, self._delta, **{self._key: text}) if text else b""


class _Call:
    """A tool call; nothing of it is sent before its end."""

    def __init__(self, stream: MessageStream, index: int, block: dict[str, Any]) -> None:
        self._stream, self._index, self._block = stream, index, block
        given = block.get("input")
        if not isinstance(given, dict | None):
            raise malformed(RESPONSE)
        self._given, self._parts = given or {}, list[str]()

    def feed(self, kind: str, delta: dict[str, Any]) -> bytes:
        if kind != "input_json_delta":
            raise malformed(RESPONSE)
        self._stream.texts.keep(self._parts, delta.get("partial_json"))
        return b""

    def stop(self) -> bytes:
        raw = self._stream.texts.release(self._parts)
        if raw and self._given:
            raise malformed(RESPONSE)
        self._block["input"] = {}
        name = call_name(self._block, RESPONSE)
        raw = self._stream.texts.call(name, self._block, raw or orjson.dumps(self._given).decode())
        return _event("content_block_start", index=self._index, content_block=self._block) + _delta(
            self._index, "input_json_delta", partial_json=raw
        )


def _event(kind: str, **members: Any) -> bytes:
    return sse({"type": kind, **members}, kind)


def _delta(index: int, kind: str, **members: Any) -> bytes:
    return _event("content_block_delta", index=index, delta={"type": kind, **members})
