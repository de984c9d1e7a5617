"""OpenAI responses: every place of a body, whole and streamed, read by the filter and by nobody else first."""

from __future__ import annotations

import json

import httpx
import pytest

CARD = "4111 1111 " + "1111 1111"
CLEAN = "[REDACTED:payment_card]"
AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
PATH = "/v1/responses"


@pytest.fixture
def carrier(carriers):
    return carriers["openai_responses"]


def ask(gateway, body):
    return gateway.post({"model": "sim-1", "input": "Hi", **body}, path=PATH)


def events_of(response):
    """(name, data) of each event."""
    blocks = [dict(line.split(": ", 1) for line in b.split("\n")) for b in response.text.strip().split("\n\n")]
    return [(b["event"], json.loads(b["data"])) for b in blocks]


def exchange(gateway):
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    return row


def test_a_clean_exchange_passes_unchanged_and_is_counted(gateway, simulator, carrier):
    simulator.reply = carrier.reply("Hello.")
    body = carrier.request("Hi", instructions="Be brief.", max_output_tokens=64, **carrier.declared("get_balance"))
    response = gateway.post(body, path=PATH)
    assert (response.status_code, response.json()) == (200, simulator.reply)
    assert json.loads(simulator.requests[0][1]) == body
    row = exchange(gateway)
    assert (row["wire_format"], row["tokens_in"], row["tokens_out"]) == ("openai_responses", 3, 5)


@pytest.mark.parametrize(
    ("where", "body"),
    [
        ("user", {"input": AWS}),
        ("system", {"instructions": AWS}),
        ("system", {"input": [{"role": "developer", "content": AWS}]}),
        ("user", {"input": [{"role": "user", "content": [{"type": "input_text", "text": AWS}]}]}),
        ("assistant", {"input": [{"type": "message", "role": "assistant", "content": AWS}]}),
        ("assistant", {"input": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": AWS}]}]}),
        ("assistant", {"input": [{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": AWS}]}),
        ("tool_result", {"input": [{"type": "function_call_output", "call_id": "c", "output": AWS}]}),
        (
            "tool_args",
            {"input": [{"type": "function_call", "name": "get_balance", "arguments": f'{{"k":"{AWS}"}}'}]},
        ),
        ("tool_def", {"tools": [{"type": "function", "name": "get_balance", "description": AWS, "parameters": {}}]}),
        ("metadata", {"metadata": {"note": AWS}}),
    ],
)  # fmt: skip
def test_a_secret_is_found_wherever_it_lies(gateway, simulator, where, body):
    assert ask(gateway, body).status_code == 403
    assert simulator.requests == []
    match = next(r for r in gateway.rows() if r["event_kind"] == "match")
    assert (match["location"], match["match_count"]) == (where, 1)


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function", "name": "wire_money", "parameters": {}}]},
        {"tools": [{"type": "custom", "name": "shell"}]},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://mcp.attacker.example"}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [{"type": "namespace", "name": "n", "description": "", "tools": [{"type": "custom", "name": "x"}]}]},
        {"tool_choice": {"type": "function", "name": "wire_money"}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "shell"}]}},
        {"tool_choice": {"type": "file_search"}},
        {"input": [{"type": "function_call", "call_id": "c", "name": "wire_money", "arguments": "{}"}]},
        {"input": [{"type": "custom_tool_call", "call_id": "c", "name": "shell", "input": "ls"}]},
        {"input": [{"type": "mcp_call", "id": "m", "server_label": "x", "name": "send", "arguments": "{}"}]},
        {"input": [{"type": "mcp_list_tools", "server_label": "x", "tools": [{"name": "a", "input_schema": {}}]}]},
        {"input": [{"type": "local_shell_call", "id": "s", "call_id": "c", "action": {"command": ["ls"]}}]},
        {"input": [{"type": "web_search_call", "id": "w", "status": "completed"}]},
    ],
)  # fmt: skip
def test_unlisted_tools_are_denied_in_every_place_of_a_request(gateway, simulator, body):
    response = ask(gateway, body)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "POLICY.TOOL_DENIED")
    assert simulator.requests == []


