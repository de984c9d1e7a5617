"""Payment cards: issuer ranges, lengths and groupings of ISO/IEC 7812, and magnetic stripes of ISO/IEC 7813."""

from __future__ import annotations

import re

from gateway.validators.checksums import luhn

_GROUPS = {16: ((4, 4, 4, 4),), 15: ((4, 6, 5),), 14: ((4, 6, 4),), 13: ((4, 3, 3, 3),), 19: ((4, 4, 4, 4, 3),)}
_TRACK = re.compile(r"[%;]B?([0-9]{12,19})(?:\^[^^]{2,26}\^|=)[0-9]{2}([0-9]{2})")


def _issuer_fits(digits: str) -> bool:
    """Whether prefix and length belong together (ISO/IEC 7812 issuer ranges of the large networks)."""
    first, n = digits[0], len(digits)
    if first == "4":
        return n in (13, 16, 19)
    if first == "5":
        return n == 16 and "51" <= digits[:2] <= "55"
    if first == "6":
        if digits[:2] == "62" and n in (16, 17, 18, 19):
            return True
        return n in (16, 19) and (digits[:4] == "6011" or digits[:2] == "65" or "644" <= digits[:3] <= "649")
    if first == "3":
        if digits[1] in "47":
            return n == 15
        if digits[1] in "689" or "300" <= digits[:3] <= "305":
            return n in (14, 16)
        return n in (16, 19) and "3528" <= digits[:4] <= "3589"
    return n == 16 and ("2221" <= digits[:4] <= "2720" or digits[:4] == "9792")


def _card(digits: str) -> bool:
    return _issuer_fits(digits) and luhn(digits) and len(set(digits)) > 1


def payment_card(value: str) -> int:
    """A card number: issuer range and length, grouping as printed on cards, Luhn, more than one distinct digit."""
    digits = value.replace(" ", "").replace("-", "")
    if not _card(digits):
        # Three more digits behind a card of four groups may be its security code.
        return payment_card(value[:19]) if len(digits) == 19 and len(value) == 23 else 0
    grouped = len(digits) == len(value) or tuple(map(len, re.split("[ -]", value))) in _GROUPS.get(len(digits), ())
    return len(value) if grouped else 0


def card_track(value: str) -> int:
    """Track 1 or 2 of a magnetic stripe: a card number and an expiry (YYMM) with a month that exists."""
    found = _TRACK.match(value)
    return len(value) if found and _card(found[1]) and 1 <= int(found[2]) <= 12 else 0
