"""What the events of a request say: where something was, whose value it is again, and never the value."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import httpx
import pytest

from gateway.pattern_files import load_patterns
from tasks.gateway_logs import columns

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
OTHER = "AKIA" + "QYLPMN5HHHFPZAM3"
CARD = "4111 1111 1111 1111"
PASSWORD = "password: k9Lm2Qp7Zs4W"
UNFILLED = {"shadow", "call_depth", "lost_events"}
"""Columns that no request fills: rules on trial and the depth of agents are not known, and a gap is no request."""


def kind(rows, name):
    return [row for row in rows if row["event_kind"] == name]


def where(row):
    return row["matched_in"], row["layer"], row["location"], row["scope"]


def test_a_match_is_placed_and_versioned(gateway):
    gateway.post(gateway.chat(f"the key is {AWS}, and again {AWS}"))
    (match,) = kind(gateway.rows(), "match")
    pattern = next(p for p in load_patterns() if p.id == "aws_access_key_id")
    assert where(match) == ("body", "post-template", "user", "request")
    assert (match["match_offset"], match["match_length"], match["match_count"]) == (11, len(AWS), 2)
    assert match["rule_version"] == pattern.version
    assert int(pattern.version, 16) >= 0
    assert len({p.version for p in load_patterns()}) == len(load_patterns())


def test_a_value_is_known_again_by_its_keyed_hash(gateway):
    """In any place and direction; encoded ones, and those that can be guessed, have none."""
    for text in (AWS, f"so: {AWS}", OTHER, "".join(f"&#{ord(c)};" for c in AWS), CARD, PASSWORD):
        gateway.post(gateway.chat(text))
    first, again, other, encoded, card, password = (m["match_hmac"] for m in kind(gateway.rows(), "match"))
    assert first == again
    assert first.startswith("h:")
    assert other.startswith("h:")
    assert other != first
    assert (encoded, card, password) == (None, None, None)


def test_a_streamed_match_is_placed_in_the_whole_text(gateway, simulator):
    before = "Words that are sent on long before the number comes. " * 8
    pieces = [before[i : i + 9] for i in range(0, len(before), 9)] + [CARD[:7], CARD[7:], ", that is all"]
    events = [simulator.chunk({"content": piece}) for piece in pieces]
    simulator.reply = [*events, simulator.chunk({}, "stop"), "data: [DONE]\n\n"]
    gateway.post(gateway.chat(stream=True))
    (match,) = kind(gateway.rows(), "match")
    assert where(match) == ("body", None, "assistant", "response")
    assert (match["match_offset"], match["match_length"]) == (len(before), len(CARD))


@pytest.mark.parametrize("place", ["tool_def", "tool_args", "tool_result"])
def test_what_stands_with_tools_is_told_apart(gateway, place):
    function = {"name": "get_balance", "description": AWS if place == "tool_def" else "x", "parameters": {}}
    call = {"id": "1", "type": "function", "function": {"name": "get_balance", "arguments": json.dumps({"a": AWS})}}
    body = {
        "tool_def": gateway.chat(tools=[{"type": "function", "function": function}]),
        "tool_args": {"model": "sim-1", "messages": [{"role": "assistant", "tool_calls": [call]}]},
        "tool_result": {"model": "sim-1", "messages": [{"role": "tool", "tool_call_id": "1", "content": AWS}]},
    }[place]
    assert gateway.post(body).status_code == 403
    rows = gateway.rows()
    assert [where(m) for m in kind(rows, "match")] == [("tools", "tool-call", place, "request")]
    assert {(t["matched_in"], t["layer"]) for t in kind(rows, "tool")} <= {("tools", "tool-call")}


def test_headers_and_the_path_are_told_apart(speaking, carriers):
    """Only what is passed on is looked at: a provider's own headers, and a model's name in the path."""
    for api, path, headers, expected in (
        ("anthropic", carriers["anthropic_messages"].path, {"anthropic-beta": AWS}, "headers"),
        ("gemini", f"/v1beta/models/sim-{AWS}:generateContent", {}, "url"),
    ):
        gateway, simulator = speaking(api)
        carrier = carriers["anthropic_messages" if api == "anthropic" else "gemini"]
        key = {"x-api-key": gateway.agent_key} if api == "anthropic" else {"x-goog-api-key": gateway.agent_key}
        answer = httpx.post(gateway.url + path, json=carrier.request("Hi"), headers={**key, **headers}, timeout=30)
        assert answer.status_code == 403
        assert simulator.requests == []
        assert {m["matched_in"] for m in kind(gateway.rows(), "match")} == {expected}


def test_a_session_is_known_by_a_keyed_hash_and_goes_no_further(gateway, simulator):
    for session in ("conversation-77", "conversation-77", "conversation-78"):
        gateway.post(gateway.chat(AWS if session.endswith("8") else "Hi"), headers={"X-Session-Id": session})
    gateway.post(gateway.chat())
    rows = gateway.rows()
    first, again, other, none = (e["session_id"] for e in kind(rows, "exchange"))
    assert first == again
    assert first.startswith("h:")
    assert other not in (first, None)
    assert none is None
    assert [m["session_id"] for m in kind(rows, "match")] == [other]
    assert all("conversation" not in str(headers) for headers, _ in simulator.requests)
    assert "conversation" not in json.dumps(rows, default=str)


@contextmanager
def closing_after_each_answer(body):
    """An upstream that hangs up on every connection once it is asked a second time."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                read_request(connection)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                read_request(connection)

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