@pytest.mark.parametrize(
    ("detail", "body"),
    [
        ("reference", {"previous_response_id": "resp_1"}),
        ("reference", {"prompt": {"id": "pmpt_1"}}),
        ("reference", {"conversation": "conv_1"}),
        ("reference", {"input": [{"type": "item_reference", "id": "msg_1"}]}),
        ("reference", {"input": [{"id": "msg_1"}]}),
        ("option", {"background": True}),
        ("option", {"top_logprobs": 3}),
        ("option", {"include": ["message.output_text.logprobs"]}),
        ("part", {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}),
        ("part", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}),
        ("part", {"input": [{"type": "function_call_output", "output": [{"type": "input_file", "file_id": "f"}]}]}),
        ("part", {"input": [{"type": "image_generation_call", "id": "i", "result": "UklGRg=="}]}),
        ("part", {"input": [{"type": "something_new", "text": "x"}]}),
        ("shape", {"input": []}),
        ("shape", {"input": 5}),
        ("shape", {"input": [5]}),
        ("shape", {"input": [{"role": "root", "content": "x"}]}),
        ("shape", {"input": [{"role": "user", "content": 5}]}),
        ("shape", {"input": [{"role": "user", "content": ["x"]}]}),
        ("shape", {"input": [{"type": "function_call", "arguments": "{}"}]}),
        ("shape", {"instructions": ["x"]}),
        ("shape", {"stream": "yes"}),
        ("shape", {"tools": {}}),
        ("shape", {"tools": [{"name": "x"}]}),
        ("shape", {"tool_choice": 5}),
        ("shape", {"model": None}),
    ],
)
def test_what_cannot_be_inspected_is_refused(gateway, simulator, detail, body):
    response = ask(gateway, body)
    assert (response.status_code, response.json()["error"]["code"].split(":")[1]) == (400, detail)
    assert simulator.requests == []


def test_a_listed_provider_tool_passes(gateway_factory, policy, simulator, carrier):
    policy.publish(tools={"support": ["web_search"]})
    gateway = gateway_factory().start()
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    simulator.reply = {**carrier.reply("Found."), "output": [call, *carrier.reply("Found.")["output"]]}
    response = ask(gateway, {"tools": [{"type": "web_search"}]})
    assert (response.status_code, response.json()) == (200, simulator.reply)


def test_replies_are_redacted_in_every_place(gateway, simulator, carrier):
    simulator.reply = carrier.reply(f"It is {CARD}.")
    simulator.reply["output"] += [
        {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": CARD}]},
        *carrier.call("get_balance", {"card": CARD})["output"],
    ]
    simulator.reply["metadata"] = {"note": CARD}
    simulator.reply["output"][0]["content"][0]["logprobs"] = [{"token": CARD}]
    body = ask(gateway, {}).json()
    assert body["output"][0]["content"][0]["text"] == f"It is {CLEAN}."
    assert body["output"][1]["summary"][0]["text"] == CLEAN
    assert json.loads(body["output"][2]["arguments"]) == {"card": CLEAN}
    assert "1111" not in json.dumps(body)


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        ("POLICY.TOOL_DENIED", {"output": [{"type": "function_call", "name": "wire_money", "arguments": "{}"}]}),
        ("POLICY.TOOL_DENIED", {"output": [{"type": "code_interpreter_call", "id": "c", "code": "x"}]}),
        ("WIRE.UNSCANNABLE:upstream", {"output": [{"type": "image_generation_call", "result": "UklGRg=="}]}),
        ("WIRE.MALFORMED:upstream", {"output": 5}),
        ("WIRE.MALFORMED:upstream", {"output": [5]}),
    ],
)
def test_replies_that_may_not_pass(gateway, simulator, code, reply):
    simulator.reply = reply
    assert ask(gateway, {}).json()["error"]["code"] == code


