"""Google's generateContent format: `POST {url}/models/{model}:generateContent`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tasks.targets.conversation import Call, ClientToolTarget, Said, described
from tasks.targets.target import Request

_FILTERED = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)
"""Finish reasons with which Google's filters end a reply (FinishReason of the API's reference)."""
_MALFORMED = frozenset({"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})


class Gemini(ClientToolTarget):
    parts_key = "parts"

    def place(self) -> str:
        return f"{self._url}/models/{quote(self._model, safe='')}:generateContent"

    def headers(self, secret: str | None) -> Mapping[str, str]:
        return {"x-goog-api-key": secret} if secret else {}

    def message(self, role: str, text: str) -> dict[str, Any]:
        return {"role": "model" if role == "assistant" else "user", "parts": [{"text": text}]}

    def picture(self, encoded: str) -> dict[str, Any]:
        return {"inlineData": {"mimeType": "image/png", "data": encoded}}

    def body(self, request: Request, messages: Sequence[Mapping[str, Any]], later: bool) -> dict[str, Any]:
        generation: dict[str, Any] = {"temperature": 0}
        if request.max_tokens is not None:
            generation["maxOutputTokens"] = request.max_tokens
        body: dict[str, Any] = {"contents": list(messages), "generationConfig": generation}
        if request.system is not None:
            body["systemInstruction"] = {"parts": [{"text": request.system}]}
        if request.tools:
            declarations = []
            for name, text, schema in described(request, later):
                # An object without properties is refused as a schema here; no schema means no arguments.
                given = {"parameters": schema} if schema.get("properties") else {}
                declarations.append({"name": name, "description": text, **given})
            body["tools"] = [{"functionDeclarations": declarations}]
        return body

    def read(self, data: Mapping[str, Any]) -> Said | None:
        feedback = data.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            return Said({}, "", (), "content_filter")
        candidates = data.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else None
        if not isinstance(candidate, dict):
            return None
        reason = str(candidate.get("finishReason"))
        if reason in _FILTERED:
            return Said({}, "", (), "content_filter")
        if reason in _MALFORMED:
            return Said({}, "", (), "malformed")
        content = candidate.get("content")
        parts = content.get("parts", []) if isinstance(content, dict) else None
        if not isinstance(parts, list):
            return None
        texts: list[str] = []
        calls: list[Call] = []
        for part in parts:
            if not isinstance(part, dict):
                return None
            if isinstance(part.get("text"), str) and not part.get("thought"):
                texts.append(part["text"])
            if "functionCall" in part:
                call = part["functionCall"]
                if not isinstance(call, dict) or not isinstance(call.get("name"), str):
                    return None
                identifier = call.get("id")
                calls.append(Call(identifier if isinstance(identifier, str) else "", call["name"], call.get("args")))
        finish = "tool_calls" if calls else "length" if reason == "MAX_TOKENS" else "stop"
        # The parts go back as they came: they may carry signatures that the next request must show.
        return Said({"role": "model", "parts": parts}, "".join(texts), tuple(calls), finish)

    def results(self, answered: Sequence[tuple[Call, str]]) -> dict[str, Any]:
        parts = []
        for call, text in answered:
            identity = {"id": call.identifier} if call.identifier else {}
            parts.append({"functionResponse": {**identity, "name": call.name, "response": {"result": text}}})
        return {"role": "user", "parts": parts}
