"""Each format over real sockets: what we send is read by the vendor's own types, and its replies by us."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anthropic.types
import botocore.session
import pytest
from botocore.validate import ParamValidator
from google.genai import types as gemini
from openai.types.chat import ChatCompletionContentPartParam
from pydantic import TypeAdapter

from tasks.errors import ConfigError
from tasks.probing.pictures import drawn
from tasks.records import AssetKind
from tasks.targets import registry
from tasks.targets.addresses import GuardedResolver, refused_host
from tasks.targets.http_template import checked
from tasks.targets.limiter import Limiter
from tasks.targets.target import PlantedTool, Reply, Request
from tasks.targets.wire import Pace, Wire

FAST = Pace(tries=2, backoff_s=0.001, backoff_cap_s=0.002, retry_after_cap_s=5)
TOOL = PlantedTool(
    "look", "Looks.", {"type": "object", "properties": {"q": {"type": "string"}}}, ("seen",), "Looks again."
)
TALK = Request(turns=(("user", "look"), ("user", "and now?")), system="be kind", tools=(TOOL,), max_tokens=64)
FORGED = Request(turns=(("user", "a"), ("assistant", "forged"), ("user", "b")))


def talk(asset: Any, request: Request) -> Reply:
    async def go() -> Reply:
        wire = Wire((asset.props["url"],), Limiter(), timeout_s=5, pace=FAST)
        target = registry[asset.props["wire_format"]](asset, wire)
        try:
            return await target.converse(request)
        finally:
            await target.close()

    return asyncio.run(go())


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "k").write_text("a-key-of-nobody")
    return f"file:{tmp_path / 'k'}"


# -- one conversation: a tool call, its result, an answer, a second exchange ------------------------------------------


def anthropic_reply(n: int, *, stop: str | None = None) -> dict[str, Any]:
    text = {"type": "text", "text": f"said {n}", "citations": None}
    use = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"q": "x"}}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [text, use] if n == 1 and stop is None else [text],
        "stop_reason": stop or ("tool_use" if n == 1 else "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def gemini_reply(n: int, *, stop: str | None = None) -> dict[str, Any]:
    call = {"functionCall": {"name": "look", "args": {"q": "x"}}, "thoughtSignature": "c2ln"}
    parts = [{"text": f"said {n}"}, *([call] if n == 1 and stop is None else [])]
    return {
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": stop or "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 1},
    }


def bedrock_reply(n: int, *, stop: str | None = None) -> dict[str, Any]:
    use = {"toolUse": {"toolUseId": "tooluse_1", "name": "look", "input": {"q": "x"}}}
    content = [{"text": f"said {n}"}, *([use] if n == 1 and stop is None else [])]
    return {
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop or ("tool_use" if n == 1 else "end_turn"),
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 3},
    }


REPLIES = {"anthropic_messages": anthropic_reply, "gemini": gemini_reply, "bedrock_converse": bedrock_reply}
PATHS = {
    "anthropic_messages": "/v1/messages",
    "gemini": "/v1/models/m-1%3A0:generateContent",
    "bedrock_converse": "/v1/model/m-1%3A0/converse",
}
KEY_HEADERS = {"anthropic_messages": "x-api-key", "gemini": "x-goog-api-key", "bedrock_converse": "authorization"}


def check_body(wire_format: str, body: dict[str, Any]) -> None:
    """Raises when the vendor's own definition of a request does not accept the body."""
    match wire_format:
        case "anthropic_messages":
            assert set(body) <= {"model", "max_tokens", "messages", "system", "tools"}
            TypeAdapter(list[anthropic.types.MessageParam]).validate_python(body["messages"], strict=False)
            TypeAdapter(list[anthropic.types.ToolParam]).validate_python(body.get("tools", []))
        case "gemini":
            assert set(body) <= {"contents", "generationConfig", "systemInstruction", "tools"}
            for content in body["contents"]:
                gemini.Content.model_validate(content)  # unknown fields are forbidden there
            gemini.GenerationConfig.model_validate(body["generationConfig"])
            for tool in body.get("tools", []):
                gemini.Tool.model_validate(tool)
        case "bedrock_converse":
            model = botocore.session.Session().get_service_model("bedrock-runtime")
            shape = model.operation_model("Converse").input_shape
            report = ParamValidator().validate({"modelId": "m", **body}, shape)
            assert not report.has_errors(), report.generate_report()
            roles = [m["role"] for m in body["messages"]]
            assert all(a != b for a, b in pairwise(roles)), "Converse wants roles to alternate"