def test_a_streamed_text_reads_the_same_in_every_event_that_repeats_it(gateway, simulator, carrier):
    """Split at every offset; the deltas, the parts, the item and the response all hold the redacted text."""
    text = f"Your card is {CARD}, and that is all."
    clean = f"Your card is {CLEAN}, and that is all."
    for cut in range(len(text) + 1):
        simulator.reply = simulator.named_events(carrier.stream(text[:cut], text[cut:]))
        response = ask(gateway, {"stream": True})
        assert "1111" not in response.text
        events = events_of(response)
        assert [name for name, _ in events] == [data["type"] for _, data in events]
        assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
        by_name = dict(events)
        assert "".join(d["delta"] for n, d in events if n == "response.output_text.delta") == clean
        assert by_name["response.output_text.done"]["text"] == clean
        assert by_name["response.content_part.done"]["part"]["text"] == clean
        assert by_name["response.output_item.done"]["item"]["content"][0]["text"] == clean
        assert by_name["response.completed"]["response"]["output"][0]["content"][0]["text"] == clean
    rows = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert {(r["decision"], r["stream"], r["tokens_out"]) for r in rows} == {("redact", True, 5)}


def test_a_streamed_call_is_held_until_it_is_whole_and_checked(gateway, simulator, carrier):
    arguments = json.dumps({"card": CARD})
    for cut in range(0, len(arguments) + 1, 5):
        pieces = (arguments[:cut], arguments[cut:])
        simulator.reply = simulator.named_events(carrier.stream_call(("get_balance",), pieces))
        events = events_of(ask(gateway, {"stream": True}))
        assert [name for name, _ in events] == [
            "response.created",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ]
        by_name = dict(events)
        told = [
            by_name["response.function_call_arguments.delta"]["delta"],
            by_name["response.function_call_arguments.done"]["arguments"],
            by_name["response.output_item.done"]["item"]["arguments"],
            by_name["response.completed"]["response"]["output"][0]["arguments"],
        ]
        assert [json.loads(t) for t in told] == [{"card": CLEAN}] * 4


FREE_TEXT = '{ "patch":  "a\\nb" }'
ESCAPED = json.dumps({"k": AWS}).replace("K", "\\u004b")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, lambda text: {"input": [{"type": "custom_tool_call", "name": "get_balance", "input": text}]}),
        (
            "/v1/chat/completions",
            lambda text: {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "1", "type": "custom", "custom": {"name": "get_balance", "input": text}}],
                    }
                ]
            },
        ),
    ],
)
def test_the_input_of_a_custom_tool_is_free_text(gateway, simulator, path, body):
    """What only looks like JSON is not written anew, and an escape in it hides nothing."""
    gateway.post({"model": "sim-1", **body(FREE_TEXT)}, path=path)
    assert json.loads(simulator.requests[0][1]) == {"model": "sim-1", **body(FREE_TEXT)}
    assert gateway.post({"model": "sim-1", **body(ESCAPED)}, path=path).status_code == 403


def test_an_unlisted_call_ends_the_stream_before_any_of_it_is_sent(gateway, simulator, carrier):
    simulator.reply = simulator.named_events(carrier.stream_call(("wire_money",), ("{}",)))
    response = ask(gateway, {"stream": True})
    assert "wire_money" not in response.text
    name, error = events_of(response)[-1]
    assert (name, error["code"]) == ("error", "POLICY.TOOL_DENIED")
    row = exchange(gateway)
    assert (row["decision"], row["reason_code"], row["scope"]) == ("block", "POLICY.TOOL_DENIED", "response")


