"""Targets that speak the OpenAI chat completions shape: models, gateways before them, and retrieval applications.

The prober plays the client: it offers the planted tools, answers their calls from the plan, and runs nothing. For a
retrieval application it also plants documents as one tenant, asks as another and removes them again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.records import Asset, ToolCall, canonical_json, digest
from tasks.targets.credentials import bearer_of, url_of
from tasks.targets.parameters import with_parameters
from tasks.targets.target import NEW_SESSION, Burst, Citation, Reply, Request
from tasks.targets.wire import Answer, Wire, usage_of
from tasks.targets.world import World


class OpenAIChat:
    """`POST {url}/chat/completions`, without streaming."""

    def __init__(self, asset: Asset, wire: Wire) -> None:
        self._url = url_of(asset).rstrip("/")
        self._model = str(asset.props.get("model", asset.name))
        self._asset = asset
        self._wire = wire

    async def close(self) -> None:
        await self._wire.close()

    async def converse(self, request: Request) -> Reply:
        if request.burst:
            return await self._burst(request)
        planted: list[tuple[str, str | None]] = []
        before = self._wire.sent
        try:
            for document in request.documents:
                bearer = bearer_of(self._asset, document.principal)
                body = {"id": document.document_id, "text": document.text}
                answer = await self._wire.send("POST", f"{self._url}/documents", body, bearer)
                if answer.error_kind is not None:
                    kind = "plant_failed" if answer.status is not None else answer.error_kind
                    return Reply(error_kind=kind, tries=self._wire.sent - before)
                planted.append((document.document_id, bearer))
            control = None
            if request.control_principal is not None:
                control = await self._hold(request, request.control_principal)
            reply = await self._hold(request, request.principal)
        finally:
            for document_id, bearer in planted:
                await self._wire.send("DELETE", f"{self._url}/documents/{document_id}", None, bearer)
        return with_tries(reply, control, self._wire.sent - before)

    async def _hold(self, request: Request, principal: str | None) -> Reply:
        bearer = bearer_of(self._asset, principal)
        messages: list[dict[str, Any]] = []
        if request.system is not None:
            messages.append({"role": "system", "content": request.system})
        talk = Talk(World(request.tools, request.state))
        for i, (role, content) in enumerate(request.turns):
            if not request.due(i, talk.last):
                continue
            if role == NEW_SESSION:
                messages = messages[: request.system is not None]
                continue
            pictures = request.images if i == len(request.turns) - 1 else ()
            messages.append({"role": role, "content": _content(content, pictures)})
            following = request.turns[i + 1][0] if i + 1 < len(request.turns) else None
            if role == "user" and following != "assistant":
                answer = await self._exchange(request, messages, bearer, talk)
                talk.exchanges += 1
                if answer.error_kind is not None:
                    return talk.reply(answer.error_kind)
        return talk.reply(None)

    async def _burst(self, request: Request) -> Reply:
        """The first turn many times at once; short answers do, since what counts is whether anything slows us down."""
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": request.turns[0][1]}],
            "max_tokens": request.max_tokens or 16,
        }
        before = self._wire.sent
        url, bearer = f"{self._url}/chat/completions", bearer_of(self._asset, request.principal)
        answers = await self._wire.burst(url, body, bearer, request.burst)
        return burst_reply(body, answers, self._wire.sent - before)

    async def _exchange(
        self, request: Request, messages: list[dict[str, Any]], bearer: str | None, talk: Talk
    ) -> Answer:
        answer = Answer({}, None, None, "malformed")
        for _ in range(request.tool_rounds):
            body: dict[str, Any] = {"model": self._model, "messages": messages, "temperature": 0}
            if request.max_tokens is not None:
                body["max_tokens"] = request.max_tokens
            if request.tools:
                body["tools"] = [
                    {
                        "type": "function",
                        "function": {
                            "name": t.name,
                            "description": t.later_description
                            if talk.exchanges and t.later_description is not None
                            else t.description,
                            "parameters": dict(t.parameters),
                        },
                    }
                    for t in request.tools
                ]
            body = with_parameters(self._asset, body)
            talk.sending(body)
            answer = await self._wire.send(
                "POST", f"{self._url}/chat/completions", body, bearer, output=request.max_tokens
            )
            if answer.error_kind is not None:
                return answer
            message = talk.read_chat(answer)
            if message is None:
                return Answer({}, answer.status, answer.response_sha256, "malformed")
            if talk.finish == "content_filter":
                return Answer({}, answer.status, answer.response_sha256, "filtered")
            messages.append(message)
            calls = message.get("tool_calls") or []
            if not calls:
                return answer
            results = [call.result for call in talk.calls[-len(calls) :]]
            messages += [
                {"role": "tool", "tool_call_id": c["id"], "content": result}
                for c, result in zip(calls, results, strict=True)
            ]
        return answer


class Talk:
    """What one conversation has gathered so far."""

    def __init__(self, world: World | None = None) -> None:
        self._world = world
        """Answers the calls, where the prober plays the tools."""
        self.exchanges = 0
        """Finished ones."""
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.said_before: list[int] = []
        self.finish: str | None = None
        self.tokens_in: int | None = None
        self.tokens_out: int | None = None
        self.citations: list[Citation] | None = None
        self.requests: list[str] = []
        self.responses: list[str] = []

    @property
    def last(self) -> str:
        """The target's latest words; conditional turns depend on them."""
        return self.texts[-1] if self.texts else ""

    def sending(self, body: Mapping[str, Any]) -> None:
        self.requests.append(canonical_json(body))

    def called(self, call: ToolCall) -> None:
        self.said_before.append(len("\n\n".join(self.texts)))
        self.calls.append(call)

    def read_chat(self, answer: Answer) -> dict[str, Any] | None:
        """The assistant message in canonical form; None when the reply has not the shape of one."""
        self.responses.append(answer.response_sha256 or "")
        choices = answer.data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None
        message = choice.get("message") if choice else None
        if choice is None or not isinstance(message, dict):
            return None
        finish = choice.get("finish_reason")
        self.finish = finish if isinstance(finish, str) else None
        text = plain_text(message.get("content")) or plain_text(message.get("refusal"))
        if text:
            self.texts.append(text)
        calls: list[dict[str, Any]] = []
        raw_calls = message.get("tool_calls")
        for i, raw in enumerate(raw_calls if isinstance(raw_calls, list) else []):
            function = raw.get("function") if isinstance(raw, dict) else None
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                return None
            name, arguments = function["name"], function.get("arguments")
            read = read_arguments(arguments)
            self.called(ToolCall(name, read, None if self._world is None else self._world.answer(name, read)))
            identifier = raw.get("id") if isinstance(raw.get("id"), str) else f"call_{len(self.calls)}_{i}"
            written = arguments if isinstance(arguments, str) else json.dumps(arguments)
            calls.append({"id": identifier, "type": "function", "function": {"name": name, "arguments": written}})
        self.count_usage(answer)
        self.cite(answer.data.get("citations"))
        out: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            out["tool_calls"] = calls
        return out

    def count_usage(self, answer: Answer) -> None:
        usage = usage_of(answer.data)
        if usage is not None:
            self.tokens_in = (self.tokens_in or 0) + usage[0]
            self.tokens_out = (self.tokens_out or 0) + usage[1]

    def cite(self, citations: Any) -> None:
        if not isinstance(citations, list):
            return
        self.citations = self.citations or []
        for item in citations:
            if isinstance(item, dict) and isinstance(item.get("id"), str):
                tenant = item.get("tenant")
                name = tenant if isinstance(tenant, str) else None
                self.citations.append(Citation(item["id"], name, self.exchanges))

    def reply(self, error_kind: str | None) -> Reply:
        return Reply(
            text="\n\n".join(self.texts),
            last=self.last,
            tool_calls=tuple(self.calls),
            said_before=tuple(self.said_before),
            state=(self._world.stores or None) if self._world is not None else None,
            finish=self.finish,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            citations=None if self.citations is None else tuple(self.citations),
            request_sha256=digest(*self.requests),
            response_sha256=digest(*self.responses) if self.responses else None,
            error_kind=error_kind,
        )


