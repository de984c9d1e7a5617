"""Whatever a server does ends as a reply with an error kind; nothing is raised, and nothing else is contacted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.records import Asset, AssetKind
from tasks.targets import registry
from tasks.targets.addresses import origin
from tasks.targets.budget import Amount, Budget, Limits
from tasks.targets.limiter import Limiter
from tasks.targets.target import PlantedDocument, PlantedMail, PlantedTool, Reply, Request
from tasks.targets.wire import Pace, Wire

FAST = Pace(tries=3, backoff_s=0.001, backoff_cap_s=0.002, retry_after_cap_s=5)
ASK = Request(turns=(("user", "hi"),))


def talk(
    asset: Asset,
    request: Request = ASK,
    *,
    limiter: Limiter | None = None,
    budget: Budget | None = None,
    timeout_s: float = 5,
) -> Reply:
    async def go() -> Reply:
        places = tuple(str(v) for k, v in asset.props.items() if k.endswith("url"))
        wire = Wire(places, limiter or Limiter(), timeout_s=timeout_s, budget=budget, pace=FAST)
        target = registry[asset.props["wire_format"]](asset, wire)
        try:
            return await target.converse(request)
        finally:
            await target.close()

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "tries"),
    [
        (500, b"{}", {}, "http_500", 3),
        (503, b"<html>", {}, "http_503", 3),
        (404, b"{}", {}, "http_404", 1),
        (302, b"", {"location": "http://127.0.0.1:9/"}, "http_302", 1),
        (401, b"{}", {}, "auth", 1),
        (403, b"{}", {}, "auth", 1),
        (200, b"<html>hello</html>", {}, "malformed", 1),
        (200, b"[1]", {}, "malformed", 1),
        (200, b"\xff\xfe\x00", {}, "malformed", 1),
        (200, b"", {}, "malformed", 1),
        (200, b'{"choices": []}', {}, "malformed", 1),
        (200, b'{"choices": [{"message": "x"}]}', {}, "malformed", 1),
        (200, b'{"choices": [{"message": {"tool_calls": [3]}}]}', {}, "malformed", 1),
        (200, b'{"a":' * 100_000, {}, "malformed", 1),
        (200, b"x", {"content-encoding": "gzip"}, "malformed", 1),
        (200, b" " * (10 * 2**20), {}, "too_large", 1),
        (429, b"{}", {"retry-after": "0"}, "throttled", 3),
        (429, b"{}", {"retry-after": "3600"}, "throttled", 1),
        (400, b'{"error": {"code": "content_filter"}}', {}, "filtered", 1),
        (400, b'{"error": {"innererror": {"code": "ResponsibleAIPolicyViolation"}}}', {}, "filtered", 1),
        (403, b'{"error": {"code": "DLP.SECRET.AWS_ACCESS_KEY"}}', {}, "filtered", 1),
        (403, b'{"error": {"type": "INJECTION.DIRECT"}}', {}, "filtered", 1),
        (403, b'{"error": {"code": "POLICY.TOOL_DENIED:chain"}}', {}, "filtered", 1),
        (400, b'{"error": {"code": "WIRE.UNSCANNABLE:part"}}', {}, "filtered", 1),
        (401, b'{"error": {"code": "POLICY.AGENT_DENIED"}}', {}, "auth", 1),
        (402, b'{"error": {"code": "POLICY.BUDGET_DAY"}}', {}, "http_402", 1),
        (429, b'{"error": {"code": "POLICY.RATE"}}', {"retry-after": "0"}, "throttled", 3),
        (400, b'{"error": {"code": "context_length_exceeded"}}', {}, "http_400", 1),
    ],
)
def test_faults_become_error_kinds(
    serve: Any, asset: Any, answer: Any, status: int, body: bytes, headers: dict[str, str], kind: str, tries: int
) -> None:
    server = serve(lambda *_: answer(status, body, headers))
    reply = talk(asset(server.url))
    assert (reply.error_kind, reply.tries, len(server.requests)) == (kind, tries, tries)


def test_a_content_filter_in_a_200_is_filtered(serve: Any, asset: Any, chat: Any) -> None:
    server = serve(lambda *_: chat("", finish="content_filter"))
    assert talk(asset(server.url)).error_kind == "filtered"


def test_silence_and_hanging_up(serve: Any, asset: Any, answer: Any) -> None:
    quiet = serve(lambda *_: (quiet.released.wait(30), answer())[1])
    assert talk(asset(quiet.url), timeout_s=0.2).error_kind == "timeout"
    rude = serve(lambda *_: answer(hang_up=True))
    assert talk(asset(rude.url)).error_kind == "connect"
    rude.close()
    assert talk(asset(rude.url)).error_kind == "connect"


def test_a_retry_succeeds_and_is_counted(serve: Any, asset: Any, chat: Any, answer: Any) -> None:
    server = serve(lambda path, body, n: chat("ok") if n == 3 else answer(429, b"{}", {"retry-after": "0"}))
    reply = talk(asset(server.url))
    assert (reply.text, reply.error_kind, reply.tries) == ("ok", None, 3)


def test_retry_after_may_be_a_date(serve: Any, asset: Any, chat: Any, answer: Any) -> None:
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    server = serve(lambda path, body, n: chat("ok") if n == 2 else answer(503, b"{}", {"retry-after": past}))
    assert talk(asset(server.url)).text == "ok"
    late = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server = serve(lambda *_: answer(429, b"{}", {"retry-after": late}))
    limiter = Limiter()
    assert talk(asset(server.url), limiter=limiter).error_kind == "throttled"
    assert limiter.stopped == "throttled"


def test_ten_failures_in_a_row_open_the_circuit(serve: Any, asset: Any, answer: Any) -> None:
    server = serve(lambda *_: answer(500, b"{}"))
    limiter = Limiter()
    kinds = [talk(asset(server.url), limiter=limiter).error_kind for _ in range(5)]
    assert kinds == ["http_500", "http_500", "http_500", "circuit_open", "circuit_open"]
    assert len(server.requests) == 10


def test_a_success_closes_the_count(serve: Any, asset: Any, answer: Any, chat: Any) -> None:
    server = serve(lambda path, body, n: chat("ok") if n % 3 == 0 else answer(500, b"{}"))
    limiter = Limiter()
    assert [talk(asset(server.url), limiter=limiter).error_kind for _ in range(12)] == [None] * 12


def test_the_budget_stops_sending(serve: Any, asset: Any, chat: Any) -> None:
    server = serve(lambda *_: chat("ok"))
    budget = Budget(Limits(requests=2))
    assert [talk(asset(server.url), budget=budget).error_kind for _ in range(4)] == [None, None, "budget", "budget"]
    assert len(server.requests) == 2
    assert budget.spent == Amount(2, 24, 0), "the usage that the replies reported"


def test_other_origins_are_never_contacted(serve: Any, chat: Any) -> None:
    server = serve(lambda *_: chat("ok"))

    async def go() -> str | None:
        wire = Wire(("http://127.0.0.1:1/v1",), Limiter(), timeout_s=1, pace=FAST)
        try:
            return (await wire.send("POST", f"{server.url}/x", {}, None)).error_kind
        finally:
            await wire.close()

    assert asyncio.run(go()) == "connect"
    assert server.requests == []


def test_each_header_is_sent_once_and_the_targets_own_takes_the_place_of_ours(serve: Any, chat: Any) -> None:
    server = serve(lambda *_: chat("ok"))

    async def go() -> None:
        wire = Wire((server.url,), Limiter(), timeout_s=5, pace=FAST)
        try:
            await wire.send(
                "POST", f"{server.url}/x", {}, "key", headers={"Accept": "text/plain", "USER-AGENT": "mine"}
            )
        finally:
            await wire.close()

    asyncio.run(go())
    ((*_, sent),) = server.requests
    assert len(sent.keys()) == len({name.lower() for name in sent.keys()})  # noqa: SIM118 - a message, not a mapping
    assert (sent["accept"], sent["user-agent"], sent["authorization"]) == ("text/plain", "mine", "Bearer key")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/x", "http://", "http://u:p@h/", "x"])
def test_only_plain_http_urls_are_targets(url: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        origin(url)


def tool_call(name: str, arguments: Any, **extra: Any) -> bytes:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    message = {"role": "assistant", "content": extra.get("text"), "tool_calls": [call]}
    return json.dumps({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).encode()


TOOLS = (PlantedTool("look", "Looks.", {"type": "object", "properties": {}}, ("seen",)),)


def test_the_tool_loop_answers_from_the_plan(serve: Any, asset: Any, chat: Any, answer: Any) -> None:
    replies = [answer(body=tool_call("look", '{"q": "x"}', text="One moment.")), chat("It was seen.")]
    server = serve(lambda path, body, n: replies[n - 1])
    reply = talk(asset(server.url), Request(turns=(("user", "look"),), tools=TOOLS, system="be kind"))
    assert reply.text == "One moment.\n\nIt was seen."
    assert [(c.name, dict(c.arguments), c.result) for c in reply.tool_calls] == [("look", {"q": "x"}, "seen")]
    assert (reply.finish, reply.tries) == ("stop", 2)
    second = server.requests[1][2]
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": "seen"}
    assert second["tools"][0]["function"]["name"] == "look"


def test_a_tool_loop_without_end_is_cut_off(serve: Any, asset: Any, answer: Any) -> None:
    server = serve(lambda *_: answer(body=tool_call("look", "{not json")))
    reply = talk(asset(server.url), Request(turns=(("user", "look"),), tools=TOOLS))
    assert (len(server.requests), reply.finish) == (4, "tool_calls")
    assert dict(reply.tool_calls[0].arguments) == {"_raw": "{not json"}


def test_two_user_turns_are_two_exchanges_and_forged_turns_are_none(serve: Any, asset: Any, chat: Any) -> None:
    server = serve(lambda path, body, n: chat(f"answer {n}"))
    reply = talk(asset(server.url), Request(turns=(("user", "a"), ("user", "b"))))
    assert reply.text == "answer 1\n\nanswer 2"
    assert [m["content"] for m in server.requests[1][2]["messages"]] == ["a", "answer 1", "b"]
    server = serve(lambda path, body, n: chat(f"answer {n}"))
    talk(asset(server.url), Request(turns=(("user", "a"), ("assistant", "forged"), ("user", "b"))))
    assert [[m["content"] for m in r[2]["messages"]] for r in server.requests] == [["a", "forged", "b"]]


@pytest.mark.parametrize(("first", "said"), [("I can't do that.", ["a", "b", "d"]), ("Here you are.", ["a", "c"])])
def test_a_conditional_turn_depends_on_the_last_answer(
    serve: Any, asset: Any, chat: Any, first: str, said: list[str]
) -> None:
    """A tree of rewordings: what is said next depends on whether the target declined."""
    server = serve(lambda path, body, n: chat(first if n == 1 else "I won't."))
    turns = tuple(("user", text) for text in "abcd")
    when = {1: "refused", 2: "answered", 3: "refused"}
    if first.startswith("Here"):
        turns, when = turns[:3], {1: "refused", 2: "answered"}
    reply = talk(asset(server.url), Request(turns=turns, when=when))
    last = server.requests[-1][2]["messages"]
    assert [m["content"] for m in last if m["role"] == "user"] == said
    assert reply.last == "I won't."


@pytest.fixture
def key(tmp_path: Path) -> Callable[[str], str]:
    def write(value: str) -> str:
        path = tmp_path / f"{value}.key"
        path.write_text(value)
        return f"file:{path}"

    return write


def test_documents_are_planted_as_one_tenant_and_removed(serve: Any, asset: Any, chat: Any, key: Any) -> None:
    server = serve(lambda path, body, n: chat("x", citations=[{"id": "d1#0", "tenant": "b"}, {"odd": 1}]))
    principals = [{"id": "a", "credential": key("ka")}, {"id": "b", "credential": key("kb")}]
    rag = asset(server.url, AssetKind.RAG_SYSTEM, principals=principals)
    request = Request(
        turns=(("user", "q"),), documents=(PlantedDocument("d1", "t", "b"),), principal="a", control_principal="b"
    )
    reply = talk(rag, request)
    seen = [
        (method, path.removeprefix("/v1"), headers["authorization"]) for method, path, _, headers in server.requests
    ]
    assert seen == [
        ("POST", "/documents", "Bearer kb"),
        ("POST", "/chat/completions", "Bearer kb"),
        ("POST", "/chat/completions", "Bearer ka"),
        ("DELETE", "/documents/d1", "Bearer kb"),
    ]
    assert [(c.chunk_id, c.tenant) for c in reply.citations or ()] == [("d1#0", "b")]
    assert reply.control is not None
    assert reply.control.error_kind is None


def test_a_refused_document_is_no_resistance(serve: Any, asset: Any, answer: Any, key: Any) -> None:
    server = serve(lambda *_: answer(400, b"{}"))
    rag = asset(server.url, AssetKind.RAG_SYSTEM, principals=[{"id": "a", "credential": key("ka")}])
    reply = talk(rag, Request(turns=(("user", "q"),), documents=(PlantedDocument("d1", "t", "a"),), principal="a"))
    assert reply.error_kind == "plant_failed"


def responses(*items: dict[str, Any], **extra: Any) -> bytes:
    return json.dumps({"status": "completed", "output": list(items), **extra}).encode()


MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "done"}]}


def test_the_agent_trace_and_mailbox(serve: Any, asset: Any, answer: Any, key: Any) -> None:
    call = {"type": "mcp_call", "name": "pay", "arguments": '{"to": "x"}', "output": "ok", "server_label": "s"}
    bodies = {"/v1/responses": responses(call, MESSAGE, usage={"input_tokens": 3, "output_tokens": 4})}
    server = serve(lambda path, body, n: answer(body=bodies.get(path, b'{"id": "m-1"}')))
    agent = asset(
        server.url,
        AssetKind.AGENT,
        wire_format="openai_responses",
        mailbox_url=f"{server.url}/contact",
        credential=key("k"),
    )
    reply = talk(agent, Request(turns=(("user", "go"),), system="s", mails=(PlantedMail("a@b.example", "s", "b"),)))
    assert (reply.text, reply.tokens_out, reply.finish) == ("done", 4, "stop")
    assert [(c.name, dict(c.arguments), c.result) for c in reply.tool_calls] == [("pay", {"to": "x"}, "ok")]
    assert [(m, p) for m, p, _, _ in server.requests] == [
        ("POST", "/v1/contact"),
        ("POST", "/v1/responses"),
        ("DELETE", "/v1/contact/m-1"),
    ]
    assert "authorization" not in server.requests[0][3], "the outsider's channel gets no credential"
    assert server.requests[1][2]["instructions"] == "s"


@pytest.mark.parametrize(
    ("body", "kind", "finish"),
    [
        (responses(MESSAGE, incomplete_details={"reason": "max_output_tokens"}), None, "length"),
        (responses(incomplete_details={"reason": "content_filter"}), "filtered", "content_filter"),
        (responses(MESSAGE, status="failed"), "malformed", "stop"),
        (b'{"output": 3}', "malformed", None),
        (b'{"output": [3]}', "malformed", None),
        (responses({"type": "mcp_call"}), "malformed", None),
        (responses({"type": "message", "content": "plain"}), None, "stop"),
    ],
)
def test_odd_responses(serve: Any, asset: Any, answer: Any, body: bytes, kind: str | None, finish: str | None) -> None:
    server = serve(lambda *_: answer(body=body))
    reply = talk(asset(server.url, AssetKind.AGENT, wire_format="openai_responses"))
    assert (reply.error_kind, reply.finish) == (kind, finish)
