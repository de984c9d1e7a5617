"""Bedrock Converse: AWS's own client in front of a real gateway process, and the readers by themselves."""

from __future__ import annotations

import json
import ssl
import subprocess
from contextlib import closing

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal, reasons
from gateway.wire.bedrock_converse import BedrockConverse
from gateway.wire.bedrock_errors import error_body, exception_type
from gateway.wire.bedrock_stream import MAX_OPEN, ConverseStream
from gateway.wire.event_stream import EventStreamParser, write
from gateway.wire.format import Usage
from gateway.wire.held import MAX_HELD

AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
CARD = "4111 1111 " + "1111 1111"
GONE = "[REDACTED:payment_card]"
SPEC = {"name": "get_balance", "description": "Balance of an account.", "inputSchema": {"json": {"type": "object"}}}
TOOLS = {"tools": [{"toolSpec": SPEC}]}
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.sim.sim-1-v1:0"
VERSIONED = "sim.sim-1-v2:0"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-made one: boto3 sends a bearer key over TLS only."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "tls.key", "-out", "tls.pem", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def shared(speaking, certificate):
    tls = f'port = 0\ntls_cert = "{certificate / "tls.pem"}"\ntls_key = "{certificate / "tls.key"}"'
    models = json.dumps(["sim-1", ARN, VERSIONED])
    return speaking("bedrock", ("port = 0", tls), ('known_models = ["sim-1"]', f"known_models = {models}"))


@pytest.fixture(scope="module")
def carrier(carriers):
    return carriers["bedrock_converse"]


@pytest.fixture
def connect(gateway, certificate, monkeypatch):
    made = []

    def client(key=gateway.agent_key):
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", key)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        made.append(
            boto3.client(
                "bedrock-runtime",
                endpoint_url=gateway.url,
                region_name="us-east-1",
                verify=str(certificate / "tls.pem"),
                config=Config(retries={"total_max_attempts": 1}),
            )
        )
        return made[-1]

    yield client
    for client in made:
        client.close()


@pytest.fixture
def client(connect):
    return connect()


def message(text="Hi"):
    return [{"role": "user", "content": [{"text": text}]}]


def ask(client, text="Hi", model="sim-1", **more):
    return client.converse(modelId=model, messages=message(text), **more)


def ask_stream(client, **more):
    return client.converse_stream(modelId="sim-1", messages=message(), **more)["stream"]


def events(bodies):
    out = []
    for body in bodies:
        headers = {":event-type": body["event_type"], ":content-type": "application/json", ":message-type": "event"}
        out.append(write(headers, json.dumps({k: v for k, v in body.items() if k != "event_type"}).encode()))
    return out


def send(simulator, pieces):
    simulator.reply, simulator.headers = pieces, {"Content-Type": "application/vnd.amazon.eventstream"}


def exchange(gateway):
    (row,) = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    return row


def test_text_passes_and_is_redacted_and_counted(gateway, simulator, client, carrier):
    simulator.reply = carrier.reply(f"Your card is {CARD}.")
    simulator.reply["usage"] |= {"cacheReadInputTokens": 7, "cacheWriteInputTokens": 2}
    reply = ask(client, system=[{"text": "Be brief."}], inferenceConfig={"maxTokens": 50})
    assert reply["output"]["message"]["content"] == [{"text": f"Your card is {GONE}."}]
    headers, raw = simulator.requests[0]
    assert (headers["Authorization"], simulator.paths) == (
        f"Bearer {gateway.provider_key}",
        ["/v1/model/sim-1/converse"],
    )
    assert gateway.agent_key not in json.dumps(headers)
    assert json.loads(raw)["system"] == [{"text": "Be brief."}]
    row = exchange(gateway)
    assert (row["wire_format"], row["model"], row["decision"]) == ("bedrock_converse", "sim-1", "redact")
    assert (row["tokens_in"], row["tokens_out"], row["tokens_cached"]) == (12, 5, 7)


@pytest.mark.parametrize(
    ("model", "written"),
    [
        (VERSIONED, "sim.sim-1-v2%3A0"),
        (ARN, "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.sim.sim-1-v1%3A0"),
    ],
)
def test_models_keep_the_spelling_that_the_client_gives_them(gateway, simulator, client, carrier, model, written):
    """What is sent on is what was matched: a path that is encoded anew could mean something else."""
    simulator.reply = carrier.reply("Hello.")
    ask(client, model=model)
    assert simulator.paths == [f"/v1/model/{written}/converse"]
    assert exchange(gateway)["model"] == model