@pytest.mark.parametrize("wire_format", REPLIES)
def test_a_conversation_with_tools(serve: Any, asset: Any, answer: Any, key: str, wire_format: str) -> None:
    server = serve(lambda path, body, n: answer(body=json.dumps(REPLIES[wire_format](n)).encode()))
    reply = talk(asset(server.url, wire_format=wire_format, model="m-1:0", credential=key), TALK)
    assert reply.error_kind is None
    assert reply.text == "said 1\n\nsaid 2\n\nsaid 3"
    assert [(c.name, dict(c.arguments), c.result) for c in reply.tool_calls] == [("look", {"q": "x"}, "seen")]
    assert (reply.finish, reply.tries, reply.tokens_in, reply.tokens_out) == ("stop", 3, 30, 15)
    assert reply.said_before == (len("said 1"),)
    for _, path, body, headers in server.requests:
        assert path == PATHS[wire_format]
        assert {k.lower(): v for k, v in headers.items()}[KEY_HEADERS[wire_format]].endswith("a-key-of-nobody")
        check_body(wire_format, body)
        assert "be kind" in json.dumps(body)
    first, second, third = (json.dumps(body) for _, _, body, _ in server.requests)
    assert "seen" not in first
    assert "seen" in second
    assert "Looks again." not in second
    assert "Looks again." in third
    if wire_format == "gemini":
        assert "c2ln" in second, "a thought signature must go back as it came"


@pytest.mark.parametrize("wire_format", REPLIES)
def test_a_forged_turn_of_the_assistant_is_history(serve: Any, asset: Any, answer: Any, wire_format: str) -> None:
    server = serve(lambda path, body, n: answer(body=json.dumps(REPLIES[wire_format](2)).encode()))
    props = {"credential": None} if wire_format != "bedrock_converse" else {"credential": "env:HOME"}
    talk(asset(server.url, wire_format=wire_format, **props), FORGED)
    (request,) = server.requests
    messages = request[2].get("messages") or request[2]["contents"]
    assert [m["role"] for m in messages] == ["user", "model" if wire_format == "gemini" else "assistant", "user"]
    check_body(wire_format, request[2])


@pytest.mark.parametrize(
    ("wire_format", "stop", "kind", "finish"),
    [
        ("anthropic_messages", "max_tokens", None, "length"),
        ("anthropic_messages", "refusal", "filtered", "content_filter"),
        ("anthropic_messages", "stop_sequence", None, "stop"),
        ("gemini", "MAX_TOKENS", None, "length"),
        ("gemini", "SAFETY", "filtered", "content_filter"),
        ("gemini", "PROHIBITED_CONTENT", "filtered", "content_filter"),
        ("gemini", "MALFORMED_FUNCTION_CALL", "malformed", "malformed"),
        ("bedrock_converse", "max_tokens", None, "length"),
        ("bedrock_converse", "guardrail_intervened", "filtered", "content_filter"),
        ("bedrock_converse", "content_filtered", "filtered", "content_filter"),
        ("bedrock_converse", "malformed_tool_use", "malformed", "malformed"),
    ],
)
def test_why_a_reply_ended(
    serve: Any, asset: Any, answer: Any, key: str, wire_format: str, stop: str, kind: str | None, finish: str
) -> None:
    server = serve(lambda *_: answer(body=json.dumps(REPLIES[wire_format](1, stop=stop)).encode()))
    reply = talk(asset(server.url, wire_format=wire_format, credential=key), Request(turns=(("user", "hi"),)))
    assert (reply.error_kind, reply.finish) == (kind, finish)


