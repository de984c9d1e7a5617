"""Google Gemini (`POST /v1beta/models/{model}:generateContent`). No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.judging.vendors.format import Ask, Said, Usage, tokens

_REFUSED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})


class Google:
    """Prompt caching is implicit here; nothing has to be asked for."""

    provider = "google"
    family = "gemini"
    base_url = "https://generativelanguage.googleapis.com"

    def path(self, model: str) -> str:
        return f"/v1beta/models/{model}:generateContent"

    def headers(self, key: str | None) -> dict[str, str]:
        return {"x-goog-api-key": key} if key else {}

    def body(self, ask: Ask) -> dict[str, Any]:
        config: dict[str, Any] = {
            "maxOutputTokens": ask.max_tokens,
            "responseMimeType": "application/json",
            "responseSchema": gemini_schema(ask.schema),
        }
        if ask.temperature is not None:
            config["temperature"] = ask.temperature
        return {
            "systemInstruction": {"role": "user", "parts": [{"text": ask.system}]},
            "contents": [{"role": "user", "parts": [{"text": ask.user}]}],
            "generationConfig": config,
        }

    def read(self, reply: Mapping[str, Any]) -> Said:
        usage = _usage(reply.get("usageMetadata"))
        feedback = reply.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            return Said(fault="judge_refused", why="prompt blocked", usage=usage)
        candidates = reply.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and len(candidates) == 1 else None
        if not isinstance(candidate, dict):
            return Said(fault="malformed", why="no single candidate", usage=usage)
        finish = candidate.get("finishReason")
        if finish in _REFUSED:
            return Said(fault="judge_refused", why=f"finishReason {finish}", usage=usage)
        if finish == "MAX_TOKENS":
            return Said(fault="malformed", why="cut off: MAX_TOKENS", usage=usage)
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        texts = [
            p["text"]
            for p in (parts if isinstance(parts, list) else [])
            if isinstance(p, dict) and isinstance(p.get("text"), str) and not p.get("thought")
        ]
        return Said("".join(texts), usage=usage)


def gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema in Gemini's dialect of OpenAPI: types in capitals, order of properties, no `additionalProperties`."""
    out: dict[str, Any] = {"type": str(schema["type"]).upper()}
    for key in ("description", "enum", "required"):
        if key in schema:
            out[key] = schema[key]
    if "properties" in schema:
        out["properties"] = {name: gemini_schema(value) for name, value in schema["properties"].items()}
        out["propertyOrdering"] = list(schema["properties"])
    return out


def _usage(usage: Any) -> Usage:
    said = tokens(usage, "candidatesTokenCount")
    thought = tokens(usage, "thoughtsTokenCount")
    out = None if said is None and thought is None else (said or 0) + (thought or 0)
    return Usage(tokens(usage, "promptTokenCount"), tokens(usage, "cachedContentTokenCount") or 0, 0, out)
