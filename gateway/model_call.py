"""A request to a model: inspected, sent upstream, and its reply inspected, whole or as a stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.connections import Reply
from gateway.exchange import ExchangeHandler, microseconds
from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.http_server import Answer
from gateway.purchase import CODES, Purchase
from gateway.reasons import Refusal
from gateway.settings import Route
from gateway.strict_json import parse
from gateway.upstream import check_status
from gateway.wire.format import JSON_TYPE, Endpoint, Format, Stream, Usage, malformed

SESSION_HEADER = "X-Session-Id"
"""Where an agent may say which conversation a request belongs to. Only a keyed hash of it is kept."""
MAX_HEADER = 512
"""Characters of a header that is passed on; the longest real one lists beta features."""


class ModelCall(ExchangeHandler):
    """One call of a model, or of what else a provider answers in the same shape."""

    _stream: Stream | None = None
    _sent = 0.0
    _purchase: Purchase | None = None
    _worked = False
    """Whether the provider may have done something that costs money."""
    _received: int | None = None
    """Bytes of output that came, None while a whole reply has not."""

    async def answer(self, route: Route, endpoint: Endpoint) -> Answer | None:
        """See `ExchangeHandler`."""
        try:
            return await self._answer(route, endpoint)
        except Refusal as refusal:
            self._worked = self._worked and refusal.detail != "connect"
            raise
        finally:  # also when the server stops in the middle, which no refusal tells of
            self._settle()

    async def _answer(self, route: Route, endpoint: Endpoint) -> Answer | None:
        upstream = self.services.upstreams[self.exchange.route or ""]
        reader, streamed = endpoint.format, False
        raw: bytes | None = None
        headers = self._client_headers()
        if reader is not None:
            body = await self._inspected(await self.read_json_bytes(), reader, route)
            streamed = reader.streamed(body) if endpoint.streamed is None else endpoint.streamed
            raw = await self._paid(body, reader)
        headers["Accept"] = reader.stream_type if reader is not None and streamed else JSON_TYPE
        await self.record_open()
        self._sent, self._worked = time.perf_counter(), True
        sending = upstream.request(endpoint.method, self.place.upstream_path, raw, headers)
        async with sending as reply:
            self.exchange.upstream_status, self.exchange.retry = reply.status, sending.retries
            if reader is not None and streamed and reply.status == 200:
                kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                if kind == reader.stream_type:
                    await self._streamed(reply, reader)
                    return None
            return await self._whole(reply, await upstream.read(reply), reader)

    def _client_headers(self) -> dict[str, str]:
        """The client's headers that may pass, scanned. Raises Refusal."""
        if shown := self.request.headers.get(SESSION_HEADER):
            self.exchange.session_id = self.rules.policy.keyed_hash("session", shown)
        passed: dict[str, str] = {}
        fields = Fields(REQUEST)
        for name in self.place.api.client_headers:
            values = self.request.headers.getall(name, ())
            if not values:
                continue
            value = _plain(values, REQUEST)
            fields.fixed(value, "header")
            passed[name] = value
        if passed:
            self.inspection.scan(fields)
            self.inspection.verdict(REQUEST)
        return passed

    async def _inspected(self, raw: bytes, reader: Format, route: Route) -> Any:
        """The client's body, inspected and rewritten. Raises Refusal."""
        inspection, exchange = self.inspection, self.exchange

        def work() -> Any:
            body = parse(raw, self.services.settings.limits.depth)
            model = self.place.model or (body.get("model") if isinstance(body, dict) else None)
            if isinstance(model, str):
                known = model in route.known_models
                exchange.model = model if known else self.rules.policy.keyed_hash("model", model)
                said = self.place.endpoint.streamed if self.place.endpoint is not None else None
                exchange.stream = reader.streamed(body) if said is None else said
            fields = Fields(REQUEST)
            if self.place.model is not None:
                fields.fixed(self.place.model, "path")
            reader.read_request(body, fields, inspection)
            inspection.scan(fields)
            return body

        body = await self.timed(work, len(raw))
        inspection.verdict(REQUEST)
        return body

    async def _paid(self, body: Any, reader: Format) -> bytes:
        """The body to send, once the most that it can cost is reserved. Raises Refusal."""
        spending, policy, exchange = self.services.spending, self.rules.policy, self.exchange
        model = self.place.model or body["model"]
        purchase = self._purchase = spending.quote(
            policy, exchange.agent_id or "", exchange.upstream_domain or "", model
        )
        cap = reader.output_cap(body)
        if cap is None and purchase.budgets and policy.prices is not None:
            cap = policy.prices.default_max_tokens
            reader.set_output_cap(body, cap)
        raw = orjson.dumps(body)
        await spending.reserve(policy, purchase, len(raw), None if cap is None else cap * reader.choices(body))
        return raw

    def _settle(self) -> None:
        """Book what the request cost, once: on what the provider counted, else on what came from it."""
        purchase, exchange = self._purchase, self.exchange
        if purchase is None or purchase.settled:
            return
        stream = self._stream
        if not self._worked or exchange.upstream_status not in (200, None):
            purchase.bill((None, None, None), complete=True, received=0, free=True)
        elif exchange.upstream_status == 200 and (stream is not None or self._received is not None):
            received = self.inspection.streamed_bytes if stream is not None else self._received or 0
            complete = stream is None or stream.complete
            tokens = exchange.tokens_in, exchange.tokens_out, exchange.tokens_cached
            purchase.bill(tokens, complete=complete, received=received, free=False)
            exchange.tokens_in, exchange.tokens_out, exchange.tokens_cached = purchase.tokens
        self.services.spending.settle(purchase)
        exchange.usage_source, exchange.cost_micro_usd = purchase.usage_source, purchase.cost
        if purchase.reservation is not None:
            exchange.reserved_micro_usd = purchase.reserved

    def budget_rows(self) -> list[dict[str, Any]]:
        """See `ExchangeHandler`."""
        self._settle()
        purchase, exchange = self._purchase, self.exchange
        if purchase is None:
            return []
        if exchange.decision == "allow" and (flagged := purchase.flagged) is not None:
            exchange.decision, exchange.reason_code, exchange.scope = "flag", CODES[flagged.period], REQUEST
        return purchase.rows(exchange.part)

    async def _whole(self, reply: Reply, raw: bytes, reader: Format | None) -> Answer:
        """A reply that was read to its end before anything is sent. Raises Refusal."""
        inspection, exchange = self.inspection, self.exchange
        check_status(reply.status)
        exchange.upstream_us = microseconds(self._sent)
        self._received = len(raw)
        given = [name for name in self.place.api.reply_headers if name in reply.headers]
        passed = {name: _plain(reply.headers.getall(name), RESPONSE) for name in given}

        def work() -> Any:
            body = parse(raw, scope=RESPONSE)
            fields = Fields(RESPONSE)
            if reader is not None and reply.status == 200:
                self._count(reader.usage(body))
                reader.read_response(body, fields, inspection)
            elif isinstance(body, dict):
                fields.members(body, "metadata")
            else:
                raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
            for value in passed.values():
                fields.fixed(value, "header")
            inspection.scan(fields)
            return body

        clean = orjson.dumps(await self.timed(work, len(raw)))
        inspection.verdict(RESPONSE)
        exchange.resp_bytes = len(clean)
        self.headers.update(passed)
        if (retry := reply.headers.get("Retry-After", "")).isdecimal():
            self.headers["Retry-After"] = retry
        await self.finish(reply.status)
        return self.whole(reply.status, clean)

    async def _streamed(self, reply: Reply, reader: Format) -> None:
        """A reply that is sent on as it comes, as far as it is known to be clean. Raises Refusal."""
        exchange = self.exchange
        stream = self._stream = reader.stream(self.inspection)
        try:
            async for raw in reply.content.iter_any():
                pieces, refusal = self._fed(stream, raw)
                if pieces:
                    await self.send(b"".join(pieces), reader.stream_type)
                if refusal is not None:
                    raise refusal
                if stream.done:
                    break
        finally:
            self._count(stream.usage)
        exchange.upstream_us = microseconds(self._sent)
        if not stream.complete:
            raise Refusal("SYSTEM.BACKEND", "cut_off", RESPONSE)
        last = stream.end()
        exchange.resp_bytes = (exchange.resp_bytes or 0) + len(last)
        await self.finish(200)
        await self.send(last, reader.stream_type, end=True)

    def _fed(self, stream: Stream, raw: bytes) -> tuple[list[bytes], Refusal | None]:
        """What may go out now, and what then ends the stream: text that was clean goes out first."""
        began, pieces = time.perf_counter(), []
        try:
            for piece in stream.feed(raw):
                pieces.append(piece)
        except Refusal as refusal:
            return pieces, refusal
        finally:
            self.exchange.filter_us += microseconds(began)
        return pieces, None

    def _count(self, usage: Usage) -> None:
        exchange = self.exchange
        exchange.tokens_in, exchange.tokens_out, exchange.tokens_cached = usage

    def stream_error(self, refusal: Refusal) -> bytes:
        """See `ExchangeHandler`."""
        if self._stream is None:
            raise RuntimeError("a stream runs only after it was opened")
        return self._stream.error(refusal, self.exchange.request_id)


def _plain(values: Sequence[str], scope: str) -> str:
    """A header that may be passed on once it is scanned. Raises Refusal."""
    value = ", ".join(values)
    if len(value) > MAX_HEADER or not value.isascii() or not value.isprintable():
        raise malformed(scope)
    return value