def test_errors_are_raised_as_aws_names_them_with_the_reason_code(simulator, client, connect, carrier):
    with pytest.raises(client.exceptions.AccessDeniedException) as blocked:
        ask(client, f"use {AWS}")
    assert "[DLP.SECRET.AWS_ACCESS_KEY]" in str(blocked.value)
    assert AWS not in str(blocked.value)
    assert simulator.requests == []
    with pytest.raises(client.exceptions.AccessDeniedException, match=r"DLP\.SECRET\.AWS_ACCESS_KEY"):
        ask(client, model=f"sim-{AWS}")
    simulator.reply = carrier.call("wire_money", {})
    with pytest.raises(client.exceptions.AccessDeniedException, match=r"POLICY\.TOOL_DENIED"):
        ask(client)
    with pytest.raises(client.exceptions.ValidationException, match=r"\[WIRE\.UNSCANNABLE:option\]"):
        ask(client, additionalModelRequestFields={"prompt": "x"})
    with pytest.raises(client.exceptions.ResourceNotFoundException, match=r"POLICY\.ROUTE"):
        client.invoke_model(modelId="sim-1", body=b"{}")
    with pytest.raises(client.exceptions.AccessDeniedException, match=r"POLICY\.AGENT_DENIED"):
        ask(connect("wrong"))
    simulator.status, simulator.reply = 503, {"message": "x"}
    with pytest.raises(client.exceptions.InternalServerException, match=r"SYSTEM\.BACKEND:status"):
        ask(client)


def test_errors_of_the_provider_keep_their_names_unless_these_hold_a_secret(simulator, client):
    """AWS names an error in a header alone."""
    simulator.status, simulator.reply = 429, {"message": "slow down"}
    simulator.headers = {"x-amzn-ErrorType": "ThrottlingException:http://internal.amazon.com/"}
    with pytest.raises(client.exceptions.ThrottlingException, match="slow down"):
        ask(client)
    simulator.headers = {"x-amzn-ErrorType": AWS}
    with pytest.raises(client.exceptions.AccessDeniedException, match=r"DLP\.SECRET\.AWS_ACCESS_KEY"):
        ask(client)


def test_every_reason_has_an_error_that_aws_knows(client):
    known = {e for e in dir(client.exceptions) if e.endswith("Exception")}
    members = client.meta.service_model.operation_model("ConverseStream").get_event_stream_output().members
    for reason in reasons().values():
        for detail in (None, *reason.details):
            refusal = Refusal(reason.code, detail)
            assert error_body(refusal, "r")["code"] in known
            assert exception_type(refusal) in members


def test_another_content_type_is_refused(gateway, certificate, carrier):
    headers = {"Authorization": f"Bearer {gateway.agent_key}", "Content-Type": "application/x-amz-json-1.1"}
    verify = ssl.create_default_context(cafile=str(certificate / "tls.pem"))
    url, body = gateway.url + "/model/sim-1/converse", json.dumps(carrier.request("Hi")).encode()
    response = httpx.post(url, content=body, headers=headers, verify=verify)
    assert (response.status_code, response.json()["code"]) == (415, "ValidationException")
    assert "[WIRE.MALFORMED:content_type]" in response.json()["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/model/sim-1/converse?x=1",
        "/model/sim-1/converse/",
        "/model/sim-1/invoke",
        "/model/sim-1%2fx/converse",
        "/model/sim-1%252Fx/converse",
        "/model/..%2Fx/converse",
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprompt%2FPROMPT12345%3A1/converse",
        "/model/arn:aws:bedrock:us-east-1:123456789012:prompt%2FPROMPT12345/converse",
    ],
)
def test_other_paths_and_stored_prompts_are_refused(gateway, simulator, certificate, carrier, path):
    headers = {"Authorization": f"Bearer {gateway.agent_key}"}
    verify = ssl.create_default_context(cafile=str(certificate / "tls.pem"))
    response = httpx.post(gateway.url + path, json=carrier.request("Hi"), headers=headers, verify=verify)
    assert (response.status_code, response.json()["code"]) == (404, "ResourceNotFoundException")
    assert simulator.requests == []


