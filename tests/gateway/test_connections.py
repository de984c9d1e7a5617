"""Requests over kept connections: they leave at once, and a connection is used again."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp.resolver import ThreadedResolver

from gateway.connections import BodyError, ConnectError, Connections, DisconnectedError, Exchange, head_of, host_of


class Server:
    """Answers `ok` to every request of one connection after the other, and says when one has come."""

    def __init__(self) -> None:
        self.came = threading.Semaphore(0)
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with client:
                while data := client.recv(65536):
                    if data.endswith(b"\r\n\r\n"):
                        self.came.release()
                        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_request_leaves_before_anything_else_that_waits_in_the_loop(server: Server, loop_factory: object) -> None:
    async def ask(connections: Connections) -> bytes:
        head = head_of("GET", "/", {"Host": host_of(server.url)})
        async with Exchange(connections, "GET", head, b"") as reply:
            return await reply.content.read()

    async def run() -> None:
        connections = Connections(server.url, ThreadedResolver())
        assert await ask(connections) == b"ok"
        assert server.came.acquire(timeout=5)
        arrived: list[bool] = []
        asking = asyncio.create_task(ask(connections))
        # Runs in the same turn of the loop as the request, right after it, and holds the loop until it has arrived.
        asyncio.get_running_loop().call_soon(lambda: arrived.append(server.came.acquire(timeout=5)))
        assert await asking == b"ok"
        assert arrived == [True]
        assert server.connections == 1
        await connections.close()

    with asyncio.Runner(loop_factory=loop_factory) as loop:  # type: ignore[arg-type]
        loop.run(run())


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_must_be_trusted(certificate: Path, trusted: bool) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def run() -> bytes:
        serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        serving.load_cert_chain(certificate / "tls.pem", certificate / "tls.key")
        context = ssl.create_default_context(cafile=str(certificate / "tls.pem") if trusted else None)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=serving) as server:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connections = Connections(url, ThreadedResolver(), tls=context)
            head = head_of("GET", "/", {"Host": host_of(url)})
            try:
                async with Exchange(connections, "GET", head, b"") as reply:
                    return await reply.content.read()
            finally:
                await connections.close()

    if trusted:
        assert asyncio.run(run()) == b"ok"
    else:
        with pytest.raises(ConnectError, match="certificate"):
            asyncio.run(run())


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_be_two_is_not_sent(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        head_of("GET", "/", {"X-A": value})
    with pytest.raises(ValueError, match="line end"):
        head_of("GET", f"/{value}", {})


# -- what servers do ---------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])


class Script:
    """A server that answers the n-th request, on whichever connection it comes, with the n-th entry: bytes to send,
    None to close, a number of seconds to wait. It notes the connection that each request came on."""

    def __init__(self, *answers: list[bytes | float | None]) -> None:
        self.answers, self.came_on = list(answers), list[int]()
        self.opened = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        number = self.opened
        self.writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.came_on.append(number)
                for step in self.answers.pop(0):
                    if step is None:
                        writer.close()
                        return
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    else:
                        await asyncio.sleep(step)


def scripted(
    script: Script,
    steps: Callable[[Connections], Awaitable[None]],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        async with await asyncio.start_server(script.answer, "127.0.0.1", 0) as server:
            connections = Connections(
                f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ThreadedResolver(), **options
            )
            try:
                async with asyncio.timeout(20):
                    await steps(connections)
                assert not script.answers
            finally:
                await connections.close()
                for writer in script.writers:
                    writer.close()
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop_factory) as loop:
        loop.run(run())


async def get(connections: Connections, method: str = "GET", *, repeatable: bool = True) -> tuple[int, bytes, int]:
    """(status, body, further tries)."""
    exchange = Exchange(connections, method, head_of(method, "/", {"Host": "x"}), b"", repeatable=repeatable)
    async with exchange as reply:
        return reply.status, b"".join([piece async for piece in reply.content.iter_any()]), exchange.retries


GZIP = gzip.compress(b"hello")
BODIES: dict[str, tuple[list[bytes | float | None], tuple[int, bytes], bool]] = {
    "by length": ([OK], (200, b"ok"), True),
    "empty": ([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"], (200, b""), True),
    "no content": ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b""), True),
    "in chunks": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", 0.05, b"1\r\nk\r\n0\r\n\r\n"],
        (200, b"ok"),
        True,
    ),
    "in pieces": ([*(bytes([b]) for b in OK)], (200, b"ok"), True),
    "after hints": ([b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 0.05, OK], (200, b"ok"), True),
    "to the end": ([b"HTTP/1.1 200 OK\r\n\r\no", 0.05, b"k", None], (200, b"ok"), False),
    "and it closes": ([OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1), None], (200, b"ok"), False),
    "of old": ([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], (200, b"ok"), False),
    "packed": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(GZIP), GZIP)],
        (200, b"hello"),
        True,
    ),
}


@LOOPS
@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_to_its_end_and_the_connection_kept_if_it_may_be(
    name: str, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    answer, (status, body), kept = BODIES[name]
    script = Script(answer, [OK])

    async def steps(connections: Connections) -> None:
        assert await get(connections) == (status, body, 0)
        assert await get(connections) == (200, b"ok", 0)
        assert script.came_on == ([1, 1] if kept else [1, 2])

    scripted(script, steps, loop_factory, decompress=True)


def test_head_has_no_body_whatever_its_length_says() -> None:
    async def steps(connections: Connections) -> None:
        assert await get(connections, "HEAD") == (200, b"", 0)
        assert await get(connections) == (200, b"ok", 0)

    scripted(Script([OK.removesuffix(b"ok")], [OK]), steps)


BROKEN: dict[str, tuple[list[bytes | float | None], type[Exception]]] = {
    "no answer": ([None, None], DisconnectedError),
    "no HTTP": ([b"hello\r\n\r\n"], DisconnectedError),
    "half a head": ([b"HTTP/1.1 200 OK\r\nX: ", None], DisconnectedError),
    "two lengths": ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok"], DisconnectedError),
    "half a body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", None], BodyError),
    "half its chunks": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", None], BodyError),
    "broken chunks": ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n", 0.05, b"z\r\n"], BodyError),
    "broken packing": (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n", 0.05, b"hello"],
        BodyError,
    ),
    "silence": ([5.0], TimeoutError),
    "silence in the body": ([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", 5.0], TimeoutError),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_reply_that_does_not_hold_is_an_error_and_its_connection_not_used_again(name: str) -> None:
    answer, error = BROKEN[name]
    script = Script(answer, [OK])

    async def steps(connections: Connections) -> None:
        with pytest.raises(error):
            await get(connections, repeatable=False)
        assert await get(connections) == (200, b"ok", 0)
        assert script.came_on == [1, 2]

    scripted(script, steps, decompress=True, read_s=0.5)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_connection_that_ends_while_idle_is_tried_once_more(repeatable: bool) -> None:
    """The request and the server's end cross on the way."""
    script = Script([OK], [None], *([[OK]] if repeatable else []))

    async def steps(connections: Connections) -> None:
        await get(connections)
        if repeatable:
            assert await get(connections) == (200, b"ok", 1)
            assert script.came_on == [1, 1, 2]
        else:
            with pytest.raises(DisconnectedError):
                await get(connections, repeatable=False)

    scripted(script, steps)