@pytest.mark.parametrize(
    ("wire_format", "status", "body", "kind"),
    [
        ("gemini", 200, {"promptFeedback": {"blockReason": "SAFETY"}}, "filtered"),
        ("gemini", 200, {"candidates": []}, "malformed"),
        ("gemini", 200, {"candidates": [{"content": {"parts": [{"functionCall": 3}]}}]}, "malformed"),
        ("anthropic_messages", 200, {"role": "assistant", "content": "text"}, "malformed"),
        ("anthropic_messages", 200, {"role": "assistant", "content": [{"type": "tool_use"}]}, "malformed"),
        (
            "anthropic_messages",
            400,
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"},
            },
            "filtered",
        ),
        ("anthropic_messages", 400, {"error": {"type": "invalid_request_error", "message": "no"}}, "http_400"),
        ("anthropic_messages", 529, {"error": {"type": "overloaded_error"}}, "http_529"),
        ("bedrock_converse", 200, {"output": {}}, "malformed"),
        ("bedrock_converse", 200, {"output": {"message": {"content": [{"toolUse": {}}]}}}, "malformed"),
        ("bedrock_converse", 403, {"message": "no"}, "auth"),
    ],
)
def test_faults_by_format(
    serve: Any, asset: Any, answer: Any, key: str, wire_format: str, status: int, body: Any, kind: str
) -> None:
    server = serve(lambda *_: answer(status, json.dumps(body).encode()))
    reply = talk(asset(server.url, wire_format=wire_format, credential=key), Request(turns=(("user", "hi"),)))
    assert reply.error_kind == kind


