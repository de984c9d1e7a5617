"""Keys and tokens of services: how random they are, what they are made of, and what is only a stand-in."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from urllib.parse import parse_qs, unquote

import orjson

from gateway.validators.checksums import crc32_tail

_PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|change_?me|(?<![a-z])(?:your|dummy|fake)|(?<![a-z0-9])my[_-]"
    r"|xxxx|1234567|abcdef|\*{3}|\.\.\.|<|\$\{|\{\{|redacted|^(?:os\.environ|process\.env)[./](?-i:[A-Z][A-Z0-9_]+)$"
)
_IN_BRACES = re.compile(r"\[+[A-Za-z_]+\]+|\{+[A-Za-z_]+\}+|\(+[A-Za-z_]+\)+")
_STAND_INS = frozenset(
    ("password", "passwd", "pass", "pwd", "pw", "mypassword", "mypass", "secret", "token", "user", "username", "admin")
) | {"root", "guest", "test", "changeit"}
_NAMES_ITSELF = re.compile("(?i)pass|secret|token|key|seed|(?-i:I[Dd]$)")
_CODE = re.compile(
    r"^[A-Za-z_]+(?:\.[A-Za-z_]+[0-9]?)+$|^[a-z]+(?:[_-][a-z]+)+(?:[_-]?[0-9]{1,3})?$|[()\[\]{}]|^\$\w+$|^%\(|^/|::|->|=="
)
_DIGIT, _LETTER = re.compile("[0-9]"), re.compile(r"[^\W\d_]")
_MACAROON = b"\x02\x01"
"""Version 2, then the field `location` (libmacaroons binary format); its length and a host name follow."""


def entropy_bits(value: str) -> float:
    """Shannon entropy in bits per character."""
    n = len(value)
    return -sum(k / n * math.log2(k / n) for k in Counter(value).values())


def random_token(value: str) -> int:
    """Looks drawn, not written: at least 3 bits per character, for which it takes 8 different ones."""
    return len(value) if len(set(value)) >= 8 and entropy_bits(value) >= 3.0 else 0


def random_hex(value: str) -> int:
    """Ends in 32 hexadecimal digits with the spread of drawn ones: at least 2.5 bits each and a digit and a letter."""
    tail = value[-32:]
    mixed = _DIGIT.search(tail) and _LETTER.search(tail)
    return len(value) if mixed and entropy_bits(tail) >= 2.5 else 0


def mixed_token(value: str) -> int:
    """A random token of both cases and with digits; without digits, one at 4 bits per character, as no words have."""
    both = any(c.isupper() for c in value) and any(c.islower() for c in value)
    return random_token(value) if both and (_DIGIT.search(value) or entropy_bits(value) >= 4.0) else 0


def crc_token(value: str) -> int:
    """A GitHub or npm token: a right CRC-32 at its end is enough; without, it has to look drawn.

    The check sum is undocumented for some kinds, so a wrong one proves nothing.
    """
    body = value.split("_", 1)[1]
    if len(body) == 36 and crc32_tail(body[:-6], body[-6:]):
        return len(value)
    return random_token(value)


def aws_key_id(value: str) -> int:
    """Any but those that end in `EXAMPLE`, which Amazon keeps for its documentation."""
    return 0 if value.endswith("EXAMPLE") else len(value)


def aws_secret(value: str) -> int:
    """40 characters at 4 bits each or more, for which it takes 16 different ones; not Amazon's documented example."""
    drawn = len(set(value)) >= 16 and entropy_bits(value) >= 4.0
    return len(value) if drawn and "EXAMPLE" not in value else 0


def azure_key(value: str) -> int:
    """Base64 of exactly 64 bytes (storage, Cosmos DB) or 32 bytes (Service Bus, Event Hubs)."""
    raw = _base64(value)
    return len(value) if raw is not None and len(raw) in (32, 64) and len(set(raw)) > 16 else 0


def azure_sas(value: str) -> int:
    """A query with version and expiry whose `sig` is an HMAC-SHA256: base64 of 32 bytes."""
    query = value.rstrip(".:&")  # a full stop behind an address is not part of it
    fields = parse_qs(query.replace("+", "%2B"))
    raw = _base64(fields.get("sig", [""])[0])
    return len(query) if raw is not None and len(raw) == 32 and "se" in fields and "sv" in fields else 0


def pypi_token(value: str) -> int:
    """A macaroon whose first field is the location `pypi.org` or `test.pypi.org`."""
    raw = _base64(value.removeprefix("pypi-").replace("-", "+").replace("_", "/"))
    if raw is None or not raw.startswith(_MACAROON) or len(raw) < 3:
        return 0
    return len(value) if raw[3 : 3 + raw[2]] in (b"pypi.org", b"test.pypi.org") else 0


def openai_key(value: str) -> int:
    """An `sk-` key that is not another vendor's, and no words with hyphens between."""
    return 0 if value.startswith("sk-ant-") or not _DIGIT.search(value) else random_token(value)


def jwt(value: str) -> int:
    """The first segment decodes to a JSON header with `alg` (RFC 7515)."""
    head = value.split(".", 1)[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return 0
    return len(value) if isinstance(header, dict) and isinstance(header.get("alg"), str) else 0


def authorization(value: str) -> int:
    """A drawn value of an Authorization header; for base64 of `user:password`, one with a colon and no stand-in."""
    raw = _base64(value)
    if raw is not None and b":" in raw and raw.isascii():
        return url_password(raw.decode().split(":", 1)[1]) and len(value)
    return len(value) if _DIGIT.search(value) and not _PLACEHOLDER.search(value) and random_token(value) else 0


def assigned_secret(value: str) -> int:
    """A value given to a password: digit and letter, more than 2.5 bits per character, no stand-in and no code."""
    if not (_DIGIT.search(value) and _LETTER.search(value)):
        return 0
    stand_in = _PLACEHOLDER.search(value) or _CODE.search(value)
    return len(value) if not stand_in and entropy_bits(value) > 2.5 else 0


def assigned_token(value: str) -> int:
    """A value given to a token or key: random, with digits or of both cases, no stand-in and no code."""
    if _PLACEHOLDER.search(value) or _CODE.search(value):
        return 0
    has_both = _DIGIT.search(value) and _LETTER.search(value)
    return random_token(value) if has_both else mixed_token(value)


def url_password(value: str) -> int:
    """The password in `scheme://user:password@`; no stand-in, and not just letters that say what should stand there."""
    stand_in = _PLACEHOLDER.search(value) or value.lower() in _STAND_INS
    word = value.isalpha() or _IN_BRACES.fullmatch(value)
    return 0 if stand_in or (word and _NAMES_ITSELF.search(value)) else len(value)


def _base64(value: str) -> bytes | None:
    """Decoded with or without padding and percent signs; None when it is not base64."""
    text = unquote(value).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
