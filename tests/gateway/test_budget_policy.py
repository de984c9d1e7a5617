"""Budgets, rates and prices of a policy: read strictly, errors name the entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import VerificationError
from gateway.policy.budgets import Price
from gateway.policy.bundle import compose_bundle, hash_agent_key, new_hash_key, new_keypair, sign_bundle, verify_bundle

KEYS, HASH_KEY = new_keypair(), new_hash_key()
BUDGET = {
    "id": "month",
    "upstream_domain": "api.example.com",
    "agent": "support",
    "period": "month",
    "zone": "Europe/Berlin",
    "limit_micro_usd": 5_000_000,
    "action": "block",
}
PRICES = {
    "default_max_tokens": 512,
    "unknown_price": "deny",
    "models": {"sim-1": {"input": 150_000, "output": 600_000, "cached": 75_000}},
}


def read(**sections):
    now = datetime.now(UTC)
    raw = compose_bundle(
        tenant="nimbus",
        audience=["gw-1"],
        version=1,
        issued=now,
        expires=now + timedelta(days=1),
        hash_key=HASH_KEY,
        agents=[{"id": "support", "key_hash": hash_agent_key(HASH_KEY, "k")}],
        **sections,
    )
    return verify_bundle(raw, sign_bundle(raw, KEYS.private), [KEYS.public])


def test_a_policy_without_the_sections_limits_nothing():
    policy = read()
    assert (policy.budgets, policy.rates, policy.prices) == ((), {}, None)


def test_a_budget_covers_its_domain_and_agent_only():
    everything = {**BUDGET, "id": "all", "upstream_domain": "*", "agent": "*", "period": "day"}
    policy = read(budgets=[BUDGET, everything], rates={"support": 30, "*": 5}, prices=PRICES)
    one, all_ = policy.budgets
    assert one.covers("api.example.com", "support")
    assert not one.covers("api.example.com", "other")
    assert not one.covers("other.example.com", "support")
    assert all_.covers("other.example.com", "other")
    assert policy.rates == {"support": 30, "*": 5}


def test_prices_are_by_model_with_a_ceiling_or_none_for_the_rest():
    assert read(prices=PRICES).prices.of("sim-2") is None
    ceiling = {**PRICES, "unknown_price": {"input": 10, "output": 20}}
    prices = read(prices=ceiling).prices
    assert prices.of("sim-2") == Price(10, 20, 10)
    assert prices.of("sim-1") == Price(150_000, 600_000, 75_000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"zone": "Europe/Bonn"}, r"budgets\[month\].zone"),
        ({"zone": "localtime"}, r"budgets\[month\].zone"),
        ({"zone": 1}, r"budgets\[month\].zone"),
        ({"limit_micro_usd": 0}, r"budgets\[month\].limit_micro_usd"),
        ({"limit_micro_usd": -5}, r"budgets\[month\].limit_micro_usd"),
        ({"limit_micro_usd": 1.5}, r"budgets\[month\].limit_micro_usd"),
        ({"limit_micro_usd": True}, r"budgets\[month\].limit_micro_usd"),
        ({"limit_micro_usd": 1 << 53}, r"budgets\[month\].limit_micro_usd"),
        ({"period": "week"}, r"budgets\[month\].period"),
        ({"action": "redact"}, r"budgets\[month\].action"),
        ({"agent": "nobody"}, r"budgets\[month\]"),
        ({"agent": None}, r"budgets\[month\]"),
        ({"upstream_domain": "https://api.example.com/"}, r"budgets\[month\].upstream_domain"),
        ({"note": "x"}, r"budgets\[month\]"),
        ({"id": "Month "}, r"budgets\[\].id"),
    ],
)
def test_a_bad_budget_is_refused_by_name(change, says):
    with pytest.raises(VerificationError, match=says):
        read(budgets=[{**BUDGET, **change}], prices=PRICES)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({"budgets": [BUDGET, BUDGET], "prices": PRICES}, "two budgets have the id `month`"),
        (
            {"budgets": [{k: v for k, v in BUDGET.items() if k != "action"}], "prices": PRICES},
            r"budgets\[month\] lacks",
        ),
        ({"budgets": [BUDGET]}, "`budgets` need `prices`"),
        ({"budgets": {}}, "must be a list"),
        ({"rates": {"support": 0}}, r"rates\[support\]"),
        ({"rates": {"nobody": 5}}, "names an agent that is not"),
        ({"prices": {**PRICES, "default_max_tokens": 0}}, "default_max_tokens"),
        ({"prices": {**PRICES, "default_max_tokens": 1 << 25}}, "default_max_tokens"),
        ({"prices": {**PRICES, "unknown_price": "free"}}, "unknown_price"),
        ({"prices": {**PRICES, "models": {"sim-1": {"input": 1}}}}, r"prices.models\[sim-1\] lacks `output`"),
        ({"prices": {**PRICES, "models": {"sim-1": {"input": -1, "output": 1}}}}, r"prices.models\[sim-1\].input"),
        ({"prices": {**PRICES, "models": {"sim-1": {"input": 1, "output": 10**13}}}}, r"prices.models\[sim-1\]"),
        ({"prices": {**PRICES, "models": {"a b": {"input": 1, "output": 1}}}}, "prices.models"),
    ],
)
def test_a_bad_section_is_refused(sections, says):
    with pytest.raises(VerificationError, match=says):
        read(**sections)
