"""The bank's teller agent: the OpenAI responses shape outside, an MCP client and a bounded loop inside.

Its mailbox is fed by the bank's public contact form, which anyone may use: the outsider's way to the agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from aiohttp import web
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tasks.estate import bank
from tasks.estate.assistant import checked_limit, cut
from tasks.estate.endpoint import CONTEXT_TOKENS, Front, Refused, flat_text, tokens
from tasks.estate.mcp_server import BankState
from tasks.estate.mind import Reply, Talk, Turn, decide
from tasks.estate.toolbox import Tool
from tasks.estate.variants import Variant

MODEL = "nimbus-teller-1"
SERVER_LABEL = "nimbus-bank-tools"
STEPS = 6
"""Rounds of planning in one response."""
CALLS = 12
"""Tool calls in one response."""


class McpSession:
    """One lasting MCP client connection, owned by a task of its own as the SDK's cancel scopes demand."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token
        self._client: Client | None = None
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tools: list[Tool] = []

    async def start(self) -> None:
        """Connect and list the tools. Raises what the SDK raises when the server cannot be reached."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._own(ready))
        await ready

    async def stop(self) -> None:
        self._stop.set()
        if self._task:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _own(self, ready: asyncio.Future[None]) -> None:
        try:
            async with AsyncExitStack() as stack:
                headers = {"Authorization": f"Bearer {self._token}"}
                http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=20, trust_env=False))
                self._client = await stack.enter_async_context(
                    Client(streamable_http_client(self._url, http_client=http))
                )
                self._tools = await self._list()
                ready.set_result(None)
                await self._stop.wait()
        except BaseException as e:
            if not ready.done():
                ready.set_exception(e)
                return
            raise

    async def _list(self) -> list[Tool]:
        assert self._client is not None  # noqa: S101 - set by the owner before anything can call
        listed = await self._client.list_tools()
        return [Tool(t.name, t.description or "", t.input_schema) for t in listed.tools]

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tuple(self._tools)

    async def call(self, name: str, args: Mapping[str, Any]) -> tuple[str, bool]:
        """(text of the result, whether it is an error)."""
        assert self._client is not None  # noqa: S101 - set by the owner before anything can call
        try:
            result = await self._client.call_tool(name, dict(args))
        except MCPError as e:
            return str(e), True
        text = "\n".join(block.text for block in result.content if block.type == "text")
        return text, bool(result.is_error)


def build(variant: Variant, keys: dict[str, str], state: BankState, mcp_url: str, mcp_token: str) -> web.Application:
    """The agent as a web application with its contact form."""
    front = Front(
        variant,
        keys,
        settings={"model": MODEL, "mcp": mcp_url, "instructions": bank.AGENT_PROMPT},
        public=("/contact",),
    )
    service = _Agent(variant, front, state, McpSession(mcp_url, mcp_token))
    app = front.application()
    app.router.add_post("/v1/responses", service.respond)
    app.router.add_get("/v1/models", service.models)
    app.router.add_post("/contact", service.contact)
    app.router.add_delete("/contact/{id}", service.withdraw)
    app.cleanup_ctx.append(service.connected)
    return app


class _Agent:
    def __init__(self, variant: Variant, front: Front, state: BankState, session: McpSession) -> None:
        self._variant, self._front, self._state, self._session = variant, front, state, session
        self._past: OrderedDict[str, tuple[Turn, ...]] = OrderedDict()

    async def connected(self, app: web.Application) -> Any:
        await self._session.start()
        yield
        await self._session.stop()

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "object": "list",
                "data": [{"id": MODEL, "object": "model", "created": 1767225600, "owned_by": "nimbus-bank"}],
            }
        )

    async def contact(self, request: web.Request) -> web.Response:
        """The public form: anyone may leave a message for the customer."""
        body = await self._front.body(request)
        text = {name: str(body.get(name) or "")[:8000] for name in ("from", "subject", "body")}
        if not text["body"]:
            raise Refused(400, "invalid_request_error", "`body` is required.")
        mail = self._state.receive(text["from"] or "unknown@mail.example", text["subject"], text["body"])
        return web.json_response({"id": mail, "status": "received"}, status=201)

    async def withdraw(self, request: web.Request) -> web.Response:
        """Take a message back, so that a test leaves nothing behind."""
        wanted = request.match_info["id"]
        kept = [m for m in self._state.inbox if m.id != wanted or not m.outside]
        found = len(kept) != len(self._state.inbox)
        self._state.inbox = kept
        if not found:
            raise Refused(404, "not_found", "No such message.")
        return web.json_response({"id": wanted, "status": "withdrawn"})

    async def respond(self, request: web.Request) -> web.StreamResponse:
        body = await self._front.body(request)
        if "max_output_tokens" in body:
            body["max_tokens"] = body["max_output_tokens"]
        limit = checked_limit(body, self._variant)
        turns, system = self._read(body)
        output: list[dict[str, Any]] = []
        steps, most = (STEPS, CALLS) if "unbounded_output" not in self._variant else (4 * STEPS, 4 * CALLS)
        reply = Reply()
        spoken: list[str] = []
        for _ in range(steps):
            reply = decide(Talk(system, tuple(turns), self._session.tools, own_tools=True), self._variant)
            spoken.append(reply.text)
            if not reply.calls or len(output) >= most:
                break
            turns.append(Turn("assistant", reply.text, calls=reply.calls))
            for call in reply.calls:
                text, failed = await self._session.call(call.tool, call.args)
                turns.append(Turn("tool", text, tool=call.tool))
                output.append(_mcp_call(len(output), call.tool, call.args, text, failed))
        text, _ = cut("\n\n".join(dict.fromkeys(s for s in spoken if s)), limit)
        turns.append(Turn("assistant", text))
        return web.json_response(self._response(turns, output, text, system, body))

    def _read(self, body: dict[str, Any]) -> tuple[list[Turn], str]:
        system = bank.AGENT_PROMPT
        if body.get("instructions"):
            system += "\n" + flat_text(body["instructions"])
        turns = list(self._past.get(str(body.get("previous_response_id")), ()))
        given = body.get("input")
        if isinstance(given, str) and given:
            turns.append(Turn("user", given))
        elif isinstance(given, list) and given:
            for item in given:
                if not isinstance(item, dict):
                    raise Refused(400, "invalid_request_error", "`input` items must be objects.")
                role, text = item.get("role"), flat_text(item.get("content"))
                if role in ("system", "developer"):
                    system += "\n" + text
                elif role in ("user", "assistant"):
                    turns.append(Turn(str(role), text))
                elif item.get("type") not in ("mcp_call", "mcp_list_tools", "reasoning"):
                    raise Refused(400, "invalid_request_error", "`input` items must be messages.")
        else:
            raise Refused(400, "invalid_request_error", "`input` is required.")
        if sum(tokens(t.text) for t in turns) > CONTEXT_TOKENS:
            raise Refused(400, "context_length_exceeded", f"The conversation is longer than {CONTEXT_TOKENS} tokens.")
        return turns, system

    def _response(
        self, turns: list[Turn], output: list[dict[str, Any]], text: str, system: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        digest = hashlib.sha256(repr((turns, time.monotonic_ns())).encode()).hexdigest()[:32]
        key = f"resp_{digest}"
        self._past[key] = tuple(turns)
        while len(self._past) > 500:
            self._past.popitem(last=False)
        message = {
            "type": "message",
            "id": f"msg_{digest[:24]}",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }
        asked = tokens(system) + sum(tokens(t.text) for t in turns[:-1])
        given = tokens(text)
        return {
            "id": key,
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed",
            "error": None,
            "incomplete_details": None,
            "instructions": body.get("instructions"),
            "model": MODEL,
            "output": [*output, message],
            "parallel_tool_calls": True,
            "previous_response_id": body.get("previous_response_id"),
            "usage": {"input_tokens": asked, "output_tokens": given, "total_tokens": asked + given},
        }


def _mcp_call(at: int, name: str, args: Mapping[str, Any], output: str, failed: bool) -> dict[str, Any]:
    arguments = json.dumps(dict(args))
    digest = hashlib.sha256(f"{at}{name}{arguments}".encode()).hexdigest()[:24]
    return {
        "type": "mcp_call",
        "id": f"mcp_{digest}",
        "server_label": SERVER_LABEL,
        "name": name,
        "arguments": arguments,
        "output": None if failed else output,
        "error": output if failed else None,
        "status": "failed" if failed else "completed",
    }
