"""OpenAI chat completion chunks: text through hold-back channels, tool calls held until whole. No I/O."""

from __future__ import annotations

from typing import Any, NoReturn

from gateway.filter import RESPONSE, Inspection
from gateway.reasons import Refusal
from gateway.stream import Channel, HoldBack
from gateway.wire.openai_chat import MAX_CHOICES, SSE_DONE, call, sse, usage
from gateway.wire.strict_json import parse

MAX_CALLS = 256 << 10
"""Characters of all tool calls of one choice that are held; longer ones end the stream."""

_TEMPLATE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_DROPPED = ("logprobs", "obfuscation")
"""`logprobs` repeats the text in pieces that no scan would join; `obfuscation` is padding."""


class ChatStream:
    """One streamed reply. `feed` and `end` raise Refusal; after that nothing more may be sent but its error event."""

    def __init__(self, inspection: Inspection) -> None:
        self._inspection = inspection
        self._engine = inspection.rules.engines[RESPONSE]
        self._hold = HoldBack(self._engine.patterns)
        self._template: dict[str, Any] | None = None
        self._choices: dict[int, _Choice] = {}
        self.tokens: tuple[int | None, int | None] = (None, None)

    @property
    def complete(self) -> bool:
        """Whether the upstream ended every choice it began."""
        return bool(self._choices) and all(c.finished for c in self._choices.values())

    def feed(self, data: str) -> list[bytes]:
        """The events to send for one event of the upstream."""
        chunk = parse(data.encode(), scope=RESPONSE)
        if not isinstance(chunk, dict):
            _malformed()
        if chunk.get("error") is not None:
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        choices = chunk.get("choices", [])
        if not isinstance(choices, list):
            _malformed()
        if self._template is None:
            # Sent with every event as it was first seen, so that later chunks cannot carry text past the filter in it.
            self._template = self._inspection.walk({k: chunk[k] for k in _TEMPLATE if k in chunk}, RESPONSE, "metadata")
        extra = {k: v for k, v in chunk.items() if k not in (*_TEMPLATE, *_DROPPED, "choices") and v is not None}
        if isinstance(chunk.get("usage"), dict):
            self.tokens = usage(chunk)
        out = [self._choice(c) for c in choices]
        events = [c for c in out if c is not None]
        if extra or events:
            extra = self._inspection.walk(extra, RESPONSE, "metadata")
        self._inspection.verdict(RESPONSE)
        return [sse({**(self._template or {}), "choices": events, **extra})] if extra or events else []

    def end(self) -> list[bytes]:
        """What is left when the upstream says it is done, and the terminator."""
        events = []
        for index, choice in self._choices.items():
            if not choice.finished:
                delta = choice.finish()
                if delta:
                    events.append({"index": index, "delta": delta, "finish_reason": None})
        self._inspection.verdict(RESPONSE)
        return ([sse({**(self._template or {}), "choices": events})] if events else []) + [SSE_DONE]

    def _choice(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            _malformed()
        index, delta = value.get("index", 0), value.get("delta")
        if type(index) is not int or not 0 <= index < MAX_CHOICES or not isinstance(delta, dict | None):
            _malformed()
        new = index not in self._choices
        choice = self._choices.setdefault(index, _Choice(self))
        out = choice.feed(delta or {})
        reason = value.get("finish_reason")
        if reason is not None:
            if not isinstance(reason, str):
                _malformed()
            self._inspection.fixed(reason, RESPONSE, "metadata")
            for key, rest in choice.finish().items():
                out[key] = (out.get(key) or "") + rest if isinstance(rest, str) else rest
        known = ("index", "delta", "finish_reason", *_DROPPED)
        other = {k: v for k, v in value.items() if k not in known and v is not None}
        if not (out or reason or other or new):
            return None
        other = self._inspection.walk(other, RESPONSE, "metadata")
        return {"index": index, "delta": out, "finish_reason": reason, **other}

    def channel(self) -> Channel:
        """A fresh channel for one text of a choice."""
        return Channel(self._engine, self._hold, self._inspection, "assistant")

    def clean_call(self, value: dict[str, Any]) -> dict[str, Any]:
        """A completed tool call, checked and filtered."""
        return call(value, self._inspection, RESPONSE)

    def fixed(self, text: str) -> None:
        """Scan a field that is passed on as it is."""
        self._inspection.fixed(text, RESPONSE, "metadata")


class _Choice:
    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self._channels: dict[str, Channel] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._legacy: dict[str, Any] | None = None
        self._held = 0
        self.finished = False

    def feed(self, delta: dict[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in delta.items():
            if value is None or value == "":
                if key == "content":
                    out[key] = value  # clients see the opening chunk as the upstream meant it
                continue
            if self.finished:
                _malformed()
            if key == "role" and isinstance(value, str):
                self._stream.fixed(value)
                out[key] = value
            elif key == "tool_calls" and isinstance(value, list):
                for part in value:
                    self._part(part)
            elif key == "function_call" and isinstance(value, dict):
                self._legacy = self._legacy or {}
                self._merge(self._legacy, value)
            elif isinstance(value, str):
                self._stream.fixed(key)
                if key not in self._channels:
                    self._channels[key] = self._stream.channel()
                text = self._channels[key].feed(value)
                if text:
                    out[key] = text
            else:
                raise Refusal("WIRE.UNSCANNABLE", "upstream", RESPONSE)
        return out

    def _part(self, part: Any) -> None:
        if not isinstance(part, dict) or type(part.get("index", 0)) is not int:
            _malformed()
        whole = self._calls.setdefault(part.get("index", 0), {})
        self._merge(whole, {k: v for k, v in part.items() if k != "index"})

    def _merge(self, whole: dict[str, Any], part: dict[str, Any]) -> None:
        """Texts that grow are joined; identifiers are taken once."""
        for key, value in part.items():
            if value is None:
                continue
            self._held += len(key) + 16
            if isinstance(value, dict):
                inner = whole.setdefault(key, {})
                if not isinstance(inner, dict):
                    _malformed()
                self._merge(inner, value)
            elif not isinstance(value, str):
                raise Refusal("WIRE.UNSCANNABLE", "upstream", RESPONSE)
            elif key in ("id", "type"):
                whole[key] = whole.get(key) or value
                self._held += len(value)
            else:
                known = whole.get(key, "")
                if not isinstance(known, str):
                    _malformed()
                whole[key] = known + value
                self._held += len(value)
        if self._held > MAX_CALLS:
            raise Refusal("WIRE.LIMIT", "upstream", RESPONSE)

    def finish(self) -> dict[str, Any]:
        self.finished = True
        out: dict[str, Any] = {}
        for key, channel in self._channels.items():
            text = channel.finish()
            if text:
                out[key] = text
        if self._calls:
            out["tool_calls"] = [{"index": i, **self._stream.clean_call(c)} for i, c in sorted(self._calls.items())]
        if self._legacy is not None:
            out["function_call"] = self._stream.clean_call({"type": "function", "function": self._legacy})["function"]
        return out


def _malformed() -> NoReturn:
    raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
