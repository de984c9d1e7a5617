"""Probe targets by wire format."""

from __future__ import annotations

from collections.abc import Callable

from tasks.records import Asset
from tasks.targets.anthropic_messages import AnthropicMessages
from tasks.targets.bedrock_converse import BedrockConverse
from tasks.targets.gemini import Gemini
from tasks.targets.http_template import HttpTemplate
from tasks.targets.mcp_tool import McpTool
from tasks.targets.openai_chat import OpenAIChat
from tasks.targets.openai_responses import OpenAIResponses
from tasks.targets.target import Target
from tasks.targets.wire import Wire

registry: dict[str, Callable[[Asset, Wire], Target]] = {
    "openai_chat": OpenAIChat,
    "openai_responses": OpenAIResponses,
    "anthropic_messages": AnthropicMessages,
    "gemini": Gemini,
    "bedrock_converse": BedrockConverse,
    "mcp": McpTool,
    "http_template": HttpTemplate,
}
"""`props.wire_format` of an asset -> the class that speaks it."""
