"""Gemini: Google's own client in front of a real gateway process, and the readers by themselves."""

from __future__ import annotations

import json

import httpx
import pytest
from google import genai
from google.genai import errors, types

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire.format import Usage
from gateway.wire.gemini_generate import Gemini, GeminiTokenCount
from gateway.wire.gemini_names import canonical
from gateway.wire.gemini_stream import MAX_CHOICES, GeminiStream
from gateway.wire.sse import sse

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
CARD = "4111 1111 " + "1111 1111"
GONE = "[REDACTED:payment_card]"
FUNCTION = {"name": "get_balance", "description": "Balance of an account.", "parametersJsonSchema": {"type": "object"}}
TOOLS = [{"function_declarations": [{"name": "get_balance", "description": "Balance of an account."}]}]


@pytest.fixture(scope="module")
def shared(speaking):
    return speaking("gemini")


@pytest.fixture(scope="module")
def carrier(carriers):
    return carriers["gemini"]


@pytest.fixture(params=["v1", "v1beta"])
def version(request):
    return request.param


def connect(gateway, version="v1beta", key=None):
    options = types.HttpOptions(base_url=gateway.url, api_version=version)
    return genai.Client(api_key=key or gateway.agent_key, http_options=options)


@pytest.fixture
def client(gateway):
    return connect(gateway)


def ask(client, text="Hi", **config):
    return client.models.generate_content(model="sim-1", contents=text, config=config)


def ask_stream(client, **config):
    return client.models.generate_content_stream(model="sim-1", contents="Hi", config=config)


def events(bodies):
    return [sse(b).decode() for b in bodies]


def code_of(error):
    return error.details["error"]["details"][0]["reason"]


def exchange(gateway):
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    return row


def test_text_passes_and_is_redacted_and_counted(gateway, simulator, carrier, version):
    simulator.reply = carrier.reply(f"Your card is {CARD}.")
    simulator.reply["usageMetadata"] |= {"cachedContentTokenCount": 2, "thoughtsTokenCount": 4}
    reply = ask(connect(gateway, version), system_instruction="Be brief.", max_output_tokens=50)
    assert reply.text == f"Your card is {GONE}."
    headers, raw = simulator.requests[0]
    assert (headers["x-goog-api-key"], simulator.paths) == (gateway.provider_key, ["/v1/models/sim-1:generateContent"])
    assert gateway.agent_key not in json.dumps(headers)
    assert json.loads(raw)["systemInstruction"]["parts"] == [{"text": "Be brief."}]
    row = exchange(gateway)
    assert (row["wire_format"], row["model"], row["decision"]) == ("gemini", "sim-1", "redact")
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (3, 9, 2)


def test_errors_are_raised_with_the_reason_code(gateway, simulator, client, carrier):
    with pytest.raises(errors.ClientError) as blocked:
        ask(client, f"use {AWS}")
    assert (blocked.value.code, blocked.value.status) == (403, "PERMISSION_DENIED")
    assert code_of(blocked.value) == "DLP.SECRET.AWS_ACCESS_KEY"
    assert AWS not in str(blocked.value)
    assert simulator.requests == []
    simulator.reply = carrier.call("wire_money", {})
    with pytest.raises(errors.ClientError) as blocked:
        ask(client)
    assert code_of(blocked.value) == "POLICY.TOOL_DENIED"
    with pytest.raises(errors.ClientError) as refused:
        ask(client, cached_content="cachedContents/1")
    assert code_of(refused.value) == "WIRE.UNSCANNABLE:option"
    with pytest.raises(errors.ClientError) as strange:
        ask(client, http_options={"headers": {"Content-Type": "text/plain"}})
    assert (strange.value.code, code_of(strange.value)) == (415, "WIRE.MALFORMED:content_type")
    with pytest.raises(errors.ClientError) as unknown:
        client.models.embed_content(model="sim-1", contents="Hi")
    assert code_of(unknown.value) == "POLICY.ROUTE"
    with pytest.raises(errors.ClientError) as stranger:
        ask(connect(gateway, key="wrong"))
    assert (stranger.value.code, stranger.value.status) == (401, "UNAUTHENTICATED")
    simulator.status, simulator.reply = 503, {"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}
    with pytest.raises(errors.ServerError) as broken:
        ask(client)
    assert code_of(broken.value) == "SYSTEM.BACKEND:status"


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/sim-1:generateContent?key={key}",
        "/v1beta/models/sim-1:streamGenerateContent",
        "/v1beta/models/sim-1:streamGenerateContent?alt=json",
        "/v1beta/models/sim-1:streamGenerateContent?alt=sse&key={key}",
        "/v1beta/models/sim%2d1:generateContent",
        "/v1beta/models/..:generateContent",
        "/v1beta/tunedModels/sim-1:generateContent",
        "/v2/models/sim-1:generateContent",
    ],
)
def test_other_paths_and_keys_in_the_query_are_refused(gateway, simulator, carrier, path):
    headers = {"x-goog-api-key": gateway.agent_key, "Content-Type": "application/json"}
    url = gateway.url + path.format(key=gateway.agent_key)
    response = httpx.post(url, json=carrier.request("Hi"), headers=headers)
    assert response.status_code == 404
    assert simulator.requests == []


