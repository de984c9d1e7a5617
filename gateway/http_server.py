"""HTTP/1.1 towards clients: the requests of a connection, answered one after the other (I/O).

Requests are read by aiohttp's parser: written in C, and strict about what two readers could take for different
requests (RFC 9112 §11.2). Its server is left out: the task, timer, request and response that it makes for every one
cost more than to filter it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, RawRequestMessage
from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.connections import BUFFER, MAX_HEADERS, MAX_LINE, head_lines
from gateway.errors import ConfigError

BACKLOG = 1024
LINGER_S = 10.0
"""Seconds for which the rest of a body is read that was refused: a client that still sends would not see the answer."""
WAITING = 8
"""Requests that may wait on a connection behind the one that is answered; the next ones stay unread."""
_NO_BODY = (204, 304)


class Answer(NamedTuple):
    """An answer in one piece."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


def json_answer(status: int, value: Any) -> Answer:
    """An answer of JSON."""
    return Answer(status, {"Content-Type": "application/json"}, orjson.dumps(value))


class MalformedError(Exception):
    """What came is not HTTP, or could be taken for two different requests."""


class Request:
    """One request. Its body is read from `content`, which raises ConnectionError when the client leaves before its end
    and MalformedError when it does not hold what its framing says."""

    __slots__ = ("_chunked", "_connection", "_head", "content", "headers", "method", "raw_path")

    def __init__(self, connection: _Connection, message: RawRequestMessage | None, content: StreamReader) -> None:
        self._connection, self.content = connection, content
        self.method = "*" if message is None else message.method
        self.raw_path = "/" if message is None else message.path
        self.headers = _NONE if message is None else message.headers
        self._chunked = message is None or message.version >= HttpVersion11
        self._head = b""

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._connection.transport is None

    def go_on(self) -> None:
        """Tell a client that asked for it to send its body (RFC 9110 §10.1.1)."""
        if self._connection.transport is not None:
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def begin(self, headers: Mapping[str, str]) -> None:
        """Answer 200 with a stream; its head goes out with the first piece."""
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {}
        if not self._chunked:
            self._connection.last = True
        self._head = self._connection.head(200, {**headers, **framing})

    async def write(self, raw: bytes, *, end: bool = False) -> None:
        """The stream's next piece, or its last one. Returns once the client keeps up. Raises ConnectionError."""
        if raw and self._chunked:
            raw = b"%x\r\n%b\r\n" % (len(raw), raw)
        if end and self._chunked:
            raw += b"0\r\n\r\n"
        await self._connection.write(self._head + raw)
        self._head = b""


Handler = Callable[[Request], Awaitable[Answer | None]]
"""Answers a request: None when it wrote a stream to its end, or as far as it got."""
_NONE: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())


