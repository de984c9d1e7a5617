"""What is remembered of a session's calls, by whom, and for how long."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace

import pytest

from gateway.mcp_calls import KEEP_S, CallMemory
from gateway.policy.tools import MAX_CALLS, ToolLoops, ToolRule
from gateway.reasons import Refusal
from gateway.tools import ToolRules


def rules(within_calls=3):
    tools = {"a": {name: (ToolRule(name),) for name in ("x", "y")}}
    loops = ToolLoops(within_calls - 1, within_calls)
    return ToolRules(SimpleNamespace(tools=tools, tool_chains=(), tool_loops=loops), "a", None)


def call(memory, session, *hmacs, within_calls=3):
    """The names of the calls known before, after these were made."""
    for hmac in hmacs:
        held = rules(within_calls)
        with memory.session(session, held):
            known = [c.arguments for c in held.calls]
            held.call("x", {}, hmac)
    return known


def test_each_session_is_remembered_by_itself_and_over_restarts(tmp_path):
    first = CallMemory(tmp_path / "calls.sqlite")
    assert call(first, "s", "1", "2") == ["1"]
    assert call(first, "t", "9") == []
    second = CallMemory(tmp_path / "calls.sqlite")
    assert call(second, "s", "3") == ["1", "2"]
    first.close()
    assert call(first, "s", "4") == ["1", "2", "3"]
    assert call(second, "s", "5") == ["2", "3", "4"]


def test_a_call_that_is_refused_in_the_end_is_not_remembered(tmp_path):
    memory = CallMemory(tmp_path / "calls.sqlite")
    held = rules()

    def refused():
        with memory.session("s", held):
            held.call("x", {}, "1")
            raise Refusal("DLP.PII.EMAIL")

    with pytest.raises(Refusal):
        refused()
    assert call(memory, "s", "2") == []


def test_no_more_is_kept_than_rules_can_ask_for_and_no_longer_than_a_day(tmp_path):
    clock = [0.0]
    memory = CallMemory(tmp_path / "calls.sqlite", lambda: clock[0])
    call(memory, "s", *map(str, range(MAX_CALLS + 5)))
    call(memory, "new", "1")
    with sqlite3.connect(tmp_path / "calls.sqlite") as database:
        assert database.execute("select count(*) from calls where session = 's'").fetchone() == (MAX_CALLS,)
    memory.close()
    clock[0] = KEEP_S + 1
    assert call(memory, "s", "x") == []


def test_what_cannot_be_counted_is_refused(tmp_path):
    (tmp_path / "calls.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(Refusal, match="ledger"):
        call(CallMemory(tmp_path / "calls.sqlite"), "s", "1")
    with pytest.raises(Refusal, match="ledger"):
        call(CallMemory(tmp_path / "missing" / "calls.sqlite"), "s", "1")
