"""The server's HTTP: order, framing, backpressure and ends of connections, without a gateway behind it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvloop

from gateway import http_server
from gateway.http_server import WAITING, Answer, HttpServer, MalformedError
from gateway.listen import bind

LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])


@asynccontextmanager
async def client_of(handle, **options):
    """(server, reader, writer) of one connection."""
    server = HttpServer(handle, **options)
    url = await server.start(bind("127.0.0.1", 0, shared=False))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        yield server, reader, writer
    finally:
        writer.close()
        await server.close(0.1)


async def read_answer(reader):
    """(status, headers, body) of an answer that says its length."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


def post(path, body=b"", *more):
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *more, "", ""]
    return "\r\n".join(lines).encode() + body


async def echo(request):
    return Answer(200, {}, request.raw_path.encode() + b" " + await request.content.read())


def run(steps, loop_factory=None):
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(steps())


@LOOPS
def test_requests_that_come_together_are_answered_in_order(loop_factory):
    """Many more than may wait: the rest stays unread until there is room."""

    async def steps():
        async with client_of(echo) as (_, reader, writer):
            count = 5 * WAITING + 3
            writer.write(b"".join(post(f"/{n}", b"b%d" % n) for n in range(count)))
            answers = [(await read_answer(reader))[2] for _ in range(count)]
            assert answers == [b"/%d b%d" % (n, n) for n in range(count)]

    run(steps, loop_factory)


@LOOPS
def test_a_large_body_is_read_as_it_comes(loop_factory):
    async def steps():
        async def slow(request):
            size = 0
            async for piece in request.content.iter_any():
                size += len(piece)
                await asyncio.sleep(0)
            return Answer(200, {}, str(size).encode())

        async with client_of(slow) as (_, reader, writer):
            for _ in range(2):
                writer.write(post("/", b"x" * (5 << 20)))
                assert (await read_answer(reader))[2] == str(5 << 20).encode()

    run(steps, loop_factory)


def test_a_refused_body_is_read_to_its_end_so_that_the_client_sees_the_answer():
    async def steps():
        async def refuse(_):
            return Answer(401, {})

        async with client_of(refuse) as (_, reader, writer):
            for _ in range(2):  # the connection goes on
                writer.write(post("/", b"x" * (3 << 20)))
                await asyncio.wait_for(writer.drain(), 10)
                status, headers, _ = await read_answer(reader)
                assert (status, headers.get("connection")) == (401, None)

    run(steps)


def test_a_refused_body_that_never_ends_ends_the_connection(monkeypatch):
    monkeypatch.setattr(http_server, "LINGER_S", 0.2)

    async def steps():
        async def refuse(_):
            return Answer(401, {})

        async with client_of(refuse) as (_, reader, writer):
            writer.write(post("/", b"x" * 10)[:-5])
            assert (await read_answer(reader))[0] == 401
            assert await asyncio.wait_for(reader.read(), 10) == b""

    run(steps)


async def stream(request):
    request.begin({"Content-Type": "text/event-stream"})
    await request.write(b"one")
    await request.write(b"")
    await request.write(b"two", end=True)


def test_streams_are_framed_in_chunks():
    async def steps():
        async with client_of(stream) as (_, reader, writer):
            for _ in range(2):
                writer.write(post("/"))
                _, headers, _ = await read_answer(reader)
                assert headers["transfer-encoding"] == "chunked"
                assert await reader.readexactly(21) == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"

    run(steps)


def test_a_stream_to_an_old_client_ends_with_the_connection():
    async def steps():
        async with client_of(stream) as (_, reader, writer):
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            _, headers, _ = await read_answer(reader)
            assert "transfer-encoding" not in headers
            assert await asyncio.wait_for(reader.read(), 10) == b"onetwo"

    run(steps)


@pytest.mark.parametrize(
    ("request_head", "connection", "ends"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", "close", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "keep-alive", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "close", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, False),
        (b"GET / HTTP/1.1\r\n\r\n", "close", True),  # without a host nobody can say what is asked for
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "close", True),
    ],
)
def test_whether_a_connection_goes_on_is_said_and_done(request_head, connection, ends):
    async def steps():
        async with client_of(echo) as (_, reader, writer):
            writer.write(request_head)
            _, headers, _ = await read_answer(reader)
            assert headers.get("connection") == connection
            if ends:
                assert await asyncio.wait_for(reader.read(), 10) == b""
            else:
                writer.write(post("/again"))
                assert (await read_answer(reader))[2] == b"/again "

    run(steps)


def test_an_offer_to_speak_http_2_is_left_aside_and_the_body_read():
    """What Java's client sends by default."""

    async def steps():
        async with client_of(echo) as (_, reader, writer):
            offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
            writer.write(post("/", b"hello", *offer))
            assert (await read_answer(reader))[2] == b"/ hello"

    run(steps)