def test_it_is_not_tried_a_third_time() -> None:
    async def steps(connections: Connections) -> None:
        with pytest.raises(DisconnectedError):
            await get(connections)

    scripted(Script([None], [None]), steps)


def test_silence_is_measured_by_what_comes_and_not_by_who_reads_slowly() -> None:
    script = Script(
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", *[0.25, b"x"] * 5],
        [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (2 << 20, b"x" * (2 << 20))],
    )

    async def steps(connections: Connections) -> None:
        assert await get(connections) == (200, b"xxxxx", 0)  # longer than the time for silence
        async with Exchange(connections, "GET", head_of("GET", "/", {"Host": "x"}), b"") as reply:
            await asyncio.sleep(1.2)
            assert sum([len(piece) async for piece in reply.content.iter_any()]) == 2 << 20

    scripted(script, steps, read_s=0.5)


def test_what_comes_unasked_ends_the_connection() -> None:
    """It would pass for the answer to the next request."""
    script = Script([OK], [OK.replace(b"ok", b"no")])

    async def steps(connections: Connections) -> None:
        await get(connections)
        script.writers[0].write(OK)
        await asyncio.sleep(0.1)
        assert await get(connections) == (200, b"no", 0)
        assert script.came_on == [1, 2]

    scripted(script, steps)


def test_more_than_was_asked_for_ends_the_connection() -> None:
    script = Script([OK + OK], [OK.replace(b"ok", b"no")])

    async def steps(connections: Connections) -> None:
        assert await get(connections) == (200, b"ok", 0)
        assert await get(connections) == (200, b"no", 0)
        assert script.came_on == [1, 2]

    scripted(script, steps)


def test_a_connection_that_nobody_uses_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.connections.KEEP_S", 0.2)
    script = Script([OK], [OK])

    async def steps(connections: Connections) -> None:
        await get(connections)
        assert len(connections.open) == 1
        await asyncio.sleep(0.6)
        assert not connections.open
        await get(connections)
        assert script.came_on == [1, 2]

    scripted(script, steps)


@LOOPS
def test_no_more_are_open_at_once_than_may_be_and_who_is_cancelled_leaves_its_turn(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    script = Script(*[[0.05, OK] for _ in range(8)])

    async def steps(connections: Connections) -> None:
        asking = [asyncio.create_task(get(connections)) for _ in range(12)]
        await asyncio.sleep(0.02)
        for task in asking[4:8]:
            task.cancel()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert sum(isinstance(r, asyncio.CancelledError) for r in results) == 4
        assert script.opened <= 2

    scripted(script, steps, loop_factory, most=2)


def test_a_request_that_is_cancelled_takes_its_connection_with_it() -> None:
    script = Script([0.3, OK], [OK.replace(b"ok", b"no")])

    async def steps(connections: Connections) -> None:
        asking = asyncio.create_task(get(connections))
        await asyncio.sleep(0.1)
        asking.cancel()
        await asyncio.wait([asking])
        assert await get(connections) == (200, b"no", 0)
        assert script.came_on == [1, 2]

    scripted(script, steps, most=1)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://name.invalid", f"http://{'a' * 64}.invalid"])
def test_where_nothing_can_be_connected_to_is_said(url: str) -> None:
    async def run() -> None:
        connections = Connections(url, ThreadedResolver(), connect_s=10)
        with pytest.raises(ConnectError):
            await get(connections)
        await connections.close()

    asyncio.run(run())
