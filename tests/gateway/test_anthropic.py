"""Anthropic messages: Anthropic's own client in front of a real gateway process, and the stream reader by itself."""

from __future__ import annotations

import json
from typing import get_args

import anthropic
import httpx
import pytest
from anthropic.types.shared.error_type import ErrorType

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal, reasons
from gateway.strict_json import parse
from gateway.wire.anthropic_errors import error_body
from gateway.wire.anthropic_messages import AnthropicMessages, AnthropicTokenCount
from gateway.wire.anthropic_messages_stream import MAX_OPEN, MessageStream
from gateway.wire.format import Usage
from gateway.wire.held import MAX_HELD
from gateway.wire.sse import sse

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
CARD = "4111 1111 " + "1111 1111"
GONE = "[REDACTED:payment_card]"
TOOL = {"name": "get_balance", "description": "Balance of an account.", "input_schema": {"type": "object"}}


@pytest.fixture(scope="module")
def shared(speaking):
    return speaking("anthropic")


@pytest.fixture(scope="module")
def carrier(carriers):
    return carriers["anthropic_messages"]


@pytest.fixture
def client(gateway):
    with anthropic.Anthropic(api_key=gateway.agent_key, base_url=gateway.url, max_retries=0) as client:
        yield client


def events(bodies):
    return [sse(b, b.get("type")).decode() for b in bodies]


def ask(client, text="Hi", **more):
    return client.messages.create(model="sim-1", max_tokens=64, messages=[{"role": "user", "content": text}], **more)


def collect(stream, seen):
    """Keep what arrives, also when an error follows."""
    for event in stream:
        seen.append(event)


def exchange(gateway):
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    return row


def test_text_passes_and_is_redacted_and_counted(gateway, simulator, client, carrier):
    simulator.reply = carrier.reply(f"Your card is {CARD}.")
    simulator.reply["usage"] |= {"cache_read_input_tokens": 7, "cache_creation_input_tokens": 2}
    message = ask(client, system="Be brief.", extra_headers={"anthropic-beta": "x-1", "x-other": "1"})
    assert message.content[0].text == f"Your card is {GONE}."
    headers, raw = simulator.requests[0]
    assert (headers["x-api-key"], simulator.paths) == (gateway.provider_key, ["/v1/messages"])
    assert not {"Authorization", "x-other"} & set(headers)
    assert {"anthropic-version", "anthropic-beta"} <= set(headers)
    assert json.loads(raw)["system"] == "Be brief."
    row = exchange(gateway)
    assert (row["wire_format"], row["model"], row["decision"]) == ("anthropic_messages", "sim-1", "redact")
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (12, 5, 7)


def test_both_headers_hold_a_key_but_only_one_may_be_shown(gateway, simulator, carrier):
    simulator.reply = carrier.reply("Hello.")
    bearer, own = {"Authorization": f"Bearer {gateway.agent_key}"}, {"x-api-key": gateway.agent_key}
    for headers, status in ((bearer, 200), (own, 200), ({**bearer, **own}, 401), ({}, 401)):
        url = gateway.url + "/v1/messages"
        assert httpx.post(url, json=carrier.request("Hi"), headers=headers).status_code == status


def test_errors_are_raised_with_the_reason_code(gateway, simulator, client, carrier):
    with pytest.raises(anthropic.PermissionDeniedError) as blocked:
        ask(client, f"use {AWS}")
    assert (blocked.value.type, blocked.value.error_code) == ("permission_error", "DLP.SECRET.AWS_ACCESS_KEY")
    assert AWS not in str(blocked.value)
    assert simulator.requests == []
    simulator.reply = carrier.call("wire_money", {})
    with pytest.raises(anthropic.PermissionDeniedError) as blocked:
        ask(client)
    assert blocked.value.error_code == "POLICY.TOOL_DENIED"
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(client, extra_body={"container": "c_1"})
    assert refused.value.error_code == "WIRE.UNSCANNABLE:option"
    with pytest.raises(anthropic.APIStatusError) as strange:
        ask(client, extra_headers={"Content-Type": "text/plain"})
    assert (strange.value.status_code, strange.value.error_code) == (415, "WIRE.MALFORMED:content_type")
    with pytest.raises(anthropic.NotFoundError) as unknown:
        client.messages.batches.list()
    assert unknown.value.error_code == "POLICY.ROUTE"
    with pytest.raises(anthropic.AuthenticationError):
        ask(client.with_options(api_key="wrong"))
    simulator.status, simulator.reply = 529, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    with pytest.raises(anthropic.InternalServerError) as broken:
        ask(client)
    assert broken.value.error_code == "SYSTEM.BACKEND:status"


