"""Whatever stands where a format expects something else, its readers refuse; they never fail."""

from __future__ import annotations

import copy
import json

import pytest

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire import FORMATS
from gateway.wire.event_stream import EVENT_STREAM_TYPE, write
from gateway.wire.sse import sse

OTHERS = (None, True, 7, "x", [], {}, [None], ["x"], [{}], {"x": 1})
MODELS = sorted(set(FORMATS) - {"mcp"})
STREAMS = sorted(set(MODELS) - {"openai_embeddings"})


def changed(body):
    """The body with each of its values replaced by each of `OTHERS`, and without each of its members."""
    places = [()]
    for place in places:
        value = body
        for key in place:
            value = value[key]
        if isinstance(value, dict | list):
            places += [(*place, key) for key in (value if isinstance(value, dict) else range(len(value)))]
    for place in places[1:]:
        for other in (*OTHERS, ...):
            new = copy.deepcopy(body)
            holder = new
            for key in place[:-1]:
                holder = holder[key]
            if other is ...:
                del holder[place[-1]]
            else:
                holder[place[-1]] = copy.deepcopy(other)
            yield new
    yield from OTHERS


def requests(carrier):
    arguments = {"account": "1"}
    yield carrier.request("one", "two")
    yield carrier.conversation("one", "two")
    if carrier.tools:
        yield {**carrier.request("one"), **carrier.declared("get_balance")}
        yield {**carrier.request("one"), **carrier.forced("get_balance")}
        yield {**carrier.request("one"), **_turn(carrier.name, carrier.call("get_balance", arguments))}


def _turn(name, reply):
    """A reply with a call, as a later request repeats it."""
    if name == "openai_chat":
        return {"messages": [reply["choices"][0]["message"]]}
    if name == "openai_responses":
        return {"input": reply["output"]}
    if name == "anthropic_messages":
        return {"messages": [{"role": "assistant", "content": reply["content"]}]}
    if name == "gemini":
        return {"contents": [reply["candidates"][0]["content"]]}
    return {"messages": [reply["output"]["message"]]}


def refuses(read):
    """Run it; a Refusal is an answer like any other."""
    try:
        read()
    except Refusal:
        return True
    return False


@pytest.mark.parametrize("name", MODELS)
def test_requests_are_read_or_refused(rules, carriers, name):
    reader, refused, all_of = FORMATS[name], 0, 0
    for body in requests(carriers[name]):
        for changed_body in changed(body):

            def read(body=changed_body):
                fields = Fields(REQUEST)
                reader.read_request(body, fields, Inspection(rules, "support"))
                reader.streamed(body)
                if reader.output_cap(body) is None:
                    reader.set_output_cap(body, 5)
                assert reader.choices(body) >= 1
                assert all(isinstance(text, str) for text in fields.texts)

            refused += refuses(read)
            all_of += 1
    assert 0 < refused < all_of


@pytest.mark.parametrize("name", STREAMS)
def test_replies_are_read_or_refused(rules, carriers, name):
    reader, carrier, refused = FORMATS[name], carriers[name], 0
    for body in (carrier.reply("one"), carrier.call("get_balance", {"account": "1"})):
        for changed_body in changed(body):

            def read(body=changed_body):
                reader.usage(body)
                fields = Fields(RESPONSE)
                reader.read_response(body, fields, Inspection(rules, "support"))
                assert all(isinstance(text, str) for text in fields.texts)

            refused += refuses(read)
    assert refused


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_read_or_refused(rules, carriers, name):
    carrier, refused = carriers[name], 0
    for events in (carrier.stream("one ", "two"), carrier.stream_call(("get_balance",), ('{"account":', '"1"}'))):
        for at, event in enumerate(events):
            for changed_event in changed(event):
                raw = b"".join(_framed(name, e) for e in (*events[:at], changed_event, *events[at + 1 :]))

                def read(raw=raw):
                    stream = FORMATS[name].stream(Inspection(rules, "support"))
                    list(stream.feed(raw))
                    assert len(stream.usage) == 3
                    if stream.complete:
                        stream.end()

                refused += refuses(read)
    assert refused


def _framed(name, event):
    if FORMATS[name].stream_type != EVENT_STREAM_TYPE:
        return sse(event)
    kind = event.pop("event_type", "x") if isinstance(event, dict) else "x"
    headers = {":message-type": "event", ":event-type": kind if isinstance(kind, str) else "x"}
    return write(headers, json.dumps(event).encode())
