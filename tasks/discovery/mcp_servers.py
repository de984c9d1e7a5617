"""MCP servers, asked over their own protocol: tools, prompts, resources, instructions, protocol version.

HTTP servers are listed with their credential; a stdio server is started only when its declaration says
`launch.consent: true`. Servers with `active: true` also get two raw requests: `initialize` without a credential, and
`initialize` with a foreign `Origin` (Model Context Protocol, Transports, "Security Warning").
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gateway.secrets import resolve_secret
from tasks.discovery.inventory import InventoryAsset, Launch
from tasks.discovery.natural_keys import tool_key
from tasks.discovery.source import SourceContext, clean, refuse_metadata_address
from tasks.discovery.tool_definitions import definition, definition_sha256, listing_sha256
from tasks.errors import AispmError
from tasks.records import AssetKind, Completeness, EdgeRef, Observation, ProofLabel, SourceResult, canonical_json

MAX_PAGES = 50
"""Of one listing; a paginator that never ends cannot hang a run."""
MAX_TOOLS = 2_000
MAX_DEFINITION = 262_144
"""Characters of one tool definition; a longer one is listed by name and hash only."""
MAX_TEXT = 65_536
"""Characters of server instructions, and of each prompt's and resource's text, that are kept."""
PARALLEL = 4
HANDSHAKE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "aispm-posture", "version": "1"},
    },
}
FOREIGN_ORIGIN = "https://foreign-origin.example"


@dataclass(frozen=True, slots=True)
class Listing:
    """What one server answered; `cut` says that a limit was reached."""

    protocol: str
    server_info: dict[str, Any]
    instructions: str | None
    tools: list[dict[str, Any]]
    prompts: list[dict[str, Any]]
    resources: list[dict[str, Any]]
    cut: bool


class McpServers:
    name = "mcp_servers"
    version = "1"
    needs: tuple[str, ...] = (
        "mcp:initialize", "mcp:server/discover", "mcp:tools/list", "mcp:prompts/list", "mcp:resources/list",
    )  # fmt: skip

    def collect(self, ctx: SourceContext) -> list[SourceResult]:
        servers = [a for a in ctx.inventory.assets if a.kind == AssetKind.MCP_SERVER]
        return asyncio.run(self._collect(ctx, servers)) if servers else []

    async def _collect(self, ctx: SourceContext, servers: Sequence[InventoryAsset]) -> list[SourceResult]:
        slots = asyncio.Semaphore(PARALLEL)

        async def one(server: InventoryAsset) -> SourceResult:
            async with slots:
                return await self._read(ctx, server)

        return list(await asyncio.gather(*(one(server) for server in servers)))

    async def _read(self, ctx: SourceContext, server: InventoryAsset) -> SourceResult:
        timeout = ctx.settings.discovery.timeout_s
        props: dict[str, Any] = {"transport": "streamable_http" if server.url else "stdio"}
        if server.url is None:
            refusal = _refusal(server)
            if refusal:
                return SourceResult(self.name, server.id, Completeness.DENIED, refusal, ())
        try:
            if server.url is not None:
                refuse_metadata_address(server.url)
                if server.active:
                    props.update(await _raw_probes(server, timeout))
            listing = await asyncio.wait_for(_list(server, timeout), timeout * 3)
        except Exception as e:  # noqa: BLE001 - a third-party server may fail in any way; that is an answer, not a crash
            reason = _reason(e)
            seen = () if len(props) == 1 else (self._server(ctx, server, props, (), Completeness.PARTIAL),)
            return SourceResult(self.name, server.id, Completeness.ERROR, reason, seen)
        props.update(_server_props(listing))
        tools = [self._tool(ctx, server, tool) for tool in listing.tools]
        edges = tuple(EdgeRef("exposes", AssetKind.TOOL, "tool", t.natural_keys["tool"]) for t in tools)
        state = Completeness.PARTIAL if listing.cut else Completeness.FULL
        reason = "a listing was longer than the limits; the rest was not read" if listing.cut else ""
        return SourceResult(
            self.name, server.id, state, reason, (self._server(ctx, server, props, edges, state), *tools)
        )

    def _server(
        self,
        ctx: SourceContext,
        server: InventoryAsset,
        props: dict[str, Any],
        edges: tuple[EdgeRef, ...],
        state: Completeness,
    ) -> Observation:
        return Observation(
            source=self.name,
            source_version=self.version,
            kind=AssetKind.MCP_SERVER,
            name=str(props.get("server_name") or server.name),
            natural_keys=server.natural_keys,
            props=props,
            evidence=f"tools/list {server.url or 'stdio ' + server.natural_keys.get('launch', '')}",
            observed_at=ctx.clock(),
            proof_label=ProofLabel.REAL_COMPONENT,
            edges=edges,
            completeness=state,
        )

    def _tool(self, ctx: SourceContext, server: InventoryAsset, tool: dict[str, Any]) -> Observation:
        props: dict[str, Any] = {"sha256": definition_sha256(tool), "server": server.id, "tool_name": tool["name"]}
        covered = definition(tool)
        too_long = len(canonical_json(covered)) > MAX_DEFINITION
        if not too_long:
            props["definition"] = covered
        return Observation(
            source=self.name,
            source_version=self.version,
            kind=AssetKind.TOOL,
            name=tool["name"],
            natural_keys={"tool": tool_key(server.natural_keys, tool["name"])},
            props=props,
            evidence=f"tools/list {server.url or 'stdio'}",
            observed_at=ctx.clock(),
            proof_label=ProofLabel.REAL_COMPONENT,
            completeness=Completeness.PARTIAL if too_long else Completeness.FULL,
        )


def _refusal(server: InventoryAsset) -> str:
    if server.launch is None:
        return "neither an address nor a launch command is declared; add `keys: {url: …}` or `launch:`"
    if not server.launch.consent:
        return "not started: set `launch.consent: true` to let aispm start this server"
    return ""


async def _list(server: InventoryAsset, timeout: float) -> Listing:
    # Imported here: the SDK takes half a second to load, which `aispm --help` should not pay.
    import httpx2
    from mcp import Client
    from mcp.client.stdio import stdio_client
    from mcp.client.streamable_http import streamable_http_client

    async with AsyncExitStack() as stack:
        if server.url is not None:
            http = httpx2.AsyncClient(headers=_headers(server), timeout=httpx2.Timeout(timeout))
            await stack.enter_async_context(http)
            transport = streamable_http_client(server.url, http_client=http)
        elif server.launch is not None:
            quiet = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - closed by the stack
            stack.callback(quiet.close)
            transport = stdio_client(_parameters(server.launch), errlog=quiet)
        else:
            raise AispmError("neither an address nor a launch command is declared")
        client = await stack.enter_async_context(Client(transport, read_timeout_seconds=timeout, cache=None))
        able = client.server_capabilities
        tools, cut = await _pages(client.list_tools, "tools", MAX_TOOLS)
        prompts, cut_p = await _pages(client.list_prompts, "prompts", MAX_TOOLS) if able.prompts else ([], False)
        resources, cut_r = (
            await _pages(client.list_resources, "resources", MAX_TOOLS) if able.resources else ([], False)
        )
        info = client.server_info
        return Listing(
            protocol=str(client.protocol_version),
            server_info=clean(info.model_dump(mode="json", by_alias=True, exclude_none=True)) if info else {},
            instructions=clean(client.instructions[:MAX_TEXT]) if client.instructions else None,
            tools=tools,
            prompts=prompts,
            resources=resources,
            cut=cut or cut_p or cut_r,
        )


async def _pages(call: Callable[..., Awaitable[Any]], field: str, limit: int) -> tuple[list[dict[str, Any]], bool]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await call(cursor=cursor)
        found += [
            clean(item.model_dump(mode="json", by_alias=True, exclude_none=True)) for item in getattr(page, field)
        ]
        cursor = page.next_cursor
        if len(found) > limit:
            return found[:limit], True
        if not cursor:
            return found, False
    return found, True


def _parameters(launch: Launch) -> Any:
    from mcp.client.stdio import StdioServerParameters

    here = str(Path(sys.executable).parent)
    path = os.pathsep.join(p for p in (os.environ.get("PATH", ""), here) if p)
    env = {"PATH": path}
    for name, value in launch.env.items():
        env[name] = resolve_secret(value) if value.startswith(("env:", "file:")) else value
    return StdioServerParameters(command=launch.command[0], args=[*launch.command[1:], *launch.args], env=env)


def _headers(server: InventoryAsset) -> dict[str, str]:
    reference = server.props.get("credential")
    return {"Authorization": f"Bearer {resolve_secret(reference)}"} if isinstance(reference, str) else {}


def _server_props(listing: Listing) -> dict[str, Any]:
    names = [str(tool.get("name", "")) for tool in listing.tools]
    return {
        "protocol_version": listing.protocol,
        "server_name": listing.server_info.get("name"),
        "server_version": listing.server_info.get("version"),
        "instructions": listing.instructions,
        "tools": sorted(
            ({"name": str(t["name"]), "sha256": definition_sha256(t)} for t in listing.tools),
            key=lambda t: (t["name"], t["sha256"]),
        ),
        "tools_sha256": listing_sha256(listing.tools),
        "duplicate_tool_names": sorted({n for n in names if names.count(n) > 1}),
        "prompts": [
            {k: p[k] for k in ("name", "title", "description", "arguments") if k in p} for p in listing.prompts
        ],
        "resources": [{k: r[k] for k in ("uri", "name", "title", "description") if k in r} for r in listing.resources],
    }


async def _raw_probes(server: InventoryAsset, timeout: float) -> dict[str, Any]:
    """Status codes of a handshake without credential and of one with a foreign Origin; absent when not answered."""
    accept = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    requests = {
        "status_without_credential": accept,
        "status_foreign_origin": {**accept, **_headers(server), "Origin": FOREIGN_ORIGIN},
    }
    found: dict[str, Any] = {}
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=False) as client:
        for name, headers in requests.items():
            try:
                async with client.stream("POST", str(server.url), json=HANDSHAKE, headers=headers) as reply:
                    found[name] = reply.status_code
                    session = reply.headers.get("mcp-session-id")
                if session:
                    await client.delete(str(server.url), headers={**headers, "Mcp-Session-Id": session})
            except httpx.HTTPError:
                continue
    return found


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "no answer within the time limit; check the server or raise discovery.timeout_s"
    if isinstance(error, AispmError):
        return str(error)
    # Only the kind: the text of a third party's error may hold whatever it was sent, credentials included.
    return f"the listing failed ({type(error).__name__}); check the address and that the server speaks MCP"
