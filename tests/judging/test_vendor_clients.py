"""The providers' own clients get from the fakes what they expect, and send what our judges send.

So neither the fakes nor the requests are shapes of our own making. The clients are used in tests alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tasks.judging.judge import Judge
from tasks.records import Case

MAKE = Callable[..., Any]


def case() -> Case:
    return Case("a1", "family", "goal", ({"role": "user", "content": "attack"},), "no", (), "Did it?")


def asked(fake: Any, judge: Judge) -> dict[str, Any]:
    judge.judge(case())
    body: dict[str, Any] = fake.bodies[-1]
    return body


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "claude-opus-5-5"])
def test_anthropic(model: str, fake: Any, fakes: Any, judge_at: MAKE) -> None:
    import anthropic

    fake.usage = {"in": 1000, "cached": 700, "written": 100, "out": 50}
    body = asked(fake, judge_at("anthropic", model=model))
    client = anthropic.Anthropic(api_key=fakes.KEY, base_url=fake.url, max_retries=0)
    message = client.messages.create(**body)
    assert fake.bodies[-1] == body
    block = message.content[0]
    assert (block.input if block.type == "tool_use" else json.loads(block.text)) == fakes.vote()
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (200, 700, 100)
    fake.stop = "refusal"
    assert client.messages.create(**body).stop_reason == "refusal"
    fake.faults.append(429)
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**body)
    fake.faults.append(529)
    with pytest.raises(anthropic.InternalServerError) as busy:
        client.messages.create(**body)
    assert busy.value.body["error"]["type"] == "overloaded_error"


def test_openai(fake: Any, fakes: Any, judge_at: MAKE) -> None:
    import openai

    fake.usage = {"in": 1000, "cached": 700, "written": 0, "out": 50}
    client = openai.OpenAI(api_key=fakes.KEY, base_url=f"{fake.url}/v1", max_retries=0)
    for provider in ("openai", "openai_compatible"):
        body = asked(fake, judge_at(provider))
        completion = client.chat.completions.create(**body)
        assert fake.bodies[-1] == body
        assert json.loads(completion.choices[0].message.content) == fakes.vote()
        assert completion.usage.prompt_tokens_details.cached_tokens == 700
    fake.stop = "refusal"
    message = client.chat.completions.create(**body).choices[0].message
    assert (message.content, bool(message.refusal)) == (None, True)
    fake.faults.append(429)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**body)


def test_google(fake: Any, fakes: Any, judge_at: MAKE) -> None:
    from google import genai
    from google.genai import errors, types

    fake.usage = {"in": 1000, "cached": 700, "written": 0, "out": 50}
    body = asked(fake, judge_at("google"))
    client = genai.Client(api_key=fakes.KEY, http_options=types.HttpOptions(base_url=fake.url, api_version="v1beta"))
    config = types.GenerateContentConfig(
        system_instruction=body["systemInstruction"]["parts"][0]["text"],
        max_output_tokens=body["generationConfig"]["maxOutputTokens"],
        temperature=body["generationConfig"]["temperature"],
        response_mime_type="application/json",
        response_schema=body["generationConfig"]["responseSchema"],
    )
    text = body["contents"][0]["parts"][0]["text"]
    reply = client.models.generate_content(model="gemini-2.5-flash", contents=text, config=config)
    sent = json.loads(json.dumps(fake.bodies[-1]).replace("property_ordering", "propertyOrdering"))  # either is read
    assert sent == body
    assert fake.requests[-1][0] == fake.requests[-2][0]
    assert json.loads(reply.text) == fakes.vote()
    usage = reply.usage_metadata
    assert (usage.cached_content_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (700, 40, 10)
    fake.stop = "refusal"
    blocked = client.models.generate_content(model="gemini-2.5-flash", contents=text, config=config)
    assert blocked.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    fake.faults.append(429)
    with pytest.raises(errors.ClientError) as busy:
        client.models.generate_content(model="gemini-2.5-flash", contents=text, config=config)
    assert busy.value.code == 429