def test_a_secret_in_the_models_name_is_found(gateway, simulator, client):
    with pytest.raises(errors.ClientError) as blocked:
        client.models.generate_content(model=f"sim-{AWS}", contents="Hi")
    assert code_of(blocked.value) == "DLP.SECRET.AWS_ACCESS_KEY"


def test_tokens_are_counted_and_models_listed(gateway, simulator, client):
    simulator.reply = {"totalTokens": 9}
    assert client.models.count_tokens(model="sim-1", contents="Hi").total_tokens == 9
    with pytest.raises(errors.ClientError):
        client.models.count_tokens(model="sim-1", contents=AWS)
    simulator.reply = {"models": [{"name": "models/sim-1"}]}
    response = httpx.get(gateway.url + "/v1beta/models", headers={"x-goog-api-key": gateway.agent_key})
    assert response.json() == simulator.reply


def test_a_stream_is_redacted_however_it_is_cut(gateway, simulator, client, carrier):
    text = f"Your card is {CARD}, and that is all."
    for cut in range(1, len(text), 3):
        simulator.reply = events(carrier.stream(text[:cut], text[cut:]))
        chunks = list(ask_stream(client))
        assert "".join(c.text or "" for c in chunks) == f"Your card is {GONE}, and that is all."
        assert chunks[-1].candidates[0].finish_reason == "STOP"
    assert set(simulator.paths) == {"/v1/models/sim-1:streamGenerateContent?alt=sse"}
    rows = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert {(r["decision"], r["stream"], r["tokens_in"], r["tokens_out"]) for r in rows} == {("redact", True, 3, 5)}


def test_calls_reach_the_client_filtered(gateway, simulator, client, carrier):
    arguments = {"account": "1", "note": CARD}
    once = types.AutomaticFunctionCallingConfig(disable=True)
    simulator.reply = carrier.call("get_balance", arguments)
    (call,) = ask(client, tools=TOOLS, automatic_function_calling=once).function_calls
    assert (call.name, call.args) == ("get_balance", {"account": "1", "note": GONE})
    simulator.reply = events(carrier.stream_call(("get_balance",), (json.dumps(arguments),)))
    (chunk,) = ask_stream(client, tools=TOOLS, automatic_function_calling=once)
    assert chunk.function_calls[0].args == {"account": "1", "note": GONE}


def test_a_block_in_a_running_stream_is_the_clients_own_error(gateway, simulator, client, carrier):
    simulator.reply = events(carrier.stream(*"Of course. Here:\n-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"))
    seen = []

    def collect():
        for chunk in ask_stream(client):
            seen.append(chunk.text or "")

    with pytest.raises(errors.ClientError) as blocked:
        collect()
    assert "".join(seen) == "Of course. Here:\n"
    assert (blocked.value.code, code_of(blocked.value)) == (403, "DLP.SECRET.PRIVATE_KEY")
    row = exchange(gateway)
    assert (row["decision"], row["reason_code"], row["scope"]) == ("block", "DLP.SECRET.PRIVATE_KEY", "response")


def test_an_unlisted_call_and_a_cut_stream_never_end_well(gateway, simulator, client, carrier):
    simulator.reply = events(carrier.stream_call(("wire_money",), ("{}",)))
    with pytest.raises(errors.ClientError) as blocked:
        list(ask_stream(client))
    assert code_of(blocked.value) == "POLICY.TOOL_DENIED"
    simulator.reply = events(carrier.stream("Hello ", "you"))[:1]
    with pytest.raises(errors.ServerError) as cut:
        list(ask_stream(client))
    assert code_of(cut.value) == "SYSTEM.BACKEND:cut_off"


# -- the readers by themselves ----------------------------------------------------------------------------------------


def read(rules, body):
    inspection, fields = Inspection(rules, "support"), Fields(REQUEST)
    Gemini().read_request(body, fields, inspection)
    inspection.scan(fields)
    return inspection


def refused(rules, body):
    with pytest.raises(Refusal) as caught:
        read(rules, body).verdict(REQUEST)
    return str(caught.value)


