"""How each provider is asked for one vote, by name: request bodies and replies in the provider's own shape. No I/O."""

from __future__ import annotations

from tasks.judging.vendors.anthropic import Anthropic
from tasks.judging.vendors.format import Format
from tasks.judging.vendors.google import Google
from tasks.judging.vendors.openai import OpenAI, OpenAICompatible

FORMATS: dict[str, Format] = {f.provider: f for f in (Anthropic(), OpenAI(), Google(), OpenAICompatible())}
"""`provider` of a judge in the settings -> its wire format."""
