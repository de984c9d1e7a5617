"""What an upstream does wrong: odd streams, cut replies, no HTTP. The client gets an error, never half a secret."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import pytest

CARD = "4111 1111 " + "1111 1111"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n"
JSON, SSE = HEAD % b"application/json", HEAD % b"text/event-stream"


def exchanges(gateway):
    return [r for r in gateway.rows() if r["event_kind"] == "exchange"]


def text_of(response):
    events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", []))


def piece(content, finish=None):
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]})


@pytest.fixture
def raw_upstream():
    """A server that reads a request and writes `reply` as it is; `half_close` keeps reading after its end."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(200)  # a gateway takes its time to start on a busy machine

        def answer(connection, reply, half_close):
            with connection:
                connection.settimeout(20)
                request = b""
                while not request.endswith(b"}"):
                    if not (piece := connection.recv(65536)):
                        return
                    request += piece
                connection.sendall(reply)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)

        def start(reply, half_close=False):
            def run():
                with contextlib.suppress(OSError):  # the test is over
                    while True:
                        answer(server.accept()[0], reply, half_close)

            threading.Thread(target=run, daemon=True).start()
            return f"http://127.0.0.1:{server.getsockname()[1]}/v1"

        yield start


ODD = {
    "no space after the colon": "data:{}\n\n".replace("{}", piece("Hi", "stop")),
    "carriage returns": f"data: {piece('Hi', 'stop')}\r\r",
    "both line ends": f"data: {piece('Hi', 'stop')}\r\n\r\n",
    "comments and unknown fields": f": ping\n\nid: 7\nretry: 1\nfoo: bar\ndata: {piece('Hi', 'stop')}\n\n",
    "data in two lines": "data: {}\n\n".replace("{}", piece("Hi", "stop").replace(", ", ",\ndata: ", 1)),
    "an event without data": f"event: x\n\ndata: {piece('Hi', 'stop')}\n\n",
    "text after the end": f"data: {piece('Hi', 'stop')}\n\ndata: [DONE]\n\ndata: {piece(CARD)}\n\n",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_but_valid_streams_are_read(gateway, simulator, name):
    simulator.reply = [ODD[name], "data: [DONE]\n\n"]
    response = gateway.post(gateway.chat(stream=True))
    assert (text_of(response), response.text.count("[DONE]")) == ("Hi", 1)
    assert exchanges(gateway)[0]["decision"] == "allow"


BROKEN = {
    "not JSON": ("WIRE.MALFORMED:upstream", b"data: {\n\n"),
    "NaN": ("WIRE.MALFORMED:upstream", b'data: {"choices": [], "x": NaN}\n\n'),
    "not UTF-8": ("WIRE.MALFORMED:upstream", b'data: {"x": "\xff"}\n\n'),
    "UTF-16": ("WIRE.MALFORMED:upstream", b"data: " + '{"choices": []}'.encode("utf-16") + b"\n\n"),
    "lone surrogate": ("WIRE.MALFORMED:upstream", b'data: {"x": "\\ud800"}\n\n'),
    "too deep": ("WIRE.MALFORMED:upstream", b"data: " + b"[" * 100 + b"]" * 100 + b"\n\n"),
    "event without end": ("WIRE.LIMIT:upstream", b"data: " + b"x" * (2 << 20)),
    "no end": ("SYSTEM.BACKEND:cut_off", f"data: {piece('Hi')}\n\n".encode()),
    "half an event at the end": ("SYSTEM.BACKEND:cut_off", f"data: {piece('Hi')}\n\ndata: {piece(CARD)}".encode()),
    "nothing at all": ("SYSTEM.BACKEND:cut_off", b""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_streams_end_in_an_error_and_one_event(gateway, simulator, name):
    code, raw = BROKEN[name]
    simulator.reply = [raw]
    response = gateway.post(gateway.chat(stream=True))
    assert f'"code":"{code}"' in response.text
    assert CARD[:4] not in text_of(response)
    (row,) = exchanges(gateway)
    assert (row["decision"], f"{row['reason_code']}:{row['reason_detail']}") == ("block", code)


CUT = {
    "no HTTP": b"hello\r\n\r\n",
    "closed at once": b"",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-",
    "less than its length": JSON + b'Content-Length: 90\r\n\r\n{"choices": [',
    "half a chunk": JSON + b'Transfer-Encoding: chunked\r\n\r\nff\r\n{"choices": [',
    "length and chunks": JSON + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk of no size": JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a stream cut in a chunk": SSE + b"Transfer-Encoding: chunked\r\n\r\nff\r\ndata: {",
}


@pytest.mark.parametrize("half_close", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.full] if i % 3 else []) for i, n in enumerate(CUT)]
)
def test_replies_that_are_cut_are_never_passed_off_as_whole(gateway_factory, raw_upstream, name, half_close):
    gateway = gateway_factory(raw_upstream(CUT[name], half_close)).start()
    response = gateway.post(gateway.chat(stream=CUT[name].startswith(SSE)))
    assert (response.status_code, response.json()["error"]["code"]) == (502, "SYSTEM.BACKEND:cut_off")
    assert [(r["decision"], r["reason_detail"]) for r in exchanges(gateway)] == [("block", "cut_off")]


def test_a_stream_that_falls_silent_times_out(gateway_factory, simulator):
    import asyncio

    async def reply(request, _):
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(f"data: {piece('Hi ')}\n\n".encode())
        await asyncio.sleep(5)
        return response

    simulator.reply = reply
    gateway = gateway_factory(read_s=0.3).start()
    response = gateway.post(gateway.chat(stream=True))
    assert text_of(response) == "Hi "
    assert "SYSTEM.BACKEND:timeout" in response.text
    assert exchanges(gateway)[0]["reason_detail"] == "timeout"


def test_an_answer_that_nobody_asked_for_is_nobodys_answer(gateway_factory, simulator):
    """A provider that sends a second reply later, on the connection that is kept, must not have it read as the next."""
    replies = [b'{"id": "asked", "choices": []}', b'{"id": "unasked", "choices": []}']
    told = [JSON + b"Content-Length: %d\r\n\r\n" % len(r) + r for r in replies]
    late = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(200)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

        def answer(connection):
            with connection, contextlib.suppress(OSError):
                connection.settimeout(20)
                while True:
                    request = b""
                    while not request.endswith(b"}"):
                        if not (more := connection.recv(65536)):
                            return
                        request += more
                    connection.sendall(told[0])
                    if not late.is_set():
                        time.sleep(0.2)
                        connection.sendall(told[1])
                        late.set()

        threading.Thread(target=serve, daemon=True).start()
        gateway = gateway_factory(f"http://127.0.0.1:{server.getsockname()[1]}/v1").start()
        assert gateway.post(gateway.chat("one")).json()["id"] == "asked"
        assert late.wait(20)
        time.sleep(0.2)
        assert gateway.post(gateway.chat("two")).json()["id"] == "asked"
