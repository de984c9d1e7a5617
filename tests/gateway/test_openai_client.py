"""The official `openai` client in front of a real gateway process and a loopback upstream."""

from __future__ import annotations

import asyncio
import base64
import json
import struct

import openai
import pytest
from pydantic import BaseModel

CARD = "4111 1111 " + "1111 1111"
CLEAN = "[REDACTED:payment_card]"
AWS = "AKIA" + "QYLPMN5HHHFPZAM2"
TOOL = {"type": "function", "name": "get_balance", "parameters": {"type": "object", "properties": {}}, "strict": False}
CHAT_TOOL = {"type": "function", "function": {"name": "get_balance", "parameters": {"type": "object"}}}
ASK = {"model": "sim-1", "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.agent_key, max_retries=0) as made:
        yield made


@pytest.fixture
def chat(carriers):
    return carriers["openai_chat"]


@pytest.fixture
def responses(carriers):
    return carriers["openai_responses"]


def unnamed(events):
    return [f"data: {json.dumps(e)}\n\n" for e in events] + ["data: [DONE]\n\n"]


def test_chat(client, simulator, chat):
    simulator.reply = chat.reply(f"Your card is {CARD}.")
    reply = client.chat.completions.create(**ASK, tools=[CHAT_TOOL])
    assert reply.choices[0].message.content == f"Your card is {CLEAN}."
    assert reply.usage.completion_tokens == 5


def test_chat_with_a_parsed_reply(client, simulator, chat):
    class Balance(BaseModel):
        amount: int

    simulator.reply = chat.reply('{"amount": 12}')
    reply = client.chat.completions.parse(**ASK, response_format=Balance)
    assert reply.choices[0].message.parsed == Balance(amount=12)


def test_chat_streamed(client, simulator, chat):
    simulator.reply = unnamed(chat.stream("Your card is 4111 ", CARD[5:], "."))
    chunks = list(client.chat.completions.create(**ASK, stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == f"Your card is {CLEAN}."
    assert json.loads(simulator.requests[0][1])["stream_options"] == {"include_usage": True}


def test_chat_streamed_tool_call(client, simulator, chat):
    simulator.reply = unnamed(chat.stream_call(("get_", "balance"), ('{"card": "4111 ', CARD[5:] + '"}')))
    with client.chat.completions.stream(**ASK, tools=[CHAT_TOOL]) as stream:
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_balance", {"card": CLEAN})


def test_responses(client, simulator, responses):
    simulator.reply = responses.reply(f"Your card is {CARD}.")
    reply = client.responses.create(model="sim-1", input="Hi", tools=[TOOL])
    assert reply.output_text == f"Your card is {CLEAN}."
    assert reply.usage.output_tokens == 5


def test_responses_streamed(client, simulator, responses):
    simulator.reply = simulator.named_events(responses.stream("Your card is 4111 ", CARD[5:], "."))
    with client.responses.stream(model="sim-1", input="Hi") as stream:
        deltas = [e.delta for e in stream if e.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text == f"Your card is {CLEAN}."


def test_responses_streamed_tool_call(client, simulator, responses):
    simulator.reply = simulator.named_events(
        responses.stream_call(("get_balance",), ('{"card": "4111 ', CARD[5:] + '"}'))
    )
    with client.responses.stream(model="sim-1", input="Hi", tools=[TOOL]) as stream:
        deltas = [e.delta for e in stream if e.type == "response.function_call_arguments.delta"]
        (call,) = stream.get_final_response().output
    assert (call.name, json.loads(call.arguments)) == ("get_balance", {"card": CLEAN})
    assert "".join(deltas) == call.arguments


def test_embeddings(client, simulator):
    """The client asks for base64 and decodes it itself."""
    vector = base64.b64encode(struct.pack("<3f", 0.5, -1, 2)).decode()
    data = [{"object": "embedding", "index": 0, "embedding": vector}]
    usage = {"prompt_tokens": 2, "total_tokens": 2}
    simulator.reply = {"object": "list", "data": data, "model": "sim-1", "usage": usage}
    reply = client.embeddings.create(model="sim-1", input=["Hi"])
    assert reply.data[0].embedding == [0.5, -1.0, 2.0]
    assert json.loads(simulator.requests[0][1])["encoding_format"] == "base64"


def test_models(client, simulator):
    simulator.reply = {"object": "list", "data": [{"id": "sim-1", "object": "model", "created": 1, "owned_by": "x"}]}
    assert [m.id for m in client.models.list()] == ["sim-1"]
    simulator.reply = simulator.reply["data"][0]
    assert client.models.retrieve("sim-1").id == "sim-1"


def test_asynchronously(gateway, simulator, chat, responses):
    simulator.reply = lambda _, body: (
        simulator.named_events(responses.stream("Hel", "lo."))
        if "input" in body
        else unnamed(chat.stream("Hel", "lo."))
    )

    async def run():
        async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.agent_key) as client:
            chunks = [c async for c in await client.chat.completions.create(**ASK, stream=True)]
            async with client.responses.stream(model="sim-1", input="Hi") as stream:
                final = await stream.get_final_response()
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices), final.output_text

    assert asyncio.run(run()) == ("Hello.", "Hello.")


@pytest.mark.parametrize(
    ("wanted", "code", "call"),
    [
        (
            openai.PermissionDeniedError,
            "DLP.SECRET.AWS_ACCESS_KEY",
            lambda c: c.chat.completions.create(model="m", messages=[{"role": "user", "content": AWS}]),
        ),
        (
            openai.PermissionDeniedError,
            "DLP.SECRET.AWS_ACCESS_KEY",
            lambda c: c.embeddings.create(model="m", input=AWS),
        ),
        (
            openai.PermissionDeniedError,
            "POLICY.TOOL_DENIED",
            lambda c: c.responses.create(model="m", input="x", tools=[{"type": "web_search"}]),
        ),
        (
            openai.BadRequestError,
            "WIRE.UNSCANNABLE:reference",
            lambda c: c.responses.create(model="m", input="x", previous_response_id="resp_1"),
        ),
        (openai.BadRequestError, "WIRE.UNSCANNABLE:part", lambda c: c.embeddings.create(model="m", input=[1, 2])),
        (openai.BadRequestError, "WIRE.MALFORMED:shape", lambda c: c.chat.completions.create(model="m", messages=[])),
        (openai.NotFoundError, "POLICY.ROUTE", lambda c: c.files.list()),
        (openai.NotFoundError, "POLICY.ROUTE", lambda c: c.responses.retrieve("resp_1")),
        (openai.NotFoundError, "POLICY.ROUTE", lambda c: c.completions.create(model="m", prompt="x")),
        (openai.NotFoundError, "POLICY.ROUTE", lambda c: c.images.generate(model="m", prompt="x")),
        (openai.NotFoundError, "POLICY.ROUTE", lambda c: c.audio.transcriptions.create(model="m", file=b"RIFF")),
        (openai.AuthenticationError, "POLICY.AGENT_DENIED", lambda c: c.with_options(api_key="x").models.list()),
        (
            openai.APIStatusError,
            "WIRE.MALFORMED:content_type",
            lambda c: c.with_options(default_headers={"Content-Type": "text/plain"}).embeddings.create(
                model="m", input="x"
            ),
        ),
    ],
)
def test_what_is_denied_is_a_typed_exception_with_the_code(client, simulator, wanted, code, call):
    with pytest.raises(wanted) as caught:
        call(client)
    assert caught.value.code == code
    assert simulator.requests == []


def test_a_violation_in_a_running_stream_is_an_exception_with_the_code(client, simulator, chat, responses):
    key = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE"
    simulator.reply = unnamed(chat.stream("Of course. Here it is:\n", key))
    text = ""
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012 - the loop is what raises
        for chunk in client.chat.completions.create(**ASK, stream=True):
            text += chunk.choices[0].delta.content or ""
    assert (text, caught.value.code) == ("Of course. Here it is:\n", "DLP.SECRET.PRIVATE_KEY")
    simulator.reply = simulator.named_events(responses.stream("Of course. Here it is:\n", key))
    text = ""
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012 - the loop is what raises
        for event in client.responses.create(model="sim-1", input="Hi", stream=True):
            text += event.delta if event.type == "response.output_text.delta" else ""
    assert (text, caught.value.code) == ("Of course. Here it is:\n", "DLP.SECRET.PRIVATE_KEY")


def test_a_failing_upstream_is_a_server_error(client, simulator):
    simulator.status = 500
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ASK)
    assert caught.value.code == "SYSTEM.BACKEND:status"
    simulator.status, simulator.reply = 429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ASK)
    assert caught.value.code == "rate_limit_exceeded"
