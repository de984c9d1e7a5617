"""Requests to one origin over connections that are kept: what the gateway sends upstream and what a probe is sent by.

Replies are read by aiohttp's parser, written in C, and bodies handed out by its stream. Its session, request objects
and connection pool are left out: made or asked anew for every request they would cost more than the filter, and a body
would leave only after whatever else is waiting in the event loop.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from typing import NamedTuple

from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp import StreamReader
from aiohttp.abc import AbstractResolver
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpResponseParser
from multidict import CIMultiDictProxy
from yarl import URL

KEEP_S = 15.0
"""Seconds for which a connection is kept that nobody uses."""
NEXT_ADDRESS_S = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305 §5)."""
MAX_LINE, MAX_HEADERS, BUFFER = 8190, 128, 1 << 18
"""Characters of a first line and of a header, headers of a message, bytes of a body kept until they are asked for."""


class ExchangeError(Exception):
    """A request got no whole reply."""


class ConnectError(ExchangeError):
    """There is no connection: no address, nobody listens, no trust in the certificate."""


class DisconnectedError(ExchangeError):
    """The connection ended before a reply began; `cleanly`: the server said that it ends."""

    def __init__(self, message: str, *, cleanly: bool = False) -> None:
        super().__init__(message)
        self.cleanly = cleanly


class BodyError(ExchangeError):
    """A reply's body ended early, or is not what its headers say."""


class Reply(NamedTuple):
    """What a server answers."""

    status: int
    headers: CIMultiDictProxy[str]
    content: StreamReader
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
        origin = URL(url)
        self._host, self._port = origin.raw_host or "", origin.port or 80
        self._tls = (tls or _default_tls()) if origin.scheme == "https" else None
        self._resolver, self._connect_s = resolver, connect_s
        self.read_s, self.decompress = read_s, decompress
        self._loop = asyncio.get_running_loop()
        self._turns = asyncio.Semaphore(most) if most else None
        self._idle: list[tuple[Connection, float]] = []
        self.open: set[Connection] = set()
        self._sweeping: asyncio.TimerHandle | None = None

    async def take(self) -> Connection:
        """A connection that no other request uses; `give_back` is due. Raises ConnectError and TimeoutError."""
        if self._turns is not None:
            await self._turns.acquire()
        try:
            while self._idle:
                connection, since = self._idle.pop()
                if connection.usable and self._loop.time() - since < KEEP_S:
                    return connection
                connection.close()
            return await self._connect()
        except BaseException:
            if self._turns is not None:
                self._turns.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Keep it for the next request, if its reply was read to the end and the server keeps it too."""
        if connection.usable:
            self._idle.append((connection, self._loop.time()))
            if self._sweeping is None:
                self._sweeping = self._loop.call_later(KEEP_S, self._sweep)
        else:
            connection.close()
        if self._turns is not None:
            self._turns.release()

    def _sweep(self) -> None:
        since = self._loop.time() - KEEP_S
        for connection, _ in [kept for kept in self._idle if kept[1] <= since]:
            connection.close()
        self._idle = [kept for kept in self._idle if kept[1] > since]
        self._sweeping = self._loop.call_later(KEEP_S, self._sweep) if self._idle else None

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                found = await self._resolver.resolve(self._host, self._port, socket.AF_UNSPEC)
                way = await start_connection(
                    [_address(one["host"], one["port"]) for one in found], happy_eyeballs_delay=NEXT_ADDRESS_S
                )
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self, self._loop),
                    sock=way,
                    ssl=self._tls,
                    server_hostname=self._host.rstrip(".") if self._tls is not None else None,
                )
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as e:
            raise ConnectError(str(e)) from e
        return connection

    async def close(self) -> None:
        """Close all of them."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._idle.clear()
        for connection in list(self.open):
            connection.close()
        await asyncio.sleep(0)  # for their ends to reach whoever waits


def _address(host: str, port: int) -> AddrInfoType:
    six = ":" in host
    where = (host, port, 0, 0) if six else (host, port)
    return socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where