def contents(*parts, role="user"):
    return {"contents": [{"role": role, "parts": list(parts)}]}


CALL = {"functionCall": {"name": "get_balance", "args": {}}}


def test_both_spellings_and_bare_lists_become_one():
    body = {
        "system_instruction": {"parts": {"text": "one_two"}},
        "contents": {"parts": {"function_call": {"name": "a_b", "args": {"c_d": 1}}}},
        "tools": {"function_declarations": {"name": "a_b", "parameters": {"properties": {"e_f": {}}}}},
        "tool_config": {"function_calling_config": {"allowed_function_names": "a_b"}},
    }
    canonical(body)
    assert body == {
        "systemInstruction": {"parts": [{"text": "one_two"}]},
        "contents": [{"parts": [{"functionCall": {"name": "a_b", "args": {"c_d": 1}}}]}],
        "tools": [{"functionDeclarations": [{"name": "a_b", "parameters": {"properties": {"e_f": {}}}}]}],
        "toolConfig": {"functionCallingConfig": {"allowedFunctionNames": ["a_b"]}},
    }
    with pytest.raises(Refusal):
        canonical({"system_instruction": {}, "systemInstruction": {}})


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("system", {"systemInstruction": {"parts": [{"text": AWS}]}}),
        ("system", {"system_instruction": {"parts": {"text": AWS}}}),
        ("user", contents({"text": AWS})),
        ("user", {"contents": {"parts": {"text": AWS}}}),
        ("user", contents({"text": "x", "thoughtSignature": AWS})),
        ("user", contents({"text": "x", "partMetadata": {"note": AWS}})),
        ("assistant", contents({"text": AWS}, role="model")),
        ("assistant", contents({"text": AWS, "thought": True}, role="model")),
        ("tool_args", contents({"functionCall": {"name": "get_balance", "args": {"a": [{AWS: 1}]}}}, role="model")),
        ("tool_result", contents({"functionResponse": {"name": "get_balance", "response": {"out": AWS}}})),
        ("tool_result", contents({"function_response": {"name": "get_balance", "response": {"out": AWS}}})),
        ("tool_def", {"tools": [{"functionDeclarations": [{**FUNCTION, "description": AWS}]}]}),
        ("tool_def", {"tools": [{"function_declarations": [{"name": "get_balance", "parameters": {"title": AWS}}]}]}),
        ("metadata", {"generationConfig": {"stopSequences": [AWS]}}),
        ("metadata", {"generationConfig": {"responseSchema": {"description": AWS}}}),
        ("metadata", {"labels": {AWS: "x"}}),
    ],
)  # fmt: skip
def test_a_secret_is_found_wherever_it_lies(rules, carrier, where, more):
    inspection = read(rules, {**carrier.request("Hi"), **more})
    assert {(m.location, m.action) for m in inspection.matches} == {(where, "block")}


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"functionDeclarations": [{"name": "wire_money"}]}]},
        {"tools": {"function_declarations": {"name": "wire_money"}}},
        {"toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["wire_money"]}}},
        {"tool_config": {"function_calling_config": {"allowed_function_names": ["wire_money"]}}},
        contents({"functionCall": {"name": "wire_money"}}, role="model"),
        contents({"functionResponse": {"name": "wire_money", "response": {}}}),
        contents({"executableCode": {"language": "PYTHON", "code": "1"}}, role="model"),
        contents({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}),
        contents({"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {}}}, role="model"),
        contents({"toolResponse": {"toolType": "GOOGLE_SEARCH_WEB", "response": {}}}),
        {"tools": [{"mcpServers": [{"name": "x", "streamableHttpTransport": {"url": "https://mcp.attacker.example"}}]}]},
        {"tools": [{"urlContext": {}}]},
        {"tools": [{"newTool": {}}]},
    ],
)  # fmt: skip
def test_unlisted_tools_are_denied_in_every_place(rules, carrier, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


def test_tools_that_the_provider_runs_are_denied(rules, carrier):
    assert carrier.built_ins
    for more in carrier.built_ins:
        assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


INLINE = {"mimeType": "image/png", "data": "iVBORw0KGgo="}


@pytest.mark.parametrize(
    ("code", "more"),
    [
        *(
            ("WIRE.UNSCANNABLE part", contents(part))
            for part in (
                {"inlineData": INLINE},
                {"inline_data": INLINE},
                {"text": "x", "inlineData": INLINE},
                {"fileData": {"fileUri": "gs://x/y"}},
                {"functionResponse": {"name": "get_balance", "response": {}, "parts": [{"inlineData": INLINE}]}},
                {"functionCall": {"name": "get_balance", "partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}]}},
                {"audioTranscription": {}},
                {"telepathy": {}},
            )
        ),
        *(
            ("WIRE.UNSCANNABLE option", more)
            for more in (
                {"cachedContent": "cachedContents/1"},
                {"cached_content": "cachedContents/1"},
                {"continuationToken": "x"},
                {"newOption": 1},
                {"generationConfig": {"responseLogprobs": True}},
                {"generationConfig": {"speechConfig": {}}},
                {"generationConfig": {"responseModalities": ["IMAGE"]}},
                {"generation_config": {"response_modalities": ["TEXT", "IMAGE"]}},
            )
        ),
        *(
            ("WIRE.MALFORMED shape", more)
            for more in (
                {"contents": []},
                {"contents": "x"},
                {"contents": [5]},
                {"contents": [{"role": "root", "parts": []}]},
                {"contents": [{"role": 5, "parts": []}]},
                {"contents": [{"parts": "x"}]},
                contents({"functionCall": "x"}),
                contents({"functionCall": {"name": 5}}),
                {"systemInstruction": "x"},
                {"tools": 5},
                {"tools": ["x"]},
                {"tools": [{"functionDeclarations": [{"name": "get_balance", "parameters": {"type": "OBJECT"},
                                                      "parametersJsonSchema": {"type": "object"}}]}]},
                {"tools": [{"mcpServers": [{}]}]},
                {"toolConfig": {"functionCallingConfig": {"allowedFunctionNames": [5]}}},
                {"toolConfig": "x"},
                {"generationConfig": "x"},
                {"generationConfig": {"candidateCount": MAX_CHOICES + 1}},
                {"generation_config": {}, "generationConfig": {}},
            )
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_inspected_is_refused(rules, carrier, code, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == code


def test_counting_takes_contents_alone(rules):
    reader, inspection = GeminiTokenCount(), Inspection(rules, "support")
    with pytest.raises(Refusal, match="option"):
        reader.read_request({"generateContentRequest": contents({"text": "x"})}, Fields(REQUEST), inspection)
    assert (reader.output_cap({}), reader.usage({"totalTokens": 9})) == (0, Usage(0, 0))


def test_caps_and_choices_can_be_read_and_set(rules, carrier):
    reader, body = Gemini(), {**carrier.request("Hi"), "generation_config": {"candidate_count": 3}}
    read(rules, body)
    assert (reader.output_cap(body), reader.choices(body)) == (None, 3)
    reader.set_output_cap(body, 9)
    assert (reader.output_cap(body), reader.choices(body)) == (9, 3)
    assert (reader.output_cap({"generationConfig": None}), reader.choices({})) == (None, 1)
    with pytest.raises(Refusal):
        reader.output_cap({"generationConfig": {"maxOutputTokens": "many"}})


def run(rules, bodies, size=1 << 20):
    """(all chunks that came out, the stream), for the events arriving in pieces of `size` bytes."""
    stream = GeminiStream(Inspection(rules, "support"))
    raw, out = "".join(events(bodies)).encode(), b""
    for at in range(0, len(raw), size):
        out += b"".join(stream.feed(raw[at : at + size]))
    if stream.complete:
        out += stream.end()
    return [json.loads(line[6:]) for line in out.splitlines() if line], stream


def parts(chunks, index=0):
    return [
        p
        for chunk in chunks
        for candidate in chunk.get("candidates", ())
        if candidate["index"] == index
        for p in candidate.get("content", {}).get("parts", ())
    ]


def chunk(*given, finish=None, index=0, **more):
    candidate = {"index": index, "content": {"role": "model", "parts": list(given)}}
    return {"candidates": [candidate | ({"finishReason": finish} if finish else {})], **more}


def test_a_stream_reads_the_same_in_pieces_of_any_size(rules, carrier):
    bodies = carrier.stream("It is ", CARD[:7], CARD[7:], ". ü")
    for size in (1, 2, 3, 7, 50, 1 << 20):
        chunks, stream = run(rules, bodies, size)
        assert "".join(p["text"] for p in parts(chunks)) == f"It is {GONE}. ü"
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert (stream.usage, stream.complete) == (Usage(3, 5), True)


def test_a_secret_split_at_every_offset_never_leaks(rules, carrier):
    text = f"It is {CARD}, I think."
    for cut in range(len(text) + 1):
        chunks, _ = run(rules, carrier.stream(text[:cut], text[cut:]))
        assert "".join(p["text"] for p in parts(chunks)) == f"It is {GONE}, I think."


def test_models_that_finish_with_every_chunk_are_read_to_their_end(rules):
    chunks, _ = run(rules, [chunk({"text": CARD[:9]}, finish="STOP"), chunk({"text": CARD[9:]}, finish="STOP")])
    assert "".join(p["text"] for p in parts(chunks)) == GONE


def test_thoughts_are_filtered_apart_from_the_answer(rules):
    """A thought between two pieces of the answer does not hide a number that clients join."""
    chunks, _ = run(rules, [
        chunk({"text": f"Hm, {CARD}", "thought": True}),
        chunk({"text": f"It is {CARD[:9]}"}),
        chunk({"text": "…", "thought": True}),
        chunk({"text": CARD[9:]}, finish="STOP"),
    ])  # fmt: skip
    assert "".join(p["text"] for p in parts(chunks) if p.get("thought")) == f"Hm, {GONE}…"
    assert "".join(p["text"] for p in parts(chunks) if not p.get("thought")) == f"It is {GONE}"
    assert parts(chunks)[1].get("thought")  # what was held of the thought is sent before the answer begins


def test_text_before_a_call_is_sent_before_it_and_signatures_stay(rules):
    call = {**CALL, "thoughtSignature": "c2ln"}
    chunks, _ = run(rules, [
        chunk({"text": "Let me check"}),
        chunk(call),
        chunk({"text": "", "thoughtSignature": "c2ln"}, finish="STOP", usageMetadata={"promptTokenCount": 1}),
    ])  # fmt: skip
    found = parts(chunks)
    assert found[-2:] == [call, {"text": "", "thoughtSignature": "c2ln"}]
    assert "".join(p["text"] for p in found[:-2]) == "Let me check"


def test_a_number_around_a_call_ends_the_stream(rules):
    with pytest.raises(Refusal, match=r"DLP\.PAYMENT\.PAN"):
        run(rules, [chunk({"text": CARD[:9]}), chunk(CALL), chunk({"text": CARD[9:]}, finish="STOP")])


def test_candidates_have_channels_of_their_own_and_prompts_may_be_rejected(rules):
    chunks, stream = run(rules, [
        chunk({"text": CARD[:9]}, index=0), chunk({"text": CARD[:9]}, index=1),
        chunk({"text": CARD[9:]}, index=0, finish="STOP"), chunk({"text": " x"}, index=1, finish="STOP"),
    ])  # fmt: skip
    assert "".join(p["text"] for p in parts(chunks, 0)) == GONE
    assert "".join(p["text"] for p in parts(chunks, 1)) == f"{CARD[:9]} x"
    chunks, stream = run(rules, [{"promptFeedback": {"blockReason": "SAFETY"}}])
    assert (chunks, stream.complete) == ([{"promptFeedback": {"blockReason": "SAFETY"}}], True)


def test_what_stands_around_the_text_is_filtered_and_log_probabilities_dropped(rules):
    given = chunk({"text": "x"}, finish="STOP", modelVersion=CARD)
    given["candidates"][0] |= {"citationMetadata": {"citations": [{"title": CARD}]}, "logprobsResult": {"t": CARD}}
    (out,), _ = run(rules, [given])
    assert out["modelVersion"] == GONE
    assert out["candidates"][0]["citationMetadata"] == {"citations": [{"title": GONE}]}
    assert CARD not in json.dumps(out)


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("WIRE.MALFORMED", []),
        ("WIRE.MALFORMED", {"candidates": {}}),
        ("WIRE.MALFORMED", {"candidates": ["x"]}),
        ("WIRE.MALFORMED", chunk({"text": "x"}, index=MAX_CHOICES)),
        ("WIRE.MALFORMED", chunk("x")),
        ("WIRE.MALFORMED", chunk({"text": 5})),
        ("WIRE.MALFORMED", chunk({"text": "x", "thought": CARD})),
        ("WIRE.MALFORMED", {"candidates": [{"content": "x"}]}),
        ("WIRE.UNSCANNABLE", chunk({"inlineData": INLINE})),
        ("WIRE.UNSCANNABLE", chunk({"text": "x", "inlineData": INLINE})),
        ("WIRE.UNSCANNABLE", chunk({"newPart": {}})),
        ("POLICY.TOOL_DENIED", chunk({"functionCall": {"name": "wire_money"}})),
        ("POLICY.TOOL_DENIED", chunk({"executableCode": {"code": "1"}})),
        ("SYSTEM.BACKEND", {"error": {"code": 503}}),
    ],
)
def test_chunks_that_are_not_understood_end_the_stream(rules, code, body):
    with pytest.raises(Refusal) as caught:
        run(rules, [body])
    assert (caught.value.code, caught.value.scope) == (code, RESPONSE)
