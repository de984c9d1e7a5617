"""OpenAI chat completions: where text and tools sit in requests and replies. No I/O.

Unknown parts, options that carry content past the filter, and shapes that are not understood are refused.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.format import SSE_TYPE, Stream, Usage, count, malformed, unscannable, word
from gateway.wire.openai_chat_stream import MAX_CHOICES, ChatStream, chat_usage
from gateway.wire.openai_chat_tools import CALLS, function_name, read_calls, read_declared

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_result",
    "function": "tool_result",
}
_TEXT_PARTS = {"text", "refusal", "input_text", "output_text"}
_LOCATIONS = {"tools": "tool_def", "functions": "tool_def", "prediction": "assistant"}


class OpenAIChat:
    """`POST /v1/chat/completions`; see `gateway.wire.format.Format`."""

    name = "openai_chat"
    stream_type = SSE_TYPE

    def streamed(self, body: Any) -> bool:
        """The body's `stream`."""
        return body.get("stream") is True

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Messages, tools and everything else; a stream is asked to end with its token counts."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise malformed(REQUEST)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not isinstance(body.get("stream", False), bool):
            raise malformed(REQUEST)
        n = body.get("n", 1)
        if n is not None and (type(n) is not int or not 1 <= n <= MAX_CHOICES):
            raise malformed(REQUEST)
        if body.get("logprobs") or body.get("top_logprobs"):
            raise unscannable(REQUEST, "option")  # the reply's tokens would travel a second time, cut up
        if body.get("modalities") not in (None, ["text"]) or body.get("audio") is not None:
            raise unscannable(REQUEST, "option")
        read_declared(body, inspection)
        for message in messages:
            _read_message(message, fields, inspection)
        for key, location in _LOCATIONS.items():
            if key in body:
                fields.tree(body, key, location)
        fields.members(body, "metadata", ("messages", *_LOCATIONS))
        if body.get("stream"):
            options = body.get("stream_options")
            if not isinstance(options, dict | None):
                raise malformed(REQUEST)
            inspection.usage_asked = bool(options and options.get("include_usage"))
            body["stream_options"] = {**(options or {}), "include_usage": True}

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Every choice's message, and what stands around it."""
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise malformed(RESPONSE)
        if len(body["choices"]) > MAX_CHOICES:
            raise malformed(RESPONSE)
        for choice in body["choices"]:
            message = choice.get("message") if isinstance(choice, dict) else None
            if not isinstance(message, dict):
                raise malformed(RESPONSE)
            if message.get("audio") is not None or isinstance(message.get("content"), dict):
                raise unscannable(RESPONSE)
            choice.pop("logprobs", None)
            fields.members(message, "assistant", CALLS)
            read_calls(message, fields, inspection)
            fields.members(choice, "metadata", ("message",))
        fields.members(body, "metadata", ("choices",))

    def stream(self, inspection: Inspection) -> Stream:
        """Chunks with deltas."""
        return ChatStream(inspection)

    def usage(self, body: Any) -> Usage:
        """`usage`."""
        return chat_usage(body)

    def output_cap(self, body: Any) -> int | None:
        """`max_completion_tokens`, or what it was called before."""
        caps = [count(body.get(key)) for key in ("max_completion_tokens", "max_tokens") if body.get(key) is not None]
        if None in caps:
            raise malformed(REQUEST)
        return max((c for c in caps if c is not None), default=None)

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """`max_completion_tokens`."""
        body["max_completion_tokens"] = tokens

    def choices(self, body: Any) -> int:
        """`n`."""
        return body.get("n") or 1


def _read_message(message: Any, fields: Fields, inspection: Inspection) -> None:
    if word(message, "role") not in _ROLES:
        raise malformed(REQUEST)
    location = _ROLES[message["role"]]
    if message["role"] == "function":
        inspection.tool(function_name(message), REQUEST, "tool_result")
    if message.get("audio") is not None:
        raise unscannable(REQUEST)
    content = message.get("content")
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise malformed(REQUEST)
        if part["type"] not in _TEXT_PARTS:
            raise unscannable(REQUEST)
    if not isinstance(content, str | list | None):
        raise malformed(REQUEST)
    fields.members(message, location, CALLS)
    read_calls(message, fields, inspection)
