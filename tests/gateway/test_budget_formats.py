"""Budgets and rates in every wire format, and what the providers' own clients make of the refusals."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from gateway.wire import APIS
from gateway.wire.event_stream import write
from gateway.wire.sse import sse

PRICES = {
    "default_max_tokens": 50,
    "unknown_price": "deny",
    "models": {"sim-1": {"input": 1_000_000, "output": 1_000_000, "cached": 1_000_000}},  # a micro-USD a token
}
DAY = {"id": "day", "upstream_domain": "*", "agent": "*", "period": "day", "zone": "UTC", "action": "block"}
FORMATS = {
    # format -> (API, where its output limit stands; None: there is no output)
    "openai_chat": ("openai", ("max_completion_tokens",)),
    "openai_responses": ("openai", ("max_output_tokens",)),
    "openai_embeddings": ("openai", None),
    "anthropic_messages": ("anthropic", ("max_tokens",)),
    "gemini": ("gemini", ("generationConfig", "maxOutputTokens")),
    "bedrock_converse": ("bedrock", ("inferenceConfig", "maxTokens")),
}
SAMPLED = [
    pytest.param(n, marks=[] if n in ("openai_chat", "anthropic_messages") else [pytest.mark.full]) for n in FORMATS
]
"""Two formats in `make test`, all of them in `make test-full`: each is a gateway process of its own."""


@pytest.fixture
def start(gateway_factory, policy, simulator):
    def run(api, limit=100_000, **sections):
        policy.publish(prices=PRICES, budgets=[{**DAY, "limit_micro_usd": limit}], **sections)
        gateway = gateway_factory()
        path = gateway.folder / "gateway.toml"
        path.write_text(path.read_text().replace("[routes.default]", f'[routes.default]\napi = "{api}"'))
        return gateway.start()

    return run


def post(gateway, api, path, body):
    name = APIS[api].key_headers[0]
    key = f"Bearer {gateway.agent_key}" if name == "Authorization" else gateway.agent_key
    return httpx.post(gateway.url + path, json=body, headers={name: key}, timeout=30)


def exchanges(gateway):
    return [row for row in gateway.rows() if row["event_kind"] == "exchange"]


def without_cap(body, where):
    """The request with no output limit."""
    body = json.loads(json.dumps(body))
    inner = body
    for key in (where or ())[:-1]:
        inner = inner.get(key, {})
    inner.pop((where or ("",))[-1], None)
    return body


@pytest.mark.parametrize("name", SAMPLED)
def test_every_format_is_bounded_reserved_and_settled(start, simulator, carriers, name):
    api, where = FORMATS[name]
    carrier, gateway = carriers[name], start(api)
    simulator.reply = carrier.reply("Hello.") if carrier.replies else {
        "object": "list", "model": "sim-1", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }  # fmt: skip
    answer = post(gateway, api, carrier.path, without_cap(carrier.request("Hello"), where))
    assert answer.status_code == 200, answer.text
    raw = simulator.requests[-1][1]
    sent = json.loads(raw)
    for key in where or ():
        sent = sent[key]
    row = exchanges(gateway)[-1]
    if where is None:
        assert row["reserved_micro_usd"] == len(raw)
        assert row["cost_micro_usd"] == 3
    else:
        assert sent == 50
        assert row["reserved_micro_usd"] == len(raw) + 50
        assert row["cost_micro_usd"] == 3 + 5
    assert row["usage_source"] == "provider"


@pytest.mark.parametrize("name", [p for p in SAMPLED if p.values != ("openai_embeddings",)])
def test_every_stream_is_settled_on_what_was_counted_or_on_what_came(start, simulator, carriers, name):
    """Whole, and without the last event."""
    api, _ = FORMATS[name]
    carrier, gateway = carriers[name], start(api)

    def framed(events):
        if api == "bedrock":
            media = "application/vnd.amazon.eventstream"
            frames = []
            for event in events:
                body = {k: v for k, v in event.items() if k != "event_type"}
                headers = {":message-type": "event", ":event-type": event["event_type"]}
                frames.append(write({**headers, ":content-type": "application/json"}, json.dumps(body).encode()))
        else:
            media, frames = "text/event-stream", [sse(e, e.get("type")) for e in events]
        simulator.headers = {"Content-Type": media}
        return frames

    body = carrier.request("Hello")
    if api not in ("gemini", "bedrock"):
        body["stream"] = True
    pieces = framed(carrier.stream("Hel", "lo."))
    simulator.reply = pieces + ([b"data: [DONE]\n\n"] if name == "openai_chat" else [])
    answer = post(gateway, api, carrier.stream_path, body)
    assert answer.status_code == 200, answer.text
    row = exchanges(gateway)[-1]
    if name != "openai_chat":  # its carrier's stream has no counts
        assert (row["usage_source"], row["cost_micro_usd"]) == ("provider", 3 + 5), row
    simulator.reply = [*framed(carrier.stream("Hello, you.", " And you."))[:-1], "<cut>"]
    post(gateway, api, carrier.stream_path, body)
    row = exchanges(gateway)[-1]
    assert row["usage_source"] == "counted"
    assert len("Hello, you.") <= row["tokens_out"] <= len("Hello, you. And you.")
    assert row["cost_micro_usd"] <= row["reserved_micro_usd"]


def test_clients_of_every_provider_take_a_spent_budget_for_final(start, simulator):
    """A 402, in the provider's own shape, that none of the official clients sends again."""
    gateway = start("openai", limit=1)
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.agent_key, max_retries=3)
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="sim-1", input="Hi")
    assert (refused.value.status_code, refused.value.code) == (402, "POLICY.BUDGET_DAY")
    assert refused.value.type == "insufficient_quota"
    assert len(exchanges(gateway)) == 1
    gateway.stop()

    gateway = start("anthropic", limit=1)
    client = anthropic.Anthropic(base_url=gateway.url, api_key=gateway.agent_key, max_retries=3)
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(model="sim-1", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.status_code == 402
    assert refused.value.body["error"]["type"] == "billing_error"
    assert sum(r["wire_format"] == "anthropic_messages" for r in exchanges(gateway)) == 1
    gateway.stop()

    gateway = start("gemini", limit=1)
    options = types.HttpOptions(base_url=gateway.url, retry_options=types.HttpRetryOptions(attempts=3))
    client = genai.Client(api_key=gateway.agent_key, http_options=options)
    with pytest.raises(genai.errors.ClientError) as refused:
        client.models.generate_content(model="sim-1", contents="Hi")
    assert refused.value.code == 402
    assert sum(r["wire_format"] == "gemini" for r in exchanges(gateway)) == 1
    assert simulator.requests == []


def test_a_client_that_is_told_to_come_back_does_and_succeeds(start, simulator):
    """One request holds all that is left: another is refused for a second, and answered once money came back."""
    gateway = start("openai", limit=250)
    release = threading.Event()
    whole = simulator.completion()

    async def slow(request, body):
        while not release.is_set():
            await asyncio.sleep(0.01)
        return whole

    simulator.reply = slow
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.agent_key, max_retries=0)

    def ask(client):
        return client.chat.completions.create(
            model="sim-1", max_completion_tokens=60, messages=[{"role": "user", "content": "Hi"}]
        )

    first = threading.Thread(target=ask, args=(client,))
    first.start()
    while not simulator.requests:
        time.sleep(0.01)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(client)
    assert refused.value.code == "POLICY.BUDGET_DAY:held"
    assert refused.value.response.headers["Retry-After"] == "1"
    release.set()
    assert ask(client.with_options(max_retries=5)).choices[0].message.content == "Hello."
    first.join()