@cache
def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connection(BaseProtocol):
    """One connection, and the reply that comes on it."""

    def __init__(self, owner: Connections, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._owner = owner
        self._parser = self._reader()
        self._waiter: asyncio.Future[Reply] | None = None
        self._content: StreamReader | None = None
        self._kept = True  # whether the next request may go the same way
        self._heard = 0.0
        self._watching: asyncio.TimerHandle | None = None

    def _reader(self, *, body: bool = True) -> HttpResponseParser:
        return HttpResponseParser(
            self,
            self._loop,
            BUFFER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            payload_exception=BodyError,
            response_with_body=body,
            read_until_eof=True,
            auto_decompress=self._owner.decompress,
        )

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: nothing else is on its way."""
        return (
            self._kept
            and self.transport is not None
            and not self.transport.is_closing()
            and (self._content is None or self._content.is_eof())
        )

    async def ask(self, raw: bytes, *, body: bool = True) -> Reply:
        """Send a request; the head of its reply. `body`: False for HEAD, whose replies have none.

        Raises DisconnectedError and, after `read_s` of silence, TimeoutError.
        """
        if self.transport is None:
            raise DisconnectedError("the connection has ended", cleanly=True)
        if not body:
            self._parser, self._kept = self._reader(body=False), False
        self._content, self._waiter = None, self._loop.create_future()
        self.transport.write(raw)
        self._heard = self._loop.time()
        if self._watching is None and self._owner.read_s:
            self._watching = self._loop.call_later(self._owner.read_s, self._watch)
        return await self._waiter

    def _watch(self) -> None:
        """One timer for all that comes: what is on its way moves it only when it fires."""
        self._watching = None
        silence = self._owner.read_s
        if silence is None or not self._pending():
            return
        left = silence if self._reading_paused else self._heard + silence - self._loop.time()
        if left > 0:  # or the reader is the one who is slow
            self._watching = self._loop.call_later(left, self._watch)
        else:
            self._fail(TimeoutError("no reply"), TimeoutError("no more of the reply"))

    def _pending(self) -> bool:
        return self._waiter is not None or (self._content is not None and not self._content.is_eof())

    def _fail(self, before: Exception, within: Exception) -> None:
        """End what is on its way: `before` its head came, or `within` its body."""
        self._kept = False
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_exception(before)
            self._waiter = None
        elif self._content is not None and not self._content.is_eof():
            self._content.set_exception(within)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._owner.open.add(self)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or (data and not self._pending()):
            self.close()  # nobody had asked: it must not pass for the next answer
            return
        self._heard = self._loop.time()
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError as e:
            self._fail(DisconnectedError(f"no HTTP: {type(e).__name__}"), BodyError("its framing does not hold"))
            self.close()
            return
        for message, content in messages:
            if 100 <= message.code < 200 and message.code != 101:
                continue
            if self._waiter is None:
                self._kept = False  # more than was asked for
                break
            self._content = content
            self._kept = self._kept and not message.should_close and not upgraded
            if not self._waiter.done():
                self._waiter.set_result(Reply(message.code, message.headers, content))
            self._waiter = None

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Asked for at the end of every body, needed after a pause only."""
        if self._reading_paused:
            self._heard = self._loop.time()
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._owner.open.discard(self)
        if self._watching is not None:
            self._watching.cancel()
        if self._content is not None and not self._content.is_eof() and self._parser is not None:
            with suppress(HttpProcessingError):
                self._parser.feed_eof()  # the end of a body that has no other end
        self._fail(DisconnectedError("no reply", cleanly=exc is None), BodyError("it ended early"))

    def close(self) -> None:
        """Without waiting for what still comes."""
        self._kept = False
        if self.transport is not None:
            self.transport.close()


async def read_all(content: StreamReader, most: int) -> bytes | None:
    """A body to its end; None when it is larger than `most` bytes."""
    if content.is_eof():  # it came with its head, as short ones do
        raw: bytes = content.read_nowait()
        return raw if len(raw) <= most else None
    pieces, size = [], 0
    async for piece in content.iter_any():
        size += len(piece)
        if size > most:
            return None
        pieces.append(piece)
    return b"".join(pieces)


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
        """Raises ExchangeError and TimeoutError."""
        try:
            try:
                return await self._send()
            except DisconnectedError as e:
                if not (self._repeatable and e.cleanly):
                    raise
            self.give_up()
            self.retries = 1
            return await self._send()
        except BaseException:
            self.give_up()
            raise

    async def _send(self) -> Reply:
        connection = self._connection = await self._connections.take()
        return await connection.ask(self._head + self._body, body=self._method != "HEAD")

    def give_up(self) -> None:
        """Close the connection: what still comes on it is not wanted."""
        if self._connection is not None:
            self._connection.close()
            self._release()

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._connections.give_back(connection)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._release()  # one whose reply was not read to its end is closed by this