class _Connection(BaseProtocol):
    """One client."""

    def __init__(self, server: HttpServer) -> None:
        loop = asyncio.get_running_loop()
        parser = HttpRequestParser(
            self,
            loop,
            BUFFER,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            max_headers=MAX_HEADERS,
            auto_decompress=False,
            max_msg_queue_size=WAITING,
        )
        super().__init__(loop, parser)
        self._server = server
        self._waiting: deque[tuple[RawRequestMessage | None, StreamReader]] = deque()
        self._content: StreamReader | None = None  # of the request that is answered
        self.task: asyncio.Task[None] | None = None
        """Answers what is waiting; None between requests."""
        self.last = False
        """Whether the connection ends after the answer that is given."""
        self._old = False  # HTTP/1.0, where connections end unless both sides say otherwise
        self._deaf = False  # what still comes is not read
        self.idle_since = loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._server.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._server.connections.discard(self)
        self._waiting.clear()
        if self._content is not None and not self._content.is_eof():
            self._content.set_exception(ConnectionResetError("the client left"))

    def data_received(self, data: bytes) -> None:
        if self._deaf or self._parser is None:
            return
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except HttpProcessingError:
            self._deaf = True  # nobody knows where the next request begins
            newest = self._waiting[-1][1] if self._waiting else self._content
            if newest is not None and not newest.is_eof():
                newest.set_exception(MalformedError("a body that does not hold"))
                return
            messages, upgraded = [(None, EMPTY_PAYLOAD)], False
        self._deaf = self._deaf or upgraded
        self._waiting.extend(messages)
        if len(self._waiting) >= WAITING and not self._buffer_paused:
            self._pause_reading_for_buffer()
        if self.task is None and self._waiting:
            self.task = self._loop.create_task(self._answer_all())

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Asked for at the end of every body, needed after a pause only."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def _answer_all(self) -> None:
        try:
            while self._waiting and self.transport is not None:
                message, content = self._waiting.popleft()
                if message is not None and self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and not self._waiting:
                    self.data_received(b"")  # what the parser kept back
                    if len(self._waiting) < WAITING:
                        self._resume_reading_for_buffer()
                await self._answer(message, content)
        except ConnectionError:
            self.close()
        except BaseException:
            self.close()
            raise
        finally:
            self.task = self._content = None
            self.idle_since = self._loop.time()

    async def _answer(self, message: RawRequestMessage | None, content: StreamReader) -> None:
        self._content = content
        self._old = message is not None and message.version < HttpVersion11
        self.last = message is None or message.should_close
        handle = self._server.unreadable if message is None else self._server.handle
        answer = await handle(Request(self, message, content))
        if answer is not None:
            body = b"" if message is not None and message.method == "HEAD" else answer.body
            headers = answer.headers
            if answer.status not in _NO_BODY:
                headers = {**headers, "Content-Length": str(len(answer.body))}
            await self.write(self.head(answer.status, headers) + body)
        if not content.is_eof():
            await self._linger(content)
        if self._ends:
            self.close()

    @property
    def _ends(self) -> bool:
        return self.last or self._server.closing or (self._deaf and not self._waiting)

    async def _linger(self, content: StreamReader) -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                while not content.is_eof():
                    await content.readany()
        except (TimeoutError, MalformedError):
            self.last = True

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        """An answer's first line and headers."""
        said = {**headers, "Date": _date(int(time.time()))}
        if self._ends:
            said["Connection"] = "close"
        elif self._old:
            said["Connection"] = "keep-alive"
        return head_lines(_status_line(status), said)

    async def write(self, raw: bytes) -> None:
        """Returns once the client keeps up. Raises ConnectionError."""
        if self.transport is None:
            raise ConnectionResetError("the client left")
        self.transport.write(raw)
        if self._paused:
            await self._drain_helper()

    def close(self) -> None:
        """Once what was written is sent."""
        self._deaf = True
        self._waiting.clear()
        if self.transport is not None:
            self.transport.close()


@lru_cache(maxsize=64)
def _status_line(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"


@lru_cache(maxsize=1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class HttpServer:
    """`handle` answers requests; `unreadable` what is no HTTP request, or one that two readers could take for different
    ones. A connection is closed that stays without a whole request head for `idle_s` seconds."""

    def __init__(self, handle: Handler, unreadable: Handler | None = None, idle_s: float = 75.0) -> None:
        self.handle, self.unreadable = handle, unreadable or _malformed
        self.connections: set[_Connection] = set()
        self.closing = False
        self._idle_s = idle_s
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def start(self, where: socket.socket, tls: ssl.SSLContext | None = None) -> str:
        """Answer on a bound socket; the base URL. Raises ConfigError."""
        host, port = where.getsockname()[:2]
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self), sock=where, ssl=tls, backlog=BACKLOG
            )
        except OSError as e:
            raise ConfigError(f"cannot listen on {host}:{port}: {e.strerror}") from None
        self._sweep()
        shown = f"[{host}]" if ":" in host else host
        return f"{'http' if tls is None else 'https'}://{shown}:{port}"

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time() - self._idle_s
        for connection in [c for c in self.connections if c.task is None and c.idle_since < since]:
            connection.close()
        self._sweeping = loop.call_later(self._idle_s / 4, self._sweep)

    async def close(self, within_s: float) -> None:
        """Accept nothing more; requests that run have `within_s` seconds to end."""
        self.closing = True
        if self._server is not None:
            self._server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for connection in [c for c in self.connections if c.task is None]:
            connection.close()
        if running := [c.task for c in self.connections if c.task is not None]:
            _, late = await asyncio.wait(running, timeout=within_s)
            for task in late:
                task.cancel()
            for task in late:
                with suppress(asyncio.CancelledError):
                    await task
        for connection in list(self.connections):
            connection.close()


async def _malformed(_: Request) -> Answer:
    return Answer(400, {})
