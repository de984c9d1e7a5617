"""Second opinions on a regular expression's hit. Each returns how many characters of the value it accepts; 0 = none."""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Callable

import orjson


def luhn(digits: str) -> bool:
    """The check digit of ISO/IEC 7812-1, annex B."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = int(c)
        if i % 2:
            d = d * 2 - 9 if d > 4 else d * 2
        total += d
    return total % 10 == 0


_GROUPS = {16: ((4, 4, 4, 4),), 15: ((4, 6, 5),), 14: ((4, 6, 4),), 13: ((4, 3, 3, 3),), 19: ((4, 4, 4, 4, 3),)}


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


def payment_card(value: str) -> int:
    """A card number: issuer range and length, grouping as printed on cards, Luhn, more than one distinct digit."""
    parts = re.split(r"[ -]", value)
    digits = "".join(parts)
    if not _issuer_fits(digits) or len(set(digits)) < 2 or not luhn(digits):
        return 0
    if len(parts) > 1 and tuple(map(len, parts)) not in _GROUPS.get(len(digits), ()):
        return 0
    return len(value)


_IBAN_LENGTHS = {
    code: length
    for length, codes in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU",
        31: "MT SC",
        32: "LC",
    }.items()
    for code in codes.split()
}


def iban(value: str) -> int:
    """An account number: the country's length (SWIFT IBAN registry), blocks of four if spaced, ISO 7064 mod 97-10."""
    length = _IBAN_LENGTHS.get(value[:2])
    if length is None:
        return 0
    compact, end = "", 0
    for c in value:
        if len(compact) == length:
            break
        end += 1
        if c == " ":
            if len(compact) % 4:
                return 0
        else:
            compact += c
    if len(compact) < length or (end < len(value) and value[end] != " "):
        return 0
    number = "".join(str(int(c, 36)) for c in compact[4:] + compact[:4])
    return end if int(number) % 97 == 1 else 0


def tckn(value: str) -> int:
    """A Turkish identity number: 11 digits, not from 0, two check digits."""
    d = [int(c) for c in value]
    tenth = (sum(d[0:9:2]) * 7 - sum(d[1:8:2])) % 10
    return len(value) if d[0] and d[9] == tenth and d[10] == sum(d[:10]) % 10 else 0


def ssn(value: str) -> int:
    """A US social security number whose area, group and serial can be issued (SSA randomisation rules)."""
    area, group, serial = value.split("-")
    issued = area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000"
    return len(value) if issued and value != "078-05-1120" else 0


def phone(value: str) -> int:
    """An international number: 8 to 15 digits (ITU-T E.164)."""
    return len(value) if 8 <= sum(c.isdigit() for c in value) <= 15 else 0


def entropy_bits(value: str) -> float:
    """Shannon entropy in bits per character."""
    n = len(value)
    return -sum(k / n * math.log2(k / n) for k in Counter(value).values())


def random_token(value: str) -> int:
    """Looks drawn, not written: at least 3 bits per character, for which it takes 8 different ones."""
    return len(value) if len(set(value)) >= 8 and entropy_bits(value) >= 3.0 else 0


def aws_secret(value: str) -> int:
    """40 characters at 4 bits each or more, for which it takes 16 different ones."""
    return len(value) if len(set(value)) >= 16 and entropy_bits(value) >= 4.0 else 0


_PLACEHOLDER = re.compile(r"(?i)example|placeholder|changeme|your[_-]?|xxxx|\*{3}|\.\.\.|<|\$\{|\{\{|redacted")


def assigned_secret(value: str) -> int:
    """A value given to a password: has a digit and a letter, more than 2.5 bits per character, is no stand-in."""
    has_both = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return len(value) if has_both and entropy_bits(value) > 2.5 and not _PLACEHOLDER.search(value) else 0


def url_password(value: str) -> int:
    """The password in `scheme://user:password@`; stand-ins do not count."""
    return 0 if _PLACEHOLDER.search(value) or value.lower() in ("password", "pass", "pwd", "secret") else len(value)


def openai_key(value: str) -> int:
    """An `sk-` key that is not another vendor's."""
    return 0 if value.startswith("sk-ant-") else random_token(value)


def email(value: str) -> int:
    """The domain has proper labels (RFC 1035) and a top level of letters."""
    labels = value.rpartition("@")[2].split(".")
    proper = all(part and not part.startswith("-") and not part.endswith("-") for part in labels)
    return len(value) if proper and labels[-1].isalpha() and value[0] != "." else 0


def jwt(value: str) -> int:
    """The first segment decodes to a JSON header with `alg` (RFC 7515)."""
    head = value.split(".", 1)[0]
    try:
        header = orjson.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return 0
    return len(value) if isinstance(header, dict) and isinstance(header.get("alg"), str) else 0


VALIDATORS: dict[str, Callable[[str], int]] = {
    "payment_card": payment_card,
    "iban": iban,
    "tckn": tckn,
    "ssn": ssn,
    "phone": phone,
    "random_token": random_token,
    "aws_secret": aws_secret,
    "assigned_secret": assigned_secret,
    "url_password": url_password,
    "openai_key": openai_key,
    "email": email,
    "jwt": jwt,
}
"""What a pattern file may name."""