def test_a_stream_is_redacted_however_it_is_cut(gateway, simulator, client, carrier):
    text = f"Your card is {CARD}, and that is all."
    for cut in range(0, len(text) + 1, 3):
        send(simulator, events(carrier.stream(text[:cut], text[cut:])))
        found = list(ask_stream(client))
        deltas = [e["contentBlockDelta"]["delta"]["text"] for e in found if "contentBlockDelta" in e]
        assert "".join(deltas) == f"Your card is {GONE}, and that is all."
        assert [next(iter(e)) for e in found if "contentBlockDelta" not in e] == [
            "messageStart", "contentBlockStop", "messageStop", "metadata",
        ]  # fmt: skip
    assert set(simulator.paths) == {"/v1/model/sim-1/converse-stream"}
    rows = [r for r in gateway.rows() if r["event_kind"] == "exchange"]
    assert {(r["decision"], r["stream"], r["tokens_in"], r["tokens_out"]) for r in rows} == {("redact", True, 3, 5)}


def test_calls_reach_the_client_whole(simulator, client, carrier):
    arguments = {"account": "1", "note": CARD}
    simulator.reply = carrier.call("get_balance", arguments)
    reply = ask(client, toolConfig={**TOOLS, "toolChoice": {"tool": {"name": "get_balance"}}})
    assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == {"account": "1", "note": GONE}
    send(simulator, events(carrier.stream_call(("get_", "balance"), tuple(json.dumps(arguments)))))
    found = list(ask_stream(client, toolConfig=TOOLS))
    assert [e["contentBlockStart"]["start"]["toolUse"]["name"] for e in found if "contentBlockStart" in e] == [
        "get_balance"
    ]
    (delta,) = [e["contentBlockDelta"]["delta"] for e in found if "contentBlockDelta" in e]
    assert json.loads(delta["toolUse"]["input"]) == {"account": "1", "note": GONE}


def test_a_block_in_a_running_stream_is_the_clients_own_error(gateway, simulator, client, carrier):
    send(simulator, events(carrier.stream(*"Of course. Here:\n-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE")))
    seen = []

    def collect():
        with closing(ask_stream(client)) as stream:
            for event in stream:
                seen.append(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))

    with pytest.raises(EventStreamError, match=r"\[DLP\.SECRET\.PRIVATE_KEY\]") as blocked:
        collect()
    assert "".join(seen) == "Of course. Here:\n"
    assert blocked.value.response["Error"]["Code"] == "validationException"
    row = exchange(gateway)
    assert (row["decision"], row["reason_code"], row["scope"]) == ("block", "DLP.SECRET.PRIVATE_KEY", "response")


def test_an_unlisted_call_and_a_cut_stream_never_end_well(simulator, client, carrier):
    send(simulator, events(carrier.stream_call(("wire_money",), ("{}",))))
    with pytest.raises((ClientError, EventStreamError), match=r"POLICY\.TOOL_DENIED"):
        list(ask_stream(client))
    send(simulator, events(carrier.stream("Hello "))[:-2])
    with closing(ask_stream(client)) as stream, pytest.raises(EventStreamError, match=r"SYSTEM\.BACKEND:cut_off"):
        list(stream)


# -- the readers by themselves ----------------------------------------------------------------------------------------


def read(rules, body):
    inspection, fields = Inspection(rules, "support"), Fields(REQUEST)
    BedrockConverse().read_request(body, fields, inspection)
    inspection.scan(fields)
    return inspection


def refused(rules, body):
    with pytest.raises(Refusal) as caught:
        read(rules, body).verdict(REQUEST)
    return str(caught.value)


def turn(*content, role="user"):
    return {"messages": [{"role": role, "content": list(content)}]}


