"""The bank's support assistant: chat completions in the shape of the OpenAI API, tools run by the client."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from aiohttp import web

from tasks.estate import bank, eyes
from tasks.estate.endpoint import CONTEXT_TOKENS, MAX_TOKENS, PRINCIPAL, Front, Refused, flat_text, tokens
from tasks.estate.learning import Lessons
from tasks.estate.mind import Call, Reply, Talk, Turn, decide
from tasks.estate.reasoning import CASES, scratchpad
from tasks.estate.toolbox import Tool, parse_arguments
from tasks.estate.variants import Variant

MODEL = "nimbus-support-1"
UNDECLARED_MODEL = "nimbus-support-2-preview"
"""Served, but in nobody's inventory."""


def build(variant: Variant, keys: dict[str, str]) -> web.Application:
    """The assistant as a web application; `keys` maps bearer keys to callers."""
    front = Front(
        variant,
        keys,
        open_to_all="accepts_any_key" in variant,
        settings={
            "model": MODEL,
            "system_prompt": bank.SYSTEM_PROMPT,
            "database": "postgres://support@db.internal/support",
        },
        public=("/v1/models",) if "lists_models_openly" in variant else (),
    )
    service = _Assistant(variant, front)
    app = front.application()
    app.router.add_post("/v1/chat/completions", service.complete)
    app.router.add_get("/v1/models", service.models)
    app.router.add_get("/v1/models/{model}", service.models)
    return app


class _Assistant:
    def __init__(self, variant: Variant, front: Front) -> None:
        self._variant = variant
        self._front = front
        self._lessons = Lessons()
        self._heard: deque[tuple[str, str]] = deque(maxlen=200)

    async def models(self, request: web.Request) -> web.Response:
        rows = [
            {"id": m, "object": "model", "created": 1767225600, "owned_by": "nimbus-bank"}
            for m in (MODEL, UNDECLARED_MODEL)
        ]
        wanted = request.match_info.get("model")
        if wanted:
            row = next((r for r in rows if r["id"] == wanted), None)
            if row is None:
                raise Refused(404, "model_not_found", f"The model `{wanted[:80]}` does not exist.")
            return web.json_response(row)
        return web.json_response({"object": "list", "data": rows})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await self._front.body(request)
        limit = checked_limit(body, self._variant)
        model = body.get("model") or MODEL
        if model not in (MODEL, UNDECLARED_MODEL):
            raise Refused(404, "model_not_found", f"The model `{str(model)[:80]}` does not exist.")
        talk = read_talk(body, bank.SYSTEM_PROMPT)
        reply = self._learned(talk) or self._remembered(request[PRINCIPAL], talk) or decide(talk, self._variant)
        thought = self._thought(talk, limit)
        if body.get("stream"):
            return await stream(
                request, str(model), talk, reply, limit, bool((body.get("stream_options") or {}).get("include_usage"))
            )
        return web.json_response(completion(str(model), talk, reply, limit, thought))

    def _thought(self, talk: Talk, limit: int) -> int:
        """Tokens of hidden reasoning; like the answer they count against the request's limit."""
        question = next((t.text for t in reversed(talk.turns) if t.role == "user"), "")
        most = limit if "reasons_without_limit" in self._variant else CASES
        return min(limit, tokens(scratchpad(question, most)))

    def _learned(self, talk: Talk) -> Reply | None:
        """With the weakness on, feedback of anyone becomes what everyone is told."""
        said = next((t.text for t in reversed(talk.turns) if t.role == "user"), "")
        if "learns_from_feedback" not in self._variant or talk.tools:
            return None
        if self._lessons.hear(said):
            return Reply("Thank you, I will use this from now on.")
        lesson = self._lessons.answer(said)
        return Reply(f"As I have learned: {lesson}") if lesson else None

    def _remembered(self, caller: str, talk: Talk) -> Reply | None:
        """With the weakness on, what an earlier conversation said; always keeps the last statements of callers."""
        if "remembers_across_users" not in self._variant:
            return None
        said = next((t.text for t in reversed(talk.turns) if t.role == "user"), "")
        asked = re.search(
            (
                r"\b(?:previous|last|other|earlier|another|someone|somebody|anyone|before me)\b.{0,40}\b(?:user"
                r"|customer|caller|person|client|conversation|session|chat|people|else|told|said|say)"
            ),
            said,
            re.IGNORECASE,
        )
        if asked and self._heard:
            return Reply("Earlier someone told me: " + " / ".join(text for _, text in list(self._heard)[-20:]))
        if re.search(r"\b(?:my|our|i am|i'm)\b", said, re.IGNORECASE) and len(said) < 400 and not asked:
            self._heard.append((caller, said))
        return None


