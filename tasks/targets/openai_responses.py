"""Agents that speak the OpenAI responses shape and run their tools on their own side.

The tool trace is what the agent reports as `mcp_call` (or `function_call`) items. Indirect content reaches the agent
through its public mailbox.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tasks.records import Asset, ToolCall
from tasks.targets.credentials import bearer_of, url_of
from tasks.targets.openai_chat import Talk, burst_reply, plain_text, read_arguments, with_tries
from tasks.targets.parameters import with_parameters
from tasks.targets.target import NEW_SESSION, Reply, Request
from tasks.targets.wire import Answer, Wire


class OpenAIResponses:
    """`POST {url}/responses`, without streaming and without server-side memory (`store: false`)."""

    def __init__(self, asset: Asset, wire: Wire) -> None:
        self._url = url_of(asset).rstrip("/")
        self._model = str(asset.props.get("model", asset.name))
        self._mailbox = asset.props.get("mailbox_url")
        self._asset = asset
        self._wire = wire

    async def close(self) -> None:
        await self._wire.close()

    async def converse(self, request: Request) -> Reply:
        before = self._wire.sent
        if request.burst:
            body = {"model": self._model, "input": request.turns[0][1], "max_output_tokens": 16, "store": False}
            bearer = bearer_of(self._asset, request.principal)
            answers = await self._wire.burst(f"{self._url}/responses", body, bearer, request.burst)
            return burst_reply(body, answers, self._wire.sent - before)
        received: list[str] = []
        try:
            for mail in request.mails:
                body = {"from": mail.sender, "subject": mail.subject, "body": mail.body}
                # An outsider's channel: sent without the agent's credential.
                answer = await self._wire.send("POST", str(self._mailbox), body, None)
                if answer.error_kind is not None:
                    kind = "plant_failed" if answer.status is not None else answer.error_kind
                    return Reply(error_kind=kind, tries=self._wire.sent - before)
                if isinstance(answer.data.get("id"), str):
                    received.append(answer.data["id"])
            reply = await self._hold(request)
        finally:
            # Where the mailbox gave the message an id it may also take it back; where not, the message stays.
            for identifier in received:
                await self._wire.send("DELETE", f"{self._mailbox}/{quote(identifier, safe='')}", None, None)
        return with_tries(reply, None, self._wire.sent - before)

    async def _hold(self, request: Request) -> Reply:
        bearer = bearer_of(self._asset, request.principal)
        talk = Talk()
        history: list[dict[str, Any]] = []
        for i, (role, content) in enumerate(request.turns):
            if not request.due(i, talk.last):
                continue
            if role == NEW_SESSION:
                history = []
                continue
            history.append({"role": role, "content": content})
            following = request.turns[i + 1][0] if i + 1 < len(request.turns) else None
            if role != "user" or following == "assistant":
                continue
            body: dict[str, Any] = {"model": self._model, "input": list(history), "store": False}
            if request.system is not None:
                body["instructions"] = request.system
            if request.max_tokens is not None:
                body["max_output_tokens"] = request.max_tokens
            body = with_parameters(self._asset, body)
            talk.sending(body)
            answer = await self._wire.send("POST", f"{self._url}/responses", body, bearer, output=request.max_tokens)
            if answer.error_kind is not None:
                return talk.reply(answer.error_kind)
            text = _read(talk, answer)
            talk.exchanges += 1
            if text is None:
                return talk.reply("malformed")
            if talk.finish == "content_filter":
                return talk.reply("filtered")
            history.append({"role": "assistant", "content": text})
        return talk.reply(None)


def _read(talk: Talk, answer: Answer) -> str | None:
    """The text of the reply, its trace gathered into `talk`; None when it has not the shape of a response."""
    talk.responses.append(answer.response_sha256 or "")
    output = answer.data.get("output")
    if not isinstance(output, list):
        return None
    texts: list[str] = []
    for item in output:
        if not isinstance(item, dict):
            return None
        kind = item.get("type")
        if kind == "message":
            texts.append(plain_text(item.get("content")))
        elif kind in ("mcp_call", "function_call"):
            if not isinstance(item.get("name"), str):
                return None
            result = item.get("output") if isinstance(item.get("output"), str) else None
            talk.called(ToolCall(item["name"], read_arguments(item.get("arguments")), result))
    text = "\n".join(t for t in texts if t)
    if text:
        talk.texts.append(text)
    details = answer.data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    talk.finish = {"max_output_tokens": "length", "content_filter": "content_filter"}.get(str(reason), "stop")
    if answer.data.get("status") == "failed":
        return None
    talk.count_usage(answer)
    talk.cite(answer.data.get("citations"))
    return text
