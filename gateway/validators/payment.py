"""Payment cards: issuer ranges, lengths and groupings of ISO/IEC 7812, and magnetic stripes of ISO/IEC 7813."""

from __future__ import annotations

import re

from gateway.validators.checksums import luhn

_GROUPS = {16: ((4, 4, 4, 4),), 15: ((4, 6, 5),), 14: ((4, 6, 4),), 13: ((4, 3, 3, 3),), 19: ((4, 4, 4, 4, 3),)}
_TRACK = re.compile(r"[%;]B?([0-9]{12,19})(?:\^[^^]{2,26}\^|=)[0-9]{2}([0-9]{2})")


def _issuer_fits(digits: str) -> bool:
    """Whether prefix and length belong together (ISO/IEC 7812 issuer ranges of the large networks)."""
    two, three, four, six, n = int(digits[:2]), int(digits[:3]), int(digits[:4]), int(digits[:6]), len(digits)
    if digits[0] == "4":
        return n in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return n == 16
    if two in (34, 37):
        return n == 15
    if 300 <= three <= 305 or two in (36, 38, 39):
        return n in (14, 16)
    if four == 6011 or two == 65 or 644 <= three <= 649 or 622126 <= six <= 622925:
        return n in (16, 19)
    return (
        (3528 <= four <= 3589 and n in (16, 19)) or (two == 62 and n in (16, 17, 18, 19)) or (four == 9792 and n == 16)
    )


def _card(digits: str) -> bool:
    return len(set(digits)) > 1 and _issuer_fits(digits) and luhn(digits)


def payment_card(value: str) -> int:
    """A card number: issuer range and length, grouping as printed on cards, Luhn, more than one distinct digit."""
    parts = re.split(r"[ -]", value)
    digits = "".join(parts)
    if not _card(digits) or (len(parts) > 1 and tuple(map(len, parts)) not in _GROUPS.get(len(digits), ())):
        return 0
    return len(value)


def card_track(value: str) -> int:
    """Track 1 or 2 of a magnetic stripe: a card number and an expiry (YYMM) with a month that exists."""
    found = _TRACK.match(value)
    return len(value) if found and _card(found[1]) and 1 <= int(found[2]) <= 12 else 0