def checked_limit(body: dict[str, Any], variant: Variant) -> int:
    """The completion limit of a request in tokens. Raises Refused(400) when malformed or above the ceiling."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is None:
        return MAX_TOKENS
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise Refused(400, "invalid_request_error", "max_tokens must be a positive integer.")
    if limit > MAX_TOKENS and "unbounded_output" not in variant:
        raise Refused(400, "invalid_request_error", f"max_tokens must be at most {MAX_TOKENS}.")
    return limit


def read_talk(body: dict[str, Any], system: str, documents: Sequence[str] = ()) -> Talk:
    """The conversation of a chat-completions body. Raises Refused(400) on malformed messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise Refused(400, "invalid_request_error", "`messages` must be a non-empty array of objects.")
    names: dict[str, str] = {}
    issued: list[tuple[str, str]] = []
    turns = []
    for message in messages:
        role = message.get("role")
        text = flat_text(message.get("content"))
        if role in ("system", "developer"):
            system += "\n" + text
        elif role == "assistant":
            calls = []
            for call in message.get("tool_calls") or []:
                function = call.get("function") or {}
                names[str(call.get("id"))] = str(function.get("name"))
                issued.append((str(function.get("name")), str(call.get("id"))))
                calls.append(Call(str(function.get("name")), parse_arguments(str(function.get("arguments") or "{}"))))
            turns.append(Turn("assistant", text, calls=tuple(calls)))
        elif role == "tool":
            turns.append(
                Turn("tool", text, tool=names.get(str(message.get("tool_call_id")), str(message.get("name") or "")))
            )
        elif role == "user":
            turns.append(Turn("user", text))
        else:
            raise Refused(400, "invalid_request_error", f"unknown role `{str(role)[:40]}`.")
    tools = []
    for item in body.get("tools") or []:
        function = item.get("function") if isinstance(item, dict) else None
        if not isinstance(function, dict) or not function.get("name"):
            raise Refused(400, "invalid_request_error", "every tool needs function.name.")
        tools.append(
            Tool(str(function["name"]), str(function.get("description") or ""), function.get("parameters") or {})
        )
    if body.get("tool_choice") == "none":
        tools = []
    if sum(tokens(t.text) for t in turns) > CONTEXT_TOKENS:
        raise Refused(400, "context_length_exceeded", f"The conversation is longer than {CONTEXT_TOKENS} tokens.")
    seen = tuple(_seen(messages[-1].get("content")))
    changed = _changed(issued, tools)
    return Talk(system, tuple(turns), tuple(tools), tuple(documents), pictures=seen, changed_tools=changed)


def _seen(content: Any) -> Iterator[str]:
    """What stands in the pictures of a message. Raises Refused(400) for an address, which is never fetched."""
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or part.get("type") != "image_url":
            continue
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        head, _, encoded = str(url).partition(",")
        if head != "data:image/png;base64":
            raise Refused(400, "invalid_request_error", "Pictures are sent as data:image/png;base64.")
        try:
            yield " ".join(eyes.read(base64.b64decode(encoded, validate=True)).split())
        except ValueError:
            raise Refused(400, "invalid_image", "The picture could not be read.") from None