def test_every_reason_has_an_error_that_anthropic_knows():
    known = {*get_args(ErrorType), "request_too_large"}
    for reason in reasons().values():
        for detail in (None, *reason.details):
            error = error_body(Refusal(reason.code, detail), "r")["error"]
            assert error["type"] in known
            assert error["details"]["error_code"].startswith(reason.code)


def test_a_query_is_refused_but_the_one_that_marks_beta_calls(gateway, simulator, carrier):
    simulator.reply = carrier.reply("Hello.")
    headers = {"x-api-key": gateway.agent_key}
    for query, status in (("?beta=true", 200), ("?beta=false", 404), ("?beta=true&x=1", 404), ("?", 404)):
        response = httpx.post(f"{gateway.url}/v1/messages{query}", json=carrier.request("Hi"), headers=headers)
        assert response.status_code == status
    assert simulator.paths == ["/v1/messages?beta=true"]


def test_tokens_are_counted_without_a_cap(gateway, simulator, client):
    simulator.reply = {"input_tokens": 9}
    assert client.messages.count_tokens(model="sim-1", messages=[{"role": "user", "content": "Hi"}]).input_tokens == 9
    assert simulator.paths == ["/v1/messages/count_tokens"]
    with pytest.raises(anthropic.PermissionDeniedError):
        client.messages.count_tokens(model="sim-1", messages=[{"role": "user", "content": AWS}])
    reader = AnthropicTokenCount()
    assert (reader.output_cap({}), reader.choices({}), reader.usage({"input_tokens": 9})) == (0, 1, Usage(0, 0))


def test_models_are_listed(gateway, simulator, client):
    simulator.reply = {"data": [{"id": "sim-1", "type": "model"}], "has_more": False, "first_id": None, "last_id": None}
    assert [m.id for m in client.models.list().data] == ["sim-1"]


def test_a_stream_is_redacted_however_it_is_cut(gateway, simulator, client, carrier):
    text = f"Your card is {CARD}, and that is all."
    for cut in range(0, len(text) + 1, 3):
        simulator.reply = events(carrier.stream(text[:cut], text[cut:]))
        with client.messages.stream(
            model="sim-1", max_tokens=64, messages=[{"role": "user", "content": "Hi"}]
        ) as stream:
            assert "".join(stream.text_stream) == f"Your card is {GONE}, and that is all."
            assert stream.get_final_message().stop_reason == "end_turn"
    rows = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert {(r["decision"], r["stream"], r["tokens_in"], r["tokens_out"]) for r in rows} == {("redact", True, 3, 5)}


def test_calls_reach_the_client_whole(gateway, simulator, client, carrier):
    arguments = {"account": "1", "note": CARD}
    simulator.reply = carrier.call("get_balance", arguments)
    call = ask(client, tools=[TOOL], tool_choice={"type": "tool", "name": "get_balance"}).content[0]
    assert (call.name, call.input) == ("get_balance", {"account": "1", "note": GONE})
    raw = json.dumps(arguments)
    simulator.reply = events(carrier.stream_call(("get_", "balance"), tuple(raw)))
    pieces = list(ask(client, tools=[TOOL], stream=True))
    assert [p.type for p in pieces].count("content_block_delta") == 1
    delta = next(p.delta for p in pieces if p.type == "content_block_delta")
    assert json.loads(delta.partial_json) == {"account": "1", "note": GONE}


def test_a_block_in_a_running_stream_is_the_clients_own_error(gateway, simulator, client, carrier):
    text = "Of course. Here:\n-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
    simulator.reply = events(carrier.stream(*text))
    seen = []
    with pytest.raises(anthropic.APIStatusError) as blocked:
        collect(ask(client, stream=True), seen)
    text = "".join(e.delta.text for e in seen if e.type == "content_block_delta")
    assert text == "Of course. Here:\n"
    assert (blocked.value.type, blocked.value.error_code) == ("permission_error", "DLP.SECRET.PRIVATE_KEY")
    row = exchange(gateway)
    assert (row["decision"], row["reason_code"], row["scope"]) == ("block", "DLP.SECRET.PRIVATE_KEY", "response")


def test_an_unlisted_call_and_a_cut_stream_never_end_well(gateway, simulator, client, carrier):
    simulator.reply = events(carrier.stream_call(("wire_money",), ("{}",)))
    with pytest.raises(anthropic.APIStatusError) as blocked:
        list(ask(client, stream=True))
    assert blocked.value.error_code == "POLICY.TOOL_DENIED"
    simulator.reply = [*events(carrier.stream("Hello "))[:-1]]
    with pytest.raises(anthropic.APIStatusError) as cut:
        list(ask(client, stream=True))
    assert cut.value.error_code == "SYSTEM.BACKEND:cut_off"


