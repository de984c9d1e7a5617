"""The client side: one request to a provider, with the provider's credential and nothing of the client's."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.addresses import is_loopback
from gateway.connections import ConnectError, Connections, Exchange, ExchangeError, Reply, head_of, host_of, read_all
from gateway.reasons import Refusal
from gateway.resolver import GuardedResolver
from gateway.secrets import resolve_secret
from gateway.settings import Limits, Route
from gateway.sigv4 import environment_key, signer
from gateway.wire import APIS
from gateway.wire.format import JSON_TYPE


class Upstream:
    """The provider behind one route. Every failure of it is a Refusal `SYSTEM.BACKEND`."""

    def __init__(self, route: Route, limits: Limits) -> None:
        self._base = route.base_url.rstrip("/")
        parts = urlsplit(self._base)
        self.domain = parts.hostname or ""
        self._path = self._base.removeprefix(f"{parts.scheme}://{parts.netloc}")
        self._limits, self._allow_private = limits, route.allow_private
        self._headers = {
            "Host": host_of(self._base),
            "Accept-Encoding": "identity",
            "User-Agent": "aispm-gateway",
        }
        self._authorize = APIS[route.api].authorize
        self._credential = None if route.credential is None else resolve_secret(route.credential)
        if route.aws_region is not None:
            self._credential = self._credential or environment_key()
            self._authorize = signer(self._credential, route.aws_region)
        self._connections: Connections | None = None

    async def start(self) -> None:
        """Open the connection pool; needs the running loop."""
        self._connections = Connections(
            self._base,
            GuardedResolver(allow_private=self._allow_private, loopback=is_loopback(self.domain)),
            most=self._limits.upstream_connections,
            connect_s=self._limits.connect_s,
            read_s=self._limits.read_s,
        )

    async def close(self) -> None:
        """Close the pool."""
        if self._connections is not None:
            await self._connections.close()

    def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, repeatable: bool = True
    ) -> Sending:
        """`path` is below the route's `base_url` and sent as it is; `headers` come on top of the gateway's own."""
        sent = {**headers, **self._headers}
        if body is not None:
            sent["Content-Type"] = JSON_TYPE
        if self._credential is not None:
            sent.update(self._authorize(self._credential, method, self._base + path, body or b""))
        if body is not None:
            sent["Content-Length"] = str(len(body))
        if self._connections is None:
            raise RuntimeError("start() comes first")
        return Sending(
            self._connections, method, head_of(method, self._path + path, sent), body or b"", repeatable=repeatable
        )

    async def read(self, reply: Reply) -> bytes:
        """The whole body. Raises Refusal when it is larger than the limit."""
        raw = await read_all(reply.content, self._limits.response_bytes)
        if raw is None:
            raise Refusal("WIRE.LIMIT", "upstream", "response")
        return raw


class Sending(Exchange):
    """An exchange whose failures are Refusals, also those of reading its body."""

    __slots__ = ()

    async def __aenter__(self) -> Reply:
        try:
            reply = await super().__aenter__()
        except _FAILURES as e:
            raise _translated(e) from None
        if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
            self.give_up()
            raise Refusal("WIRE.UNSCANNABLE", "upstream", "response")
        return reply

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await super().__aexit__(kind, error, trace)
        if isinstance(error, _FAILURES):
            raise _translated(error) from None


_FAILURES = (TimeoutError, ExchangeError)


def _translated(error: BaseException) -> Refusal:
    if isinstance(error, TimeoutError):
        return Refusal("SYSTEM.BACKEND", "timeout", "response")
    detail = "connect" if isinstance(error, ConnectError) else "cut_off"
    return Refusal("SYSTEM.BACKEND", detail, "response")


def check_status(status: int) -> None:
    """Raises Refusal for replies that say more about the gateway's account than the client may know.

    200 and client errors other than 401 and 403 pass.
    """
    if status in (401, 403):
        raise Refusal("SYSTEM.BACKEND", "credential", "response")
    if 300 <= status < 400:
        raise Refusal("SYSTEM.BACKEND", "redirect", "response")
    if status != 200 and not 400 <= status < 500:
        raise Refusal("SYSTEM.BACKEND", "status", "response")