def test_bedrock_without_a_key_is_signed_as_aws_signs(
    serve: Any, asset: Any, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature is computed anew by AWS's own code from what arrived."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-nobody")
    server = serve(lambda path, body, n: answer(body=json.dumps(bedrock_reply(2)).encode()))
    target = asset(server.url, wire_format="bedrock_converse", model="vendor.m-1:0", region="eu-central-1")
    assert talk(target, Request(turns=(("user", "hi"),))).error_kind is None
    ((_, path, body, headers),) = server.requests
    assert path == "/v1/model/vendor.m-1%3A0/converse"
    raw = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    url = server.url.removesuffix("/v1") + path
    again = AWSRequest(method="POST", url=url, data=raw, headers={"content-type": "application/json"})
    again.context["timestamp"] = headers["X-Amz-Date"]
    again.headers["X-Amz-Date"] = headers["X-Amz-Date"]
    auth = SigV4Auth(Credentials("AKIAEXAMPLE", "secret-of-nobody"), "bedrock", "eu-central-1")
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert headers["Authorization"].rpartition("Signature=")[2] == expected
    with pytest.raises(ConfigError, match="region is unknown"):
        talk(asset(server.url, wire_format="bedrock_converse"), Request(turns=(("user", "hi"),)))


def test_declared_parameters_replace_and_remove(serve: Any, asset: Any, chat: Any) -> None:
    server = serve(lambda *_: chat("ok"))
    parameters = {"temperature": None, "max_tokens": None, "max_completion_tokens": 99}
    talk(asset(server.url, parameters=parameters), Request(turns=(("user", "hi"),)))
    assert set(server.requests[0][2]) == {"model", "messages", "max_completion_tokens"}


PICTURED = Request(
    turns=(("user", "look"), ("user", "and at this")), images=(drawn({"text": "No. 7"}),) * 2, max_tokens=9
)


@pytest.mark.parametrize("wire_format", ["openai_chat", *REPLIES])
def test_pictures_go_with_the_last_turn(serve: Any, asset: Any, answer: Any, key: str, wire_format: str) -> None:
    server = serve(lambda *_: answer(body=json.dumps(worded(wire_format, "I see.")).encode()))
    target = asset(server.url, wire_format=wire_format, model="m-1:0", credential=key)
    assert talk(target, PICTURED).error_kind is None
    first, second = (body for _, _, body, _ in server.requests)
    assert base64.b64encode(PICTURED.images[0]).decode() not in json.dumps(first)
    messages = second.get("messages") or second["contents"]
    parts = messages[-1].get("content") or messages[-1]["parts"]
    assert len(parts) == 3, "the words and two pictures"
    sent = [value for part in parts[1:] for value in _leaves(part) if len(value) > 200]
    assert [base64.b64decode(v.rpartition(",")[2]) for v in sent] == list(PICTURED.images)
    match wire_format:
        case "openai_chat":
            TypeAdapter(list[ChatCompletionContentPartParam]).validate_python(parts)
        case "bedrock_converse":
            # botocore takes the bytes themselves and encodes them; over the wire they are base64, as here.
            for part in parts[1:]:
                part["image"]["source"]["bytes"] = base64.b64decode(part["image"]["source"]["bytes"])
            check_body(wire_format, second)
        case _:
            check_body(wire_format, second)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value


# -- turns that depend on the last answer ------------------------------------------------------------------------------


def worded(wire_format: str, text: str) -> dict[str, Any]:
    """A whole reply of a format that says `text` and calls nothing."""
    match wire_format:
        case "openai_chat":
            return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}
        case "openai_responses":
            part = {"type": "output_text", "text": text, "annotations": []}
            return {"status": "completed", "output": [{"type": "message", "role": "assistant", "content": [part]}]}
        case "anthropic_messages":
            return {**anthropic_reply(2), "content": [{"type": "text", "text": text}]}
        case "gemini":
            return {"candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}]}
        case "bedrock_converse":
            return {**bedrock_reply(2), "output": {"message": {"role": "assistant", "content": [{"text": text}]}}}
        case "http_template":
            return {"text": text}
        case _:
            raise AssertionError(wire_format)


def asked(wire_format: str, body: dict[str, Any]) -> list[str]:
    """The user's words in one request, with `!` before what the other side is said to have said."""
    match wire_format:
        case "openai_chat" | "anthropic_messages" | "bedrock_converse":
            turns = [(m["role"], m["content"]) for m in body["messages"]]
        case "openai_responses":
            turns = [(m["role"], m["content"]) for m in body["input"]]
        case "gemini":
            turns = [(m["role"], m["parts"]) for m in body["contents"]]
        case _:
            turns = [(m["role"], m["content"]) for m in body["all"]]
    texts = [(role, said if isinstance(said, str) else "".join(p["text"] for p in said)) for role, said in turns]
    return [text if role == "user" else f"!{text}" for role, text in texts]


NO, YES = "I can't help with that.", "Here you are."
SCENES = {
    "refused at first": ((NO, YES, YES), ["a", f"!{NO}", "b", f"!{YES}", "c"], YES),
    "refused all along": ((NO, NO, NO), ["a", f"!{NO}", "b", f"!{NO}", "d"], NO),
    "answered at once": ((YES, NO, YES), ["a", f"!{YES}", "c", f"!{NO}", "d"], YES),
}
"""What the target says in turn -> its last request, and its last words."""
TREE = Request(
    turns=tuple(("user", text) for text in "abcd"), when={1: "refused", 2: "answered", 3: "refused"}, max_tokens=64
)


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("wire_format", sorted(set(registry) - {"mcp"}))
def test_a_turn_that_is_not_due_is_not_said(
    serve: Any, asset: Any, answer: Any, key: str, wire_format: str, scene: str
) -> None:
    answers, last_request, last = SCENES[scene]
    server = serve(lambda path, body, n: answer(body=json.dumps(worded(wire_format, answers[n - 1])).encode()))
    http = {"body": {"all": "{{ messages }}"}, "answer": "/text"}
    reply = talk(asset(server.url, wire_format=wire_format, credential=key, http=http), TREE)
    assert asked(wire_format, server.requests[-1][2]) == last_request
    assert (reply.last, reply.error_kind) == (last, None)


@pytest.mark.parametrize("scene", SCENES)
def test_a_tool_is_called_with_the_turns_that_are_due(serve: Any, asset: Any, answer: Any, scene: str) -> None:
    answers, last_request, last = SCENES[scene]
    calls: list[str] = []

    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        match body.get("method"):
            case "initialize":
                result: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}}
            case "tools/list":
                result = {"tools": [{"name": "ask", "inputSchema": {}}]}
            case "tools/call":
                calls.append(body["params"]["arguments"]["q"])
                result = {"content": [{"type": "text", "text": answers[len(calls) - 1]}]}
            case _:
                return answer(202)
        return answer(body=json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result}).encode())

    server = serve(manners)
    reply = talk(asset(server.url, AssetKind.MCP_SERVER, wire_format="mcp", tool="ask", argument="q"), TREE)
    assert calls == [text for text in last_request if not text.startswith("!")]
    assert (reply.last, reply.error_kind) == (last, None)


