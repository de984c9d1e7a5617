"""Secret references: settings name where a secret lies, never the secret itself."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gateway.errors import ConfigError


def resolve_secret(reference: str) -> str:
    """The secret behind `env:NAME` or `file:PATH` (trailing newline dropped).

    Raises ConfigError when the reference has another form or leads nowhere; the message never holds the secret.
    """
    scheme, _, rest = reference.partition(":")
    if scheme == "env" and rest:
        value = os.environ.get(rest)
        if not value:
            raise ConfigError(f"the environment variable {rest} is not set; export it or change the reference")
        return value
    if scheme == "file" and rest:
        try:
            value = Path(rest).expanduser().read_text(encoding="utf-8").strip()
        except OSError as e:
            raise ConfigError(f"cannot read the secret file: {e.strerror}; fix the reference", rest) from None
        if not value:
            raise ConfigError("the secret file is empty", rest)
        return value
    raise ConfigError("a secret must be given as env:NAME or file:PATH, never as the value itself")


def fingerprint(secret: str) -> str:
    """A stable, short, one-way name for a secret, to tell two apart in the lake (not for low-entropy values)."""
    return hashlib.blake2b(secret.encode(), digest_size=8, person=b"aispm-secret").hexdigest()
