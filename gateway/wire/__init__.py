"""The APIs that a route may speak, and the wire formats that the gateway can inspect, one module each."""

from __future__ import annotations

from gateway.wire import anthropic, bedrock, gemini, mcp, openai
from gateway.wire.format import Api

APIS: dict[str, Api] = {
    "anthropic": anthropic.API,
    "bedrock": bedrock.API,
    "gemini": gemini.API,
    "openai": openai.API,
    "mcp": mcp.API,
}
"""What a route's `api` may be."""
FORMATS = {e.format.name: e.format for api in APIS.values() for e in api.endpoints if e.format is not None}
"""The readers of model calls, by the name that events give their wire format."""
WIRE_FORMATS = (*FORMATS, mcp.NAME)
"""All that events may name."""