USE = {"toolUseId": "t1", "name": "get_balance", "input": {}}


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("system", {"system": [{"text": AWS}]}),
        ("system", turn({"text": AWS}, role="system")),
        ("user", turn({"text": AWS})),
        ("user", turn({"guardContent": {"text": {"text": AWS}}})),
        ("user", turn({"document": {"format": "txt", "name": "d", "source": {"text": AWS}}})),
        ("user", turn({"document": {"format": "txt", "name": AWS, "source": {"content": [{"text": "x"}]}}})),
        ("assistant", turn({"text": AWS}, role="assistant")),
        ("assistant", turn({"citationsContent": {"content": [{"text": AWS}]}}, role="assistant")),
        ("assistant", turn({"reasoningContent": {"reasoningText": {"text": AWS, "signature": "s"}}}, role="assistant")),
        ("assistant", turn({"reasoningContent": {"redactedContent": AWS}}, role="assistant")),
        ("tool_args", turn({"toolUse": {**USE, "input": {"a": [{AWS: 1}]}}}, role="assistant")),
        ("tool_result", turn({"toolResult": {"toolUseId": "t1", "content": [{"text": AWS}]}})),
        ("tool_result", turn({"toolResult": {"toolUseId": "t1", "content": [{"json": {"a": AWS}}]}})),
        ("tool_result", turn({"searchResult": {"source": "s", "title": "t", "content": [{"text": AWS}]}})),
        ("tool_def", {"toolConfig": {"tools": [{"toolSpec": {**SPEC, "description": AWS}}]}}),
        ("metadata", {"requestMetadata": {AWS: "x"}}),
        ("metadata", {"inferenceConfig": {"stopSequences": [AWS]}}),
        ("metadata", {"outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": AWS}}}}}),
    ],
)
def test_a_secret_is_found_wherever_it_lies(rules, carrier, where, more):
    inspection = read(rules, {**carrier.request("Hi"), **more})
    assert {(m.location, m.action) for m in inspection.matches} == {(where, "block")}


