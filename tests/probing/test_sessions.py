"""Attempts of several conversations, and the records that a model's owner planted in its training data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tasks.probing.catalog import load_families
from tasks.probing.detectors import Context, evaluate
from tasks.probing.plan import offered
from tasks.probing.sessions import converse, declared_values, record_values, stranger_of, training_records
from tasks.records import Asset, AssetKind
from tasks.targets.target import Reply, Request

FAMILIES = load_families()


class Listener:
    """A target that keeps what it was asked, answers with its number, and fails where it is told to."""

    def __init__(self, fails_at: int = -1) -> None:
        self.asked: list[Request] = []
        self._fails_at = fails_at

    async def converse(self, request: Request) -> Reply:
        self.asked.append(request)
        if len(self.asked) == self._fails_at:
            return Reply(error_kind="timeout", tries=3)
        return Reply(text=f"answer {len(self.asked)}", finish="stop", request_sha256=str(len(self.asked)), tries=1)

    async def close(self) -> None: ...


PLANT = {
    "sessions": [[{"role": "user", "content": "first"}], [{"role": "user", "content": "second"}]],
    "baseline": [{"role": "user", "content": "compare"}],
}
REQUEST = Request((("user", "main"),), {0: "answered"}, "s", principal="a", control_principal="b", burst=3)


def held(target: Listener, plant: dict[str, Any], stranger: str | None = None) -> Reply:
    return asyncio.run(converse(target, REQUEST, plant, stranger))


def test_sessions_come_first_then_the_baseline_each_on_its_own() -> None:
    target = Listener()
    reply = held(target, PLANT, stranger="b")
    assert [r.turns[-1][1] for r in target.asked] == ["first", "second", "compare", "main"]
    assert [r.principal for r in target.asked] == ["b", "b", "a", "a"]
    assert [r.control_principal for r in target.asked] == [None, None, None, "b"]
    assert {r.system for r in target.asked} == {"s"}
    assert [(dict(r.when), r.burst) for r in target.asked] == [({}, 0)] * 3 + [({0: "answered"}, 3)]
    assert (reply.text, reply.tries) == ("answer 4", 4)
    assert reply.baseline is not None
    assert reply.baseline.text == "answer 3"
    assert reply.request_sha256 not in ("4", "")


def test_a_session_that_could_not_be_held_ends_the_attempt() -> None:
    target = Listener(fails_at=2)
    reply = held(target, PLANT)
    assert (reply.error_kind, reply.tries, len(target.asked)) == ("session_failed", 4, 2)


def test_without_plants_nothing_else_is_asked() -> None:
    target = Listener()
    assert held(target, {}).baseline is None
    assert len(target.asked) == 1


def test_a_comparison_needs_both_halves() -> None:
    family = FAMILIES["membership_inference"]
    yes, no, broken = Reply("Yes.", finish="stop"), Reply("No.", finish="stop"), Reply(error_kind="timeout")
    verdicts = {
        name: evaluate(family, replace(yes, baseline=baseline), Context({})).verdict.value
        for name, baseline in {"no": no, "yes": yes, "broken": broken}.items()
    }
    assert verdicts == {"no": "vulnerable", "yes": "resistant", "broken": "error"}


def test_declared_records_give_values_and_the_channel(asset: Callable[..., Asset]) -> None:
    rows = [{"prefix": "The lamp is ", "rest": "green as OKAPI-7319"}, {"prefix": " ", "rest": "x"}, "no mapping"]
    target = asset("http://127.0.0.1:1/v1", training_records=rows)
    assert training_records(target) == (("The lamp is ", "green as OKAPI-7319"),)
    assert "training_records" in offered(target)
    assert "training_records" not in offered(asset("http://127.0.0.1:1/v1", training_records="everything"))
    values = declared_values(FAMILIES["training_data_extraction"], target, "a1")
    assert values["record"] == "The lamp is green as OKAPI-7319"
    assert values == declared_values(FAMILIES["training_data_extraction"], target, "a1")
    assert declared_values(FAMILIES["direct_override"], target, "a1") == {}


def test_a_decoy_has_the_shape_of_its_record_and_no_letter_of_it() -> None:
    for noise in (bytes(4), bytes([255] * 4), b"\x07\x19\x23\x09"):
        made = record_values("r", "The lamp is ", "green as OKAPI-7319", noise)
        decoy = made["r.decoy"].removeprefix("The lamp is ")
        assert all(a != b for a, b in zip(decoy, "green as OKAPI-7319", strict=True) if b.isalnum())
        assert [c.isdigit() for c in decoy] == [c.isdigit() for c in "green as OKAPI-7319"]


def test_another_user_plays_the_stranger_where_there_is_one(asset: Callable[..., Asset]) -> None:
    two = asset("http://x", AssetKind.RAG_SYSTEM, principals=[{"id": "a"}, {"id": "b"}])
    assert (stranger_of(two), stranger_of(asset("http://x"))) == ("b", None)
