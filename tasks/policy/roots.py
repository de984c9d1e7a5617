"""Roots: the first one, the next one, and the signatures of their holders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gateway.policy import bundle as bundles
from gateway.policy import root as roots
from gateway.policy.bundle import sign_bundle
from gateway.policy.chain import Document, TrustedSet
from gateway.policy.files import read_document
from gateway.policy.reading import parse_object
from gateway.policy.root import Root, compose_root, parse_root, sign_root
from gateway.policy.trust import KeyPair, join_signatures, key_id, parse_signatures
from tasks.errors import ConfigError
from tasks.policy.folder import Folder, read_private_key, write_document


@dataclass(frozen=True, slots=True)
class Change:
    """What the next root does differently. Keys are raw public keys."""

    add_root: Sequence[bytes] = ()
    add_policy: Sequence[bytes] = ()
    drop: Sequence[bytes] = ()
    revoke: Sequence[bytes] = ()
    """Dropped, and never to be used again."""
    threshold: int | None = None


def stage_root(folder: Folder, raw: bytes, signers: Sequence[KeyPair]) -> Path:
    """Put a root into `pending/`, signed by `signers` so far. Raises PolicyError."""
    path = folder.pending_root(parse_root(raw).version)
    write_document(path, Document(raw, join_signatures(*(sign_root(raw, pair.private) for pair in signers))))
    return path


def pending_root(folder: Folder) -> Path | None:
    """The root that waits for signatures or for a publication."""
    return next(iter(sorted((folder.path / "pending").glob("root.*.json"))), None)


def trusted_with(folder: Folder, pending: Path | None) -> TrustedSet:
    """What gateways will trust once `pending` is published. Raises PolicyError when it lacks signatures."""
    if pending is None:
        return folder.trusted()
    document = read_document(pending, roots.MAX_BYTES)
    if parse_root(document.raw).version == 1:
        return TrustedSet(document)
    trusted = folder.trusted()
    trusted.update_root(document)
    return trusted


def settle_root(folder: Folder, pending: Path) -> None:
    """Move a complete root to where gateways see it."""
    write_document(folder.published / pending.name, read_document(pending, roots.MAX_BYTES))
    pending.unlink()
    Path(f"{pending}.sig").unlink()


def next_root(root: Root, change: Change, now: datetime, days: int) -> bytes:
    """The bytes of the root after `root`. Dropping a policy key begins a new epoch. Raises PolicyError, ConfigError."""
    gone = {*change.drop, *change.revoke}
    if unknown := gone - {*root.root_keys, *root.policy_keys}:
        raise ConfigError(f"root version {root.version} lists no key {', '.join(sorted(map(key_id, unknown)))}")
    root_keys = [*(k for k in root.root_keys if k not in gone), *change.add_root]
    policy_keys = [*(k for k in root.policy_keys if k not in gone), *change.add_policy]
    return compose_root(
        tenant=root.tenant,
        version=root.version + 1,
        epoch=root.epoch + bool(gone & set(root.policy_keys)),
        issued=now,
        expires=now + timedelta(days=days),
        threshold=root.threshold if change.threshold is None else change.threshold,
        root_keys=root_keys,
        policy_keys=policy_keys,
        revoked_keys=[*root.revoked_keys, *change.revoke],
    )


def sign_file(path: Path, key: Path) -> str:
    """Add the signature of one key to a root or policy file: what was done. Raises ConfigError, PolicyError."""
    pair = read_private_key(key)
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise ConfigError(f"cannot read it: {e.strerror}", path) from None
    schema = parse_object(raw).get("schema")
    signature_file = Path(f"{path}.sig")
    if schema == roots.SCHEMA:
        root = parse_root(raw)
        old = signature_file.read_bytes() if signature_file.exists() else b""
        signatures = join_signatures(*filter(None, (old, sign_root(raw, pair.private))))
        done = f"signed root version {root.version} as {pair.key_id}; {len(parse_signatures(signatures))} signatures"
    elif schema == bundles.SCHEMA:
        policy = bundles.parse_bundle(raw)
        signatures = sign_bundle(raw, pair.private)
        done = f"signed policy version {policy.version} as {pair.key_id}"
    else:
        raise ConfigError(f"neither {roots.SCHEMA} nor {bundles.SCHEMA}; what is signed must be one of them", path)
    write_document(path, Document(raw, signatures))
    return done
