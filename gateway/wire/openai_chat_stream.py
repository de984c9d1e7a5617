"""OpenAI chat completion chunks: text through hold-back channels, tool calls held until whole. No I/O."""

from __future__ import annotations

from typing import Any

from gateway.fields import RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.stream import Channel, hold_back
from gateway.wire.format import Usage, count, malformed, unscannable
from gateway.wire.openai_chat_tools import CALLS, read_calls
from gateway.wire.openai_errors import error_body
from gateway.wire.sse import SseStream, sse

MAX_CHOICES = 16
"""Of one reply; each streamed choice has text held back for it."""
MAX_CALLS = 256 << 10
"""Characters of all tool calls of one choice that are held; longer ones end the stream."""

_TEMPLATE = ("id", "object", "created", "model", "system_fingerprint", "service_tier")
_DROPPED = ("logprobs", "obfuscation")
"""`logprobs` repeats the text in pieces that no scan would join; `obfuscation` is padding."""
_READ = frozenset((*_TEMPLATE, *_DROPPED, "choices"))
_CHOICE_READ = frozenset(("index", "delta", "finish_reason", *_DROPPED))
_ORDINARY = frozenset(("assistant", "content", "reasoning_content", "stop", "length", "tool_calls"))
"""Words of the format itself, which need no scan."""


SSE_DONE = b"data: [DONE]\n\n"


def chat_usage(body: Any) -> Usage:
    """The `usage` of a reply or chunk."""
    reported = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(reported, dict):
        return Usage()
    details = reported.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(count(reported.get("prompt_tokens")), count(reported.get("completion_tokens")), count(cached))


class ChatStream(SseStream):
    """One streamed reply; see `gateway.wire.format.Stream`."""

    def __init__(self, inspection: Inspection) -> None:
        super().__init__()
        self.inspection = inspection
        self._engine = inspection.rules.engines[RESPONSE]
        self._hold = hold_back(self._engine)
        self._template: dict[str, Any] | None = None
        self._choices: dict[int, _Choice] = {}
        self.usage = Usage()

    @property
    def complete(self) -> bool:
        """Whether the upstream ended every choice it began."""
        return self.done or (bool(self._choices) and all(c.finished for c in self._choices.values()))

    def event(self, value: Any) -> bytes:
        """The chunk to send for one chunk of the upstream."""
        if not isinstance(value, dict):
            raise malformed(RESPONSE)
        if value.get("error") is not None:
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        choices = value.get("choices", [])
        if not isinstance(choices, list):
            raise malformed(RESPONSE)
        if self._template is None:
            # Sent with every event as it was first seen, so that later chunks cannot carry text past the filter in it.
            self._template = self.inspection.tree({k: value[k] for k in _TEMPLATE if k in value}, RESPONSE, "metadata")
        extra = {k: v for k, v in value.items() if k not in _READ and v is not None}
        if "usage" in extra:
            self.usage = chat_usage(value)
            if not self.inspection.usage_asked:  # a client that did not ask may not expect a chunk without choices
                del extra["usage"]
        out = [self._choice(c) for c in choices]
        events = [c for c in out if c is not None]
        if extra:
            extra = self.inspection.tree(extra, RESPONSE, "metadata")
        self.inspection.verdict(RESPONSE)
        return sse({**(self._template or {}), "choices": events, **extra}) if extra or events else b""

    def end(self) -> bytes:
        """What is left when the upstream says it is done, and the terminator."""
        events = []
        for index, choice in self._choices.items():
            if not choice.finished:
                delta = choice.finish()
                if delta:
                    events.append({"index": index, "delta": delta, "finish_reason": None})
        self.inspection.verdict(RESPONSE)
        return (sse({**(self._template or {}), "choices": events}) if events else b"") + SSE_DONE

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """An event with the error, and the terminator."""
        return sse(error_body(refusal, request_id)) + SSE_DONE

    def _choice(self, value: Any) -> dict[str, Any] | None:
        if not isinstance(value, dict):
            raise malformed(RESPONSE)
        index, delta = value.get("index", 0), value.get("delta")
        if type(index) is not int or not 0 <= index < MAX_CHOICES or not isinstance(delta, dict | None):
            raise malformed(RESPONSE)
        new = index not in self._choices
        choice = self._choices.setdefault(index, _Choice(self))
        out = choice.feed(delta or {})
        reason = value.get("finish_reason")
        if reason is not None:
            if not isinstance(reason, str):
                raise malformed(RESPONSE)
            self.fixed(reason)
            for key, rest in choice.finish().items():
                out[key] = (out.get(key) or "") + rest if isinstance(rest, str) else rest
        other = {k: v for k, v in value.items() if k not in _CHOICE_READ and v is not None}
        if not (out or reason or other or new):
            return None
        if other:
            other = self.inspection.tree(other, RESPONSE, "metadata")
        return {"index": index, "delta": out, "finish_reason": reason, **other}

    def channel(self) -> Channel:
        """A fresh channel for one text of a choice."""
        return Channel(self._engine, self._hold, self.inspection, "assistant")

    def clean_calls(self, message: dict[str, Any]) -> dict[str, Any]:
        """Completed `tool_calls` and `function_call`, checked and filtered."""
        fields = Fields(RESPONSE)
        read_calls(message, fields, self.inspection)
        self.inspection.scan(fields)
        return message

    def fixed(self, text: str) -> None:
        """Scan a field that is passed on as it is."""
        if text not in _ORDINARY:
            fields = Fields(RESPONSE)
            fields.fixed(text, "metadata")
            self.inspection.scan(fields)


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
                raise malformed(RESPONSE)
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
                raise unscannable(RESPONSE)
        return out

    def _part(self, part: Any) -> None:
        if not isinstance(part, dict) or type(part.get("index", 0)) is not int:
            raise malformed(RESPONSE)
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
                    raise malformed(RESPONSE)
                self._merge(inner, value)
            elif not isinstance(value, str):
                raise unscannable(RESPONSE)
            elif key in ("id", "type"):
                whole[key] = whole.get(key) or value
                self._held += len(value)
            else:
                known = whole.get(key, "")
                if not isinstance(known, str):
                    raise malformed(RESPONSE)
                whole[key] = known + value
                self._held += len(value)
                self._stream.inspection.count_output(value)
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
            out["tool_calls"] = [{"index": i, **c} for i, c in sorted(self._calls.items())]
        if self._legacy is not None:
            out["function_call"] = self._legacy
        if self._calls or self._legacy is not None:
            self._stream.clean_calls({key: out[key] for key in CALLS if key in out})
        return out
