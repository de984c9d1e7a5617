"""OpenAI responses: where text and tools sit in requests and replies. No I/O.

Each request has to bring its whole conversation: what lies with the provider cannot be inspected.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.format import SSE_TYPE, Stream, Usage, count, malformed, unscannable
from gateway.wire.openai_responses_items import as_list, read_item, read_tools
from gateway.wire.openai_responses_stream import ResponsesStream, responses_usage

_REFERENCES = ("previous_response_id", "prompt", "conversation", "context_management")
"""Options that bring in, or put away, content that lies with the provider."""
_OPTIONS = ("background", "background_options", "top_logprobs", "image")
"""Options whose reply would come by another way, or in another form, than the gateway reads."""
_LOGPROBS = "message.output_text.logprobs"


class OpenAIResponses:
    """`POST /v1/responses`; see `gateway.wire.format.Format`."""

    name = "openai_responses"
    stream_type = SSE_TYPE

    def streamed(self, body: Any) -> bool:
        """The body's `stream`."""
        return body.get("stream") is True

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Instructions, input items, tools and everything else."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise malformed(REQUEST)
        given = body.get("input")
        if not given or not isinstance(given, str | list) or not isinstance(body.get("stream", False), bool):
            raise malformed(REQUEST)
        if not isinstance(body.get("instructions"), str | None):
            raise malformed(REQUEST)
        if any(body.get(key) for key in _REFERENCES):
            raise unscannable(REQUEST, "reference")
        if any(body.get(key) for key in _OPTIONS) or _LOGPROBS in as_list(body.get("include"), REQUEST):
            raise unscannable(REQUEST, "option")
        read_tools(body, inspection)
        if body.get("instructions") is not None:
            fields.text(body, "instructions", "system")
        if isinstance(given, str):
            fields.text(body, "input", "user")
        else:
            for item in given:
                read_item(item, fields, inspection)
        if "tools" in body:
            fields.tree(body, "tools", "tool_def")
        fields.members(body, "metadata", ("instructions", "input", "tools"))

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Every output item, and what stands around them."""
        if not isinstance(body, dict) or not isinstance(body.get("output"), list):
            raise malformed(RESPONSE)
        for item in body["output"]:
            read_item(item, fields, inspection)
        fields.members(body, "metadata", ("output",))

    def stream(self, inspection: Inspection) -> Stream:
        """Named events."""
        return ResponsesStream(inspection)

    def usage(self, body: Any) -> Usage:
        """`usage`."""
        return responses_usage(body)

    def output_cap(self, body: Any) -> int | None:
        """`max_output_tokens`."""
        cap = body.get("max_output_tokens")
        if cap is not None and count(cap) is None:
            raise malformed(REQUEST)
        return count(cap)

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """`max_output_tokens`."""
        body["max_output_tokens"] = tokens

    def choices(self, body: Any) -> int:
        """Always one."""
        return 1
