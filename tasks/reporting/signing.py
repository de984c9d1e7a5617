"""Ed25519 keys and detached signatures. Reading and checking live in `verify.py`, which travels with the report."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from tasks.errors import ConfigError
from tasks.reporting.verify import (
    KNOWN,
    SIGNATURE,
    Verification,
    canonical,
    load_public_key,
    named_rows,
    parse_strict,
    verify_document,
    verify_file,
)

__all__ = [
    "Signer",
    "Verification",
    "create_keypair",
    "load_or_create_signer",
    "load_public_key",
    "load_signer",
    "sign_document",
    "verify_document",
    "verify_file",
]


@dataclass(frozen=True, slots=True)
class Signer:
    name: str
    key_id: str
    """First 16 hex digits of the public key's SHA-256."""
    public_key: bytes
    """32 bytes."""
    _key: SigningKey = field(repr=False)

    def sign(self, message: bytes) -> str:
        """Ed25519 signature (RFC 8032) over `message` as 128 hex digits; the caller separates domains."""
        return self._key.sign(message).signature.hex()

    @property
    def public_text(self) -> str:
        """Content of the `.pub` file."""
        return f"ed25519 {self.public_key.hex()} {self.name}\n"


def create_keypair(folder: Path, name: str) -> tuple[Path, Path]:
    """New `NAME.key` (mode 0600) and `NAME.pub` in `folder`; returns both paths.

    Raises ConfigError when either exists: a key that signed evidence is never overwritten.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ConfigError(f"a key name is 1 to 64 letters, digits, `.`, `_` or `-`, not {name[:80]!r}")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    key = SigningKey.generate()
    signer = _signer(key, name)
    for path, text, mode in (
        (private, f"ed25519-private {key.encode().hex()} {name}\n", 0o600),
        (public, signer.public_text, 0o644),
    ):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            raise ConfigError("a key of this name exists; choose another name", path) from None
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    return private, public


def load_signer(path: Path) -> Signer:
    """The signer of a private key file. Raises ConfigError when it is absent, malformed or readable by others."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise ConfigError("cannot read the signing key; create one or fix the path", path) from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError("the signing key is readable by others; run chmod 600 on it and consider a new key", path)
    match = re.fullmatch(r"ed25519-private ([0-9a-f]{64}) ([\w.-]+)\n?", text)
    if match is None:
        raise ConfigError("not a signing key file of the form `ed25519-private <64 hex digits> <name>`", path)
    return _signer(SigningKey(bytes.fromhex(match[1])), match[2])


def load_or_create_signer(folder: Path, name: str = "aispm") -> Signer:
    """The signer of `folder`, with a new key pair when there is none. Raises ConfigError as `load_signer` does."""
    path = folder / f"{name}.key"
    if not path.exists():
        create_keypair(folder, name)
    return load_signer(path)


def sign_document(raw: bytes, schema: str, signer: Signer, rows: Mapping[str, Any] | None = None) -> str:
    """Text of the `.sig` file for `raw`, a JSON document of `schema`.

    `rows` is the document itself when the caller still holds it; else `raw` is parsed. Its lists' items and its
    objects' members are digested one by one, so that verification can name what was altered.
    Raises ValueError when `raw` is not strict JSON or the schema is unknown or another than the document's own.
    """
    document = parse_strict(raw) if rows is None else dict(rows)
    if schema not in KNOWN or document.get("schema") != schema:
        raise ValueError(f"cannot sign schema {document.get('schema')!r} as {schema!r}; known: {', '.join(KNOWN)}")
    statement = {
        "schema": SIGNATURE,
        "document_schema": schema,
        "key_id": signer.key_id,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "rows": {section: [h for _, h in named] for section, named in named_rows(document).items()},
    }
    # The leading schema separates domains: a policy or heartbeat signature can never pass as a report's.
    signature = signer.sign(schema.encode() + b"\0" + canonical(statement))
    return canonical({**statement, "signature": signature}).decode() + "\n"


def _signer(key: SigningKey, name: str) -> Signer:
    public = key.verify_key.encode()
    return Signer(name=name, key_id=hashlib.sha256(public).hexdigest()[:16], public_key=public, _key=key)
