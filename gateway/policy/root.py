"""The root `aispm.policy_root/1`: which keys may sign policies, and which keys may say so. No I/O.

The rules are those of a TUF root (TUF specification 5.3): a gateway is installed with one root; each next version is
signed by the threshold of the keys of the version before *and* of its own, so that a root can be changed neither
without the old holders nor into one that its new holders cannot use.

`epoch` rises with every policy key that is dropped or revoked. Policies count their versions within an epoch, so
whatever version a stolen key has signed ends with the epoch that it was stolen in.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.policy.reading import (
    IDENTIFIER,
    check_keys,
    format_time,
    parse_object,
    read_integer,
    read_list,
    read_text,
    read_time,
    refuse,
)
from gateway.policy.refused import PolicyError
from gateway.policy.trust import ROOT, key_id, parse_signatures, sign, usable, verify_threshold

SCHEMA = "aispm.policy_root/1"
MAX_BYTES = 64 << 10
"""16 root keys, 16 policy keys and some 800 revoked ones."""
MAX_KEYS = 16
"""Of each kind that is in use; more holders than that are not asked for a signature by anyone."""

_PUBLIC_KEY = re.compile("[0-9a-f]{64}")
_FIELDS = {
    "schema",
    "tenant",
    "version",
    "epoch",
    "issued",
    "expires",
    "threshold",
    "root_keys",
    "policy_keys",
    "revoked_keys",
}


@dataclass(frozen=True, slots=True)
class Root:
    """A verified root. Only `first_root` and `next_root` should make one. Keys are raw public keys."""

    tenant: str
    version: int
    epoch: int
    issued: datetime
    expires: datetime
    threshold: int
    """How many of `root_keys` sign the next root."""
    root_keys: tuple[bytes, ...]
    policy_keys: tuple[bytes, ...]
    """Each of them may sign policies alone."""
    revoked_keys: frozenset[bytes]
    """Keys that no later root may use again."""
    sha256: str

    def expired(self, now: datetime) -> bool:
        """Whether nothing may be trusted because of this root at `now` (timezone-aware) any more."""
        return now >= self.expires


def compose_root(
    *,
    tenant: str,
    version: int,
    epoch: int,
    issued: datetime,
    expires: datetime,
    threshold: int,
    root_keys: Iterable[bytes],
    policy_keys: Iterable[bytes],
    revoked_keys: Iterable[bytes] = (),
) -> bytes:
    """The bytes to sign. Raises PolicyError on content that every gateway would refuse."""
    document = {
        "schema": SCHEMA,
        "tenant": tenant,
        "version": version,
        "epoch": epoch,
        "issued": format_time(issued),
        "expires": format_time(expires),
        "threshold": threshold,
        "root_keys": [key.hex() for key in root_keys],
        "policy_keys": [key.hex() for key in policy_keys],
        "revoked_keys": sorted(key.hex() for key in revoked_keys),
    }
    raw = (json.dumps(document, sort_keys=True, indent=1) + "\n").encode()
    parse_root(raw)
    return raw


def sign_root(raw: bytes, key: bytes) -> bytes:
    """One holder's line of `root.<version>.json.sig`, made with the 32-byte private key; see `join_signatures`."""
    return sign(ROOT, raw, key)


def first_root(raw: bytes, signatures: bytes) -> Root:
    """The root that a gateway was installed with. It is trusted for lying where the settings say; its own signatures
    show that it is whole. Raises PolicyError."""
    _check_size(raw)
    signed = parse_signatures(signatures)
    root = parse_root(raw)
    _only_by(signed, verify_threshold(ROOT, raw, signed, root.root_keys, root.threshold))
    return root


def next_root(trusted: Root, raw: bytes, signatures: bytes) -> Root:
    """The root after `trusted`. The old keys are checked before a byte is parsed. Raises PolicyError."""
    _check_size(raw)
    signed = parse_signatures(signatures)
    by_old = verify_threshold(ROOT, raw, signed, trusted.root_keys, trusted.threshold)
    root = parse_root(raw)
    _only_by(signed, by_old | verify_threshold(ROOT, raw, signed, root.root_keys, root.threshold))
    if root.tenant != trusted.tenant:
        raise PolicyError("tenant", "the next root is of another tenant")
    if root.version != trusted.version + 1:
        raise PolicyError("root", f"root version {root.version} does not follow version {trusted.version}")
    if root.epoch not in (trusted.epoch, trusted.epoch + 1):
        raise PolicyError("root", f"epoch {root.epoch} does not follow epoch {trusted.epoch}")
    if set(trusted.policy_keys) - set(root.policy_keys) and root.epoch == trusted.epoch:
        raise PolicyError("root", "a root that drops a policy key must begin a new epoch")
    if trusted.revoked_keys - root.revoked_keys:
        raise PolicyError("root", "a revoked key can never be taken back")
    return root


def parse_root(raw: bytes) -> Root:
    """The content alone, without any signature. Raises PolicyError."""
    data = parse_object(raw)
    if data.get("schema") != SCHEMA:
        refuse(f"unknown schema; this gateway reads {SCHEMA}")
    check_keys(data, _FIELDS, set(), "root")
    issued, expires = read_time(data["issued"], "issued"), read_time(data["expires"], "expires")
    if expires <= issued:
        refuse("`expires` is not after `issued`")
    root_keys, policy_keys = _keys(data["root_keys"], "root_keys"), _keys(data["policy_keys"], "policy_keys")
    revoked = tuple(_key(k, "revoked_keys") for k in read_list(data["revoked_keys"], "revoked_keys"))
    listed = [*root_keys, *policy_keys, *revoked]
    if len({key_id(key) for key in listed}) != len(listed):
        refuse("a key is listed twice, has two roles, is in use though revoked, or shares its id with another")
    threshold = read_integer(data["threshold"], "threshold", 1)
    if threshold > len(root_keys):
        refuse("`threshold` is larger than the number of root keys")
    return Root(
        tenant=read_text(data["tenant"], IDENTIFIER, "tenant"),
        version=read_integer(data["version"], "version", 1),
        epoch=read_integer(data["epoch"], "epoch", 1),
        issued=issued,
        expires=expires,
        threshold=threshold,
        root_keys=root_keys,
        policy_keys=policy_keys,
        revoked_keys=frozenset(revoked),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _keys(value: Any, where: str) -> tuple[bytes, ...]:
    keys = tuple(_key(k, where) for k in read_list(value, where))
    if not 1 <= len(keys) <= MAX_KEYS:
        refuse(f"`{where}` holds 1 to {MAX_KEYS} keys")
    if not all(usable(key) for key in keys):
        refuse(f"`{where}` holds a key that is no safe Ed25519 public key")
    return keys


def _key(value: Any, where: str) -> bytes:
    return bytes.fromhex(read_text(value, _PUBLIC_KEY, where))


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_BYTES:
        raise PolicyError("size", f"the root has more than {MAX_BYTES} bytes")


def _only_by(signed: dict[str, bytes], known: frozenset[str]) -> None:
    """Every line of a signature file is by a key that counts: a line that nobody checks could be anything."""
    if set(signed) - known:
        raise PolicyError("signature", "the root carries a signature by a key that is neither in it nor in the last")
