"""OpenAI chat completions (`POST /v1/chat/completions`), and servers of local models that speak the same. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.judging.vendors.format import Ask, Said, Usage, tokens


class OpenAI:
    """Prompt caching is automatic here; nothing has to be asked for."""

    provider = "openai"
    family: str | None = "gpt"
    base_url: str | None = "https://api.openai.com/v1"
    _limit = "max_completion_tokens"

    def path(self, model: str) -> str:
        return "/chat/completions"

    def headers(self, key: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {key}"} if key else {}

    def body(self, ask: Ask) -> dict[str, Any]:
        schema = {"name": "vote", "strict": True, "schema": dict(ask.schema)}
        body: dict[str, Any] = {
            "model": ask.model,
            "messages": [{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}],
            self._limit: ask.max_tokens,
            "response_format": {"type": "json_schema", "json_schema": schema},
        }
        if ask.temperature is not None:
            body["temperature"] = ask.temperature
        return body

    def read(self, reply: Mapping[str, Any]) -> Said:
        usage = _usage(reply.get("usage"))
        choices = reply.get("choices")
        choice = choices[0] if isinstance(choices, list) and len(choices) == 1 else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict):
            return Said(fault="malformed", why="no single choice with a message", usage=usage)
        finish = choice.get("finish_reason")
        if message.get("refusal") or finish == "content_filter":
            return Said(fault="judge_refused", why="refusal" if message.get("refusal") else str(finish), usage=usage)
        if finish == "length":
            return Said(fault="malformed", why="cut off: length", usage=usage)
        content = message.get("content")
        return Said(content if isinstance(content, str) else "", usage=usage)


class OpenAICompatible(OpenAI):
    """A model server of your own. `max_tokens` is the older name of the limit, which all of them know."""

    provider = "openai_compatible"
    family = None
    base_url = None
    _limit = "max_tokens"


def _usage(usage: Any) -> Usage:
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    return Usage(
        tokens(usage, "prompt_tokens"),
        tokens(details, "cached_tokens") or 0,
        tokens(details, "cache_write_tokens") or 0,
        tokens(usage, "completion_tokens"),
    )