# -- the readers by themselves ----------------------------------------------------------------------------------------


def read(rules, body):
    inspection, fields = Inspection(rules, "support"), Fields(REQUEST)
    AnthropicMessages().read_request(body, fields, inspection)
    inspection.scan(fields)
    inspection.verdict(REQUEST)
    return inspection


def refused(rules, body):
    with pytest.raises(Refusal) as caught:
        read(rules, body)
    return str(caught.value)


USE = {"type": "tool_use", "id": "t1", "name": "get_balance", "input": {}}


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("system", {"system": AWS}),
        ("system", {"system": [{"type": "text", "text": AWS}]}),
        ("system", {"messages": [{"role": "system", "content": AWS}]}),
        ("user", {"messages": [{"role": "user", "content": AWS}]}),
        ("user", {"messages": [{"role": "user", "content": [{"type": "text", "text": AWS}]}]}),
        ("user", {"messages": [{"role": "user", "content": [
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": AWS}}]}]}),
        ("assistant", {"messages": [{"role": "assistant", "content": [
            {"type": "thinking", "thinking": AWS, "signature": "s"}]}]}),
        ("assistant", {"messages": [{"role": "assistant", "content": [{"type": "redacted_thinking", "data": AWS}]}]}),
        ("tool_args", {"messages": [{"role": "assistant", "content": [{**USE, "input": {"a": [{AWS: 1}]}}]}]}),
        ("tool_result", {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": AWS}]}]}),
        ("tool_result", {"messages": [{"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": AWS}]}]}]}),
        ("tool_result", {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": AWS}]}]}),
        ("tool_result", {"messages": [{"role": "user", "content": [
            {"type": "search_result", "source": "s", "title": AWS, "content": [{"type": "text", "text": "x"}]}]}]}),
        ("tool_def", {"tools": [{**TOOL, "input_schema": {"type": "object", "description": AWS}}]}),
        ("metadata", {"metadata": {"user_id": AWS}}),
        ("metadata", {"stop_sequences": [AWS]}),
    ],
)  # fmt: skip
def test_a_secret_is_found_wherever_it_lies(rules, carrier, where, more):
    inspection = Inspection(rules, "support")
    fields = Fields(REQUEST)
    AnthropicMessages().read_request({**carrier.request("Hi"), **more}, fields, inspection)
    inspection.scan(fields)
    assert {(m.location, m.action) for m in inspection.matches} == {(where, "block")}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{**TOOL, "name": "wire_money"}]},
        {"tools": [TOOL, {"type": "custom", **TOOL, "name": "wire_money"}]},
        {"tool_choice": {"type": "tool", "name": "wire_money"}},
        {"messages": [{"role": "assistant", "content": [{**USE, "name": "wire_money"}]}]},
        {"messages": [{"role": "assistant", "content": [{**USE, "type": "server_tool_use", "name": "web_search"}]}]},
        {"messages": [{"role": "assistant", "content": [{**USE, "type": "mcp_tool_use", "server_name": "x"}]}]},
        {"messages": [{"role": "assistant", "content": [{**USE, "toolset_name": "computer"}]}]},
        {"messages": [{"role": "user", "content": [
            {"type": "web_search_tool_result", "tool_use_id": "t", "content": []}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
            {"type": "tool_reference", "tool_name": "wire_money"}]}]}]},
    ],
)  # fmt: skip
def test_unlisted_tools_are_denied_in_every_place(rules, carrier, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


def test_tools_of_the_provider_and_of_remote_servers_are_denied(rules, carrier):
    assert carrier.built_ins
    for more in carrier.built_ins:
        assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


BASE64 = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


@pytest.mark.parametrize(
    ("code", "more"),
    [
        *(
            ("WIRE.UNSCANNABLE part", {"messages": [{"role": "user", "content": [part]}]})
            for part in (
                {"type": "image", "source": BASE64},
                {"type": "document", "source": BASE64},
                {"type": "document", "source": {"type": "url", "url": "https://x.example"}},
                {"type": "document", "source": {"type": "file", "file_id": "f"}},
                {"type": "container_upload", "file_id": "f"},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": BASE64}]},
                {"type": "telepathy"},
            )
        ),
        ("WIRE.UNSCANNABLE option", {"container": "c"}),
        ("WIRE.UNSCANNABLE option", {"diagnostics": {"previous_message_id": "m"}}),
        ("WIRE.UNSCANNABLE option", {"new_option": 1}),
        ("WIRE.MALFORMED shape", {"model": 1}),
        ("WIRE.MALFORMED shape", {"messages": []}),
        ("WIRE.MALFORMED shape", {"messages": ["x"]}),
        ("WIRE.MALFORMED shape", {"messages": [{"role": "tool", "content": "x"}]}),
        ("WIRE.MALFORMED shape", {"messages": [{"role": "user", "content": 5}]}),
        ("WIRE.MALFORMED shape", {"messages": [{"role": "user", "content": ["x"]}]}),
        ("WIRE.MALFORMED shape", {"messages": [{"role": "assistant", "content": [{**USE, "input": "{}"}]}]}),
        ("WIRE.MALFORMED shape", {"system": 5}),
        ("WIRE.MALFORMED shape", {"stream": "yes"}),
        ("WIRE.MALFORMED shape", {"tools": {}}),
        ("WIRE.MALFORMED shape", {"tools": [{"name": 5}]}),
        ("WIRE.MALFORMED shape", {"tool_choice": {"type": "other"}}),
        ("WIRE.MALFORMED shape", {"mcp_servers": [{}]}),
    ],
)  # fmt: skip
def test_what_cannot_be_inspected_is_refused(rules, carrier, code, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == code


def test_caps_can_be_read_and_set(rules, carrier):
    reader, body = AnthropicMessages(), carrier.request("Hi")
    assert (reader.output_cap(body), reader.choices(body)) == (64, 1)
    del body["max_tokens"]
    assert reader.output_cap(body) is None
    reader.set_output_cap(body, 9)
    assert reader.output_cap(body) == 9
    with pytest.raises(Refusal):
        reader.output_cap({"max_tokens": "many"})


def test_signed_reasoning_is_blocked_where_text_would_be_redacted(rules, carrier):
    for block in (
        {"type": "thinking", "thinking": f"The card is {CARD}.", "signature": "s"},
        {"type": "redacted_thinking", "data": CARD},
    ):
        inspection, fields = Inspection(rules, "support"), Fields(RESPONSE)
        body = carrier.reply("x") | {"content": [block]}
        AnthropicMessages().read_response(body, fields, inspection)
        inspection.scan(fields)
        assert inspection.decision == "block"


def run(rules, bodies, size=1 << 20):
    """(all that came out, parsed; the stream), for the events arriving in pieces of `size` bytes."""
    stream = MessageStream(Inspection(rules, "support"))
    raw, out = "".join(events(bodies)).encode(), b""
    for at in range(0, len(raw), size):
        out += b"".join(stream.feed(raw[at : at + size]))
        if stream.done:
            break
    if stream.complete:
        out += stream.end()
    return [parse(line[6:]) for line in out.splitlines() if line.startswith(b"data: ")], stream


def test_a_stream_reads_the_same_in_pieces_of_any_size(rules, carrier):
    bodies = carrier.stream("It is ", CARD[:7], CARD[7:], ". ü")
    whole, stream = run(rules, bodies)
    assert stream.usage == Usage(3, 5)
    for size in (1, 2, 3, 7, 50):
        pieces, _ = run(rules, bodies, size)
        assert "".join(p["delta"].get("text", "") for p in pieces if "delta" in p) == f"It is {GONE}. ü"
        assert [p["type"] for p in pieces if p["type"] != "content_block_delta"] == [
            b["type"] for b in bodies if b["type"] != "content_block_delta"
        ]
    assert whole[-1] == {"type": "message_stop"}


def test_a_secret_split_at_every_offset_never_leaks(rules, carrier):
    text = f"It is {CARD}, I think."
    for cut in range(len(text) + 1):
        out, _ = run(rules, carrier.stream(text[:cut], text[cut:]))
        assert "".join(p["delta"].get("text", "") for p in out if "delta" in p) == f"It is {GONE}, I think."


def around(block, *deltas):
    return [
        {"type": "message_start", "message": {"role": "assistant", "content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": d} for d in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


def test_reasoning_passes_with_its_signature_or_not_at_all(rules):
    def thinking(*pieces):
        deltas = [{"type": "thinking_delta", "thinking": p} for p in pieces]
        return around(
            {"type": "thinking", "thinking": "", "signature": ""},
            *deltas,
            {"type": "signature_delta", "signature": "sig"},
        )

    out, _ = run(rules, thinking("Let me ", "see."))
    deltas = [p["delta"] for p in out if p["type"] == "content_block_delta"]
    assert "".join(d.get("thinking", "") for d in deltas) == "Let me see."
    assert deltas[-1] == {"type": "signature_delta", "signature": "sig"}
    for pieces in (("It is ", CARD), tuple(f"It is {CARD} .")):
        with pytest.raises(Refusal, match=r"DLP\.PAYMENT\.PAN"):
            run(rules, thinking(*pieces))


def test_arguments_given_with_the_block_or_not_at_all(rules):
    call = {**USE, "input": {"account": CARD}}
    out, _ = run(rules, around(call))
    assert [json.loads(p["delta"]["partial_json"]) for p in out if p["type"] == "content_block_delta"] == [
        {"account": GONE}
    ]
    out, _ = run(rules, around(USE, {"type": "input_json_delta", "partial_json": ""}))
    assert out[2]["delta"]["partial_json"] == "{}"


def test_citations_are_filtered(rules):
    citation = {"type": "char_location", "cited_text": CARD, "document_index": 0}
    out, _ = run(rules, around({"type": "text", "text": ""}, {"type": "citations_delta", "citation": citation}))
    assert out[2]["delta"]["citation"]["cited_text"] == GONE


def test_a_secret_over_two_blocks_ends_the_stream(rules):
    """What clients show as one text is read as one where the blocks meet, also with a call between them."""
    text, call = {"type": "text", "text": ""}, {**USE, "input": {}}
    first = around(text, {"type": "text_delta", "text": f"It is {CARD[:9]}"})[:-2]
    second = around(text, *({"type": "text_delta", "text": c} for c in f"{CARD[9:]}."))[1:]
    between = around(call)[1:-2]
    for events_between in ([], between):
        bodies = [*first, *({**b, "index": 1} for b in events_between)]
        bodies += [{**b, "index": 2} if "index" in b else b for b in second]
        with pytest.raises(Refusal, match=r"DLP\.PAYMENT\.PAN"):
            run(rules, bodies)


START = around({"type": "text", "text": ""})[0]
TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
CALL = {"type": "content_block_start", "index": 0, "content_block": USE}


@pytest.mark.parametrize(
    ("code", "bodies"),
    [
        ("WIRE.MALFORMED", [TEXT]),
        ("WIRE.MALFORMED", [START, START]),
        ("WIRE.MALFORMED", [{**START, "message": {"content": [{"type": "text", "text": "x"}]}}]),
        ("WIRE.MALFORMED", [START, TEXT, TEXT]),
        ("WIRE.MALFORMED", [START, {**TEXT, "index": "0"}]),
        ("WIRE.MALFORMED", [START, {"type": "new_event"}]),
        ("WIRE.MALFORMED", [START, {"no": "type"}]),
        ("WIRE.MALFORMED", [START, TEXT, {"type": "message_stop"}]),
        ("WIRE.MALFORMED", [START, TEXT, {"type": "message_delta", "delta": {}}]),
        ("WIRE.MALFORMED", [START, {"type": "content_block_stop", "index": 3}]),
        ("WIRE.MALFORMED", [START, TEXT, {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta"}}]),
        ("WIRE.MALFORMED", [START, TEXT, {"type": "content_block_delta", "index": 0, "delta": {"type": "new_delta"}}]),
        ("WIRE.MALFORMED", [START, TEXT, {"type": "content_block_delta", "index": 0, "delta": {
            "type": "input_json_delta", "partial_json": "{}"}}]),
        ("WIRE.MALFORMED", [START, CALL, {"type": "content_block_delta", "index": 0, "delta": {
            "type": "text_delta", "text": "x"}}]),
        ("WIRE.MALFORMED", [START, *({**TEXT, "index": n} for n in range(MAX_OPEN + 1))]),
        ("WIRE.UNSCANNABLE", [START, {**TEXT, "content_block": {"type": "new_block"}}]),
        ("WIRE.UNSCANNABLE", [START, {**TEXT, "content_block": {"type": "container_upload", "file_id": "f"}}]),
        ("WIRE.LIMIT", [START, CALL, *[{"type": "content_block_delta", "index": 0, "delta": {
            "type": "input_json_delta", "partial_json": "x" * (MAX_HELD // 4)}}] * 4]),
        ("SYSTEM.BACKEND", [START, {"type": "error", "error": {"type": "overloaded_error"}}]),
    ],
)  # fmt: skip
def test_events_that_are_not_understood_end_the_stream(rules, code, bodies):
    with pytest.raises(Refusal) as caught:
        run(rules, bodies)
    assert (caught.value.code, caught.value.scope) == (code, RESPONSE)
