"""Anthropic messages: where text and tools sit in requests and replies. No I/O.

Options that are not listed here are refused: a new one may carry content, or refer to content, past the filter.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.anthropic_blocks import block_type, read_block, read_content
from gateway.wire.anthropic_messages_stream import MessageStream, message_usage
from gateway.wire.format import SSE_TYPE, Stream, Usage, count, malformed, unscannable

_OPTIONS = frozenset((
    "model", "messages", "system", "max_tokens", "metadata", "stop_sequences", "stream", "temperature", "top_k",
    "top_p", "tools", "tool_choice", "thinking", "service_tier", "output_config", "output_format", "cache_control",
    "context_management", "inference_geo", "speed", "mcp_servers",
))  # fmt: skip
"""Not here: `container`, `thread`, `diagnostics` and `compaction`, which refer to earlier content, and `fallbacks`,
which lead to other models."""
_ROLES = ("user", "assistant", "system")
_LOCATIONS = {"tools": "tool_def", "mcp_servers": "tool_def"}


class AnthropicMessages:
    """`POST /v1/messages`; see `gateway.wire.format.Format`."""

    name = "anthropic_messages"
    stream_type = SSE_TYPE

    def streamed(self, body: Any) -> bool:
        """The body's `stream`."""
        return body.get("stream") is True

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """System prompt, messages, tools and everything else."""
        if not isinstance(body, dict) or not isinstance(body.get("model"), str):
            raise malformed(REQUEST)
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not isinstance(body.get("stream", False), bool):
            raise malformed(REQUEST)
        if not body.keys() <= _OPTIONS:
            raise unscannable(REQUEST, "option")
        _read_tools(body, inspection)
        if body.get("system") is not None:
            read_content(body, "system", "system", fields, inspection)
        for message in messages:
            if not isinstance(message, dict) or message.get("role") not in _ROLES:
                raise malformed(REQUEST)
            read_content(message, "content", message["role"], fields, inspection)
            fields.members(message, message["role"], ("content",))
        for key, location in _LOCATIONS.items():
            if key in body:
                fields.tree(body, key, location)
        fields.members(body, "metadata", ("messages", "system", *_LOCATIONS))

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """The content blocks, and what stands around them."""
        if not isinstance(body, dict) or not isinstance(body.get("content"), list):
            raise malformed(RESPONSE)
        for block in body["content"]:
            read_block(block, "assistant", fields, inspection)
        fields.members(body, "metadata", ("content",))

    def stream(self, inspection: Inspection) -> Stream:
        """Named events."""
        return MessageStream(inspection)

    def usage(self, body: Any) -> Usage:
        """`usage`."""
        return message_usage(body)

    def output_cap(self, body: Any) -> int | None:
        """`max_tokens`, which covers thinking too."""
        if body.get("max_tokens") is None:
            return None
        cap = count(body["max_tokens"])
        if cap is None:
            raise malformed(REQUEST)
        return cap

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """`max_tokens`."""
        body["max_tokens"] = tokens

    def choices(self, body: Any) -> int:
        """Always one."""
        return 1


class AnthropicTokenCount(AnthropicMessages):
    """`POST /v1/messages/count_tokens`: the same request, answered with a number."""

    def streamed(self, body: Any) -> bool:
        """Never."""
        return False

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """`input_tokens`."""
        if not isinstance(body, dict):
            raise malformed(RESPONSE)
        fields.members(body, "metadata")

    def usage(self, body: Any) -> Usage:
        """Nothing: no model reads the request."""
        return Usage(0, 0)

    def output_cap(self, body: Any) -> int | None:
        """No model answers."""
        return 0

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """There is nothing to bound, and the provider refuses the option here."""


def _read_tools(body: dict[str, Any], inspection: Inspection) -> None:
    """The tools a request declares, and the one it forces. Their texts are collected with the rest of it."""
    for tool in _list(body.get("tools")):
        kind = "custom" if isinstance(tool, dict) and tool.get("type") is None else block_type(tool, REQUEST)
        if kind == "custom":
            description = tool.get("description")
            if not isinstance(tool.get("name"), str) or not isinstance(description, str | None):
                raise malformed(REQUEST)
            inspection.tool_definition(tool["name"], description or "", tool.get("input_schema"), REQUEST)
        else:  # a tool that the provider brings; its settings are its definition
            inspection.tool_definition(kind, "", tool, REQUEST)
    for server in _list(body.get("mcp_servers")):
        if not isinstance(server, dict) or not isinstance(server.get("url"), str):
            raise malformed(REQUEST)
        inspection.tool(server["url"], REQUEST, "tool_def")
    choice = body.get("tool_choice")
    if choice is not None and block_type(choice, REQUEST) not in ("auto", "any", "none"):
        if choice["type"] != "tool" or not isinstance(choice.get("name"), str):
            raise malformed(REQUEST)
        inspection.tool(choice["name"], REQUEST, "tool_def")


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(REQUEST)
    return value
