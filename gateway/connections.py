"""Requests to one origin over connections that are kept: what the gateway sends upstream and what a probe is sent by.

Connections, TLS, name lookup and the reading of replies are aiohttp's. Its session and request objects are left out:
made anew for every request they would cost as much as all of the filter, and a body would leave only after whatever
else is waiting in the event loop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.connector import Connection
from multidict import CIMultiDictProxy
from yarl import URL


class Reply(NamedTuple):
    """What a server answers."""

    status: int
    headers: CIMultiDictProxy[str]
    content: aiohttp.StreamReader
    """The body, read while the request is open."""


class Connections:
    """The kept connections to the origin of `url`. To be made inside the event loop that uses it."""

    def __init__(
        self,
        url: str,
        resolver: AbstractResolver,
        *,
        most: int = 0,
        connect_s: float | None = None,
        read_s: float | None = None,
        tls: ssl.SSLContext | None = None,
        decompress: bool = False,
    ) -> None:
        """At most `most` at once (0 = no limit); `read_s` = seconds of silence after which a reply is given up."""
        self._connector = aiohttp.TCPConnector(limit=most, resolver=resolver, ssl=True if tls is None else tls)
        # Names where to connect to; never sent.
        self._target = aiohttp.ClientRequest("GET", URL(url), loop=asyncio.get_running_loop())
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        self.read_s, self.decompress = read_s, decompress

    async def connect(self) -> Connection:
        """A connection that no other request uses. Raises aiohttp.ClientError and TimeoutError."""
        return await self._connector.connect(self._target, [], self._timeout)

    async def close(self) -> None:
        """Close all of them."""
        await self._connector.close()


def host_of(url: str) -> str:
    """The value of a Host header (RFC 9110 §7.2)."""
    return URL(url).host_port_subcomponent or ""


def head_of(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request's first line and headers. Raises ValueError when one of them would make another line."""
    return head_lines(f"{method} {target or '/'} HTTP/1.1", headers)


def head_lines(first: str, headers: Mapping[str, str]) -> bytes:
    """The head of a message. Raises ValueError when something in it would make another line."""
    head = f"{first}\r\n" + "".join([f"{n}: {v}\r\n" for n, v in headers.items()]) + "\r\n"
    if head.count("\n") != len(headers) + 2 or head.count("\r") != len(headers) + 2 or "\0" in head:
        raise ValueError("a header with a line end")
    return head.encode("latin-1")


class Exchange:
    """One request: `async with` gives the reply's status and headers; its body is read inside.

    A connection that the server closed while idle is tried once more, since no byte of a reply had come; unless
    the request is not `repeatable`: it may have been acted on all the same.
    """

    __slots__ = ("_body", "_connection", "_connections", "_head", "_method", "_repeatable", "retries")

    def __init__(
        self, connections: Connections, method: str, head: bytes, body: bytes, *, repeatable: bool = True
    ) -> None:
        self._connections, self._method, self._head, self._body = connections, method, head, body
        self._repeatable = repeatable
        self._connection: Connection | None = None
        self.retries = 0

    async def __aenter__(self) -> Reply:
        """Raises aiohttp.ClientError, aiohttp's HttpProcessingError and TimeoutError."""
        try:
            try:
                return await self._send()
            except aiohttp.ServerDisconnectedError:
                if not self._repeatable:
                    raise
                self.retries = 1
                return await self._send()
        except BaseException:
            self.give_up()
            raise

    async def _send(self) -> Reply:
        self.give_up()
        while True:
            connection = self._connection = await self._connections.connect()
            protocol, transport = connection.protocol, connection.transport
            if protocol is None or transport is None:
                raise aiohttp.ServerDisconnectedError
            if not protocol.should_close:
                break
            connection.close()  # something came while nobody had asked: it must not pass for the next answer
        protocol.set_response_params(
            skip_payload=self._method == "HEAD",
            read_until_eof=True,
            auto_decompress=self._connections.decompress,
            read_timeout=self._connections.read_s,
        )
        transport.write(self._head + self._body)
        protocol.start_timeout()
        while True:
            message, content = await protocol.read()
            if not 100 <= message.code < 200 or message.code == 101:
                return Reply(message.code, message.headers, content)

    def give_up(self) -> None:
        """Close the connection: what still comes on it is not wanted."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self._connection is not None:
            self._connection.release()  # one whose reply was not read to its end is closed by this
