"""A policy may bring patterns of its own: they work like the built-in ones, or the whole policy is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.filter import REQUEST, RESPONSE, Inspection, RuleSet
from gateway.pattern_files import load_patterns
from gateway.policy.actions import Actions
from gateway.policy.bundle import (
    compose_bundle,
    hash_agent_key,
    new_hash_key,
    new_keypair,
    sign_bundle,
    verify_bundle,
)
from gateway.policy.custom_patterns import MAX_PATTERNS, compile_safely, read_custom_patterns
from gateway.policy.refused import PolicyError
from gateway.stream import Channel, HoldBack

ACCOUNT = {
    "id": "account_number",
    "expression": r"\bNB-[0-9]{8}\b",
    "action": {"request": "block", "response": "redact"},
    "match": ["NB-12345678", "from NB-00000001, please"],
    "no_match": ["NB-1234567", "XNB-12345678"],
}
STAFF = {
    "id": "staff_id",
    "title": "Personnel number beside its name",
    "expression": r"\bstaff[ _-]{0,2}(?:id|no)[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?(?P<secret>E[0-9]{6})\b",
    "ignore_case": True,
    "reason": "DLP.PII.NATIONAL_ID",
    "severity": "high",
    "action": {"request": "flag", "response": "redact"},
    "match": ["Staff ID: E123456", '"staff_no": "E999999"'],
    "no_match": ["staff id unknown", "E123456"],
}


def read(*entries):
    return read_custom_patterns(list(entries), frozenset())


def rules(*entries, **more):
    keys, hash_key, now = new_keypair(), new_hash_key(), datetime(2026, 1, 1, tzinfo=UTC)
    raw = compose_bundle(
        tenant="t",
        audience=["g"],
        version=1,
        issued=now,
        expires=now + timedelta(days=1),
        hash_key=hash_key,
        agents=[{"id": "a", "key_hash": hash_agent_key(hash_key, "k")}],
        custom_patterns=list(entries),
        **more,
    )
    return RuleSet.build(verify_bundle(raw, sign_bundle(raw, keys.private), [keys.public]), load_patterns())


def test_a_pattern_is_read_with_its_defaults():
    account, staff = read(ACCOUNT, STAFF)
    assert (account.reason, account.severity, account.action) == (
        "DLP.CUSTOM.RULE",
        "medium",
        Actions("block", "redact"),
    )
    assert (staff.title, staff.reason, staff.severity) == (
        "Personnel number beside its name",
        "DLP.PII.NATIONAL_ID",
        "high",
    )
    assert staff.anchor == ("staff",)


def test_hits_get_the_action_of_their_side_whatever_the_defaults_say():
    everywhere = {"request": "allow", "response": "allow"}
    rule_set = rules(ACCOUNT, STAFF, defaults={"pii": everywhere, "secrets": everywhere})
    account, _ = rule_set.policy.custom_patterns
    assert (rule_set.action(account, REQUEST), rule_set.action(account, RESPONSE)) == ("block", "redact")
    assert [h.pattern.id for h in rule_set.engines[REQUEST].scan("to NB-12345678 for STAFF-NO=E123456")] == [
        "account_number",
        "staff_id",
    ]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_streamed_hit_is_redacted_whole(size):
    """Only the group `secret` is cut out, and nothing of it is released before."""
    rule_set = rules(ACCOUNT, STAFF)
    engine, inspection = rule_set.engines[RESPONSE], Inspection(rule_set, "a")
    channel = Channel(engine, HoldBack(engine.patterns), inspection, "assistant")
    text = "They are NB-12345678 and XNB-12345678; the staff id = 'E123456' of it."
    out = "".join(channel.feed(text[i : i + size]) for i in range(0, len(text), size)) + channel.finish()
    assert out == ("They are [REDACTED:account_number] and XNB-12345678; the staff id = '[REDACTED:staff_id]' of it.")


CATASTROPHIC = [
    r"(a+)+b",
    r"(a*)*secret",
    r"secret(?:a|aa)+",
    r"secret(?:a{1,9}){1,9}b",
    r"secret(?:a|ab){1,9}c",
    r"secret(?:x?){30}abc",
    r"secret[a-z]{1,}",
    r"secret.*",
    r"secret[a-z]{0,400}[a-z]{0,400}x",
    r"[a-z]{0,400}secret[a-z]{0,400}x",
    r"secret(?:[0-9]{1,9}(?:,[0-9]{1,9}){1,9}){1,9};",
    r"secret(?=x)",
    r"(?<!a)secret",
    r"(secret)\1",
    r"secret(?(1)a|b)",
    r"(s)ecret(?(1)a|b)",
    r"secret(?>a{1,9})",
    r"secret[a-z]{1,9}+",
    r"(?i)secret",
    r"secret(?i:x)",
    r"secret.{0,2000}",
    r"secret(?:.{100}){20}",
    r"secret(?P<secret>x)?",
    r"secret(?:y|(?P<secret>x))",
    r"secret(?P<secret>x{0,3})",
    r"[a-z]{5,9}",
    r"[0-9a-f]{32}",
    r"ab[a-z]{9}",
    r"(secret",
    r"secret[",
    r"*secret",
    "sécret",
    "secret\n",
    "",
    "secret" * 200,
]


@pytest.mark.parametrize("expression", CATASTROPHIC)
def test_expressions_that_are_slow_vague_or_none_are_refused_by_id(expression):
    with pytest.raises(PolicyError, match=r"custom_patterns\.account_number\.expression") as caught:
        read({**ACCOUNT, "expression": expression, "match": ["secret"], "no_match": ["other"]})
    assert caught.value.detail == "content"


def test_what_is_slow_for_want_of_luck_is_stopped_by_the_clock(monkeypatch):
    """The last guard: an expression that passes all rules on its form, on a machine where it takes too long."""
    monkeypatch.setattr("gateway.policy.custom_patterns.MAX_MILLISECONDS", -1e6)
    with pytest.raises(ValueError, match="takes longer"):
        compile_safely.__wrapped__(r"secret[a-z]{1,60}\b", False)


@pytest.mark.parametrize(
    "expression",
    [
        r"\bNB-[0-9]{8}\b",
        r"[A-Z]{2}[0-9]{6}",
        r"\w{1,30}\.corp\.example",
        r"(?:alpha|bravo)-\d{3}",
        r"project (?:[a-z]{1,20} ){1,6}falcon",
        r"secret[a-z]{0,60}\b",
        r"internal only.{0,200}",
    ],
)
def test_useful_expressions_are_accepted(expression):
    _, width, literals = compile_safely(expression, True)
    assert width < 1000
    assert all(len(x) > 2 for x in literals)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"match": []}, "account_number` needs at least one"),
        ({"no_match": []}, "account_number` needs at least one"),
        ({"match": ["NB-12345678", "NB-1"]}, r"account_number\.match\[1\]` is not found"),
        ({"no_match": ["NB-12345678"]}, r"account_number\.no_match\[0\]` is found"),
        ({"match": "NB-12345678"}, r"account_number\.match` must be a list"),
        ({"match": [1]}, r"account_number\.match"),
        ({"action": "block"}, r"account_number\.action` must be an object"),
        ({"action": {"request": "block"}}, r"account_number\.action lacks"),
        ({"action": {"request": "drop", "response": "block"}}, r"account_number\.action"),
        ({"reason": "DLP.NEW"}, r"account_number\.reason"),
        ({"reason": "POLICY.ROUTE"}, r"account_number\.reason"),
        ({"severity": "urgent"}, r"account_number\.severity"),
        ({"ignore_case": 1}, r"account_number\.ignore_case"),
        ({"title": "two\nlines"}, r"account_number\.title"),
        ({"id": "Account Number"}, "wrong form"),
        ({"id": "email"}, r"custom_patterns\.email` is the id of a built-in"),
        ({"validator": "luhn"}, "fields this gateway does not know"),
    ],
)
def test_a_wrong_entry_is_refused_by_id(change, why):
    with pytest.raises(PolicyError, match=why):
        read({**ACCOUNT, **change})


def test_lists_that_are_too_long_or_name_one_twice_are_refused():
    with pytest.raises(PolicyError, match=r"account_number` is the id of .* an earlier one"):
        read(ACCOUNT, ACCOUNT)
    with pytest.raises(PolicyError, match="more than"):
        read(*[ACCOUNT] * (MAX_PATTERNS + 1))
    with pytest.raises(PolicyError, match="must be a list"):
        read_custom_patterns({}, frozenset())


def test_one_wrong_pattern_refuses_the_bundle_whole():
    with pytest.raises(PolicyError, match="staff_id"):
        rules(ACCOUNT, {**STAFF, "expression": "(a+)+b"})