# -- MCP ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [False, True])
def test_a_tool_of_an_mcp_server(serve: Any, asset: Any, answer: Any, key: str, events: bool) -> None:
    def manners(path: str, body: dict[str, Any], n: int) -> Any:
        result: dict[str, Any]
        match body.get("method"):
            case "initialize":
                result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "s"}}
            case "tools/list" if "cursor" not in body["params"]:
                result = {"tools": [{"name": "other", "inputSchema": {}}], "nextCursor": "2"}
            case "tools/list":
                result = {"tools": [{"name": "ask", "inputSchema": {}}]}
            case "tools/call":
                result = {"content": [{"type": "text", "text": f"about {body['params']['arguments']['q']}"}]}
            case _:
                return answer(202 if body else 200)
        raw = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": result})
        headers = {"Mcp-Session-Id": "s-1"} if body["method"] == "initialize" else {}
        if not events:
            return answer(body=raw.encode(), headers={**headers, "content-type": "application/json"})
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {}})
        stream = f": hello\n\ndata: {note}\n\nevent: message\ndata: {raw}\n\n"
        return answer(body=stream.encode(), headers={**headers, "content-type": "text/event-stream"})

    server = serve(manners)
    props = {"wire_format": "mcp", "tool": "ask", "argument": "q", "arguments": {"k": 3}, "credential": key}
    reply = talk(asset(server.url, AssetKind.MCP_SERVER, **props), Request(turns=(("user", "x"), ("user", "y"))))
    assert (reply.text, reply.error_kind, reply.finish) == ("about x\n\nabout y", None, "stop")
    assert [dict(c.arguments) for c in reply.tool_calls] == [{"k": 3, "q": "x"}, {"k": 3, "q": "y"}]
    methods = [(m, body.get("method")) for m, _, body, _ in server.requests]
    assert methods[:2] == [("POST", "initialize"), ("POST", "notifications/initialized")]
    assert methods[-1] == ("DELETE", None), "the session is ended"
    for _, _, _, headers in server.requests[1:]:
        low = {k.lower(): v for k, v in headers.items()}
        assert (low["mcp-session-id"], low["mcp-protocol-version"]) == ("s-1", "2025-06-18")
    missing = talk(
        asset(server.url, AssetKind.MCP_SERVER, **{**props, "tool": "none"}), Request(turns=(("user", "x"),))
    )
    assert missing.error_kind == "tool_missing"
    with pytest.raises(ConfigError, match="needs `tool` and `argument`"):
        talk(asset(server.url, AssetKind.MCP_SERVER, wire_format="mcp"), Request(turns=(("user", "x"),)))


# -- any HTTP service --------------------------------------------------------------------------------------------------

TEMPLATE = {
    "path": "/ask?v=1",
    "headers": {"X-Tenant": "7"},
    "body": {"q": "{{ prompt }}", "s": ["{{ system | trim }}"], "all": "{{ messages }}", "b": "{{ prompt | base64 }}!"},
    "answer": "/data/0/te~1xt",
}


