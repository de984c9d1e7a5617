"""Signed, but wrong in any way: a document is read as it stands or refused, and nothing else ever happens."""

from __future__ import annotations

import copy
import json
import os
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from gateway.policy.bundle import compose_bundle, hash_agent_key, parse_bundle
from gateway.policy.refused import PolicyError
from gateway.policy.root import compose_root, parse_root
from gateway.policy.trust import new_keypair, parse_signatures

SEED = int(os.environ.get("AISPM_TEST_SEED", "20261124"))
NOW = datetime(2026, 11, 24, tzinfo=UTC)
HASH_KEY = "5c" * 32
BUNDLE = json.loads(
    compose_bundle(
        tenant="nimbus",
        audience=["gw-1", "gw-2"],
        version=3,
        issued=NOW,
        expires=NOW + timedelta(days=7),
        hash_key=HASH_KEY,
        agents=[
            {"id": "a", "key_hash": hash_agent_key(HASH_KEY, "k"), "asset_id": "llm/a", "revoked": False},
            {"id": "b", "key_hash": hash_agent_key(HASH_KEY, "l")},
        ],
        tools={"a": ["get_balance", {"name": "wire_money", "schema": {"type": "object"}, "asset": "llm/a"}]},
        rules={"email": {"request": "allow", "response": "flag"}},
        defaults={"pii": {"request": "redact", "response": "redact"}},
        budgets=[
            {
                "id": "month",
                "upstream_domain": "*",
                "agent": "a",
                "period": "month",
                "zone": "Europe/Berlin",
                "limit_micro_usd": 10_000_000,
                "action": "block",
            }
        ],
        rates={"*": 60},
        prices={
            "default_max_tokens": 1024,
            "unknown_price": {"input": 1, "output": 2},
            "models": {"m": {"input": 1, "output": 2, "cached": 1}},
        },
        tool_chains=[
            {"id": "c", "first": ["get_balance"], "then": ["wire_money"], "within_calls": 3, "action": "block"}
        ],
        custom_patterns=[
            {
                "id": "account_number",
                "expression": "NB-[0-9]{8}",
                "action": {"request": "block", "response": "redact"},
                "match": ["NB-12345678"],
                "no_match": ["NB-1234567"],
            }
        ],
    )
)
ROOT = json.loads(
    compose_root(
        tenant="nimbus",
        version=2,
        epoch=2,
        issued=NOW,
        expires=NOW + timedelta(days=365),
        threshold=2,
        root_keys=[new_keypair().public for _ in range(3)],
        policy_keys=[new_keypair().public],
        revoked_keys=[new_keypair().public],
    )
)
VALUES = (
    *(None, True, False, 0, 1, -1, 2**53, 2**64, 10**400, 1.5, 1e308),
    *("", "a", "*", "\x00", "\ud800", "x" * 5000, "٣", "../..", "2026-01-01T00:00:00Z", "0" * 64, "Europe/../Berlin"),
    *([], [None], [[]], [1] * 300, {}, {"": ""}, {"a": {"a": {}}}),
)


def places(value, path=()):
    """Every place in a document: its members, and theirs."""
    yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*path, key))


def mutated(document, dice):
    """One or two members replaced, removed, renamed or repeated."""
    changed = copy.deepcopy(document)
    for _ in range(dice.randint(1, 2)):
        *way, last = dice.choice([p for p in places(changed) if p])
        holder = changed
        for key in way:
            holder = holder[key]
        kind = dice.randrange(4)
        if kind == 0:
            del holder[last]
        elif kind == 1 and isinstance(holder, dict):
            holder[dice.choice(["x", "", last + " ", last.upper(), "id"])] = holder.pop(last)
        elif kind == 2 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = copy.deepcopy(dice.choice(VALUES))
        if not changed:
            break
    return json.dumps(changed, ensure_ascii=True).encode()


@pytest.mark.parametrize(("parse", "document"), [(parse_bundle, BUNDLE), (parse_root, ROOT)], ids=["policy", "root"])
def test_a_wrong_document_is_read_or_refused_in_bounded_time(parse, document):
    refused, slowest = 0, 0.0
    parse(json.dumps(document).encode())
    for case in range(1500):
        raw = mutated(document, random.Random(f"{SEED}-{case}"))
        began = time.thread_time()
        try:
            parse(raw)
        except PolicyError:
            refused += 1
        except Exception as e:
            raise AssertionError(f"AISPM_TEST_SEED={SEED}, case {case}: {type(e).__name__} for {raw[:2000]!r}") from e
        slowest = max(slowest, time.thread_time() - began)
    assert refused > 1000, "most mutations are errors"
    assert slowest < 1.0, "CPU seconds of one document"


@pytest.mark.parametrize("parse", [parse_bundle, parse_root, parse_signatures])
def test_bytes_of_any_kind_are_refused(parse):
    dice = random.Random(SEED)
    good = json.dumps(BUNDLE).encode()
    for _ in range(1500):
        at = dice.randrange(1, len(good))
        piece = b"\xff" + dice.randbytes(dice.randrange(40))
        raw = dice.choice([piece, good[:at] + piece + good[at:], good[:at], good[at:], b"[" * at, b'{"a":' * at])
        with pytest.raises(PolicyError):
            parse(raw)
