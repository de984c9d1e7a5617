"""The server: from a client's request to its answer, with the record written before the last byte."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientResponse, web

from gateway.errors import AispmError
from gateway.events import METHODS, Exchange
from gateway.filter import REQUEST, RESPONSE, Inspection, RuleSet
from gateway.log import EventLog
from gateway.policy.bundle import Agent, Policy, find_agent
from gateway.reasons import Refusal
from gateway.settings import GatewaySettings, Route
from gateway.stream import SseParser
from gateway.upstream import Upstream, check_status
from gateway.wire.openai_chat import SSE_DONE, error_body, inspect_request, inspect_response, sse, usage
from gateway.wire.openai_chat_stream import ChatStream
from gateway.wire.strict_json import parse

log = logging.getLogger("gateway")

OFF_LOOP_BYTES = 128 << 10
"""Bodies larger than this are filtered on a thread, so that other streams go on meanwhile."""
_JSON = {"Content-Type": "application/json"}
_SSE = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}


def utc_now() -> datetime:
    """The wall clock, timezone-aware."""
    return datetime.now(UTC)


class Gateway:
    """One worker: rules, log and upstreams behind `handle`.

    `load` reads and verifies the policy; it is called again on `reload`. `now` is the wall clock that expiry is
    measured with.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        load: Callable[[], RuleSet],
        events: EventLog,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings, self._load, self._log, self._now = settings, load, events, now
        self.rules = load()
        self._upstreams = {name: Upstream(route, settings.limits) for name, route in settings.routes.items()}
        self._table: dict[str, tuple[str, str]] = {}
        for name in settings.routes:
            for prefix in ("", f"/{name}") if name == "default" else (f"/{name}",):
                self._table[f"{prefix}/v1/chat/completions"] = (name, "POST")
                self._table[f"{prefix}/v1/models"] = (name, "GET")
        self._log.append([self._policy_event("allow")])

    async def start(self) -> None:
        """Open the upstream pools."""
        for upstream in self._upstreams.values():
            await upstream.start()

    async def close(self) -> None:
        """Close the pools, then the log: its segment becomes readable."""
        for upstream in self._upstreams.values():
            await upstream.close()
        self._log.close()

    def reload(self) -> None:
        """Read the policy again, then close the segment; a policy that is refused leaves the current one in force."""
        before = self.rules.policy.sha256
        events = []
        try:
            self.rules = self._load()
        except AispmError as e:
            log.error("policy not taken over: %s", e)
            events = [{**self._policy_event("block"), "reason_code": "POLICY.SIGNATURE"}]
        else:
            if self.rules.policy.sha256 != before:
                events = [self._policy_event("allow")]
        try:
            if events:
                self._log.append(events)
            self._log.roll()
        except OSError as e:
            log.error("the event log cannot be written: %s", e.strerror)

    def _policy_event(self, decision: str) -> dict[str, Any]:
        policy = self.rules.policy
        return {
            "event_kind": "policy",
            "decision": decision,
            "policy_version": policy.version,
            "policy_hash": policy.sha256,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Every answer but `/healthz` has exactly one `exchange` event, written before it ends."""
        if request.raw_path == "/healthz" and request.method == "GET":
            expired = self.rules.policy.expired(self._now())
            body = {"status": "policy expired" if expired else "ok", "policy_version": self.rules.policy.version}
            return _answer(503 if expired else 200, orjson.dumps(body), {})
        call = _Call(self, request, self.rules)
        try:
            return await call.run()
        except Refusal as refusal:
            return await call.refuse(refusal)
        except ConnectionError:  # while the body was read
            return await call.refuse(Refusal("SYSTEM.BACKEND", "client_closed"))
        except Exception as e:  # noqa: BLE001 - whatever fails here, nothing may pass unfiltered or unrecorded
            # The class and place only: the message of an exception may quote the client's text.
            log.error("request failed: %s at %s", type(e).__name__, _place(e))
            return await call.refuse(Refusal("SYSTEM.FILTER"))


class _Call:
    """One request on its way through."""

    def __init__(self, gateway: Gateway, request: web.BaseRequest, rules: RuleSet) -> None:
        self._gateway, self._request, self._rules = gateway, request, rules
        self._limits = gateway._settings.limits
        self._started = time.perf_counter()
        self._recorded = False
        self._response: web.StreamResponse | None = None
        self._inspection: Inspection | None = None
        policy = rules.policy
        self._exchange = Exchange(
            request_id=uuid.uuid4().hex,
            request_method=request.method if request.method in METHODS else "*",
            path_hash=policy.keyed_hash("path", request.raw_path),
            policy_version=policy.version,
            policy_hash=policy.sha256,
            resp_bytes=0,
        )
        self._headers = {"X-Request-Id": self._exchange.request_id}

    async def run(self) -> web.StreamResponse:
        gateway, request, exchange = self._gateway, self._request, self._exchange
        name, method = gateway._table.get(request.raw_path, (None, None))
        if name is None:
            raise Refusal("POLICY.ROUTE")
        route = gateway._settings.routes[name]
        upstream = gateway._upstreams[name]
        exchange.route, exchange.wire_format, exchange.provider = name, route.wire_format, route.provider
        exchange.upstream_domain, exchange.asset_id = upstream.domain, route.asset_id
        if request.method != method:
            raise Refusal("POLICY.ROUTE", "method")
        if self._rules.policy.expired(gateway._now()):
            raise Refusal("POLICY.SIGNATURE", "expired")
        agent = _authenticate(request, self._rules.policy)
        exchange.agent_id, exchange.asset_id = agent.id, agent.asset_id or route.asset_id
        self._inspection = Inspection(self._rules, agent.id, route.asset_id)
        if method == "GET":
            await self._open()
            async with self._upstream("GET", "/models", None, "application/json", upstream) as reply:
                return await self._whole(reply, upstream, chat=False)
        body = await self._body(route)
        await self._open()
        accept = "text/event-stream" if body.get("stream") else "application/json"
        async with self._upstream("POST", "/chat/completions", orjson.dumps(body), accept, upstream) as reply:
            kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if reply.status == 200 and body.get("stream") and kind == "text/event-stream":
                return await self._stream(reply)
            return await self._whole(reply, upstream, chat=True)

    def _upstream(self, method: str, path: str, body: bytes | None, accept: str, upstream: Upstream) -> Any:
        self._sent = time.perf_counter()
        return upstream.request(method, path, body, accept)

    async def _open(self) -> None:
        """Say that a request goes out, so that one without an answer is known after a crash."""
        self._record([{**self._exchange.row("open"), "decision": None}])
        await self._durable()

    async def _body(self, route: Route) -> dict[str, Any]:
        """The client's body, read, parsed, inspected and rewritten."""
        request, exchange, inspection = self._request, self._exchange, self._inspection
        if request.headers.getall("Content-Encoding", []):
            raise Refusal("WIRE.MALFORMED", "content_encoding")
        kinds = request.headers.getall("Content-Type", [])
        kind, _, parameters = kinds[0].partition(";") if len(kinds) == 1 else ("", "", "")
        if kind.strip().lower() != "application/json" or parameters.strip().lower() not in ("", "charset=utf-8"):
            raise Refusal("WIRE.MALFORMED", "content_type")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with asyncio.timeout(self._limits.client_body_s):
                raw = await self._read()
        except TimeoutError:
            raise Refusal("WIRE.LIMIT", "slow") from None
        exchange.req_bytes = len(raw)
        if inspection is None:
            raise RuntimeError("authentication comes first")

        def work() -> dict[str, Any]:
            body = parse(raw, self._limits.depth)
            if isinstance(body, dict) and isinstance(body.get("model"), str):
                listed = body["model"] in route.known_models
                exchange.model = body["model"] if listed else self._rules.policy.keyed_hash("model", body["model"])
                exchange.stream = body.get("stream") is True
            return inspect_request(body, inspection)

        clean = await self._timed(work, len(raw))
        inspection.verdict(REQUEST)
        return clean

    async def _read(self) -> bytes:
        pieces, size = [], 0
        async for piece in self._request.content.iter_any():
            size += len(piece)
            if size > self._limits.body_bytes:
                raise Refusal("WIRE.LIMIT", "body")
            pieces.append(piece)
        return b"".join(pieces)

    async def _timed(self, work: Callable[[], dict[str, Any]], size: int) -> dict[str, Any]:
        began = time.perf_counter()
        try:
            return await asyncio.to_thread(work) if size > OFF_LOOP_BYTES else work()
        finally:
            self._exchange.filter_us += _microseconds(began)

    async def _whole(self, reply: ClientResponse, upstream: Upstream, chat: bool) -> web.Response:
        """A reply that is read to its end before anything is sent."""
        exchange, inspection = self._exchange, self._inspection
        exchange.upstream_status = reply.status
        check_status(reply.status)
        raw = await upstream.read(reply)
        exchange.upstream_us = _microseconds(self._sent)
        if inspection is None:
            raise RuntimeError("authentication comes first")

        def work() -> dict[str, Any]:
            body = parse(raw, scope=RESPONSE)
            if chat and reply.status == 200:
                exchange.tokens_in, exchange.tokens_out = usage(body)
                return inspect_response(body, inspection)
            if not isinstance(body, dict):
                raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
            clean: dict[str, Any] = inspection.walk(body, RESPONSE, "metadata")
            return clean

        clean = await self._timed(work, len(raw))
        inspection.verdict(RESPONSE)
        body = orjson.dumps(clean)
        exchange.resp_bytes = len(body)
        headers = dict(self._headers)
        if (retry := reply.headers.get("Retry-After", "")).isdecimal():
            headers["Retry-After"] = retry
        self._finish(reply.status)
        await self._durable()
        return _answer(reply.status, body, headers)

    async def _stream(self, reply: ClientResponse) -> web.StreamResponse:
        exchange, inspection = self._exchange, self._inspection
        exchange.upstream_status = reply.status
        if inspection is None:
            raise RuntimeError("authentication comes first")
        parser, chat, done = SseParser(), ChatStream(inspection), False
        async for raw in reply.content.iter_any():
            began = time.perf_counter()
            events: list[bytes] = []
            try:
                for data in parser.feed(raw):
                    if data == "[DONE]":
                        done = True
                        break
                    events += chat.feed(data)
            finally:
                exchange.filter_us += _microseconds(began)
            if events:
                await self._send(b"".join(events))
            if done:
                break
        exchange.upstream_us = _microseconds(self._sent)
        exchange.tokens_in, exchange.tokens_out = chat.tokens
        if not done and not chat.complete:
            raise Refusal("SYSTEM.BACKEND", "cut_off", RESPONSE)
        last = b"".join(chat.end())
        exchange.resp_bytes = (exchange.resp_bytes or 0) + len(last)
        self._finish(200)
        await self._durable()
        return await self._send(last, end=True)

    async def _send(self, raw: bytes, end: bool = False) -> web.StreamResponse:
        """Write to the client's stream, which is opened by its first byte."""
        try:
            if self._response is None:
                self._response = web.StreamResponse(status=200, headers={**_SSE, **self._headers})
                await self._response.prepare(self._request)
                self._exchange.ttft_us = _microseconds(self._started)
            if not end:
                self._exchange.resp_bytes = (self._exchange.resp_bytes or 0) + len(raw)
            await self._response.write(raw)
            if end:
                await self._response.write_eof()
        except ConnectionError:  # named here, so that nobody takes it for a failure of the upstream
            raise Refusal("SYSTEM.BACKEND", "client_closed", RESPONSE) from None
        return self._response

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """The error the client gets: a JSON body, or the last event of a stream that already runs."""
        exchange = self._exchange
        body = error_body(refusal, exchange.request_id)
        if self._response is not None:
            status, raw = 200, sse(body) + SSE_DONE
        else:
            status, raw = refusal.status, orjson.dumps(body)
        exchange.resp_bytes = (exchange.resp_bytes or 0) + len(raw)
        exchange.decision, exchange.reason_code, exchange.reason_detail = "block", refusal.code, refusal.detail
        exchange.scope = refusal.scope
        try:
            self._finish(499 if refusal.detail == "client_closed" else status, refused=True)
            await self._durable()
        except Refusal as broken:  # the log itself refuses; the client learns that and nothing else
            status, raw = broken.status, orjson.dumps(error_body(broken, exchange.request_id))
        if self._response is None:
            return _answer(status, raw, self._headers)
        with contextlib.suppress(Refusal):  # the client left; there is nobody to tell
            await self._send(raw, end=True)
        return self._response

    def _finish(self, status: int, refused: bool = False) -> None:
        """Write the exchange and what was found in it, once."""
        if self._recorded:
            return
        exchange, inspection = self._exchange, self._inspection
        exchange.http_status = status
        exchange.latency_us = _microseconds(self._started)
        rows: list[dict[str, Any]] = []
        if inspection is not None:
            if not refused:
                exchange.decision = inspection.decision
                exchange.reason_code, exchange.scope = inspection.reason()
            rows = inspection.rows(exchange.part)
        self._record([*rows, exchange.row("exchange")])
        self._recorded = True

    async def _durable(self) -> None:
        """Wait for what was recorded as long as the settings ask for."""
        try:
            await self._gateway._log.durable()
        except OSError as e:
            log.error("the event log does not reach the disk: %s", e.strerror)
            raise Refusal("SYSTEM.BACKEND", "log") from None

    def _record(self, rows: list[dict[str, Any]]) -> None:
        try:
            self._gateway._log.append(rows)
        except OSError as e:
            log.error("the event log cannot be written: %s", e.strerror)
            raise Refusal("SYSTEM.BACKEND", "log") from None


def _authenticate(request: web.BaseRequest, policy: Policy) -> Agent:
    values = request.headers.getall("Authorization", [])
    scheme, _, key = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    agent = find_agent(policy, key.strip()) if scheme.lower() == "bearer" and key.strip() else None
    if agent is None:
        raise Refusal("POLICY.AGENT_DENIED")
    return agent


def _answer(status: int, body: bytes, headers: dict[str, str]) -> web.Response:
    return web.Response(status=status, body=body, headers={**_JSON, **headers})


def _microseconds(since: float) -> int:
    return int((time.perf_counter() - since) * 1_000_000)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
