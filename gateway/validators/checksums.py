"""Check digits and check sums, each as its standard defines it. Pure functions on strings."""

from __future__ import annotations

import hashlib
import zlib

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_MRZ_WEIGHTS = (7, 3, 1)


_VALUES = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
"""Twice a digit, its own digits added up."""


def luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, annex B."""
    raw = digits.encode()[::-1]
    return (sum(raw[::2].translate(_VALUES)) + sum(raw[1::2].translate(_DOUBLED))) % 10 == 0


_IN_BASE_36 = {ord(c): str(int(c, 36)) for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"}


def mod97(compact: str) -> bool:
    """ISO 7064 mod 97-10 over letters and digits, the first four moved to the end (ISO 13616-1)."""
    return int((compact[4:] + compact[:4]).translate(_IN_BASE_36)) % 97 == 1


def mrz_digit(field: str) -> int:
    """The check digit of a machine-readable zone: weights 7-3-1, `<` counts 0 (ICAO 9303-3, 4.9)."""
    return sum(_MRZ_WEIGHTS[i % 3] * (0 if c == "<" else int(c, 36)) for i, c in enumerate(field)) % 10


def crc32_tail(body: str, tail: str) -> bool:
    """Whether `tail` is the CRC-32 of `body` in six base-62 digits, as GitHub and npm end their tokens."""
    number = 0
    for c in tail:
        number = number * 62 + _BASE62.index(c)
    return number == zlib.crc32(body.encode("ascii"))


def base58check(text: str) -> bytes | None:
    """The payload, its version included, if the four-byte double SHA-256 at the end fits; else None."""
    number = 0
    for c in text:
        number = number * 58 + BASE58.index(c)
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    raw = b"\0" * (len(text) - len(text.lstrip("1"))) + raw
    payload, check = raw[:-4], raw[-4:]
    return payload if hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4] == check else None
