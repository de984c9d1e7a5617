"""Compiled rules serve again only a policy that looks for the same; a revocation must not wait for a compiler."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta

import pytest

from gateway.loading import NOT_COMPILED, same_scan
from gateway.policy.bundle import Policy, compose_bundle, hash_agent_key, parse_bundle

NOW = datetime(2026, 11, 24, tzinfo=UTC)
HASH_KEY = "5c" * 32
AGENT = {"id": "a", "key_hash": hash_agent_key(HASH_KEY, "k")}
BUDGET = {
    "id": "month",
    "upstream_domain": "*",
    "agent": "*",
    "period": "month",
    "zone": "Europe/Berlin",
    "limit_micro_usd": 1,
    "action": "block",
}
PATTERN = {
    "id": "account_number",
    "expression": "NB-[0-9]{8}",
    "action": {"request": "block", "response": "block"},
    "match": ["NB-12345678"],
    "no_match": ["NB-1234567"],
}
CHAIN = {"id": "c", "first": ["a"], "then": ["b"], "within_calls": 3, "action": "block"}


def policy(**changes):
    document = {
        "tenant": "nimbus",
        "audience": ["gw"],
        "version": 1,
        "issued": NOW,
        "expires": NOW + timedelta(days=1),
        "hash_key": HASH_KEY,
        "agents": [AGENT],
    }
    return parse_bundle(compose_bundle(**{**document, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2, "issued": NOW + timedelta(hours=1), "expires": NOW + timedelta(days=3)},
        {"epoch": 2, "root_version": 2},
        {"agents": [{**AGENT, "revoked": True}]},
        {"tools": {"a": [{"name": "get_balance", "schema": {"type": "object"}}]}},
        {
            "budgets": [BUDGET],
            "rates": {"*": 5},
            "prices": {"default_max_tokens": 9, "unknown_price": "deny", "models": {}},
        },
        {"tools": {"a": ["a", "b"]}, "tool_chains": [CHAIN]},
    ],
)
def test_what_is_read_at_each_request_compiles_nothing(changes):
    assert same_scan(policy(), policy(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"rules": {"email": {"request": "block", "response": "block"}}},
        {"defaults": {"pii": {"request": "block", "response": "block"}}},
        {"custom_patterns": [PATTERN]},
        {"egress": {"hosts": ["example.com"]}},
        {"hash_key": "6d" * 32},
        {"tenant": "other"},
    ],
)
def test_any_other_change_does(changes):
    assert not same_scan(policy(), policy(**changes))
    assert same_scan(policy(**changes), policy(**changes))


def test_the_list_names_fields_of_a_policy():
    assert {field.name for field in fields(Policy)} >= NOT_COMPILED