def read_request(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(rest) < length:
        rest += connection.recv(65536)


def test_a_second_try_at_the_upstream_is_counted(gateway_factory, simulator):
    with closing_after_each_answer(json.dumps(simulator.completion()).encode()) as port:
        gateway = gateway_factory(f"http://127.0.0.1:{port}/v1").start()
        assert [gateway.post(gateway.chat()).status_code for _ in range(2)] == [200, 200]
        assert [e["retry"] for e in kind(gateway.rows(), "exchange")] == [0, 1]


def test_all_columns_are_filled_but_those_that_say_so(gateway_factory, simulator, policy):
    budget = {"id": "day", "upstream_domain": "*", "agent": "*", "period": "day", "zone": "Europe/Berlin",
              "limit_micro_usd": 10**9, "action": "block"}  # fmt: skip
    models = {"sim-1": {"input": 10**6, "output": 10**6, "cached": 10**5}}
    policy.publish(budgets=[budget], prices={"default_max_tokens": 9, "unknown_price": "deny", "models": models})
    gateway = gateway_factory()
    settings = gateway.folder / "gateway.toml"
    settings.write_text(settings.read_text() + 'application_id = "shop"\n')
    gateway.start()
    call = {"id": "1", "type": "function", "function": {"name": "get_balance", "arguments": '{"a":"1"}'}}
    definition = {"name": "get_balance", "parameters": {"type": "object"}}
    simulator.reply = simulator.completion(None, tool_calls=[call])
    simulator.reply["usage"]["prompt_tokens_details"] = {"cached_tokens": 1}
    tools = [{"type": "function", "function": definition}]
    assert gateway.post(gateway.chat(tools=tools), headers={"X-Session-Id": "s"}).status_code == 200
    pieces = [simulator.chunk({"content": f"it is {CARD}"}), simulator.chunk({}, "stop"), "data: [DONE]\n\n"]
    simulator.reply = pieces
    assert gateway.post(gateway.chat(stream=True)).status_code == 200
    assert gateway.post(gateway.chat(AWS)).status_code == 403
    simulator.reply = simulator.completion(tool_calls=[{**call, "function": {**call["function"], "name": "wire"}}])
    assert gateway.post(gateway.chat()).status_code == 403
    assert gateway.post(b"{").status_code == 400
    rows = gateway.rows()
    empty = {name for name in columns() if all(row.get(name) is None for row in rows)}
    assert empty - {"run_id", "segment_no", "dt"} == UNFILLED