def test_reasoning_and_refusals_have_channels_of_their_own(gateway, simulator, carrier):
    def reasoning(kind, **more):
        return {
            "type": f"response.reasoning_summary_{kind}",
            "item_id": "rs_1",
            "output_index": 0,
            "summary_index": 0,
            **more,
        }

    def refusal(kind, **more):
        return {"type": f"response.{kind}", "item_id": "msg_1", "output_index": 1, "content_index": 0, **more}

    created, *_, completed = carrier.stream("")
    whole = [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": CARD}]},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "refusal", "refusal": CARD}]},
    ]
    simulator.reply = simulator.named_events([
        created,
        {"type": "response.output_item.added", "output_index": 0, "item": {**whole[0], "summary": []}},
        reasoning("part.added", part={"type": "summary_text", "text": ""}),
        *(reasoning("text.delta", delta=letter) for letter in CARD),
        reasoning("text.done", text=CARD),
        reasoning("part.done", part={"type": "summary_text", "text": CARD}),
        {"type": "response.output_item.done", "output_index": 0, "item": whole[0]},
        {"type": "response.output_item.added", "output_index": 1, "item": {**whole[1], "content": []}},
        *(refusal("refusal.delta", delta=letter) for letter in CARD),
        {"type": "response.output_item.done", "output_index": 1, "item": whole[1]},
        {**completed, "response": {**completed["response"], "output": whole}},
    ])  # fmt: skip
    response = ask(gateway, {"stream": True})
    assert "1111" not in response.text
    _, last = events_of(response)[-1]
    assert last["response"]["output"][0]["summary"][0]["text"] == CLEAN
    assert last["response"]["output"][1]["content"][0]["refusal"] == CLEAN
    deltas = [d["delta"] for n, d in events_of(response) if n == "response.refusal.delta"]
    assert "".join(deltas) == CLEAN  # what was held is sent though the provider never said that the text was done


def test_a_secret_over_two_parts_ends_the_stream(gateway, simulator, carrier):
    """Its beginning is out by then, so it cannot be cut out any more."""
    created, added, *_ = carrier.stream("")

    def part(index, text):
        at = {"item_id": "msg_1", "output_index": 0, "content_index": index}
        return [
            {"type": "response.output_text.delta", **at, "delta": text},
            {"type": "response.output_text.done", **at, "text": text},
        ]

    simulator.reply = simulator.named_events([created, added, *part(0, f"The key is {AWS[:11]}"), *part(1, AWS[11:])])
    response = ask(gateway, {"stream": True})
    name, error = events_of(response)[-1]
    assert (name, error["code"]) == ("error", "DLP.SECRET.AWS_ACCESS_KEY")
    assert AWS[11:] not in response.text


def test_an_item_that_only_the_end_shows_is_checked_too(gateway, simulator, carrier):
    created, *_, completed = carrier.stream(CARD)
    simulator.reply = simulator.named_events([created, completed])
    _, last = events_of(ask(gateway, {"stream": True}))[-1]
    assert last["response"]["output"][0]["content"][0]["text"] == CLEAN


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("WIRE.UNSCANNABLE:upstream", {"type": "response.audio.delta", "delta": "UklGRg=="}),
        ("WIRE.UNSCANNABLE:upstream", {"type": "response.something_new"}),
        ("WIRE.MALFORMED:upstream", {"no": "type"}),
        ("WIRE.MALFORMED:upstream", {"type": "response.output_text.delta", "item_id": "m", "output_index": -1}),
        ("WIRE.MALFORMED:upstream", {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}),
        ("WIRE.MALFORMED:upstream", {"type": "response.output_item.done", "output_index": 0, "item": 5}),
        ("WIRE.MALFORMED:upstream", {"type": "response.completed", "response": 5}),
        ("SYSTEM.BACKEND:status", {"type": "error", "message": "boom"}),
    ],
)
def test_events_that_are_not_understood_end_the_stream(gateway, simulator, code, event):
    simulator.reply = [f"data: {json.dumps(event)}\n\n"]
    response = ask(gateway, {"stream": True})
    assert response.json()["error"]["code"] == code
    assert exchange(gateway)["decision"] == "block"


def test_a_stream_without_its_last_event_is_not_passed_off_as_whole(gateway, simulator, carrier):
    simulator.reply = simulator.named_events(carrier.stream("Hello.")[:-1])
    name, error = events_of(ask(gateway, {"stream": True}))[-1]
    assert (name, error["code"]) == ("error", "SYSTEM.BACKEND:cut_off")


def test_stored_responses_cannot_be_fetched(gateway, simulator):
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    response = httpx.get(f"{gateway.url}{PATH}/resp_1", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "POLICY.ROUTE")
    assert simulator.requests == []