@pytest.mark.parametrize(
    "more",
    [
        {"toolConfig": {"tools": [{"toolSpec": {**SPEC, "name": "wire_money"}}]}},
        {"toolConfig": {"tools": [{"newTool": {"name": "get_balance"}}]}},
        {"toolConfig": {**TOOLS, "toolChoice": {"tool": {"name": "wire_money"}}}},
        turn({"toolUse": {**USE, "name": "wire_money"}}, role="assistant"),
        turn({"toolUse": {**USE, "name": "nova_grounding", "type": "server_tool_use"}}, role="assistant"),
    ],
)
def test_unlisted_tools_are_denied_in_every_place(rules, carrier, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


def test_tools_that_the_provider_runs_are_denied(rules, carrier):
    assert carrier.built_ins
    for more in carrier.built_ins:
        assert refused(rules, {**carrier.request("Hi"), **more}) == "POLICY.TOOL_DENIED"


IMAGE = {"format": "png", "source": {"bytes": "iVBORw0KGgo="}}


@pytest.mark.parametrize(
    ("code", "more"),
    [
        *(
            ("WIRE.UNSCANNABLE part", turn(block))
            for block in (
                {"image": IMAGE},
                {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://x/y"}}}},
                {"audio": {"format": "mp3", "source": {"bytes": "AA=="}}},
                {"document": {"format": "pdf", "name": "d", "source": {"bytes": "JVBERi0="}}},
                {"document": {"format": "pdf", "name": "d", "source": {"s3Location": {"uri": "s3://x/y"}}}},
                {"document": {"format": "pdf", "name": "d", "source": {"content": [{"image": IMAGE}]}}},
                {"guardContent": {"image": IMAGE}},
                {"toolResult": {"toolUseId": "t1", "content": [{"image": IMAGE}]}},
                {"toolResult": {"toolUseId": "t1", "content": [{"document": {}}]}},
                {"toolAddition": {"tool": {"type": "custom", "name": "get_balance"}}},
                {"telepathy": {}},
            )
        ),
        *(
            ("WIRE.UNSCANNABLE option", more)
            for more in (
                {"additionalModelRequestFields": {}},
                {"promptVariables": {"a": {"text": "x"}}},
                {"inferenceConfig": {"newOption": 1}},
                {"newOption": 1},
            )
        ),
        *(
            ("WIRE.MALFORMED shape", more)
            for more in (
                {"messages": []},
                {"messages": ["x"]},
                {"messages": [{"role": "tool", "content": []}]},
                {"messages": [{"role": "user", "content": "x"}]},
                turn("x"),
                turn({"text": "x", "image": IMAGE}),
                turn({}),
                turn({"toolUse": "x"}),
                turn({"toolUse": {"name": "get_balance"}}),
                turn({"toolUse": {**USE, "name": 5}}),
                turn({"toolResult": {"toolUseId": "t1", "content": "x"}}),
                {"system": "x"},
                {"toolConfig": "x"},
                {"toolConfig": {"tools": "x"}},
                {"toolConfig": {"tools": [{"toolSpec": {"name": "get_balance"}}]}},
                {"toolConfig": {"tools": [], "toolChoice": {"other": {}}}},
                {"inferenceConfig": "x"},
            )
        ),
    ],
)
def test_what_cannot_be_inspected_is_refused(rules, carrier, code, more):
    assert refused(rules, {**carrier.request("Hi"), **more}) == code


def test_caps_can_be_read_and_set(rules, carrier):
    reader, body = BedrockConverse(), carrier.request("Hi")
    assert (reader.output_cap(body), reader.choices(body)) == (None, 1)
    reader.set_output_cap(body, 9)
    assert reader.output_cap(body) == 9
    with pytest.raises(Refusal):
        reader.output_cap({"inferenceConfig": {"maxTokens": "many"}})


def test_signed_reasoning_is_blocked_where_text_would_be_redacted(rules, carrier):
    for reasoning in ({"reasoningText": {"text": f"The card is {CARD}.", "signature": "s"}}, {"redactedContent": CARD}):
        inspection, fields = Inspection(rules, "support"), Fields(RESPONSE)
        body = carrier.reply("x")
        body["output"]["message"]["content"] = [{"reasoningContent": reasoning}]
        BedrockConverse().read_response(body, fields, inspection)
        inspection.scan(fields)
        assert inspection.decision == "block"


def run(rules, raw, size=1 << 20):
    """(all events that came out, as (type, value); the stream), for the bytes arriving in pieces of `size`."""
    stream = ConverseStream(Inspection(rules, "support"))
    out = b""
    for at in range(0, len(raw), size):
        out += b"".join(stream.feed(raw[at : at + size]))
    if stream.complete:
        out += stream.end()
    return [(m.headers[":event-type"], json.loads(m.payload)) for m in EventStreamParser().feed(out)], stream


def test_a_stream_reads_the_same_in_pieces_of_any_size(rules, carrier):
    bodies = carrier.stream("It is ", CARD[:7], CARD[7:], ". ü")
    raw = b"".join(events(bodies))
    for size in (1, 2, 3, 7, 50, 1 << 20):
        found, stream = run(rules, raw, size)
        assert "".join(v["delta"]["text"] for k, v in found if k == "contentBlockDelta") == f"It is {GONE}. ü"
        assert (stream.usage, stream.complete, stream.done) == (Usage(3, 5), True, True)


def test_a_secret_split_at_every_offset_never_leaks(rules, carrier):
    text = f"It is {CARD}, I think."
    for cut in range(len(text) + 1):
        found, _ = run(rules, b"".join(events(carrier.stream(text[:cut], text[cut:]))))
        out = "".join(v["delta"]["text"] for k, v in found if k == "contentBlockDelta")
        assert out == f"It is {GONE}, I think."


def test_a_stream_cut_anywhere_is_not_complete(rules, carrier):
    """Only the event with the counts may be missing."""
    pieces = events(carrier.stream("Hello."))
    raw, needed = b"".join(pieces), len(b"".join(pieces[:-1]))
    for end in range(len(raw)):
        assert run(rules, raw[:end])[1].complete == (end == needed)


START = {"event_type": "messageStart", "role": "assistant"}
STOP = {"event_type": "messageStop", "stopReason": "end_turn"}


def delta(value, index=0):
    return {"event_type": "contentBlockDelta", "contentBlockIndex": index, "delta": value}


def begin(value, index=0):
    return {"event_type": "contentBlockStart", "contentBlockIndex": index, "start": value}


def stop(index=0):
    return {"event_type": "contentBlockStop", "contentBlockIndex": index}


CALL = begin({"toolUse": {"toolUseId": "t1", "name": "get_balance"}})


def test_reasoning_passes_with_its_signature_or_not_at_all(rules):
    def thinking(*pieces):
        deltas = [delta({"reasoningContent": {"text": p}}) for p in pieces]
        signed = delta({"reasoningContent": {"signature": "sig"}})
        hidden = delta({"reasoningContent": {"redactedContent": "c2VjcmV0"}}, 1)
        return b"".join(events([START, *deltas, signed, stop(), hidden, stop(1), STOP]))

    found, _ = run(rules, thinking("Let me ", "see."))
    deltas = [v["delta"]["reasoningContent"] for k, v in found if k == "contentBlockDelta"]
    assert "".join(d.get("text", "") for d in deltas) == "Let me see."
    assert deltas[-2:] == [{"signature": "sig"}, {"redactedContent": "c2VjcmV0"}]
    for pieces in (("It is ", CARD), tuple(f"It is {CARD} .")):
        with pytest.raises(Refusal, match=r"DLP\.PAYMENT\.PAN"):
            run(rules, thinking(*pieces))


def test_a_secret_over_two_blocks_ends_the_stream(rules):
    """What clients show as one text is read as one where the blocks meet."""
    for cut, digits in ((9, CARD), (12, CARD.replace(" ", ""))):
        with pytest.raises(Refusal, match=r"DLP\.PAYMENT\.PAN"):
            run(rules, b"".join(events([
                START, delta({"text": f"It is {digits[:cut]}"}), stop(),
                *(delta({"text": c}, 1) for c in digits[cut:] + "."), stop(1), STOP,
            ])))  # fmt: skip


def test_citations_are_filtered_padding_dropped_and_empty_arguments_an_object(rules):
    found, _ = run(rules, b"".join(events([
        {**START, "p": "abc"}, delta({"text": "x"}), delta({"citation": {"title": CARD}}), stop(),
        {**CALL, "contentBlockIndex": 1}, stop(1), STOP,
    ])))  # fmt: skip
    assert found[0] == ("messageStart", {"role": "assistant"})
    deltas = [v["delta"] for k, v in found if k == "contentBlockDelta"]
    assert {"citation": {"title": GONE}} in deltas
    assert deltas[-1] == {"toolUse": {"input": "{}"}}


@pytest.mark.parametrize(
    ("code", "bodies"),
    [
        ("WIRE.MALFORMED", [delta({"text": "x"})]),
        ("WIRE.MALFORMED", [START, START]),
        ("WIRE.MALFORMED", [START, {"event_type": "newEvent"}]),
        ("WIRE.MALFORMED", [START, delta({"text": "x"}), STOP]),
        ("WIRE.MALFORMED", [START, STOP, delta({"text": "x"})]),
        ("WIRE.MALFORMED", [START, {"event_type": "metadata"}]),
        ("WIRE.MALFORMED", [START, delta({"text": 5})]),
        ("WIRE.MALFORMED", [START, delta({"text": "x", "image": {}})]),
        ("WIRE.MALFORMED", [START, delta({"text": "x"}, "0")]),
        ("WIRE.MALFORMED", [START, delta({"text": "x"}, 1), delta({"text": "x"}, 0)]),
        ("WIRE.MALFORMED", [START, delta({"text": "x"}), delta({"reasoningContent": {"text": "x"}})]),
        ("WIRE.MALFORMED", [START, CALL, delta({"text": "x"})]),
        ("WIRE.MALFORMED", [START, CALL, CALL]),
        ("WIRE.MALFORMED", [START, begin({"toolUse": "x"})]),
        ("WIRE.MALFORMED", [START, *(delta({"text": "x"}, n) for n in range(MAX_OPEN + 1))]),
        ("WIRE.UNSCANNABLE", [START, begin({"image": {"format": "png"}})]),
        ("WIRE.UNSCANNABLE", [START, begin({"toolResult": {"toolUseId": "t"}})]),
        ("WIRE.UNSCANNABLE", [START, delta({"image": {}})]),
        ("WIRE.UNSCANNABLE", [START, delta({"toolUse": {"input": "{}"}})]),
        ("WIRE.UNSCANNABLE", [START, delta({"reasoningContent": {"new": "x"}})]),
        ("POLICY.TOOL_DENIED", [START, begin({"toolUse": {"toolUseId": "t", "name": "wire_money"}}), stop()]),
        ("WIRE.LIMIT", [START, CALL, *[delta({"toolUse": {"input": "x" * (MAX_HELD // 4)}})] * 4]),
    ],
)
def test_events_that_are_not_understood_end_the_stream(rules, code, bodies):
    with pytest.raises(Refusal) as caught:
        run(rules, b"".join(events(bodies)))
    assert (caught.value.code, caught.value.scope) == (code, RESPONSE)


def test_an_exception_of_the_provider_ends_the_stream(rules):
    headers = {":message-type": "exception", ":exception-type": "throttlingException"}
    with pytest.raises(Refusal, match=r"SYSTEM\.BACKEND"):
        run(rules, write(headers, b'{"message": "slow down"}'))
    with pytest.raises(Refusal, match=r"WIRE\.MALFORMED"):
        run(rules, write({":message-type": "event", ":event-type": "messageStart"}, b"not json"))
