"""Anthropic's messages format: `POST {url}/messages`, without streaming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.targets.conversation import DEFAULT_MAX_TOKENS, Call, ClientToolTarget, Said, described
from tasks.targets.target import Request

VERSION = "2023-06-01"
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",  # the provider's classifiers ended the reply, not the model
}


class AnthropicMessages(ClientToolTarget):
    def place(self) -> str:
        return f"{self._url}/messages"

    def headers(self, secret: str | None) -> Mapping[str, str]:
        return {"anthropic-version": VERSION, **({"x-api-key": secret} if secret else {})}

    def message(self, role: str, text: str) -> dict[str, Any]:
        return {"role": role, "content": [{"type": "text", "text": text}]}

    def picture(self, encoded: str) -> dict[str, Any]:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}}

    def body(self, request: Request, messages: Sequence[Mapping[str, Any]], later: bool) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": request.max_tokens or DEFAULT_MAX_TOKENS,
            "messages": list(messages),
        }
        if request.system is not None:
            body["system"] = request.system
        if request.tools:
            body["tools"] = [
                {"name": name, "description": text, "input_schema": schema}
                for name, text, schema in described(request, later)
            ]
        return body

    def read(self, data: Mapping[str, Any]) -> Said | None:
        content = data.get("content")
        if data.get("role") != "assistant" or not isinstance(content, list):
            return None
        texts: list[str] = []
        calls: list[Call] = []
        for block in content:
            if not isinstance(block, dict):
                return None
            if block.get("type") == "text" and isinstance(block.get("text"), str):
                texts.append(block["text"])
            elif block.get("type") == "tool_use":
                if not isinstance(block.get("id"), str) or not isinstance(block.get("name"), str):
                    return None
                calls.append(Call(block["id"], block["name"], block.get("input")))
        finish = _FINISH.get(str(data.get("stop_reason")), "stop")
        return Said({"role": "assistant", "content": content}, "\n".join(texts), tuple(calls), finish)

    def results(self, answered: Sequence[tuple[Call, str]]) -> dict[str, Any]:
        blocks = [{"type": "tool_result", "tool_use_id": call.identifier, "content": text} for call, text in answered]
        return {"role": "user", "content": blocks}
