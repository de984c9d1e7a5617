"""The wire formats that the gateway can inspect, one module each."""

from __future__ import annotations

FORMATS = ("openai_chat",)
"""What a route's `wire_format` may be."""
