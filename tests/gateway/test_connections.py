"""Requests over kept connections: they leave at once, and a connection is used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from aiohttp.resolver import ThreadedResolver

from gateway.connections import ConnectError, Connections, Exchange, head_of, host_of


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