def with_tries(reply: Reply, control: Reply | None, tries: int) -> Reply:
    return replace(reply, control=control, tries=tries)


def burst_reply(body: Mapping[str, Any], answers: Sequence[Answer], tries: int) -> Reply:
    """What a burst says. One answer must have been served: a target that fails for everyone limits nobody."""
    served = sum(a.error_kind is None for a in answers)
    throttled = sum(a.status == 429 for a in answers)
    faults = [a.error_kind for a in answers if a.error_kind is not None and a.status != 429]
    broken = faults[0] if faults and served + throttled <= len(answers) // 2 else None
    return Reply(
        text=f"{served} of {len(answers)} requests at once were answered, {throttled} were throttled",
        finish="stop",
        burst=Burst(len(answers), throttled, any(a.announces_limit for a in answers)),
        request_sha256=digest(canonical_json(body)),
        response_sha256=digest(*(a.response_sha256 or "" for a in answers)),
        error_kind=broken,
        tries=tries,
    )


def _content(text: str, pictures: Sequence[bytes]) -> str | list[dict[str, Any]]:
    """A message's content: plain text, or parts where pictures go with it."""
    if not pictures:
        return text
    urls = (f"data:image/png;base64,{base64.b64encode(p).decode()}" for p in pictures)
    return [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]


def plain_text(content: Any) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, dict)]
        return "\n".join(p for p in parts if isinstance(p, str))
    return ""


def read_arguments(arguments: Any) -> dict[str, Any]:
    """A call's arguments as an object; what is not one is kept under `_raw`, since it is evidence too."""
    if isinstance(arguments, dict):
        return arguments
    try:
        value = json.loads(arguments) if isinstance(arguments, str) and arguments else {}
    except (ValueError, RecursionError):
        return {"_raw": str(arguments)}
    return value if isinstance(value, dict) else {"_raw": str(arguments)}
