"""A real gateway process between a real client and a loopback upstream."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import signal
import socket
import time

import httpx
import pytest
import yaml

from gateway.reasons import reasons

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
CARD = "4111 1111 " + "1111 1111"
ESCAPED_CALL = {"name": "get_balance", "arguments": json.dumps({"k": AWS}).replace("K", "\\u004b")}
TOOL = {"type": "function", "function": {"name": "get_balance", "parameters": {"type": "object"}}}


def tool(name):
    return {"type": "function", "function": {"name": name}}


def exchanges(gateway):
    return [r for r in gateway.rows() if r["event_kind"] == "exchange"]


def text_of(response):
    """The content that a streaming client would show."""
    parts = []
    for line in response.text.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                parts.append(choice["delta"].get("content") or "")
    return "".join(parts)


def test_a_clean_request_passes_with_the_providers_credential_only(gateway, simulator):
    response = gateway.post(
        gateway.chat("What is my balance?", tools=[TOOL]), headers={"X-Client": "1", "Cookie": "a=b"}
    )
    assert response.status_code == 200
    assert response.json() == simulator.completion()
    headers, raw = simulator.requests[0]
    assert headers["Authorization"] == f"Bearer {gateway.provider_key}"
    assert gateway.agent_key not in json.dumps(headers)
    assert not {"X-Client", "Cookie"} & set(headers)
    assert json.loads(raw) == gateway.chat("What is my balance?", tools=[TOOL])
    assert [r["event_kind"] for r in gateway.rows()] == ["open", "tool", "exchange"]
    row = exchanges(gateway)[0]
    wanted = {
        "agent_id": "support",
        "asset_id": "llm/support",
        "model": "sim-1",
        "decision": "allow",
        "http_status": 200,
    }
    assert {k: row[k] for k in wanted} == wanted
    assert (row["tokens_in"], row["tokens_out"], row["stream"]) == (3, 5, False)
    assert row["request_id"] == response.headers["x-request-id"]


def test_the_four_decisions(gateway, simulator):
    assert gateway.post(gateway.chat("hello")).status_code == 200
    assert gateway.post(gateway.chat("mail me at jane@nimbus-bank.example")).status_code == 200
    assert gateway.post(gateway.chat("my number is 536-22-" + "8726")).status_code == 200
    assert json.loads(simulator.requests[-1][1])["messages"][0]["content"] == "my number is [REDACTED:ssn_us]"
    blocked = gateway.post(gateway.chat(f"use {AWS}"))
    assert blocked.status_code == 403
    assert blocked.json()["error"]["code"] == "DLP.SECRET.AWS_ACCESS_KEY"
    assert len(simulator.requests) == 3
    assert [r["decision"] for r in exchanges(gateway)] == ["allow", "flag", "redact", "block"]


def test_disguises_cuts_and_too_many_layers(gateway, simulator):
    """A key in another encoding, or cut over parts or messages, is a key; what cannot be read is not passed."""
    encoded = base64.b64encode(AWS.encode()).decode()
    parts = [{"type": "text", "text": t} for t in ("use " + AWS[:3], AWS[3:9], AWS[9:] + " for it")]
    turns = [{"role": "user", "content": AWS[:12]}, {"role": "user", "content": AWS[12:]}]
    digits = [{"role": "user", "content": "pay with 4111 1111"}, {"role": "user", "content": "1111 1111 today"}]
    for messages in (None, [{"role": "user", "content": parts}], turns, digits):
        blocked = gateway.post({**gateway.chat(encoded), **({"messages": messages} if messages else {})})
        assert blocked.status_code == 403, messages
    assert [r["view"] for r in gateway.rows() if r["event_kind"] == "match"] == ["base64", "raw", "raw", "raw"]
    for _ in range(3):
        encoded = base64.b64encode(encoded.encode()).decode()
    refused = gateway.post(gateway.chat(encoded))
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "WIRE.UNSCANNABLE:limit")
    assert simulator.requests == []


@pytest.mark.parametrize(
    ("where", "body"),
    [
        ("system", {"messages": [{"role": "system", "content": AWS}]}),
        ("user", {"messages": [{"role": "user", "content": [{"type": "text", "text": AWS}]}]}),
        ("tool_result", {"messages": [{"role": "tool", "tool_call_id": "1", "content": AWS}]}),
        ("tool_args", {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "function": ESCAPED_CALL}]}]}),
        ("tool_def", {"tools": [{"type": "function", "function": {"name": "get_balance", "description": AWS}}]}),
        ("metadata", {"metadata": {AWS: "x"}}),
        ("metadata", {"user": AWS}),
        ("metadata", {"seed": 4111111111111111}),
    ],
)  # fmt: skip
def test_a_secret_is_found_wherever_it_lies(gateway, simulator, where, body):
    response = gateway.post({**gateway.chat(), **body})
    assert response.status_code == 403
    assert simulator.requests == []
    match = next(r for r in gateway.rows() if r["event_kind"] == "match")
    assert (match["location"], match["scope"], match["match_count"]) == (where, "request", 1)


def test_json_escapes_hide_nothing(gateway):
    raw = json.dumps(gateway.chat(AWS)).replace("AKIA", "\\u0041\\u004bIA").encode()
    assert gateway.post(raw).status_code == 403


def test_replies_are_redacted_in_text_and_arguments(gateway, simulator):
    arguments = json.dumps({"note": f"card {CARD}"})
    call = {"id": "c", "type": "function", "function": {"name": "get_balance", "arguments": arguments}}
    simulator.reply = {**simulator.completion(f"It is {CARD}.", tool_calls=[call]), "citations": [{"id": CARD}]}
    simulator.reply["choices"][0]["logprobs"] = {"content": [{"token": CARD}]}
    body = gateway.post(gateway.chat()).json()
    message = body["choices"][0]["message"]
    assert message["content"] == "It is [REDACTED:payment_card]."
    assert json.loads(message["tool_calls"][0]["function"]["arguments"]) == {"note": "card [REDACTED:payment_card]"}
    assert body["citations"] == [{"id": "[REDACTED:payment_card]"}]
    assert "1111" not in json.dumps(body)


def test_a_streamed_secret_split_at_every_offset_never_leaks(gateway, simulator):
    text = f"Your card is {CARD}, and that is all."
    for cut in range(len(text) + 1):
        simulator.reply = [
            simulator.chunk({"role": "assistant", "content": ""}),
            simulator.chunk({"content": text[:cut]}),
            simulator.chunk({"content": text[cut:]}),
            simulator.chunk({}, "stop"),
            "data: [DONE]\n\n",
        ]
        response = gateway.post(gateway.chat(stream=True))
        assert text_of(response) == "Your card is [REDACTED:payment_card], and that is all."
        assert response.text.endswith("data: [DONE]\n\n")
    rows = exchanges(gateway)
    assert len(rows) == len(text) + 1
    assert {(r["decision"], r["stream"], r["http_status"]) for r in rows} == {("redact", True, 200)}


def test_a_stream_cut_at_every_byte_on_the_wire_reads_the_same(gateway, simulator):
    raw = (simulator.chunk({"content": f"ü {CARD}"}) + simulator.chunk({}, "stop") + "data: [DONE]\n\n").encode()
    for cut in range(1, len(raw), 9):
        simulator.reply = [raw[:cut], raw[cut:]]
        assert text_of(gateway.post(gateway.chat(stream=True))) == "ü [REDACTED:payment_card]"


def test_a_violation_ends_a_running_stream_with_an_error_event(gateway, simulator):
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
    simulator.reply = [simulator.chunk({"content": c}) for c in f"Of course. Here:\n{key}"] + ["data: [DONE]\n\n"]
    response = gateway.post(gateway.chat(stream=True))
    assert response.status_code == 200
    assert text_of(response) == "Of course. Here:\n"
    *_, error, done = response.text.strip().split("\n\n")
    assert json.loads(error[6:])["error"]["code"] == "DLP.SECRET.PRIVATE_KEY"
    assert done == "data: [DONE]"
    (row,) = exchanges(gateway)
    assert (row["decision"], row["reason_code"], row["scope"]) == ("block", "DLP.SECRET.PRIVATE_KEY", "response")


def test_a_violation_in_the_first_event_is_a_plain_error(gateway, simulator):
    call = {"index": 0, "function": {"name": "wire_money", "arguments": "{}"}}
    simulator.reply = [simulator.chunk({"tool_calls": [call]}, "tool_calls"), "data: [DONE]\n\n"]
    response = gateway.post(gateway.chat(stream=True))
    assert (response.status_code, response.json()["error"]["code"]) == (403, "POLICY.TOOL_DENIED")
    assert "wire_money" not in response.text


def test_streaming_delivers_before_the_upstream_is_done(gateway, simulator):
    go_on = asyncio.Event()

    async def reply(request, _):
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(simulator.chunk({"content": "beforehand "}).encode())
        await go_on.wait()
        await response.write((simulator.chunk({"content": "late"}, "stop") + "data: [DONE]\n\n").encode())
        return response

    simulator.reply = reply
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    url = gateway.url + "/v1/chat/completions"
    with httpx.stream("POST", url, json=gateway.chat(stream=True), headers=headers, timeout=20) as response:
        lines = response.iter_lines()
        assert "beforehand" in next(lines)
        simulator._loop.call_soon_threadsafe(go_on.set)
        assert any("late" in line for line in lines)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [TOOL, tool("wire_money")]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "custom", "custom": {"name": "shell"}}]},
        {"tools": [tool("get_balanсe")]},  # with a Cyrillic letter
        {"functions": [{"name": "wire_money"}]},
        {"tool_choice": tool("wire_money")},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("wire_money")]}}},
        {"function_call": {"name": "wire_money"}},
        {"web_search_options": {}},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", **tool("wire_money")}]}]},
        {"messages": [{"role": "assistant", "function_call": {"name": "wire_money", "arguments": "{}"}}]},
        {"messages": [{"role": "function", "name": "wire_money", "content": "done"}]},
    ],
)
def test_unlisted_tools_are_denied_in_every_place_of_a_request(gateway, simulator, body):
    response = gateway.post({**gateway.chat(), **body})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "POLICY.TOOL_DENIED")
    assert simulator.requests == []
    denied = [r for r in gateway.rows() if r["event_kind"] == "tool" and r["decision"] == "block"]
    assert len(denied) == 1
    assert denied[0]["tool_id"].startswith("h:")


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "wire_money", "arguments": "{}"}}]},
        {"function_call": {"name": "wire_money", "arguments": "{}"}},
    ],
)
def test_unlisted_tools_are_denied_in_replies(gateway, simulator, message):
    simulator.reply = simulator.completion(None, **message)
    response = gateway.post(gateway.chat())
    assert (response.status_code, response.json()["error"]["param"]) == (403, "response")
    assert "wire_money" not in response.text


DEEP = b'{"model":"m","messages":' + b"[" * 70 + b"]" * 70 + b"}"
HOSTILE = [
    ("json", b""),
    ("json", b"{"),
    ("json", b'{"model":"m","messages":[],"x":NaN}'),
    ("json", b'\xef\xbb\xbf{"model":"m"}'),
    ("json", '{"model":"m"}'.encode("utf-16")),
    ("json", b'{"model":"\xff"}'),
    ("json", b'{"model":"\\ud800"}'),
    ("depth", DEEP),
    ("json", b"[" * 100_000),
    ("number", b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":99999999999999999999999}'),
    ("shape", b"[]"),
    ("shape", b'"x"'),
    ("shape", b'{"messages":[{"role":"user","content":"x"}]}'),
    ("shape", b'{"model":"m","messages":[]}'),
    ("shape", b'{"model":"m","messages":"x"}'),
    ("shape", b'{"model":"m","messages":[1]}'),
    ("shape", b'{"model":"m","messages":[{"role":"root","content":"x"}]}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":5}]}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":["x"]}]}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":"yes"}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x"}],"n":17}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":{}}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":5}]}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":5}'),
    ("shape", b'{"model":"m","messages":[{"role":"user","content":"x","tool_calls":5}]}'),
    ("part", b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}'),
    ("part", b'{"model":"m","messages":[{"role":"assistant","audio":{"id":"a"}}]}'),
    ("option", b'{"model":"m","messages":[{"role":"user","content":"x"}],"logprobs":true}'),
    ("option", b'{"model":"m","messages":[{"role":"user","content":"x"}],"modalities":["text","audio"]}'),
]


def test_hostile_bodies_get_a_4xx_in_openai_shape_and_one_row_each(gateway, simulator):
    for detail, raw in HOSTILE:
        response = gateway.post(raw)
        assert response.status_code == 400, raw[:60]
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"].split(":")[1] == detail, raw[:60]
    assert simulator.requests == []
    assert [r["reason_detail"] for r in exchanges(gateway)] == [detail for detail, _ in HOSTILE]


def test_a_duplicate_key_means_the_same_to_filter_and_upstream(gateway, simulator):
    raw = b'{"model":"m","messages":[{"role":"user","content":"one"}],"messages":[{"role":"user","content":"two"}]}'
    assert gateway.post(raw).status_code == 200
    assert b"one" not in simulator.requests[0][1]
    hidden = raw.replace(b'"two"', json.dumps(AWS).encode())
    assert gateway.post(hidden).status_code == 403


DENIED = [
    (415, "WIRE.MALFORMED:content_type", {"headers": {"Content-Type": "text/plain"}}),
    (415, "WIRE.MALFORMED:content_type", {"headers": {"Content-Type": "application/json; charset=utf-16"}}),
    (415, "WIRE.MALFORMED:content_encoding", {"headers": {"Content-Encoding": "gzip"}}),
    (404, "POLICY.ROUTE", {"path": "/v1/files"}),
    (404, "POLICY.ROUTE", {"path": "/v1/chat/completions/"}),
    (404, "POLICY.ROUTE", {"path": "//v1/chat/completions"}),
    (404, "POLICY.ROUTE", {"path": "/v1/chat%2fcompletions"}),
    (404, "POLICY.ROUTE", {"path": "/V1/chat/completions"}),
    (404, "POLICY.ROUTE", {"path": "/v1/chat/completions?key=1"}),
    (405, "POLICY.ROUTE:method", {"path": "/v1/models"}),
    (401, "POLICY.AGENT_DENIED", {"headers": {"Authorization": "Bearer wrong"}}),
    (401, "POLICY.AGENT_DENIED", {"headers": {"Authorization": "Basic YTpi"}}),
    (401, "POLICY.AGENT_DENIED", {"headers": {"Authorization": ""}}),
]


def test_what_is_not_on_the_list_is_denied(gateway, simulator):
    compressed = gzip.compress(json.dumps(gateway.chat()).encode())
    for status, code, options in DENIED:
        response = gateway.post(compressed if status == 415 else gateway.chat(), **options)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code), options
    assert simulator.requests == []
    assert [r["http_status"] for r in exchanges(gateway)] == [status for status, _, _ in DENIED]


def test_dot_segments_are_not_resolved(gateway):
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(10)
        client.sendall(b"GET /v1/x/../models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 404")


def test_two_authorization_headers_are_denied(gateway):
    headers = [("Authorization", f"Bearer {gateway.agent_key}"), ("Authorization", "Bearer x")]
    assert httpx.get(gateway.url + "/v1/models", headers=headers).status_code == 401


def test_models_are_listed_through_the_filter(gateway, simulator):
    simulator.reply = {"object": "list", "data": [{"id": "sim-1", "note": AWS}]}
    response = httpx.get(gateway.url + "/v1/models", headers={"Authorization": f"Bearer {gateway.agent_key}"})
    assert response.json() == {"object": "list", "data": [{"id": "sim-1", "note": "[REDACTED:aws_access_key_id]"}]}


def test_a_named_route_answers_under_its_name(gateway):
    assert gateway.post(gateway.chat(), path="/default/v1/chat/completions").status_code == 200


def test_limits_hold(gateway_factory, simulator):
    gateway = gateway_factory(body_bytes=1000, response_bytes=1000, client_body_s=1, read_s=1).start()
    assert gateway.post(gateway.chat("x" * 1000)).status_code == 413
    simulator.reply = simulator.completion("x" * 1000)
    assert gateway.post(gateway.chat()).status_code == 502

    async def never(*_):
        await asyncio.sleep(5)

    simulator.reply = never
    assert gateway.post(gateway.chat()).status_code == 504
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 90\r\n"
            + f"Authorization: Bearer {gateway.agent_key}\r\n\r\n{{".encode()
        )
        assert slow.recv(100).startswith(b"HTTP/1.1 408")
    assert [r["reason_detail"] for r in exchanges(gateway)] == ["body", "upstream", "timeout", "slow"]


def test_expect_continue_is_answered(gateway):
    body = json.dumps(gateway.chat()).encode()
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.settimeout(10)
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n".encode()
            + f"Authorization: Bearer {gateway.agent_key}\r\n\r\n".encode()
        )
        assert client.recv(100).startswith(b"HTTP/1.1 100")
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("upstream", "status", "detail"),
    [
        ({"status": 500}, 502, "status"),
        ({"status": 401}, 502, "credential"),
        ({"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}, 502, "redirect"),
        ({"reply": b"<html>"}, 502, "upstream"),
        ({"reply": b'{"choices": 5}'}, 502, "upstream"),
        ({"reply": b'{"choices": [{"message": {"audio": {"data": "UklGRg=="}}}]}'}, 502, "upstream"),
        ({"headers": {"Content-Encoding": "br"}}, 502, "upstream"),
        ({"reply": ["<cut>"]}, 502, "cut_off"),
    ],
)
def test_upstream_failures_are_named_and_recorded(gateway, simulator, upstream, status, detail):
    for name, value in upstream.items():
        setattr(simulator, name, value)
    response = gateway.post(gateway.chat())
    assert (response.status_code, response.json()["error"]["code"].split(":")[1]) == (status, detail)
    assert gateway.provider_key not in response.text
    (row,) = exchanges(gateway)
    assert (row["http_status"], row["reason_detail"], row["decision"]) == (status, detail, "block")
    simulator.status, simulator.headers, simulator.reply = 200, {}, simulator.completion()
    assert gateway.post(gateway.chat()).status_code == 200


def test_an_upstream_that_is_not_there(gateway_factory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        gateway = gateway_factory(f"http://127.0.0.1:{taken.getsockname()[1]}/v1").start()
        assert gateway.post(gateway.chat()).status_code == 502
    assert exchanges(gateway)[0]["reason_detail"] == "connect"


def test_a_stream_that_breaks_off_is_not_passed_off_as_whole(gateway, simulator):
    simulator.reply = [simulator.chunk({"content": "half "}), simulator.chunk({"content": CARD[:9]}), "<cut>"]
    response = gateway.post(gateway.chat(stream=True))
    assert "SYSTEM.BACKEND:cut_off" in response.text
    assert CARD[:4] not in text_of(response)
    assert exchanges(gateway)[0]["reason_detail"] == "cut_off"


def test_client_errors_of_the_upstream_pass_filtered(gateway, simulator):
    simulator.status, simulator.reply = 429, {"error": {"message": f"slow down {AWS}", "type": "rate_limit"}}
    simulator.headers = {"Retry-After": "7"}
    response = gateway.post(gateway.chat())
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"]["message"] == "slow down [REDACTED:aws_access_key_id]"


def test_a_client_that_leaves_is_recorded_once(gateway, simulator):
    gone = asyncio.Event()

    async def reply(request, _):
        from aiohttp import web

        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(simulator.chunk({"content": "more and " * 400}).encode())
                await asyncio.sleep(0.005)
        finally:
            gone.set()

    simulator.reply = reply
    url, headers = gateway.url + "/v1/chat/completions", {"Authorization": f"Bearer {gateway.agent_key}"}
    with httpx.stream("POST", url, json=gateway.chat(stream=True), headers=headers) as response:
        next(response.iter_bytes())
    asyncio.run_coroutine_threadsafe(gone.wait(), simulator._loop).result(20)
    deadline = time.monotonic() + 10
    while not (rows := exchanges(gateway)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [(r["http_status"], r["reason_detail"]) for r in rows] == [(499, "client_closed")]


def test_policy_changes_take_effect_on_sighup_and_bad_ones_do_not(gateway_factory, policy, simulator):
    gateway = gateway_factory().start()
    policy.publish(tools={"support": ["get_balance", "wire_money"]})
    gateway.rows()
    assert gateway.post(gateway.chat(tools=[tool("wire_money")])).status_code == 200
    good = (policy.folder / "policy.json").read_bytes()
    (policy.folder / "policy.json").write_bytes(good.replace(b"wire_money", b"wire_monkey"))
    gateway.rows()
    assert gateway.post(gateway.chat(tools=[tool("wire_money")])).status_code == 200
    events = [(r["decision"], r["policy_version"]) for r in gateway.rows() if r["event_kind"] == "policy"]
    assert events[0] == ("allow", 1)
    assert ("allow", 2) in events
    assert events[-1] == ("block", 2)


def test_requests_in_flight_finish_at_sigterm(gateway_factory, simulator):
    gateway = gateway_factory().start()
    import threading

    started = threading.Event()

    async def reply(request, _):
        from aiohttp import web

        started.set()
        await asyncio.sleep(0.5)
        return web.json_response(simulator.completion())

    simulator.reply = reply
    answers = []
    thread = threading.Thread(target=lambda: answers.append(gateway.post(gateway.chat()).status_code))
    thread.start()
    assert started.wait(10)
    gateway.signal(signal.SIGTERM)
    thread.join(20)
    assert answers == [200]
    assert gateway.process.wait(20) == 0  # not `stop`: a second signal would end it before it has cleaned up
    assert [r["http_status"] for r in exchanges(gateway)] == [200]
    assert not list(gateway.spool.glob("*.open"))


CANARY = "zebra-canary-7f3a91"


def test_no_client_text_reaches_the_log_or_stderr(gateway_factory, simulator):
    """A canary in every place a client or an upstream can write to."""
    gateway = gateway_factory().start()
    host, port = gateway.url.removeprefix("http://").split(":")
    bodies = [
        gateway.chat(f"{CARD} {CANARY} {AWS}"),
        {**gateway.chat(CANARY), "model": CANARY},
        gateway.chat(CANARY, metadata={CANARY: CANARY}, user=CANARY),
        gateway.chat(tools=[tool(CANARY)]),
        gateway.chat(tool_choice=tool(CANARY)),
        {"model": "sim-1", "messages": [{"role": CANARY, "content": CANARY}]},
        CANARY.encode(),
    ]
    for body in bodies:
        gateway.post(body)
    gateway.post(gateway.chat(), path=f"/{CANARY}")
    gateway.post(gateway.chat(), headers={"Authorization": f"Bearer {CANARY}"})
    httpx.request(CANARY.upper(), gateway.url + "/v1/models")
    for raw in (f"GET /{CANARY} HTTP/9.9\r\n\r\n", f"{CANARY}\r\n\r\n", f"GET / HTTP/1.1\r\n{CANARY}\r\n\r\n"):
        with socket.create_connection((host, int(port))) as client:
            client.settimeout(5)
            client.sendall(raw.encode())
            client.recv(1000)
    call = {"id": CANARY, "type": "function", "function": {"name": CANARY, "arguments": CANARY}}
    simulator.reply = simulator.completion(CANARY, tool_calls=[call])
    gateway.post(gateway.chat())
    simulator.status, simulator.reply = 400, {"error": {"message": CANARY, "code": CANARY}}
    gateway.post(gateway.chat())
    simulator.status, simulator.reply = 200, [f"data: {CANARY}\n\n"]
    gateway.post(gateway.chat(stream=True))
    assert gateway.stop() == 0
    stored = b"".join(p.read_bytes() for p in gateway.folder.rglob("*") if p.is_file() and p.parent == gateway.spool)
    stored += (gateway.folder / "stderr.txt").read_bytes()
    assert len(exchanges(gateway)) == 16
    for secret in (CANARY, CANARY.upper(), AWS, CARD, gateway.agent_key, gateway.provider_key):
        assert secret.encode() not in stored


def test_every_detail_of_a_code_is_named_in_a_test():
    """That every code is met: test_reason_codes.py."""
    from pathlib import Path

    tests = "".join(p.read_text() for p in Path(__file__).parent.glob("test_*.py"))
    for code, reason in reasons().items():
        for detail in reason.details:
            assert f'"{detail}"' in tests or f":{detail}" in tests, (code, detail)


def test_reason_codes_are_written_once():
    from gateway import reasons as module

    text = module.Path(module.__file__).with_name("reason_codes.yaml").read_text()
    assert len(yaml.safe_load(text)) == sum(line[:1].isupper() for line in text.splitlines())
