"""MCP over streamable HTTP: a client's message to the server, the server's messages to the client (I/O)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from gateway.connections import Reply
from gateway.exchange import OFF_LOOP_BYTES, ExchangeHandler, microseconds
from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.http_server import Answer
from gateway.mcp_sessions import seal, unseal
from gateway.reasons import Refusal
from gateway.settings import Route
from gateway.strict_json import parse
from gateway.upstream import Upstream, check_status
from gateway.wire import mcp
from gateway.wire.format import JSON_TYPE, SSE_TYPE, Endpoint
from gateway.wire.mcp import Id, Message
from gateway.wire.mcp_sse import EVENT_ID, Event, EventReader

LISTEN_S = 300.0
"""Seconds a client may listen before it has to come back and show its key."""
_GLANCE_S = 0.5
"""Seconds between looks at whether a client is still there while its server is silent: nothing else would tell."""
_PASSED = (400, 404, 405, 406, 409)
"""What a server says of a session or method, which clients act on; other failures would say too much about it."""
_FIXED_STATUS = ("WIRE.", "SYSTEM.", "POLICY.AGENT_DENIED", "POLICY.SIGNATURE")
"""Refusals of the transport; all others are answers to a message and come as JSON-RPC errors with status 200."""


class McpExchange(ExchangeHandler):
    """One HTTP request of an MCP client: a message, a stream to listen on, or the end of a session."""

    wire_format = mcp.NAME
    _asked: Id | None = None
    """Of the client's request, once it is known to be one."""
    _answers: Id | None = None
    """Of the server's request that the client answers."""
    _allowed: frozenset[str] = frozenset()
    """What servers may ask of this agent."""
    _sent = 0.0
    _kept_back: Refusal | None = None
    """Why something of the reply did not reach the client, although other parts did."""

    async def answer(self, route: Route, endpoint: Endpoint) -> Answer | None:
        """See `ExchangeHandler`."""
        self._allowed = self.rules.policy.mcp_server_requests.get(self.exchange.agent_id or "", frozenset())
        headers = self._upstream_headers(route)
        if self.request.method == "POST":
            return await self._post(headers)
        await self.record_open()
        if self.request.method == "GET":
            return await self._listen(headers)
        async with self._request("DELETE", None, headers) as reply:
            return await self._other(reply)

    def _upstream_headers(self, route: Route) -> dict[str, str]:
        """What the server needs of the client's headers. Raises Refusal for what a client may not send."""
        method, headers = self.request.method, {}
        if any(origin not in route.allowed_origins for origin in self.request.headers.getall("Origin", ())):
            raise Refusal("POLICY.ROUTE", "origin")  # a web page must not reach a server through its visitor
        accepted = {part.partition(";")[0].strip().lower() for part in self._header("Accept").split(",")}
        wanted = {"POST": {JSON_TYPE, SSE_TYPE}, "GET": {SSE_TYPE}}.get(method, set())
        if "*/*" not in accepted and not wanted <= accepted:
            raise Refusal("WIRE.MALFORMED", "accept")
        if wanted:
            headers["Accept"] = ", ".join(sorted(wanted))
        if version := self._header("MCP-Protocol-Version"):
            if version not in mcp.VERSIONS:
                raise Refusal("WIRE.MALFORMED", "version")
            headers["MCP-Protocol-Version"] = version
        exchange, policy = self.exchange, self.rules.policy
        if shown := self._header("Mcp-Session-Id"):
            session_id = unseal(policy, exchange.route or "", exchange.agent_id or "", shown)
            headers["Mcp-Session-Id"] = session_id
            exchange.session_id = policy.keyed_hash("session", session_id)
        if method == "GET" and (last := self._header("Last-Event-ID")):
            if not EVENT_ID.fullmatch(last):
                raise Refusal("WIRE.MALFORMED", "shape")
            headers["Last-Event-ID"] = last
        return headers

    def _header(self, name: str) -> str:
        values = self.request.headers.getall(name, ())
        if len(values) > 1:
            raise Refusal("WIRE.MALFORMED", "shape")
        return values[0] if values else ""

    async def _post(self, headers: dict[str, str]) -> Answer | None:
        raw = await self.read_json_bytes()
        try:
            waits = OFF_LOOP_BYTES + 1 if self.inspection.tools.span else 0  # for other workers, never on the loop
            body, message = await self.timed(lambda: self._inspected(raw), max(len(raw), waits))
        except Refusal:
            if self._answers is not None:
                with contextlib.suppress(Refusal):  # the client learns of its own refusal first
                    await self._decline(self._answers, headers)
            raise
        await self.record_open()
        async with self._request("POST", orjson.dumps(body), headers) as reply:
            if reply.status != 200 or message.kind != "request":
                return await self._other(reply)
            self._take_session(reply)
            if _kind(reply) == SSE_TYPE:
                self.exchange.stream = True
                await self._streamed(reply, headers)
                return None
            if _kind(reply) != JSON_TYPE:
                raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
            raw = await self._upstream.read(reply)
            self.exchange.upstream_us = microseconds(self._sent)
            clean = await self.timed(lambda: self._answered(raw), len(raw))
            return await self._done(200, clean)

    def _inspected(self, raw: bytes) -> tuple[dict[str, Any], Message]:
        """The client's message as it may go on. Raises Refusal."""
        body = parse(raw, self.services.settings.limits.depth)
        message = mcp.classify(body, REQUEST)
        if message.kind == "request":
            self._asked = message.id
        elif message.kind == "answer":
            self._answers = message.id
        inspection, fields = self.inspection, Fields(REQUEST)
        with contextlib.ExitStack() as judged:
            if message.method == "tools/call" and inspection.tools.span:
                session = self.exchange.session_id or self.rules.policy.keyed_hash(
                    "session", f"{self.exchange.route}\0{self.exchange.agent_id}"
                )
                judged.enter_context(self.services.calls.session(session, inspection.tools))
            mcp.read_client(body, message, fields, inspection, self._allowed)
            inspection.scan(fields)
            inspection.verdict(REQUEST)
        return body, message

    def _answered(self, raw: bytes) -> bytes:
        """A reply of one message, which must answer the request. Raises Refusal."""
        value = parse(raw, scope=RESPONSE)
        message = mcp.classify(value, RESPONSE)
        if message.kind != "answer" or message.id not in (self._asked, None):
            raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
        return self._clean(value, message) or b""

    def _clean(self, value: Any, message: Message) -> bytes | None:
        """A message of the server as the client may have it; None when it may not and nobody waits for it."""
        fields = Fields(RESPONSE)
        try:
            mcp.read_server(value, message, fields, self.inspection, self._allowed)
            refusal = self.inspection.scan_apart(fields)
        except Refusal as refused:
            refusal = refused
        if refusal is None:
            return orjson.dumps(value)
        self._kept_back = self._kept_back or refusal
        if message.kind != "answer":
            return None
        answered = self._asked if message.id is None else message.id
        return orjson.dumps(mcp.replacement(value, refusal, self.exchange.request_id, answered))

    async def _streamed(self, reply: Reply, headers: dict[str, str]) -> None:
        """The events that end with the answer; a server may close early and go on when the client comes back, which it
        can only where events have ids. Raises Refusal."""
        resumable = False
        async with contextlib.aclosing(self._events(reply, listening=False)) as events:
            async for event in events:
                resumable = resumable or event.id is not None
                piece, answered = await self._event(event, headers)
                if answered:
                    self.exchange.upstream_us = microseconds(self._sent)
                    await self._end(piece)
                    return
                if piece:
                    await self.send(piece, SSE_TYPE)
        if not resumable:
            raise Refusal("SYSTEM.BACKEND", "cut_off", RESPONSE)
        await self._end(b"")

    async def _listen(self, headers: dict[str, str]) -> Answer | None:
        """What the server says on its own, or again, until one of the three hangs up."""
        try:
            async with self._request("GET", None, headers) as reply:
                if reply.status != 200:
                    return await self._other(reply)
                if _kind(reply) != SSE_TYPE:
                    raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
                self.exchange.stream = True
                self._take_session(reply)
                await self.send(b"", SSE_TYPE)
                async with contextlib.aclosing(self._events(reply, listening=True)) as events:
                    async for event in events:
                        piece, _ = await self._event(event, headers)
                        if piece:
                            await self.send(piece, SSE_TYPE)
        except Refusal as refusal:
            if not self.streams or refusal.detail not in ("client_closed", "timeout", "cut_off"):
                raise
            if refusal.detail == "client_closed":
                await self._conclude(200)
                return None
        await self._end(b"")
        return None

    async def _events(self, reply: Reply, *, listening: bool) -> AsyncGenerator[Event, None]:
        """The server's events; with `listening` until this worker ends or the client must come back."""
        reader, until = EventReader(), time.monotonic() + LISTEN_S
        closing = asyncio.ensure_future(self.services.closing.wait())
        try:
            while True:
                read = asyncio.ensure_future(reply.content.readany())
                waited_for = {read, closing} if listening else {read}
                try:
                    while not read.done() and not (listening and (closing.done() or self._must_return(until))):
                        await asyncio.wait(waited_for, timeout=_GLANCE_S, return_when="FIRST_COMPLETED")
                        if self.request.gone:
                            raise Refusal("SYSTEM.BACKEND", "client_closed", RESPONSE)
                finally:
                    if not read.done():
                        read.cancel()
                if read.cancelled() or not read.done() or not (raw := read.result()):
                    return
                for event in reader.read(raw):
                    yield event
        finally:
            closing.cancel()

    def _must_return(self, until: float) -> bool:
        """Whether a client that listens has to come back: after a time, or since another policy holds, or none."""
        in_force = self.services.policy
        changed = in_force.rules.policy.sha256 != self.rules.policy.sha256
        return changed or in_force.fault() is not None or time.monotonic() > until

    async def _event(self, event: Event, headers: dict[str, str]) -> tuple[bytes, bool]:
        """(what the client gets for an event, whether it is the answer to its request). Raises Refusal."""
        if not event.data:
            return event.encode(b""), False
        raw = event.data.encode()
        value = parse(raw, scope=RESPONSE)
        message = mcp.classify(value, RESPONSE)
        if message.kind == "answer" and self._asked is not None and message.id not in (self._asked, None):
            raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
        clean = await self.timed(lambda: self._clean(value, message), len(raw))
        if clean is None and message.kind == "request":
            await self._decline(message.id, headers)
        answered = message.kind == "answer" and self._asked is not None
        return (b"" if clean is None else event.encode(clean)), answered

    async def _decline(self, asked: Id | None, headers: dict[str, str]) -> None:
        """Tell the server that nobody answers, so that it does not wait."""
        sent = {k: v for k, v in headers.items() if k != "Last-Event-ID"}
        sent["Accept"] = f"{JSON_TYPE}, {SSE_TYPE}"
        async with self._upstream.request("POST", "", orjson.dumps(mcp.not_offered(asked)), sent):
            return

    async def _other(self, reply: Reply) -> Answer:
        """An answer without a message for the client, or the server's refusal. Raises Refusal."""
        self.exchange.upstream_us = microseconds(self._sent)
        if reply.status in (200, 202, 204) and self._asked is None:
            return await self._done(reply.status, b"")
        if reply.status not in _PASSED:
            check_status(reply.status)
            raise Refusal("SYSTEM.BACKEND", "status", RESPONSE)
        told = mcp.error(Refusal("SYSTEM.BACKEND", "status", RESPONSE), self.exchange.request_id, self._asked)
        return await self._done(reply.status, orjson.dumps(told))

    def _take_session(self, reply: Reply) -> None:
        session_id = reply.headers.get("Mcp-Session-Id")
        if session_id is not None:
            exchange, policy = self.exchange, self.rules.policy
            exchange.session_id = policy.keyed_hash("session", session_id)
            self.headers["Mcp-Session-Id"] = seal(policy, exchange.route or "", exchange.agent_id or "", session_id)

    @property
    def _upstream(self) -> Upstream:
        return self.services.upstreams[self.exchange.route or ""]

    @contextlib.asynccontextmanager
    async def _request(self, method: str, body: bytes | None, headers: dict[str, str]) -> AsyncIterator[Reply]:
        self._sent = time.perf_counter()
        async with self._upstream.request(method, "", body, headers, repeatable=False) as reply:
            self.exchange.upstream_status = reply.status
            yield reply

    async def _done(self, status: int, body: bytes) -> Answer:
        """An answer in one piece, recorded first."""
        self.exchange.resp_bytes = len(body)
        await self._conclude(status)
        if body:
            return self.whole(status, body)
        return Answer(status, self.headers)

    async def _end(self, last: bytes) -> None:
        """The last bytes of a stream, recorded first."""
        self.exchange.resp_bytes = (self.exchange.resp_bytes or 0) + len(last)
        await self._conclude(200)
        await self.send(last, SSE_TYPE, end=True)

    async def _conclude(self, status: int) -> None:
        """Record the exchange, as blocked when something of it was kept back."""
        exchange, refusal = self.exchange, self._kept_back
        if refusal is not None:
            exchange.decision, exchange.reason_code = "block", refusal.code
            exchange.reason_detail, exchange.scope = refusal.detail, refusal.scope
        await self.finish(status, refused=refusal is not None)

    def error(self, refusal: Refusal) -> tuple[int, bytes]:
        """See `ExchangeHandler`."""
        body = orjson.dumps(mcp.error(refusal, self.exchange.request_id, self._asked))
        fixed = self._asked is None or refusal.code.startswith(_FIXED_STATUS)
        return refusal.status if fixed else 200, body

    def stream_error(self, refusal: Refusal) -> bytes:
        """See `ExchangeHandler`; on a stream that answers nothing there is nobody to tell."""
        if self._asked is None:
            return b""
        return Event().encode(orjson.dumps(mcp.error(refusal, self.exchange.request_id, self._asked)))


def _kind(reply: Reply) -> str:
    return reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
