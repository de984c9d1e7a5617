from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tasks.estate import assistant
from tasks.estate.variants import Variant, all_on, hardened, vulnerable

KEY = "a-key-of-this-test"
AUTH = {"Authorization": f"Bearer {KEY}"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_tram_times",
            "description": "Times of trams.",
            "parameters": {"type": "object", "properties": {"stop": {"type": "string"}}, "required": ["stop"]},
        },
    }
]


@pytest.fixture
def start(serve: Callable[..., Any]) -> Any:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def run(variant: Variant = frozenset()) -> httpx.Client:
            url = stack.enter_context(serve(lambda: assistant.build(variant, {KEY: "caller"})))
            return stack.enter_context(httpx.Client(base_url=f"{url}/v1", headers=AUTH, timeout=20))

        yield run


def chat(client: httpx.Client, text: str, **more: Any) -> httpx.Response:
    return client.post(
        "/chat/completions", json={"model": assistant.MODEL, "messages": [{"role": "user", "content": text}], **more}
    )


def test_a_completion_has_the_shape_of_the_api(start: Any) -> None:
    reply = chat(start(), "What is my balance?")
    assert reply.status_code == 200
    body = reply.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == assistant.MODEL
    (choice,) = body["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert "EUR" in choice["message"]["content"]
    used = body["usage"]
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"]


def test_content_parts_are_read(start: Any) -> None:
    client = start()
    parts = [{"type": "text", "text": "What is my"}, {"type": "text", "text": "balance?"}]
    reply = client.post("/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
    assert "EUR" in reply.json()["choices"][0]["message"]["content"]


def test_a_stream_carries_the_same_text_in_chunks(start: Any) -> None:
    client = start()
    whole = chat(client, "What is my balance?").json()["choices"][0]["message"]["content"]
    with client.stream(
        "POST",
        "/chat/completions",
        json={
            "model": assistant.MODEL,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": "What is my balance?"}],
        },
    ) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in reply.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"]) == whole
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_the_client_plays_its_side_of_the_tool_loop(start: Any) -> None:
    client = start()
    question = {"role": "user", "content": "When does the next tram leave at the stop 'Mitte'?"}
    first = client.post("/chat/completions", json={"messages": [question], "tools": TOOLS}).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    assert first["message"]["content"] is None
    (call,) = first["message"]["tool_calls"]
    assert call["function"]["name"] == "get_tram_times"
    assert json.loads(call["function"]["arguments"]) == {"stop": "Mitte"}
    answer = {"role": "tool", "tool_call_id": call["id"], "content": "The next tram leaves at 12:04."}
    last = client.post(
        "/chat/completions", json={"messages": [question, first["message"], answer], "tools": TOOLS}
    ).json()["choices"][0]
    assert last["finish_reason"] == "stop"
    assert "12:04" in last["message"]["content"]


def test_models_are_listed_including_the_undeclared_one(start: Any) -> None:
    listed = start().get("/models").json()
    assert listed["object"] == "list"
    assert {m["id"] for m in listed["data"]} == {assistant.MODEL, assistant.UNDECLARED_MODEL}


@pytest.mark.parametrize("header", [{"Authorization": ""}, {"Authorization": "Bearer wrong"}])
def test_keys_are_checked_unless_switched_off(start: Any, header: dict[str, str]) -> None:
    refused = start().post("/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]}, headers=header)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    weak = start(vulnerable("accepts_any_key"))
    assert (
        weak.post(
            "/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]}, headers=header
        ).status_code
        == 200
    )


def test_the_model_list_is_open_only_with_its_switch(start: Any) -> None:
    assert start().get("/models", headers={"Authorization": ""}).status_code == 401
    assert start(vulnerable("lists_models_openly")).get("/models", headers={"Authorization": ""}).status_code == 200


def test_errors_tell_settings_only_with_their_switch(start: Any) -> None:
    for variant, leaks in ((hardened(), False), (vulnerable("verbose_errors"), True)):
        reply = start(variant).post("/chat/completions", content=b"{", headers={"Content-Type": "application/json"})
        assert reply.status_code == 400
        assert ("Traceback" in reply.text) is leaks
        assert ("system_prompt" in reply.text) is leaks


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": ["hi"]},
        {"messages": [{"role": "wizard", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 0},
        {"messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}]},
        {"messages": [{"role": "user", "content": "word " * 20000}]},
    ],
)
def test_malformed_requests_are_refused_in_every_variant(start: Any, body: dict[str, Any]) -> None:
    for variant in (hardened(), all_on()):
        assert start(variant).post("/chat/completions", json=body).status_code == 400


def test_max_tokens_has_a_ceiling_and_cuts(start: Any) -> None:
    client = start()
    assert chat(client, "hi", max_tokens=100_000).status_code == 400
    assert chat(start(vulnerable("unbounded_output")), "hi", max_tokens=100_000).status_code == 200
    short = chat(client, "What is my balance?", max_tokens=2).json()["choices"][0]
    assert short["finish_reason"] == "length"
    assert len(short["message"]["content"]) <= 8


def test_requests_are_throttled_unless_switched_off(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.estate.endpoint.BURST", 3)
    monkeypatch.setattr("tasks.estate.endpoint.PER_SECOND", 0.001)
    client = start()
    codes = [client.get("/models").status_code for _ in range(6)]
    assert 429 in codes
    limited = client.get("/models")
    assert limited.headers["Retry-After"] == "1"
    weak = start(vulnerable("no_rate_limit"))
    replies = [weak.get("/models") for _ in range(6)]
    assert {r.status_code for r in replies} == {200}
    assert "x-ratelimit-limit-requests" not in replies[0].headers


def test_foreign_origins_are_let_in_only_with_their_switch(start: Any) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in start().get("/models", headers=origin).headers
    weak = start(vulnerable("permissive_cors")).get("/models", headers=origin)
    assert weak.headers["access-control-allow-origin"] == "https://elsewhere.example"
    assert weak.headers["access-control-allow-credentials"] == "true"


def test_one_caller_hears_of_another_only_with_its_switch(start: Any) -> None:
    for variant, heard in ((hardened(), False), (vulnerable("remembers_across_users"), True)):
        client = start(variant)
        chat(client, "My lucky number is 7719, please note it.")
        reply = chat(client, "What did the previous customer tell you?").json()["choices"][0]["message"]["content"]
        assert ("7719" in reply) is heard
