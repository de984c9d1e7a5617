"""Personal data: account, telephone, identity and travel-document numbers, e-mail addresses."""

from __future__ import annotations

import re

from gateway.validators.checksums import mod97, mrz_digit

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
_NINO_NEVER = ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ")


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
    return end if mod97(compact) else 0


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


def nino(value: str) -> int:
    """A UK National Insurance number: prefixes that are never issued are out (HMRC manual NIM39110)."""
    return 0 if value[:2] in _NINO_NEVER else len(value)


def phone(value: str) -> int:
    """An international number: 8 to 15 digits (ITU-T E.164), the last group of two or more."""
    digits = len(value.encode().translate(None, b"+ ().-"))
    return len(value) if 8 <= digits <= 15 and value[-2:].isdecimal() else 0


def phone_us(value: str) -> int:
    """A North American number: area and exchange from 2, none of the N11 services, not the fictional 555-01xx."""
    digits = re.sub("[^0-9]", "", value)[-10:]
    area, exchange, line = digits[:3], digits[3:6], digits[6:]
    possible = area[0] > "1" and exchange[0] > "1" and area[1:] != "11" and exchange[1:] != "11"
    return len(value) if possible and area[1] != "9" and not (exchange == "555" and line[:2] == "01") else 0


def mrz(value: str) -> int:
    """A data line of a travel document (ICAO 9303): check digits of number, birth, expiry and, if there, the whole."""
    if value[:7].isdigit():  # second line of an identity card (TD1): birth, expiry, nationality
        dates = (value[0:6], value[6]), (value[8:14], value[14])
        whole = True  # its last digit is over the first line, too
    else:  # second line of a passport or visa (TD3, TD2)
        dates = (value[13:19], value[19]), (value[21:27], value[27])
        whole = _digit(value[0:10] + value[13:20] + value[21:-1]) == value[-1] and _digit(value[0:9]) == value[9]
    months = all("01" <= date[2:4] <= "12" for date, _ in dates)
    return len(value) if whole and months and all(_digit(date) == check for date, check in dates) else 0


def _digit(field: str) -> str:
    return str(mrz_digit(field))


_IMPROPER = re.compile(r"\.\.|-\.|\.-|^[.-]|[.-]$")
"""A label that is empty, or that begins or ends with a hyphen."""


def email(value: str) -> int:
    """The domain has proper labels (RFC 1035) and a top level of letters."""
    domain = value.rpartition("@")[2]
    proper = not _IMPROPER.search(domain) and domain.rpartition(".")[2].isalpha()
    return len(value) if proper and value[0] != "." else 0
