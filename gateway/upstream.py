"""The client side: one request to a provider, with the provider's credential and nothing of the client's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from gateway.addresses import is_loopback
from gateway.reasons import Refusal
from gateway.resolver import GuardedResolver
from gateway.secrets import resolve_secret
from gateway.settings import Limits, Route
from gateway.sigv4 import environment_key, signer
from gateway.wire import APIS
from gateway.wire.format import JSON_TYPE


class Upstream:
    """The provider behind one route. Every failure of it is a Refusal `SYSTEM.BACKEND`.

    Connections, TLS, name lookup and the reading of replies are aiohttp's; its session and request objects, made anew
    for every request, would cost as much as all of the filter.
    """

    def __init__(self, route: Route, limits: Limits) -> None:
        self._base = route.base_url.rstrip("/")
        parts = urlsplit(self._base)
        self.domain = parts.hostname or ""
        self._path = self._base.removeprefix(f"{parts.scheme}://{parts.netloc}")
        self._limits, self._allow_private = limits, route.allow_private
        self._headers = {
            "Host": URL(self._base).host_port_subcomponent or parts.netloc,
            "Accept-Encoding": "identity",
            "User-Agent": "aispm-gateway",
        }
        self._authorize = APIS[route.api].authorize
        self._credential = None if route.credential is None else resolve_secret(route.credential)
        if route.aws_region is not None:
            self._credential = self._credential or environment_key()
            self._authorize = signer(self._credential, route.aws_region)
        self._connector: aiohttp.TCPConnector | None = None
        self._target: aiohttp.ClientRequest | None = None
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_s)

    async def start(self) -> None:
        """Open the connection pool; needs the running loop."""
        self._connector = aiohttp.TCPConnector(
            limit=self._limits.upstream_connections,
            resolver=GuardedResolver(allow_private=self._allow_private, loopback=is_loopback(self.domain)),
        )
        # Names where to connect to; never sent.
        self._target = aiohttp.ClientRequest("GET", URL(self._base), loop=asyncio.get_running_loop())

    async def close(self) -> None:
        """Close the pool."""
        if self._connector is not None:
            await self._connector.close()

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
        return Sending(self, method, _head(method, self._path + path, sent), body or b"", repeatable)

    async def connect(self) -> Connection:
        """A connection that no other request uses. Raises aiohttp.ClientError and TimeoutError."""
        if self._connector is None or self._target is None:
            raise RuntimeError("start() comes first")
        return await self._connector.connect(self._target, [], self._timeout)

    @property
    def read_s(self) -> float:
        """Seconds of silence after which a reply is given up."""
        return self._limits.read_s

    async def read(self, reply: Reply) -> bytes:
        """The whole body. Raises Refusal when it is larger than the limit."""
        pieces, size = [], 0
        async for piece in reply.content.iter_any():
            size += len(piece)
            if size > self._limits.response_bytes:
                raise Refusal("WIRE.LIMIT", "upstream", "response")
            pieces.append(piece)
        return b"".join(pieces)


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request's first line and headers. Raises ValueError when one of them would make another line."""
    head = f"{method} {target or '/'} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
    if head.count("\n") != len(headers) + 2 or head.count("\r") != len(headers) + 2 or "\0" in head:
        raise ValueError("a header with a line end")
    return head.encode("latin-1")


class Reply(NamedTuple):
    """What a provider answers."""

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader
    """The body, read while the request is open."""


class Sending:
    """`async with` gives the reply's status and headers; its body is read inside, where failures are translated too.

    A connection that the provider closed while idle is tried once more, since no byte of a reply had come; unless
    the request is not `repeatable`: it may have been acted on all the same.
    """

    __slots__ = ("_body", "_connection", "_head", "_method", "_repeatable", "_upstream", "retries")

    def __init__(self, upstream: Upstream, method: str, head: bytes, body: bytes, repeatable: bool) -> None:
        self._upstream, self._method, self._head, self._body = upstream, method, head, body
        self._repeatable = repeatable
        self._connection: Connection | None = None
        self.retries = 0

    async def __aenter__(self) -> Reply:
        try:
            try:
                reply = await self._send()
            except aiohttp.ServerDisconnectedError:
                if not self._repeatable:
                    raise
                self.retries = 1
                reply = await self._send()
        except BaseException as e:
            self._give_up()
            if isinstance(e, _FAILURES):
                raise _translated(e) from None
            raise
        if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
            self._give_up()
            raise Refusal("WIRE.UNSCANNABLE", "upstream", "response")
        return reply

    async def _send(self) -> Reply:
        self._give_up()
        while True:
            connection = self._connection = await self._upstream.connect()
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            if not protocol.should_close:
                break
            connection.close()  # something came while nobody had asked: it must not pass for the next answer
        protocol.set_response_params(
            skip_payload=self._method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=self._upstream.read_s,
        )
        transport.write(self._head + self._body)
        protocol.start_timeout()
        while True:
            message, content = await protocol.read()
            if not 100 <= message.code < 200 or message.code == 101:
                return Reply(message.code, message.headers, content)

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._connection is not None:
            self._connection.release()  # one whose reply was not read to its end is closed by this
        if isinstance(error, _FAILURES):
            raise _translated(error) from None


_FAILURES = (TimeoutError, aiohttp.ClientError, HttpProcessingError)


def _translated(error: BaseException) -> Refusal:
    if isinstance(error, TimeoutError):
        return Refusal("SYSTEM.BACKEND", "timeout", "response")
    detail = "connect" if isinstance(error, aiohttp.ClientConnectorError) else "cut_off"
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
