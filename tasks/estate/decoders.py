"""Undo the usual disguises of text: encodings, invisible characters, look-alikes, leet.

Each function returns text or nothing; none decides what the text means. `readings` gives every plain text that a
patient reader could get out of a message, each with the disguise it was found under.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote

from tasks.estate.phrases import words

Disguise = Literal["encoded", "hidden"]

_INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕһԁɡӏԛԝАВЕКМНОРСТХІЈЅҮԌαορνικτυΑΒΕΖΗΙΚΜΝΟΡΤΥΧ\u0131ⅼ",
    "aeopcyxijshdglqwABEKMHOPCTXIJSYGaopviktuABEZHIKMNOPTYXil",
)
_LEET = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
_MORSE = {
    ".-": "a", "-...": "b", "-.-.": "c", "-..": "d", ".": "e", "..-.": "f", "--.": "g", "....": "h", "..": "i",
    ".---": "j", "-.-": "k", ".-..": "l", "--": "m", "-.": "n", "---": "o", ".--.": "p", "--.-": "q", ".-.": "r",
    "...": "s", "-": "t", "..-": "u", "...-": "v", ".--": "w", "-..-": "x", "-.--": "y", "--..": "z",
    "-----": "0", ".----": "1", "..---": "2", "...--": "3", "....-": "4", ".....": "5", "-....": "6", "--...": "7",
    "---..": "8", "----.": "9", ".-.-.-": ".", "--..--": ",", "..--..": "?", "---...": ":", ".----.": "'",
    ".-..-.": '"', "-....-": "-", "-..-.": "/", "-.--.": "(", "-.--.-": ")", ".--.-.": "@", "-...-": "=", ".-.-.": "+",
}  # fmt: skip
_COMMON = words("common")


def invisible_payload(text: str) -> str:
    """What Unicode tag characters and variation selectors spell, or an empty string."""
    letters = []
    for ch in text:
        code = ord(ch)
        if 0xE0020 <= code <= 0xE007E:
            letters.append(chr(code - 0xE0000))
        elif 0xE0100 <= code <= 0xE01EF:  # variation selectors 17-256 carry bytes 16-255
            letters.append(chr(code - 0xE0100 + 16))
    return "".join(letters)


def strip_invisible(text: str) -> str:
    return _INVISIBLE.sub("", text)


def fold_lookalikes(text: str) -> str:
    """Compatibility forms, stacked accents and confusable letters as plain Latin."""
    decomposed = unicodedata.normalize("NFKD", text)
    latin = decomposed.translate(_LOOKALIKES)
    return unicodedata.normalize("NFC", re.sub(r"[\u0300-\u036f\u0483-\u0489\u20d0-\u20ff]+", "", latin))


def fold_leet(text: str) -> str:
    """`1gn0re` as `ignore`. Words without a small letter stay: they may be codes."""

    def word(match: re.Match[str]) -> str:
        found = match.group(0)
        mixed = re.search(r"[a-z]", found) and re.search(r"[0-9@$!]", found.rstrip("!"))
        return found.translate(_LEET) if mixed else found

    return re.sub(r"(?<![/\w.])[\w@$!]+(?![\w./]*@)", word, text)


def disguised(text: str) -> bool:
    """Whether characters were chosen to be misread; accents and other scripts of honest languages do not count."""
    if _INVISIBLE.search(text) or re.search(r"[\u0300-\u036f]{2}|\w[\u0334-\u0338\u20d0-\u20ff]", text):
        return True
    if any((plain := unicodedata.normalize("NFKC", ch)) != ch and plain.isalnum() and ord(ch) > 0x2000 for ch in text):
        return True
    words = re.findall(r"\w+", text)
    if any(re.search(r"[A-Za-z]", w) and re.search(r"[\u0370-\u03ff\u0400-\u052f]", w) for w in words):
        return True
    leet = sum(fold_leet(w) != w for w in text.split())
    return leet >= 3 or (leet >= 1 and leet * 3 >= len(words))


def looks_like_language(text: str) -> bool:
    """Whether text reads as sentences rather than noise: mostly printable, with common words or another script."""
    if len(text) < 6 or sum(ch.isprintable() or ch in "\n\t" for ch in text) < 0.95 * len(text):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    hits = sum(word in _COMMON for word in words)
    return hits >= 2 or (len(words) >= 2 and hits >= 1) or sum(ch.isalpha() and ord(ch) > 0x24F for ch in text) > 4


def _base64(blob: str) -> str:
    compact = re.sub(r"\s+", "", blob).replace("-", "+").replace("_", "/")
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True).decode()


def _base32(blob: str) -> str:
    compact = re.sub(r"\s+", "", blob).rstrip("=")
    return base64.b32decode(compact + "=" * (-len(compact) % 8)).decode()


def _hex(blob: str) -> str:
    return bytes.fromhex(re.sub(r"\\x|0x|[\s:,]", "", blob)).decode()


def _numbers(blob: str) -> str:
    codes = re.findall(r"\d+|[01]{8}", blob)
    base = 2 if all(re.fullmatch(r"[01]{8}", code) for code in codes) else 10
    return "".join(chr(int(code, base)) for code in codes)


def _morse(blob: str) -> str:
    words = re.split(r"\s*[/|]\s*|\s{3,}", blob.strip())
    return " ".join("".join(_MORSE.get(sign, "") for sign in word.split()) for word in words)


def _spaced(blob: str) -> str:
    words = re.split(r"\s{2,}|\s*[|/]\s*", blob.strip())
    return " ".join(re.sub(r"[\s.\-_*]", "", word) for word in words)


_BLOBS: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"(?:(?:0x|\\x)?[0-9a-fA-F]{2}[\s:,]?){8,}"), _hex),
    (re.compile(r"[A-Za-z0-9+/_-]{12,}(?:\s*\n[A-Za-z0-9+/_-]{12,})*={0,2}"), _base64),
    (re.compile(r"[A-Z2-7]{16,}={0,6}"), _base32),
    (re.compile(r"\b[01]{8}(?:[\s,]+[01]{8}){5,}|\b\d{2,3}(?:[\s,]+\d{2,3}){7,}"), _numbers),
    (re.compile(r"[.\-]{1,7}(?:[ /|]+[.\-]{1,7}){7,}"), _morse),
    (re.compile(r"(?:[A-Za-z0-9][ .\-_*]){6,}[A-Za-z0-9](?:\s{2,}(?:[A-Za-z0-9][ .\-_*])*[A-Za-z0-9])*"), _spaced),
)  # fmt: skip


def decode_blobs(text: str) -> list[str]:
    """Plain texts of the encoded runs in `text` and of `text` as a whole (rot13, reversed, percent, entities)."""
    found = []
    for pattern, decode in _BLOBS:
        for match in pattern.finditer(text):
            try:
                plain = decode(match.group(0).strip())
            except (ValueError, binascii.Error, UnicodeDecodeError, OverflowError):
                continue
            if re.fullmatch(r"[A-Za-z0-9+/_=\s-]{12,}", plain) and not looks_like_language(plain):
                found += decode_blobs(plain)  # encoded twice
            elif looks_like_language(plain):
                # The words around the blob stay: they may name what to do with it.
                found.append(text[: match.start()] + "\n" + plain + "\n" + text[match.end() :])
    for whole in (unquote(text), html.unescape(text)):
        if whole != text and looks_like_language(whole):
            found.append(whole)
    for part in {text, *re.split(r"[\n:]\s*", text), *re.findall(r"[\"'`“](.{12,}?)[\"'`”]", text)}:
        if len(part) < 12:
            continue
        for turned in (codecs.encode(part, "rot13"), part[::-1]):
            if _common_words(turned) >= max(3, 2 * _common_words(part)):
                found.append(turned)
    return found


def _common_words(text: str) -> int:
    return sum(word in _COMMON for word in re.findall(r"[a-z]+", text.lower()))


def readings(text: str, depth: int = 2) -> list[tuple[Disguise, str]]:
    """Every plain reading of `text` other than its face value, outermost disguise first."""
    return list(_readings(text, depth))


@lru_cache(maxsize=512)  # one conversation reads the same words at every step
def _readings(text: str, depth: int) -> tuple[tuple[Disguise, str], ...]:
    results: list[tuple[Disguise, str]] = []
    payload = invisible_payload(text)
    if len(payload) >= 6:
        results.append(("hidden", payload))
    if disguised(text):
        results.append(("hidden", fold_leet(fold_lookalikes(strip_invisible(text)))))
    for plain in decode_blobs(strip_invisible(text)):
        results.append(("encoded", plain))
        if depth > 1:
            results += [("encoded", inner) for kind, inner in readings(plain, depth - 1) if kind == "encoded"]
    return tuple(results)
