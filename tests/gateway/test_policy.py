"""Nothing but the exact bytes that a trusted key signed, for this gateway, in date and not rolled back, is policy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from gateway.errors import ConfigError, VerificationError
from gateway.policy.bundle import (
    MAX_BYTES,
    Actions,
    compose_bundle,
    find_agent,
    hash_agent_key,
    new_hash_key,
    new_keypair,
    sign_bundle,
    verify_bundle,
)
from gateway.policy.files import PublishedFolder, load_policy, read_public_keys
from gateway.policy.root import compose_root, sign_root
from gateway.policy.tools import ToolRule
from gateway.policy.trust import parse_key

KEYS, ROOT_KEYS = new_keypair(), new_keypair()
HASH_KEY = new_hash_key()
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def bundle(**changes):
    document = {
        "tenant": "nimbus",
        "audience": ["gw"],
        "version": 1,
        "issued": NOW,
        "expires": NOW + timedelta(days=1),
        "hash_key": HASH_KEY,
        "agents": [{"id": "a", "key_hash": hash_agent_key(HASH_KEY, "k"), "asset_id": "llm/a"}],
        "tools": {"a": ["get_balance"]},
        "rules": {"email": {"request": "allow", "response": "block"}},
    }
    return compose_bundle(**{**document, **changes})


def signed(raw):
    return sign_bundle(raw, KEYS.private)


def test_a_signed_bundle_is_read_as_written():
    raw = bundle()
    policy = verify_bundle(raw, signed(raw), [new_keypair().public, KEYS.public])
    assert (policy.version, policy.key_id) == (1, KEYS.key_id)
    assert policy.tools == {"a": {"get_balance": (ToolRule("get_balance"),)}}
    assert policy.actions("email", "pii", Actions("flag", "flag")) == Actions("allow", "block")
    assert policy.actions("iban", "pii", Actions("flag", "redact")) == Actions("flag", "redact")


def test_every_flipped_bit_of_bundle_and_signature_is_noticed():
    raw = bundle()
    sig = signed(raw)
    for i in range(len(raw)):
        broken = raw[:i] + bytes([raw[i] ^ (1 << (i % 8))]) + raw[i + 1 :]
        with pytest.raises(VerificationError):
            verify_bundle(broken, sig, [KEYS.public])
    for i in range(len(sig)):
        for bit in range(8):  # 0x20 turns a hex digit's case: another spelling, not another value
            broken = sig[:i] + bytes([sig[i] ^ (1 << bit)]) + sig[i + 1 :]
            with pytest.raises(VerificationError):
                verify_bundle(raw, broken, [KEYS.public])


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_cut_or_extended_files_are_refused(cut):
    raw = bundle()
    with pytest.raises(VerificationError):
        verify_bundle(raw[:cut], signed(raw), [KEYS.public])
    with pytest.raises(VerificationError):
        verify_bundle(raw, signed(raw)[:cut], [KEYS.public])
    with pytest.raises(VerificationError):
        verify_bundle(raw + b" ", signed(raw), [KEYS.public])


def test_an_unknown_key_and_no_key_at_all_are_refused():
    raw = bundle()
    for keys in ([new_keypair().public], []):
        with pytest.raises(VerificationError, match="0 of 1 needed"):
            verify_bundle(raw, signed(raw), keys)


def test_a_signature_over_the_bare_bytes_is_refused():
    """The domain prefix keeps signatures made for other documents away from policies."""
    from nacl.signing import SigningKey

    raw = bundle()
    bare = f"ed25519 {KEYS.key_id} {SigningKey(KEYS.private).sign(raw).signature.hex()}\n".encode()
    with pytest.raises(VerificationError):
        verify_bundle(raw, bare, [KEYS.public])


def test_the_parser_never_sees_unsigned_bytes(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("parsed before the signature held")

    monkeypatch.setattr("gateway.policy.reading.json.loads", fail)
    with pytest.raises(VerificationError):
        verify_bundle(b"{", b"ed25519 0 0\n", [KEYS.public])


def edited(**changes):
    document = {**json.loads(bundle()), **changes}
    return json.dumps({k: v for k, v in document.items() if v is not None}).encode()


@pytest.mark.parametrize(
    ("why", "raw"),
    [
        ("unknown schema", edited(schema="aispm.policy/2")),
        ("no schema", edited(schema=None)),
        ("missing field", edited(tools=None)),
        ("unknown field", edited(deny_everything=True)),
        ("duplicate key", bundle().replace(b'"version": 1', b'"version": 1, "version": 9')),
        ("NaN", bundle().replace(b'"version": 1', b'"version": NaN')),
        ("boolean version", edited(version=True)),
        ("float version", edited(version=1.0)),
        ("version 0", edited(version=0)),
        ("unknown action", edited(rules={"email": {"request": "ignore", "response": "block"}})),
        ("half a rule", edited(rules={"email": {"request": "block"}})),
        ("unknown category", edited(defaults={"all": {"request": "allow", "response": "allow"}})),
        ("tools of nobody", edited(tools={"b": ["x"]})),
        ("two agents, one key", edited(agents=[{"id": i, "key_hash": "0" * 64} for i in "ab"])),
        ("agent twice", edited(agents=[{"id": "a", "key_hash": c * 64} for c in "01"])),
        ("revoked is a word", edited(agents=[{"id": "a", "key_hash": "0" * 64, "revoked": "no"}], tools={})),
        ("expires first", edited(expires="2020-01-01T00:00:00Z")),
        ("time with offset", edited(expires="2027-01-01T00:00:00+02:00")),
        ("no such day", edited(expires="2027-02-30T00:00:00Z")),
        ("list", b"[]"),
        ("not UTF-8", b'{"schema": "\xff"}'),
        ("too deep", b"[" * 100_000),
        ("deeper than any schema", edited(tools={"a": json.loads("[" * 64 + "]" * 64)})),
        ("too large", b" " * (MAX_BYTES + 1)),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # test ids must not depend on new keys
)
def test_content_that_is_not_understood_is_refused_though_signed(why, raw):
    with pytest.raises(VerificationError):
        verify_bundle(raw, signed(raw), [KEYS.public])


def test_nothing_invalid_is_composed():
    with pytest.raises(VerificationError):
        bundle(version=0)
    with pytest.raises(VerificationError):
        bundle(issued=datetime(2026, 1, 1))  # noqa: DTZ001 - a naive time is what is refused


def test_agents_are_known_by_key_and_can_be_revoked():
    raw = bundle()
    policy = verify_bundle(raw, signed(raw), [KEYS.public])
    found = find_agent(policy, "k")
    assert found is not None
    assert (found.id, found.asset_id) == ("a", "llm/a")
    assert find_agent(policy, "K") is None
    raw = bundle(agents=[{"id": "a", "key_hash": hash_agent_key(HASH_KEY, "k"), "revoked": True}])
    assert find_agent(verify_bundle(raw, signed(raw), [KEYS.public]), "k") is None


@pytest.fixture
def place(tmp_path):
    raw = compose_root(
        tenant="nimbus",
        version=1,
        epoch=1,
        issued=NOW,
        expires=NOW + timedelta(days=365),
        threshold=1,
        root_keys=[ROOT_KEYS.public],
        policy_keys=[KEYS.public],
    )
    (tmp_path / "root.1.json").write_bytes(raw)
    (tmp_path / "root.1.json.sig").write_bytes(sign_root(raw, ROOT_KEYS.private))

    def publish(**changes):
        raw = bundle(**changes)
        (tmp_path / "policy.json").write_bytes(raw)
        (tmp_path / "policy.json.sig").write_bytes(signed(raw))

    def load(now=NOW, gateway_id="gw"):
        source = PublishedFolder(tmp_path / "policy.json")
        return load_policy(source, tmp_path / "root.1.json", gateway_id, tmp_path / "state.json", now, lambda p: p)

    return publish, load, tmp_path


def test_rollback_is_refused_across_restarts(place):
    publish, load, _ = place
    publish(version=5)
    assert load().version == 5
    assert load().version == 5
    publish(version=4)
    with pytest.raises(VerificationError, match="older than version 5 "):
        load()
    publish(version=6)
    assert load().version == 6


def test_two_policies_with_one_version_are_refused(place):
    publish, load, _ = place
    publish(version=5)
    load()
    publish(version=5, tools={})
    with pytest.raises(VerificationError, match="two different policies"):
        load()


def test_expiry_audience_and_a_damaged_memory_stop_the_load(place):
    publish, load, folder = place
    publish()
    with pytest.raises(VerificationError, match="expired"):
        load(now=NOW + timedelta(days=1))
    with pytest.raises(VerificationError, match="not meant for"):
        load(gateway_id="other")
    (folder / "state.json").write_text("{")
    with pytest.raises(VerificationError, match="damaged"):
        load()


def test_missing_files_are_named(place):
    _, load, folder = place
    with pytest.raises(ConfigError, match=r"policy\.json"):
        load()
    with pytest.raises(ConfigError):
        read_public_keys([folder / "nope.pub"])


@pytest.mark.parametrize("text", ["", "00", "AB" * 32, "0" * 63 + "g"])
def test_key_files_hold_one_key(text):
    with pytest.raises(ConfigError):
        parse_key(text)
