"""Run in the process that the tests' gateways are forked from: compiles the patterns of the usual policy once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gateway.filter import RuleSet
from gateway.normalize import code_points, skeleton
from gateway.pattern_files import load_patterns
from gateway.policy.bundle import compose_bundle, new_hash_key, new_keypair, sign_bundle, verify_bundle

keys, now = new_keypair(), datetime.now(UTC)
raw = compose_bundle(
    tenant="nimbus", audience=["gw-test"], version=1, epoch=1, root_version=1, issued=now,
    expires=now + timedelta(days=1), hash_key=new_hash_key(), agents=[], tools={},
)  # fmt: skip
RuleSet.build(verify_bundle(raw, sign_bundle(raw, keys.private), [keys.public]), load_patterns())
skeleton(code_points("é"))
