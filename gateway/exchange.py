"""One request's life: what all kinds share, from its first line to the record that is written before its last byte."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from gateway.auth import authenticate
from gateway.connections import read_all
from gateway.events import METHODS, Exchange
from gateway.filter import Inspection, RuleSet
from gateway.http_server import Answer, MalformedError, Request
from gateway.in_force import PolicyInForce
from gateway.log import EventLog
from gateway.mcp_calls import CallMemory
from gateway.policy.bundle import Agent
from gateway.reasons import Refusal
from gateway.routing import Place
from gateway.settings import GatewaySettings, Route
from gateway.spending import Spending
from gateway.upstream import Upstream
from gateway.wire.format import JSON_TYPE, Endpoint

log = logging.getLogger("gateway")

T = TypeVar("T")
OFF_LOOP_BYTES = 128 << 10
"""Bodies larger than this are filtered on a thread, so that other streams go on meanwhile."""


@dataclass(frozen=True, slots=True)
class Services:
    """What all requests of one worker share."""

    settings: GatewaySettings
    log: EventLog
    upstreams: Mapping[str, Upstream]
    policy: PolicyInForce
    calls: CallMemory
    spending: Spending
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the worker ends: streams that would stay open for as long as their client likes end too."""


class ExchangeHandler(ABC):
    """One request on its way through. Subclasses say in `answer` what happens to one that may enter.

    Every way out ends in `finish`, once: that is where the exchange is recorded.
    """

    wire_format: str | None = None
    """In events, where the endpoint has no format of its own."""

    def __init__(self, services: Services, request: Request, place: Place) -> None:
        self.services, self.request, self.place = services, request, place
        self.rules = services.policy.rules
        """Of the moment the request came in; it is inspected by these to its end."""
        self.started = time.perf_counter()
        self.streams = False
        """Whether the client has a part of a stream."""
        policy = self.rules.policy
        self.exchange = Exchange(
            request_id=os.urandom(16).hex(),
            request_method=request.method if request.method in METHODS else "*",
            path_hash=policy.keyed_hash("path", request.raw_path),
            tenant_id=policy.tenant,
            policy_version=policy.version,
            policy_epoch=policy.epoch,
            policy_hash=policy.sha256,
            resp_bytes=0,
        )
        self.headers = {"X-Request-Id": self.exchange.request_id, "Server": "aispm-gateway"}
        self._inspection: Inspection | None = None
        self._recorded = False
        self._agent: Agent | None = None
        self._allowed_by: RuleSet | None = None
        """The rules under which the agent was last let in."""

    async def run(self) -> Answer | None:
        """The answer. Raises Refusal."""
        route, endpoint = self._enter()
        await self.services.spending.admit(self.rules.policy, self.exchange.agent_id or "")
        return await self.answer(route, endpoint)

    @abstractmethod
    async def answer(self, route: Route, endpoint: Endpoint) -> Answer | None:
        """What is done for a known agent at a known endpoint. Raises Refusal."""

    @property
    def inspection(self) -> Inspection:
        """What was found so far; exists once the agent is known."""
        if self._inspection is None:
            raise RuntimeError("authentication comes first")
        return self._inspection

    def _enter(self) -> tuple[Route, Endpoint]:
        """Route, method, policy in force, agent: in this order. Raises Refusal."""
        exchange, place, endpoint = self.exchange, self.place, self.place.endpoint
        if endpoint is None or place.route is None:
            raise Refusal("POLICY.ROUTE")
        route = self.services.settings.routes[place.route]
        exchange.route, exchange.provider, exchange.application_id = place.route, route.provider, route.application_id
        exchange.wire_format = self.wire_format if endpoint.format is None else endpoint.format.name
        exchange.upstream_domain, exchange.asset_id = self.services.upstreams[place.route].domain, route.asset_id
        if not endpoint.answers(self.request.method):
            raise Refusal("POLICY.ROUTE", "method")
        if (fault := self.services.policy.fault()) is not None:
            raise Refusal("POLICY.SIGNATURE", fault)
        headers = self.request.headers
        shown = [(name, value) for name in place.api.key_headers for value in headers.getall(name, ())]
        agent = authenticate(shown, self.rules.policy)
        self._agent, self._allowed_by = agent, self.rules
        exchange.agent_id, exchange.asset_id = agent.id, agent.asset_id or route.asset_id
        self._inspection = Inspection(self.rules, agent.id, route.asset_id)
        return route, endpoint

    def _still_allowed(self) -> None:
        """Before anything of a reply goes out: raises Refusal when the policy in force by now lets this agent in no
        more.

        The rules of inspection stay those that the request began under, so that no text is judged by some of each.
        """
        if (fault := self.services.policy.fault()) is not None:
            raise Refusal("POLICY.SIGNATURE", fault, "response")
        rules = self.services.policy.rules
        if rules is not self._allowed_by and not rules.policy.knows(self._agent):
            raise Refusal("POLICY.AGENT_DENIED", scope="response")
        self._allowed_by = rules

    async def read_json_bytes(self) -> bytes:
        """The client's body, not parsed yet. Raises Refusal unless it is plain JSON of a bearable size."""
        request, limits = self.request, self.services.settings.limits
        transfer = request.headers.getall("Transfer-Encoding", ("chunked",))
        if request.headers.getall("Content-Encoding", ()) or [t.strip().lower() for t in transfer] != ["chunked"]:
            raise Refusal("WIRE.MALFORMED", "content_encoding")
        kinds = request.headers.getall("Content-Type", ())
        kind, _, parameters = kinds[0].partition(";") if len(kinds) == 1 else ("", "", "")
        if kind.strip().lower() != JSON_TYPE or parameters.strip().lower() not in ("", "charset=utf-8"):
            raise Refusal("WIRE.MALFORMED", "content_type")
        if request.headers.get("Expect", "").lower() == "100-continue":
            request.go_on()
        content = request.content
        try:
            async with asyncio.timeout(None if content.is_eof() else limits.client_body_s):
                raw = await read_all(content, limits.body_bytes)
        except TimeoutError:
            raise Refusal("WIRE.LIMIT", "slow") from None
        except MalformedError:
            raise Refusal("WIRE.MALFORMED", "http") from None
        if raw is None:
            raise Refusal("WIRE.LIMIT", "body")
        self.exchange.req_bytes = len(raw)
        return raw

    async def timed(self, work: Callable[[], T], size: int) -> T:
        """The result of `work`, which filters `size` bytes."""
        began = time.perf_counter()
        try:
            return await asyncio.to_thread(work) if size > OFF_LOOP_BYTES else work()
        finally:
            self.exchange.filter_us += microseconds(began)

    async def record_open(self) -> None:
        """Say that a request goes out, so that one without an answer is known after a crash. Raises Refusal."""
        self._record([{**self.exchange.row("open"), "decision": None}])
        await self._durable()

    async def finish(self, status: int, *, refused: bool = False) -> None:
        """Write the exchange and what was found in it, once; the answer's last byte comes after. Raises Refusal."""
        if not self._recorded:
            if not refused:
                self._still_allowed()
            exchange, inspection = self.exchange, self._inspection
            exchange.http_status = status
            exchange.latency_us = microseconds(self.started)
            rows: list[dict[str, Any]] = []
            if inspection is not None:
                if not refused:
                    exchange.decision = inspection.decision
                    exchange.reason_code, exchange.scope = inspection.reason()
                rows = inspection.rows(exchange.part)
            rows += self.budget_rows()
            self._record([*rows, exchange.row("exchange")])
            self._recorded = True
        await self._durable()

    def budget_rows(self) -> list[dict[str, Any]]:
        """`budget` events, once all money of the request is settled; a kind of request that costs money has some."""
        return []

    async def refuse(self, refusal: Refusal) -> Answer | None:
        """The error the client gets: a body, or the last event of a stream that already runs."""
        exchange = self.exchange
        if self.streams:
            status, raw = 200, self.stream_error(refusal)
        else:
            status, raw = self.error(refusal)
            exchange.resp_bytes = 0  # whatever was ready to be sent
        exchange.resp_bytes = (exchange.resp_bytes or 0) + len(raw)
        exchange.decision, exchange.reason_code, exchange.reason_detail = "block", refusal.code, refusal.detail
        exchange.scope = refusal.scope
        if refusal.retry_after is not None:
            self.headers["Retry-After"] = str(refusal.retry_after)
        try:
            await self.finish(499 if refusal.detail == "client_closed" else status, refused=True)
        except Refusal as broken:  # the log itself refuses; the client learns that and nothing else
            status, raw = self.error(broken)
            if self.streams:
                raw = self.stream_error(broken)
        if not self.streams:
            return self.whole(status, raw)
        with contextlib.suppress(Refusal):  # the client left; there is nobody to tell
            await self.send(raw, end=True)
        return None

    def error(self, refusal: Refusal) -> tuple[int, bytes]:
        """Status and body of an answer that says no."""
        return refusal.status, orjson.dumps(self.place.api.error_body(refusal, self.exchange.request_id))

    @abstractmethod
    def stream_error(self, refusal: Refusal) -> bytes:
        """How an error is told in the stream that runs."""

    def whole(self, status: int, body: bytes) -> Answer:
        """An answer in one piece."""
        return Answer(status, {"Content-Type": JSON_TYPE, **self.headers}, body)

    async def send(self, raw: bytes, media_type: str = "", *, end: bool = False) -> None:
        """Write to the client's stream, which its first bytes open as `media_type`. Raises Refusal."""
        if not end:  # the end was allowed when it was recorded
            self._still_allowed()
            self.exchange.resp_bytes = (self.exchange.resp_bytes or 0) + len(raw)
        if not self.streams:
            self.streams = True
            self.request.begin({"Content-Type": media_type, "Cache-Control": "no-store", **self.headers})
        try:
            await self.request.write(raw, end=end)
            self.exchange.ttft_us = self.exchange.ttft_us or microseconds(self.started)
        except ConnectionError:  # named here, so that nobody takes it for a failure of the upstream
            raise Refusal("SYSTEM.BACKEND", "client_closed", "response") from None

    async def _durable(self) -> None:
        """Wait for what was recorded as long as the settings ask for."""
        if not self.services.log.strict:
            return
        try:
            await self.services.log.durable()
        except OSError as e:
            log.error("the event log does not reach the disk: %s", e.strerror)
            raise Refusal("SYSTEM.BACKEND", "log") from None

    def _record(self, rows: list[dict[str, Any]]) -> None:
        try:
            self.services.log.append(rows)
        except OSError as e:
            log.error("the event log cannot be written: %s", e.strerror)
            raise Refusal("SYSTEM.BACKEND", "log") from None


def microseconds(since: float) -> int:
    """Since a moment of `time.perf_counter`."""
    return int((time.perf_counter() - since) * 1_000_000)