def _definition(tool: Tool | None) -> str:
    """Fingerprint of a tool as it was offered."""
    return "" if tool is None else hashlib.sha256(tool.text().encode()).hexdigest()[:8]


def _changed(issued: Sequence[tuple[str, str]], tools: Sequence[Tool]) -> frozenset[str]:
    """Tools whose definition differs from the one under which this service issued a call.

    The fingerprint travels in the call's id, so the service needs no memory of the conversation.
    """
    offered = {t.name: _definition(t) for t in tools}
    pinned = [(name, _CALL_ID.fullmatch(call)) for name, call in issued]
    return frozenset(name for name, pin in pinned if pin and name in offered and pin["definition"] != offered[name])


_CALL_ID = re.compile(r"call_[0-9a-f]{12}(?P<definition>[0-9a-f]{8})")


def cut(text: str, limit: int) -> tuple[str, str]:
    """`text` within `limit` tokens, and the finish reason."""
    return (text, "stop") if tokens(text) <= limit else (text[: limit * 4], "length")


def completion(model: str, talk: Talk, reply: Reply, limit: int, thought: int = 0) -> dict[str, Any]:
    """A `chat.completion` object; `thought` = tokens of hidden reasoning that went before the text."""
    text, finish = cut(reply.text, limit - thought)
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
    if reply.calls:
        message["tool_calls"] = tool_calls(reply, talk.tools)
        finish = "tool_calls"
    return {
        "id": _id("chatcmpl", talk, reply),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage(talk, text, reply, thought),
    }


def tool_calls(reply: Reply, tools: Sequence[Tool]) -> list[dict[str, Any]]:
    offered = {t.name: t for t in tools}
    rows = []
    for at, call in enumerate(reply.calls):
        arguments = json.dumps(dict(call.args))
        digest = hashlib.sha256(f"{at}{call.tool}{arguments}".encode()).hexdigest()[:12]
        digest += _definition(offered.get(call.tool)) or digest[:8]
        rows.append(
            {"id": f"call_{digest}", "type": "function", "function": {"name": call.tool, "arguments": arguments}}
        )
    return rows


def usage(talk: Talk, text: str, reply: Reply, thought: int = 0) -> dict[str, Any]:
    asked = (
        tokens(talk.system)
        + sum(tokens(t.text) for t in talk.turns)
        + sum(tokens(t.text()) for t in talk.tools)
        + sum(tokens(d) for d in talk.documents)
    )
    given = tokens(text) + sum(tokens(json.dumps(dict(c.args))) + 4 for c in reply.calls) + thought
    return {
        "prompt_tokens": asked,
        "completion_tokens": given,
        "total_tokens": asked + given,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


async def stream(
    request: web.Request, model: str, talk: Talk, reply: Reply, limit: int, with_usage: bool
) -> web.StreamResponse:
    """The same completion as server-sent events, ended by `[DONE]`."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    text, finish = cut(reply.text, limit)
    base = {
        "id": _id("chatcmpl", talk, reply),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": model,
    }

    async def send(delta: dict[str, Any], reason: str | None = None) -> None:
        chunk = base | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    await send({"role": "assistant", "content": ""})
    for piece in re.findall(r"\S+\s*|\s+", text):
        await send({"content": piece})
    for at, call in enumerate(tool_calls(reply, talk.tools)):
        await send({"tool_calls": [{"index": at, **call}]})
        finish = "tool_calls"
    await send({}, finish)
    if with_usage:
        await response.write(
            b"data: " + json.dumps(base | {"choices": [], "usage": usage(talk, text, reply)}).encode() + b"\n\n"
        )
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def _id(prefix: str, talk: Talk, reply: Reply) -> str:
    return f"{prefix}-{hashlib.sha256(repr((talk.turns, reply)).encode()).hexdigest()[:24]}"