def test_an_answer_to_head_has_the_length_and_no_body():
    async def steps():
        async with client_of(echo) as (_, reader, writer):
            writer.write(b"HEAD /long HTTP/1.1\r\nHost: x\r\n\r\n" + post("/next"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"Content-Length: 6\r\n" in head
            assert (await read_answer(reader))[2] == b"/next "

    run(steps)


def test_a_body_that_does_not_hold_is_told_to_whoever_reads_it():
    async def steps():
        told = []

        async def handle(request):
            try:
                await request.content.read()
            except MalformedError:
                told.append(True)
            return Answer(400, {})

        async with client_of(handle) as (_, reader, writer):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            await asyncio.sleep(0.1)
            writer.write(b"zz\r\n")
            status, headers, _ = await read_answer(reader)
            assert (status, headers["connection"], told) == (400, "close", [True])
            assert await asyncio.wait_for(reader.read(), 10) == b""

    run(steps)


def test_a_body_that_does_not_hold_is_told_also_when_its_turn_comes_later():
    async def steps():
        first = asyncio.Event()

        async def handle(request):
            if request.raw_path == "/first":
                await first.wait()
            try:
                await request.content.read()
            except MalformedError:
                return Answer(400, {})
            return Answer(200, {})

        async with client_of(handle) as (_, reader, writer):
            writer.write(
                post("/first") + b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
            )
            await asyncio.sleep(0.1)
            writer.write(b"zz\r\n" + post("/never"))
            await asyncio.sleep(0.1)
            first.set()
            assert [(await read_answer(reader))[0] for _ in range(2)] == [200, 400]
            assert await asyncio.wait_for(reader.read(), 10) == b""

    run(steps)


def test_a_header_that_would_be_two_is_never_sent():
    async def steps():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        async def careless(_):
            return Answer(200, {"X-A": "1\r\nX-B: 2"})

        async with client_of(careless) as (_, reader, writer):
            writer.write(post("/"))
            assert await asyncio.wait_for(reader.read(), 10) == b""

    run(steps)


@LOOPS
def test_a_stream_waits_for_a_client_that_does_not_read_and_ends_with_it(loop_factory):
    async def steps():
        sent, ended = [], asyncio.Event()

        async def endless(request):
            request.begin({})
            try:
                while True:
                    await request.write(b"x" * (1 << 16))
                    sent.append(request.gone)
            except ConnectionError:
                sent.append(request.gone)
                ended.set()

        async with client_of(endless) as (_, _, writer):
            writer.write(post("/"))
            await asyncio.sleep(0.3)
            before = len(sent)
            await asyncio.sleep(0.2)
            assert 0 < len(sent) == before < 1000
            writer.transport.abort()
            await asyncio.wait_for(ended.wait(), 10)
            assert sent[-1] is True

    run(steps, loop_factory)


def test_a_client_that_leaves_is_told_to_whoever_reads_its_body():
    async def steps():
        told = asyncio.Event()

        async def handle(request):
            with pytest.raises(ConnectionError):
                await request.content.read()
            told.set()

        async with client_of(handle) as (_, _, writer):
            writer.write(post("/", b"x" * 10)[:-5])
            await asyncio.sleep(0.1)
            writer.close()
            await asyncio.wait_for(told.wait(), 10)

    run(steps)


def test_connections_that_stay_silent_are_closed_and_others_not():
    async def steps():
        async with client_of(echo, idle_s=0.3) as (server, reader, writer):
            for _ in range(4):  # together longer than it may be silent
                writer.write(post("/"))
                assert (await read_answer(reader))[0] == 200
                await asyncio.sleep(0.15)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            assert not server.connections

    run(steps)


@LOOPS
def test_the_end_lets_running_requests_finish_and_cuts_off_late_ones(loop_factory):
    async def steps():
        cancelled = []

        async def slow(request):
            try:
                await asyncio.sleep(0.3 if request.raw_path == "/soon" else 60)
            except asyncio.CancelledError:
                cancelled.append(request.raw_path)
                raise
            return Answer(200, {})

        server = HttpServer(slow)
        url = await server.start(bind("127.0.0.1", 0, shared=False))
        ways = [await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2])) for _ in range(3)]
        for (_, writer), path in zip(ways, ("/soon", "/late"), strict=False):
            writer.write(post(path))
        await asyncio.sleep(0.1)
        await server.close(1.0)
        status, headers, _ = await read_answer(ways[0][0])
        assert (status, headers["connection"], cancelled) == (200, "close", ["/late"])
        for reader, writer in ways:  # also the one that asked nothing
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    run(steps, loop_factory)
