"""Reading a policy from disk: `policy.json` beside `policy.json.sig`, and the memory against rollback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gateway.durable import replace_durably
from gateway.errors import ConfigError, VerificationError
from gateway.policy.bundle import MAX_BYTES, Policy, verify_bundle
from gateway.policy.trust import parse_key


def read_public_keys(paths: Sequence[Path]) -> list[bytes]:
    """The trusted keys. Raises ConfigError when a file is unreadable or not a key."""
    keys = []
    for path in paths:
        try:
            keys.append(parse_key(path.read_text(encoding="ascii"), str(path)))
        except (OSError, UnicodeError) as e:
            raise ConfigError(f"cannot read the policy public key ({e.__class__.__name__})", path) from None
    return keys


def load_policy(path: Path, public_keys: Sequence[bytes], gateway_id: str, state: Path, now: datetime) -> Policy:
    """The policy at `path`, verified for this gateway and `now`, and not older than the newest one seen before.

    `state` is remembered (fsynced) before the policy is returned, so that a crash cannot forget it. Raises
    VerificationError (signature, content, audience, expiry, rollback) or ConfigError (files missing).
    """
    policy = verify_bundle(_read(path, MAX_BYTES), _read(Path(f"{path}.sig"), 1024), public_keys)
    policy.check_audience(gateway_id)
    if policy.expired(now):
        raise VerificationError(
            f"policy version {policy.version} expired on {policy.expires:%Y-%m-%d}; publish a new one"
        )
    _remember(policy, state)
    return policy


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as f:
            raw = f.read(limit + 1)
    except OSError as e:
        raise ConfigError(f"cannot read the policy: {e.strerror}", path) from None
    if len(raw) > limit:
        raise VerificationError(f"{path.name} has more than {limit} bytes; it is not read")
    return raw


def _remember(policy: Policy, state: Path) -> None:
    seen: dict[str, object] = {}
    if state.exists():
        try:
            seen = json.loads(state.read_text(encoding="utf-8"))
            newest, sha256 = int(str(seen["version"])), str(seen["sha256"])
        except (ValueError, KeyError, TypeError):
            raise VerificationError(
                f"{state} is damaged, so a rollback could not be noticed; restore it, or remove it knowingly"
            ) from None
        if policy.version < newest:
            raise VerificationError(f"policy version {policy.version} is older than version {newest} seen before")
        if policy.version == newest:
            if policy.sha256 != sha256:
                raise VerificationError(f"two different policies claim version {newest}; publish the next version")
            return
    text = json.dumps({"tenant": policy.tenant, "version": policy.version, "sha256": policy.sha256})
    replace_durably(state, text.encode())
