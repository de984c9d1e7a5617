"""Who may write policy: Ed25519 keys (RFC 8032), detached signatures over a domain-separated message. No I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gateway.errors import ConfigError, VerificationError

DOMAIN = b"aispm.policy/1\x00"
"""Signed in front of the bundle, so that a signature made for another document never fits a policy."""

_SIGNATURE_FILE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")
_KEY_FILE = re.compile(r"[0-9a-f]{64}\s*")


class KeyPair(NamedTuple):
    """An Ed25519 pair as raw bytes (32 each) and the name that signatures carry."""

    private: bytes
    public: bytes
    key_id: str


def new_keypair() -> KeyPair:
    """A fresh pair from the operating system's random source."""
    key = SigningKey.generate()
    public = bytes(key.verify_key)
    return KeyPair(bytes(key), public, key_id(public))


def key_id(public: bytes) -> str:
    """The first 16 hex digits of the SHA-256 of the public key: a name, not a proof."""
    return hashlib.sha256(public).hexdigest()[:16]


def parse_key(text: str, path: str | None = None) -> bytes:
    """The 32 bytes of a key file (64 lower-case hex digits). Raises ConfigError; the message never holds the key."""
    if not _KEY_FILE.fullmatch(text):
        raise ConfigError("a key file holds 64 lower-case hex digits and nothing else", path)
    return bytes.fromhex(text.strip())


def sign(raw: bytes, private: bytes) -> bytes:
    """The signature file for `raw`: one line `ed25519 <key id> <signature>`, lower-case hex."""
    key = SigningKey(private)
    signature = key.sign(DOMAIN + raw).signature
    return f"ed25519 {key_id(bytes(key.verify_key))} {signature.hex()}\n".encode()


def verify(raw: bytes, signature_file: bytes, public_keys: Iterable[bytes]) -> str:
    """The id of the trusted key that signed `raw`.

    The signature file has exactly one accepted spelling: any other byte in it is an error, not a variant.
    Raises VerificationError when it is malformed, names no trusted key, or does not hold.
    """
    found = _SIGNATURE_FILE.fullmatch(signature_file)
    if found is None:
        raise VerificationError("the policy signature is not one line `ed25519 <key id> <hex>`; sign the bundle again")
    wanted, signature = found[1].decode(), bytes.fromhex(found[2].decode())
    for public in public_keys:
        if key_id(public) == wanted:
            try:
                VerifyKey(public).verify(DOMAIN + raw, signature)
            except BadSignatureError:
                raise VerificationError(
                    f"the policy bundle is not what key {wanted} signed; fetch or sign it again"
                ) from None
            return wanted
    raise VerificationError(f"the policy is signed by key {wanted}, which this gateway does not trust")
