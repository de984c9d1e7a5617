"""Keys and signatures: Ed25519 (RFC 8032), detached, over a message that names the document's role. No I/O.

A signature file is 1 to 16 lines `ed25519 <key id> <signature>` in lower-case hex, ordered by key id. There is one
accepted spelling: any other byte is an error, not a variant, so that no key can be made to count twice.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gateway.errors import ConfigError
from gateway.policy.refused import PolicyError

DOMAIN = b"aispm.policy/1"
ROOT, BUNDLE = b"root", b"bundle"
"""Roles. `DOMAIN`, zero, role, zero is signed in front of the bytes: no signature fits a document of another kind."""
MAX_SIGNATURES = 16
MAX_SIGNATURE_BYTES = 4096
"""Of a signature file; 16 lines have 2,464."""

_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")
_KEY_FILE = re.compile(r"[0-9a-f]{64}\s*")


class KeyPair(NamedTuple):
    """An Ed25519 pair as raw bytes (32 each) and the name that signatures carry."""

    private: bytes
    public: bytes
    key_id: str


def new_keypair() -> KeyPair:
    """A fresh pair from the operating system's random source."""
    return key_pair(bytes(SigningKey.generate()))


def key_pair(private: bytes) -> KeyPair:
    """The pair of a 32-byte private key."""
    public = bytes(SigningKey(private).verify_key)
    return KeyPair(private, public, key_id(public))


def key_id(public: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of the public key: a name, not a proof. Two keys with one name are
    refused wherever keys are listed."""
    return hashlib.sha256(public).hexdigest()[:16]


def parse_key(text: str, path: str | None = None) -> bytes:
    """The 32 bytes of a key file (64 lower-case hex digits). Raises ConfigError; the message never holds the key."""
    if not _KEY_FILE.fullmatch(text):
        raise ConfigError("a key file holds 64 lower-case hex digits and nothing else", path)
    return bytes.fromhex(text.strip())


def usable(public: bytes) -> bool:
    """Whether this is a canonical point of the prime-order group: under a small-order key one signature fits many
    messages (RFC 8032 section 5.1.7 leaves that to the verifier)."""
    return len(public) == 32 and bool(crypto_core_ed25519_is_valid_point(public))


def sign(role: bytes, raw: bytes, private: bytes) -> bytes:
    """One signature line for `raw`."""
    key = SigningKey(private)
    signature = key.sign(_message(role, raw)).signature
    return f"ed25519 {key_id(bytes(key.verify_key))} {signature.hex()}\n".encode()


def join_signatures(*files: bytes) -> bytes:
    """One signature file out of several; of two lines by one key the later one stays. Raises PolicyError."""
    lines = {key: line for file in files if file for key, line in _lines(file).items()}
    return b"".join(lines[key] for key in sorted(lines))


def parse_signatures(file: bytes) -> dict[str, bytes]:
    """key id -> signature. Raises PolicyError for any other spelling than the one that `sign` writes."""
    return {key: bytes.fromhex(line[25:-1].decode()) for key, line in _lines(file).items()}


def _lines(file: bytes) -> dict[str, bytes]:
    lines = [line + b"\n" for line in file.split(b"\n")[:-1]] if len(file) <= MAX_SIGNATURE_BYTES else []
    found = [_LINE.fullmatch(line) for line in lines]
    ids = [match[1].decode() for match in found if match is not None]
    if not ids or b"".join(lines) != file or len(ids) != len(lines) or len(ids) > MAX_SIGNATURES:
        raise PolicyError("signature", "the signature is not made of lines `ed25519 <key id> <hex>`; sign again")
    if ids != sorted(set(ids)):
        raise PolicyError("signature", "signature lines are not ordered by key id, or one key signed twice")
    return dict(zip(ids, lines, strict=True))


def verify_threshold(
    role: bytes, raw: bytes, signatures: Mapping[str, bytes], keys: Iterable[bytes], threshold: int
) -> frozenset[str]:
    """The ids of those `keys` that signed `raw`; at least `threshold` distinct ones.

    A signature by one of `keys` that does not hold is an error even when enough others do. Signatures by other keys
    are left to the caller. Raises PolicyError.
    """
    signers = set()
    for public in dict.fromkeys(keys):
        name = key_id(public)
        if (signature := signatures.get(name)) is None:
            continue
        if name in signers or not usable(public):
            raise PolicyError("signature", f"key {name} cannot be told from another one, or is unsafe to verify with")
        try:
            VerifyKey(public).verify(_message(role, raw), signature)
        except BadSignatureError:
            raise PolicyError(
                "signature", f"the document is not what key {name} signed; fetch or sign it again"
            ) from None
        signers.add(name)
    if threshold < 1 or len(signers) < threshold:
        missing = "" if signers else f"; it is signed by {', '.join(signatures)}, which this gateway does not trust"
        raise PolicyError("signature", f"{len(signers)} of {threshold} needed signatures are there{missing}")
    return frozenset(signers)


def _message(role: bytes, raw: bytes) -> bytes:
    return DOMAIN + b"\0" + role + b"\0" + raw
