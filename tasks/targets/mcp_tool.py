"""An MCP server as a target: a declared tool is called with the attack as its argument, and its result is the reply.

Streamable HTTP (MCP 2025-06-18): one session per conversation, `initialize`, `tools/list`, then one `tools/call` per
user turn. Server-sent events and plain JSON are both read; a request of the server to us is never answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.errors import ConfigError
from tasks.records import Asset, ToolCall
from tasks.targets.credentials import bearer_of, url_of
from tasks.targets.openai_chat import Talk, plain_text, with_tries
from tasks.targets.target import Reply, Request
from tasks.targets.wire import Answer, Wire

PROTOCOL = "2025-06-18"
MAX_PAGES = 20
"""Of a listing; a server that pages without end is not followed."""


class McpTool:
    """`props.tool` names the tool, `props.argument` the argument that takes the text of a turn."""

    def __init__(self, asset: Asset, wire: Wire) -> None:
        self._url = url_of(asset)
        self._asset = asset
        self._wire = wire
        self._tool, self._argument = named_tool(asset)
        fixed = asset.props.get("arguments")
        self._fixed = dict(fixed) if isinstance(fixed, Mapping) else {}

    async def close(self) -> None:
        await self._wire.close()

    async def converse(self, request: Request) -> Reply:
        before = self._wire.sent
        talk = Talk()
        error = await self._hold(request, talk)
        return with_tries(talk.reply(error), None, self._wire.sent - before)

    async def _hold(self, request: Request, talk: Talk) -> str | None:
        session = _Session(self, talk, bearer_of(self._asset, request.principal))
        error = await session.open()
        if error is not None:
            return error
        try:
            if not await session.offers(self._tool):
                return session.error or "tool_missing"
            for i, (role, content) in enumerate(request.turns):
                # A tool has no history: forged answers and new sessions mean nothing to it.
                if role != "user" or not request.due(i, talk.last):
                    continue
                error = await session.call(self._tool, {**self._fixed, self._argument: content})
                if error is not None:
                    return error
            talk.finish = "stop"
            return None
        finally:
            await session.close()


def named_tool(asset: Asset) -> tuple[str, str]:
    """The declared tool, and its argument that takes the text. Raises ConfigError when one of them is missing."""
    tool, argument = asset.props.get("tool"), asset.props.get("argument")
    if not isinstance(tool, str) or not isinstance(argument, str) or not tool or not argument:
        raise ConfigError(
            f"{asset.asset_id}: an MCP target needs `tool` and `argument` in its props, the tool to call and the "
            "argument that takes the text"
        )
    return tool, argument


class _Session:
    def __init__(self, target: McpTool, talk: Talk, bearer: str | None) -> None:
        self._target = target
        self._talk = talk
        self._bearer = bearer
        self._headers = {"accept": "application/json, text/event-stream"}
        self._number = 0
        self.error: str | None = None

    async def open(self) -> str | None:
        hello = {
            "protocolVersion": PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "aispm-probe", "version": "1"},
        }
        result, answer = await self._ask("initialize", hello)
        if result is None:
            return self.error
        version = result.get("protocolVersion")
        if answer.session is not None:
            self._headers["mcp-session-id"] = answer.session
        if isinstance(version, str):
            self._headers["mcp-protocol-version"] = version
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        answer = await self._send(note)
        return answer.error_kind

    async def offers(self, tool: str) -> bool:
        cursor: dict[str, Any] = {}
        for _ in range(MAX_PAGES):
            result, _answer = await self._ask("tools/list", cursor)
            tools = result.get("tools") if result is not None else None
            if not isinstance(tools, list):
                return False
            if any(isinstance(t, dict) and t.get("name") == tool for t in tools):
                return True
            following = result.get("nextCursor") if result is not None else None
            if not isinstance(following, str):
                return False
            cursor = {"cursor": following}
        return False

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        result, _ = await self._ask("tools/call", {"name": tool, "arguments": dict(arguments)})
        if result is None:
            return self.error
        content = result.get("content")
        if not isinstance(content, list):
            return "malformed"
        text = plain_text(content)
        self._talk.called(ToolCall(tool, dict(arguments), text))
        if text:
            self._talk.texts.append(text)
        return None

    async def close(self) -> None:
        if "mcp-session-id" in self._headers:
            await self._target._wire.send("DELETE", self._target._url, None, self._bearer, headers=self._headers)

    async def _ask(self, method: str, params: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Answer]:
        self._number += 1
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": dict(params)}
        answer = await self._send(body)
        if answer.error_kind is not None:
            self.error = answer.error_kind
            return None, answer
        self._talk.responses.append(answer.response_sha256 or "")
        result = answer.data.get("result")
        if not isinstance(result, dict):
            self.error = "rpc_error" if "error" in answer.data else "malformed"
            return None, answer
        return result, answer

    async def _send(self, body: Mapping[str, Any]) -> Answer:
        self._talk.sending(body)
        return await self._target._wire.send("POST", self._target._url, body, self._bearer, headers=self._headers)