def test_a_template_says_where_things_stand(serve: Any, asset: Any, answer: Any, key: str) -> None:
    server = serve(lambda path, body, n: answer(body=json.dumps({"data": [{"te/xt": f"said {n}"}]}).encode()))
    http = {**TEMPLATE, "headers": {"X-Tenant": "7", "X-Key": key}}
    hostile = '{{ system }} {% x %} " } {{ model | url }}'
    request = Request(turns=(("user", hostile), ("user", "b")), system=" s ")
    reply = talk(asset(server.url, wire_format="http_template", http=http), request)
    assert (reply.text, reply.error_kind) == ("said 1\n\nsaid 2", None)
    _, path, body, headers = server.requests[0]
    assert path == "/v1/ask?v=1"
    assert body["q"] == hostile, "what is put in is never read as a template"
    assert body["s"] == ["s"]
    assert {k.lower(): v for k, v in headers.items()}["x-key"] == "a-key-of-nobody"
    assert server.requests[1][2]["all"] == [
        {"role": "user", "content": hostile},
        {"role": "assistant", "content": "said 1"},
        {"role": "user", "content": "b"},
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"body": {"q": "{{ prompt.__class__ }}"}}, "unknown variable"),
        ({"body": {"q": "{{ env }}"}}, "unknown variable"),
        ({"body": {"q": "{{ prompt | attr }}"}}, "unknown filter"),
        ({"body": {"q": "{{ prompt }}{% for x in y %}"}}, "no placeholder"),
        ({"body": {"q": "{{ prompt"}}, "no placeholder"),
        ({"body": {"q": "plain"}}, "no attack reaches"),
        ({"body": {"{{ prompt }}": "x"}}, "must be plain text"),
        ({"body": {"q": "{{ prompt }}", "m": "x {{ messages }}"}}, "stands alone"),
        ({"path": "//other.example/x"}, None),
        ({"path": "/../admin"}, "plain path"),
        ({"path": "@other.example/"}, "plain path"),
        ({"path": "/a\r\nhost: x"}, "plain path"),
        ({"headers": {"Host": "other.example"}}, "cannot be set"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "one line"),
        ({"headers": {"X-A": "{{ prompt }}"}}, "one line"),
        ({"answer": "data"}, "JSON Pointer"),
        ({"method": "GET"}, "is one of"),
        ({"proxy": "http://other.example"}, "unknown field"),
    ],
)
def test_a_template_holds_variables_and_filters_only(
    serve: Any, asset: Any, answer: Any, change: dict[str, Any], why: str | None
) -> None:
    server = serve(lambda *_: answer(404))
    target = asset(server.url, wire_format="http_template", http={**TEMPLATE, **change})
    if why is not None:
        with pytest.raises(ConfigError, match=why):
            checked(target)
        with pytest.raises(ConfigError, match=why):
            talk(target, Request(turns=(("user", "hi"),)))
        assert server.requests == []
    else:
        talk(target, Request(turns=(("user", "hi"),)))
        assert [path for _, path, _, _ in server.requests] == ["/v1//other.example/x"], "it stays on its own host"


# -- where a probe may go ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "::ffff:169.254.169.254",
        "0.0.0.0",  # noqa: S104  # an address that must be refused
        "::",
        "224.0.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "fd00:ec2::254",
    ],
)
def test_metadata_addresses_are_no_targets(host: str, asset: Any) -> None:
    assert refused_host(host)
    written = f"[{host}]" if ":" in host else host

    async def go() -> None:
        Wire((f"http://{written}/v1",), Limiter(), timeout_s=1)

    with pytest.raises(ValueError, match="never probed"):
        asyncio.run(go())


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.7", "192.168.1.1", "::1", "198.51.100.7", "llm.example.org"])
def test_other_addresses_may_be_declared(host: str) -> None:
    assert not refused_host(host)


def test_a_name_that_leads_to_a_metadata_address_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked on what the name resolves to at connect, in any spelling, so rebinding gains nothing."""
    answers = iter([["127.0.0.1"], ["127.0.0.1", "169.254.169.254"]])

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        return [{"hostname": host, "host": a, "port": port, "family": 2, "proto": 0, "flags": 0} for a in next(answers)]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)

    async def go() -> None:
        resolver = GuardedResolver()
        assert [one["host"] for one in await resolver.resolve("rebound.example", 80)] == ["127.0.0.1"]
        with pytest.raises(OSError, match="not contacted"):
            await resolver.resolve("rebound.example", 80)

    asyncio.run(go())


def test_the_wire_uses_the_guard_at_connect(monkeypatch: pytest.MonkeyPatch, asset: Any) -> None:
    asked: list[str] = []

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        asked.append(host)
        return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", resolve)
    reply = talk(asset("http://models.example/v1"), Request(turns=(("user", "hi"),)))
    assert reply.error_kind == "connect"
    assert asked == ["models.example"] * FAST.tries
