"""Bedrock Converse: where text and tools sit in requests and replies. No I/O.

Options that are not listed here are refused: a new one may carry content, or refer to content, past the filter.
"""

from __future__ import annotations

from typing import Any

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.wire.bedrock_blocks import read_content, read_tools
from gateway.wire.bedrock_stream import ConverseStream, converse_usage
from gateway.wire.event_stream import EVENT_STREAM_TYPE
from gateway.wire.format import Stream, Usage, count, malformed, unscannable

_OPTIONS = frozenset((
    "messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "additionalModelResponseFieldPaths",
    "requestMetadata", "performanceConfig", "serviceTier", "outputConfig",
))  # fmt: skip
"""Not here: `additionalModelRequestFields`, which may hold anything a model understands, and `promptVariables`, which
belong to a stored prompt."""
_INFERENCE = frozenset(("maxTokens", "temperature", "topP", "stopSequences"))
_ROLES = ("user", "assistant", "system")


class BedrockConverse:
    """`POST /model/<model>/converse`, or as a stream; see `gateway.wire.format.Format`."""

    name = "bedrock_converse"
    stream_type = EVENT_STREAM_TYPE

    def streamed(self, body: Any) -> bool:
        """Never by the body: the path says it (`Endpoint.streamed`)."""
        return False

    def read_request(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """Messages, system prompt, tools and everything else."""
        messages = body.get("messages") if isinstance(body, dict) else None
        if not isinstance(messages, list) or not messages:
            raise malformed(REQUEST)
        if not body.keys() <= _OPTIONS:
            raise unscannable(REQUEST, "option")
        inference = body.get("inferenceConfig")
        if not isinstance(inference, dict | None):
            raise malformed(REQUEST)
        if not (inference or {}).keys() <= _INFERENCE:
            raise unscannable(REQUEST, "option")
        read_tools(body.get("toolConfig"), inspection)
        if body.get("system") is not None:
            read_content(body["system"], "system", fields, inspection)
        for message in messages:
            if not isinstance(message, dict) or message.get("role") not in _ROLES:
                raise malformed(REQUEST)
            read_content(message.get("content"), message["role"], fields, inspection)
            fields.members(message, message["role"], ("content",))
        if "toolConfig" in body:
            fields.tree(body, "toolConfig", "tool_def")
        fields.members(body, "metadata", ("messages", "system", "toolConfig"))

    def read_response(self, body: Any, fields: Fields, inspection: Inspection) -> None:
        """The message, and what stands around it."""
        output: Any = body.get("output") if isinstance(body, dict) else None
        message = output.get("message") if isinstance(output, dict) else None
        if not isinstance(message, dict):
            raise malformed(RESPONSE)
        read_content(message.get("content"), "assistant", fields, inspection)
        fields.members(message, "assistant", ("content",))
        fields.members(output, "metadata", ("message",))
        fields.members(body, "metadata", ("output",))

    def stream(self, inspection: Inspection) -> Stream:
        """Events in AWS's framing."""
        return ConverseStream(inspection)

    def usage(self, body: Any) -> Usage:
        """`usage`."""
        return converse_usage(body)

    def output_cap(self, body: Any) -> int | None:
        """`inferenceConfig.maxTokens`."""
        given = (body.get("inferenceConfig") or {}).get("maxTokens")
        cap = count(given)
        if given is not None and cap is None:
            raise malformed(REQUEST)
        return cap

    def set_output_cap(self, body: Any, tokens: int) -> None:
        """`inferenceConfig.maxTokens`."""
        body["inferenceConfig"] = {**(body.get("inferenceConfig") or {}), "maxTokens": tokens}

    def choices(self, body: Any) -> int:
        """Always one."""
        return 1
