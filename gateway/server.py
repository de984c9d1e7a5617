"""The server of one worker: rules, log and upstreams, and which handler a request gets."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import AispmError
from gateway.exchange import Services
from gateway.filter import RuleSet
from gateway.http_server import Answer, Request, json_answer
from gateway.in_force import Freshness, PolicyInForce, detail
from gateway.loading import Loaded
from gateway.log import EventLog
from gateway.mcp_calls import CallMemory
from gateway.mcp_proxy import McpExchange
from gateway.model_call import ModelCall
from gateway.reasons import Refusal
from gateway.routing import Routing
from gateway.settings import GatewaySettings
from gateway.spending import Spending
from gateway.upstream import Upstream
from gateway.wire import mcp

log = logging.getLogger("gateway")


def utc_now() -> datetime:
    """The wall clock, timezone-aware."""
    return datetime.now(UTC)


class Gateway:
    """One worker: rules, log and upstreams behind `handle`.

    `load` reads and verifies the policy (`gateway.loading.Loader`); it is called again on `reload`. `spending`
    holds requests against the policy's budgets and rates. `now` is the wall clock that expiry is measured with.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        load: Callable[[RuleSet | None], Loaded],
        events: EventLog,
        spending: Spending,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.spending = spending
        source = settings.policy
        watched = source.url is not None and source.on_stale == "deny"
        freshness = Freshness(settings.policy_memory, source.max_stale_s) if watched else None
        self.policy = PolicyInForce(load, now, freshness)
        upstreams = {name: Upstream(route, settings.limits) for name, route in settings.routes.items()}
        calls = CallMemory(settings.spool.folder / "mcp_calls.sqlite")
        self._services = Services(settings, events, upstreams, self.policy, calls, spending)
        self._routing = Routing(settings.routes)
        events.append(self.policy.first_events)

    async def start(self) -> None:
        """Open the upstream pools."""
        for upstream in self._services.upstreams.values():
            await upstream.start()

    def end_listening(self) -> None:
        """End the streams on which clients only listen; they would hold up the end of this worker."""
        self._services.closing.set()

    async def close(self) -> None:
        """Close the pools and the ledger, then the log: its segment becomes readable."""
        for upstream in self._services.upstreams.values():
            await upstream.close()
        self._services.calls.close()
        await self.spending.ledger.close()
        self._services.log.close()

    async def reload(self) -> None:
        """Read the policy again, then close the segment; what a refused one means is told in `[policy] on_stale`."""
        events = await self.policy.reload()
        try:
            if events:
                self._services.log.append(events)
            self._services.log.roll()
        except OSError as e:
            log.error("the event log cannot be written: %s", e.strerror)

    def refused(self, error: AispmError) -> None:
        """Record that a policy was offered and refused before it came to a reload."""
        log.error("policy not taken over: %s", error)
        with contextlib.suppress(OSError):  # requests will be refused for the same cause, and say so
            self._services.log.append([self.policy.event("block", detail(error))])

    async def handle(self, request: Request) -> Answer | None:
        """Answer one request. Every answer but `/healthz` has exactly one `exchange` event, written before it ends."""
        if request.raw_path == "/healthz" and request.method == "GET":
            return self._health()
        place = self._routing.find(request.raw_path)
        kind = McpExchange if place.api is mcp.API else ModelCall
        handler = kind(self._services, request, place)
        try:
            return await handler.run()
        except Refusal as refusal:
            return await handler.refuse(refusal)
        except ConnectionError:  # while the body was read
            return await handler.refuse(Refusal("SYSTEM.BACKEND", "client_closed"))
        except Exception as e:  # noqa: BLE001 - whatever fails here, nothing may pass unfiltered or unrecorded
            # The class and place only: the message of an exception may quote the client's text.
            log.error("request failed: %s at %s", type(e).__name__, _place(e))
            return await handler.refuse(Refusal("SYSTEM.FILTER"))

    async def handle_unreadable(self, request: Request) -> Answer | None:
        """Answer what HTTP cannot be read from (`gateway.http_server`); it has its event like any other refusal."""
        handler = ModelCall(self._services, request, self._routing.find(""))
        return await handler.refuse(Refusal("WIRE.MALFORMED", "http"))

    def _health(self) -> Answer:
        fault = self.policy.fault()
        body = {
            "status": "ok" if fault is None else f"policy {fault}",
            "policy_version": self.policy.rules.policy.version,
        }
        return json_answer(503 if fault else 200, body)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "?" if trace is None else f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
