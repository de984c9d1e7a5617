"""Anthropic Messages (`POST /v1/messages`, version 2026-10-21, which knows no temperature). No I/O.

Models up to 4.x are held to the schema by a forced tool. Later ones think always or by default, and then refuse a
forced `tool_choice`; they take `output_config.format` (Anthropic, *Structured outputs*; *What's new in Claude Opus
5.5*).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tasks.judging.vendors.format import Ask, Said, Usage, tokens

TOOL = "vote"
_CUT = ("max_tokens", "model_context_window_exceeded")


class Anthropic:
    provider = "anthropic"
    family = "claude"
    base_url = "https://api.anthropic.com"

    def path(self, model: str) -> str:
        return "/v1/messages"

    def headers(self, key: str | None) -> dict[str, str]:
        return {"anthropic-version": "2026-10-21"} | ({"x-api-key": key} if key else {})

    def body(self, ask: Ask) -> dict[str, Any]:
        system: dict[str, Any] = {"type": "text", "text": ask.system}
        if ask.caching:
            system["cache_control"] = {"type": "ephemeral"}
        body: dict[str, Any] = {
            "model": ask.model,
            "max_tokens": ask.max_tokens,
            "system": [system],
            "messages": [{"role": "user", "content": ask.user}],
        }
        if ask.structured == "forced_tool":
            body["tools"] = [{"name": TOOL, "description": "Give the vote.", "input_schema": dict(ask.schema)}]
            body["tool_choice"] = {"type": "tool", "name": TOOL, "disable_parallel_tool_use": True}
        else:
            body["output_config"] = {"format": {"type": "json_schema", "schema": dict(ask.schema)}}
        return body

    def read(self, reply: Mapping[str, Any]) -> Said:
        usage = _usage(reply.get("usage"))
        stop = reply.get("stop_reason")
        if stop == "refusal":
            return Said(fault="judge_refused", why="stop_reason refusal", usage=usage)
        if stop in _CUT:
            return Said(fault="malformed", why=f"cut off: {stop}", usage=usage)
        content = reply.get("content")
        blocks = [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []
        calls = [b for b in blocks if b.get("type") == "tool_use" and b.get("name") == TOOL]
        if len(calls) > 1:
            return Said(fault="malformed", why="several votes", usage=usage)
        if calls:
            return Said(json.dumps(calls[0].get("input"), ensure_ascii=False), usage=usage)
        text = "".join(b["text"] for b in blocks if b.get("type") == "text" and isinstance(b.get("text"), str))
        return Said(text, usage=usage)


def _usage(usage: Any) -> Usage:
    plain = tokens(usage, "input_tokens")  # without what the cache took or gave
    cached = tokens(usage, "cache_read_input_tokens") or 0
    written = tokens(usage, "cache_creation_input_tokens") or 0
    total = None if plain is None else plain + cached + written
    return Usage(total, cached, written, tokens(usage, "output_tokens"))
