"""What does not arrive as one clear HTTP request is refused, recorded, and harms nobody else."""

from __future__ import annotations

import gzip
import json
import socket
import time

import pytest

BODY = json.dumps({"model": "sim-1", "messages": [{"role": "user", "content": "Hi"}]}).encode()
POST = b"POST /v1/chat/completions HTTP/1.1\r\n"
SIZE = f"Content-Length: {len(BODY)}\r\n".encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def send(gateway, *pieces, close_writing=False, pause=0):
    """(status, body) of the answer to raw bytes; (0, b"") when the connection is closed without one."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(20)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(pause)
        if close_writing:
            client.shutdown(socket.SHUT_WR)
        reader = client.makefile("rb")
        line = reader.readline().split()
        if not line:
            return 0, b""
        size = 0
        while (header := reader.readline().strip().lower()) and header:
            if header.startswith(b"content-length:"):
                size = int(header.split(b":")[1])
        return int(line[1]), reader.read(size)


def heads(gateway, *more):
    common = f"Host: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {gateway.agent_key}\r\n".encode()
    return POST + common + b"".join(more) + b"\r\n"


def chunk(raw, extension=b""):
    return b"%x%b\r\n%b\r\n" % (len(raw), extension, raw)


def exchanges(gateway):
    return [r for r in gateway.rows() if r["event_kind"] == "exchange"]


UNREADABLE = {
    "two lengths": [SIZE, b"Content-Length: 3\r\n"],
    "length and chunks": [SIZE, CHUNKED],
    "chunks and length": [CHUNKED, SIZE],
    "negative length": [b"Content-Length: -1\r\n"],
    "length with sign": [b"Content-Length: +5\r\n"],
    "unknown transfer coding": [b"Transfer-Encoding: xchunked\r\n"],
    "chunked is not last": [b"Transfer-Encoding: chunked, identity\r\n"],
    "folded header": [SIZE, b"X-A: 1\r\n b\r\n"],
    "space before the colon": [b"Content-Length : 5\r\n"],
    "bare line feed in a header": [SIZE, b"X-A: 1\n2: 3\r\n"],
    "zero byte in a header": [SIZE, b"X-A: \x00\r\n"],
    "endless header": [SIZE, b"X-A: " + b"a" * 70_000 + b"\r\n"],
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_request_that_two_readers_could_take_for_different_ones_is_refused(gateway, simulator, name):
    """Request smuggling (RFC 9112, 11.2): no answer but 400, one event, and the connection ends."""
    status, body = send(gateway, heads(gateway, *UNREADABLE[name]), BODY)
    assert (status, json.loads(body)["error"]["code"]) == (400, "WIRE.MALFORMED:http")
    assert simulator.requests == []
    assert [(r["http_status"], r["reason_code"]) for r in exchanges(gateway)] == [(400, "WIRE.MALFORMED")]


@pytest.mark.parametrize("raw", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused_and_recorded(gateway, raw):
    status, body = send(gateway, raw)
    assert (status, json.loads(body)["error"]["code"]) == (400, "WIRE.MALFORMED:http")
    (row,) = exchanges(gateway)
    assert (row["request_method"], row["reason_detail"]) == ("*", "http")


@pytest.mark.parametrize("broken", [b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"1\r\nab\r\n"])
def test_a_body_whose_chunks_do_not_add_up_is_refused(gateway, simulator, broken):
    status, body = send(gateway, heads(gateway, CHUNKED) + chunk(BODY[:9]) + broken)
    assert (status, json.loads(body)["error"]["code"]) == (400, "WIRE.MALFORMED:http")
    assert simulator.requests == []
    assert [r["reason_detail"] for r in exchanges(gateway)] == ["http"]


def test_a_body_that_goes_wrong_while_it_is_read_is_refused_at_once(gateway, simulator):
    status, body = send(gateway, heads(gateway, CHUNKED) + chunk(BODY[:9]), b"zz\r\n", pause=0.1)
    assert (status, json.loads(body)["error"]["code"]) == (400, "WIRE.MALFORMED:http")
    assert simulator.requests == []
    assert [r["reason_detail"] for r in exchanges(gateway)] == ["http"]


def test_chunk_extensions_and_trailers_carry_nothing_on(gateway, simulator):
    secret = b"AKIA" + b"QYLPMN5HHHFPZAM2"
    tail = b"0\r\nX-Note: %b\r\n\r\n" % secret
    status, _ = send(gateway, heads(gateway, CHUNKED), chunk(BODY[:9], b";x=" + secret), chunk(BODY[9:]), tail)
    assert status in (200, 400)
    for headers, raw in simulator.requests:
        assert secret.decode() not in json.dumps(headers)
        assert json.loads(raw) == json.loads(BODY)


@pytest.mark.parametrize("head", [SIZE, CHUNKED])
def test_a_client_that_leaves_in_the_middle_of_its_body_is_recorded(gateway, simulator, head):
    raw = BODY[:9] if head is SIZE else chunk(BODY[:9]) + b"5\r\nabc"
    send(gateway, heads(gateway, head), raw, close_writing=True)
    deadline = time.monotonic() + 10
    while not (rows := exchanges(gateway)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert simulator.requests == []
    assert [(r["http_status"], r["reason_detail"]) for r in rows] == [(499, "client_closed")]


@pytest.mark.parametrize("beginning", [b"", b"POST /v1/chat/compl", POST + b"Host: x\r\n"])
def test_a_connection_without_a_whole_request_head_is_closed(gateway_factory, beginning):
    gateway = gateway_factory(idle_s=0.5).start()
    assert send(gateway, beginning) == (0, b"")


def test_a_client_that_does_not_read_is_cut_off(gateway_factory, simulator):
    """It would hold a connection to the provider for as long as it likes."""
    from aiohttp import web

    async def reply(request, _):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(simulator.chunk({"content": "more and " * 4000}).encode())

    simulator.reply = reply
    gateway = gateway_factory(client_read_s=1).start()
    host, port = gateway.url.removeprefix("http://").split(":")
    body = json.dumps({**json.loads(BODY), "stream": True}).encode()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(heads(gateway, f"Content-Length: {len(body)}\r\n".encode()) + body)
        deadline = time.monotonic() + 60
        while not (rows := exchanges(gateway)) and time.monotonic() < deadline:
            time.sleep(0.2)
    assert [(r["http_status"], r["reason_detail"]) for r in rows] == [(499, "client_closed")]


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "zstd", "identity, gzip"])
def test_compressed_bodies_are_refused_before_anything_is_unpacked(gateway, simulator, encoding):
    """A bomb of 1:1000 costs no more than its packed size."""
    bomb = gzip.compress(b"[" * (64 << 20), 9)
    response = gateway.post(bomb, headers={"Content-Encoding": encoding})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "WIRE.MALFORMED:content_encoding")
    assert simulator.requests == []


def test_an_upgrade_is_not_followed(gateway, simulator):
    status, _ = send(
        gateway, heads(gateway, SIZE, b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"), BODY
    )
    assert status in (200, 400)
    assert all("Upgrade" not in headers for headers, _ in simulator.requests)


@pytest.mark.parametrize("path", ["http://other.example/v1/chat/completions", "*", "/v1/models?x", "/v1/./models"])
def test_only_plain_paths_are_answered(gateway, simulator, path):
    status, body = send(gateway, heads(gateway, SIZE).replace(b"/v1/chat/completions", path.encode(), 1), BODY)
    assert status in (400, 404)
    assert json.loads(body)["error"]["code"] in ("POLICY.ROUTE", "WIRE.MALFORMED:http")
    assert simulator.requests == []
