"""Probe targets by wire format."""

from __future__ import annotations

from tasks.targets.openai_chat import OpenAIChat
from tasks.targets.openai_responses import OpenAIResponses

registry: dict[str, type[OpenAIChat] | type[OpenAIResponses]] = {
    "openai_chat": OpenAIChat,
    "openai_responses": OpenAIResponses,
}
"""`props.wire_format` of an asset -> the class that speaks it."""
