"""Messages of every shape: read, or refused by a reason code; nothing else happens."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fields import REQUEST, RESPONSE, Fields
from gateway.filter import Inspection
from gateway.reasons import Refusal
from gateway.wire import mcp
from gateway.wire.mcp_sse import Event, EventReader

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "name", "arguments", "capabilities", "protocolVersion", "content", "contents", "messages", "tools", "task",
    "type", "resource", "blob", "text", "action", "data", "description", "inputSchema", "result", "error",
    "method", "params", "id", "jsonrpc", "code", "message", "uri", "role",
]  # fmt: skip
LIKE_MCP = st.recursive(
    JSON | st.sampled_from(["text", "image", "resource", "2.0", "2025-06-18", "get_balance"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
METHOD = st.sampled_from([*mcp.METHODS, *mcp.NOTIFICATIONS, *mcp.SERVER_NOTIFICATIONS, *mcp.CAPABILITIES.values(), "x"])
MESSAGE = LIKE_MCP | st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": TEXT | st.integers() | st.none(),
        "method": METHOD,
        "params": LIKE_MCP,
        "result": LIKE_MCP,
        "error": JSON,
    },
)


@settings(max_examples=400, deadline=None)
@given(value=MESSAGE, ask=st.booleans())
def test_a_message_of_any_shape_is_read_or_refused(rules, value, ask):
    allowed = frozenset(mcp.CAPABILITIES.values()) if ask else frozenset()
    for scope, read in ((REQUEST, mcp.read_client), (RESPONSE, mcp.read_server)):
        mine, inspection, fields = json.loads(json.dumps(value)), Inspection(rules, "support"), Fields(scope)
        try:
            message = mcp.classify(mine, scope)
            read(mine, message, fields, inspection, allowed)
            refusal = inspection.scan_apart(fields)
        except Refusal as refused:
            refusal = refused
        else:
            assert isinstance(mine, dict)
            assert message.kind in ("request", "notification", "answer")
            assert json.dumps(mine)
        if refusal is not None:
            for answer in (mcp.error(refusal, "r", 1), mcp.replacement(mine, refusal, "r", 1)):
                assert mcp.classify(json.loads(json.dumps(answer)), RESPONSE) == ("answer", 1, None)


@settings(max_examples=100, deadline=None)
@given(
    events=st.lists(
        st.builds(Event, st.text("ab:{}é", min_size=1, max_size=9), st.none() | st.text("az09", min_size=1), st.none()),
        max_size=4,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=4),
)
def test_events_come_out_as_they_went_in_however_they_are_cut(events, cuts):
    raw = b"".join(event.encode(event.data.encode()) for event in events)
    reader, edges = EventReader(), [0, *sorted(min(c, len(raw)) for c in cuts), len(raw)]
    read = [e for a, b in itertools.pairwise(edges) for e in reader.read(raw[a:b])]
    assert read == events


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (b": keep\n\n", [Event()]),
        (b"id: 1\n\n", [Event(id="1")]),
        (b"id: 1\ndata:\n\n", [Event(id="1")]),
        (b"id:\ndata: x\n\n", [Event("x")]),
        (b"retry: 5\n\n", [Event(retry=5)]),
        (b"retry: soon\ndata: x\r\n\r\n", [Event("x")]),
        (b"event: message\r\ndata: a\rdata: b\n\n", [Event("a\nb")]),
    ],
)
def test_odd_events_are_understood(raw, wanted):
    assert EventReader().read(raw) == wanted


@pytest.mark.parametrize("event", [Event(), Event(id="1"), Event(retry=5), Event("x", "1", 5)])
def test_what_is_written_is_read_again(event):
    assert EventReader().read(event.encode(event.data.encode())) == [event]
