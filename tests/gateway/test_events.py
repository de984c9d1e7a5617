"""Every column that the gateway can write is one of the lake's table."""

from __future__ import annotations

from dataclasses import fields

import pytest

from gateway import events
from gateway.events import Exchange
from tasks.gateway_logs import columns


def test_all_columns_are_those_of_the_table():
    assert {f.name for f in fields(Exchange)} | events._PART <= set(columns())
    assert {f.name for f in fields(Exchange)} >= set(events._IDENTITY)


def test_what_is_not_known_is_left_out():
    exchange = Exchange("r1", "POST", "h", agent_id="support")
    assert exchange.row("exchange") == {
        "event_kind": "exchange",
        "request_id": "r1",
        "request_method": "POST",
        "path_hash": "h",
        "agent_id": "support",
        "decision": "allow",
        "filter_us": 0,
    }


def test_a_part_repeats_who_it_was_and_adds_its_own():
    exchange = Exchange("r1", "POST", "h", agent_id="support", tokens_in=3)
    assert exchange.part("budget", reserved_micro_usd=7, reason_code=None) == {
        "event_kind": "budget",
        "request_id": "r1",
        "agent_id": "support",
        "reserved_micro_usd": 7,
        "reason_code": None,
    }


def test_a_column_that_the_table_lacks_is_refused():
    with pytest.raises(TypeError, match="a match event has no prompt"):
        Exchange("r1", "POST", "h").part("match", prompt="x")
