"""Keys to crypto wallets: seed phrases (BIP-39) and Base58Check private keys (WIF, BIP-32).

`bip39_english.txt` is the English word list of BIP-39, with its licence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.validators.checksums import base58check

PHRASE_LENGTHS = (24, 21, 18, 15, 12)
_MAX_GAP = 6
"""Characters between two words, such as a line end and the number of the next word."""
_LONGEST = 12 * (8 + _MAX_GAP)
"""Characters of the first twelve words of a phrase, if they are the longest."""
_DISTINCT = 8
"""Of the first twelve words of a phrase: drawn ones have 11 or more, a word that is said again and again makes 1."""
_WORD = re.compile("[A-Za-z]{3,8}")
_LETTERS = re.compile("[A-Za-z]+")
_EXTENDED = tuple(bytes.fromhex(v) for v in ("0488ade4", "04358394", "049d7878", "044a4e28", "04b2430c", "045f18bc"))
"""Versions of BIP-32 private keys: xprv tprv (BIP-32), yprv uprv zprv vprv (SLIP-132)."""


@cache
def words() -> dict[str, int]:
    """Word -> its number, 0 to 2047."""
    lines = Path(__file__).with_name("bip39_english.txt").read_text(encoding="ascii").splitlines()
    return {word: i for i, word in enumerate(line for line in lines if not line.startswith("#"))}


def phrase_checks(numbers: list[int]) -> bool:
    """Whether the words' last bits are the check sum of the others: the first bits of their SHA-256 (BIP-39)."""
    bits = "".join(f"{n:011b}" for n in numbers)
    size = len(bits) * 32 // 33
    digest = hashlib.sha256(int(bits[:size], 2).to_bytes(size // 8, "big")).digest()
    return f"{digest[0]:08b}".startswith(bits[size:])


def seed_phrase(value: str) -> int:
    """12, 15, 18, 21 or 24 words of the list with a right check sum, from the start of `value`, few of them alike."""
    return _phrase(value, checked=True)


def seed_words(value: str) -> int:
    """Twelve words of the list or more in a row, whatever their check sum, with at most two of them alike."""
    return _phrase(value, checked=False)


def _phrase(value: str, checked: bool) -> int:
    known = words()
    numbers: list[int] = []
    ends: list[int] = []
    for found in _WORD.finditer(value):
        number = known.get(found[0].lower())
        if number is None or len(numbers) == PHRASE_LENGTHS[0]:
            break
        numbers.append(number)
        ends.append(found.end())
    if len(set(numbers[: PHRASE_LENGTHS[-1]])) < _DISTINCT:
        return 0
    if not checked:
        return ends[-1] if len(numbers) >= 12 and len(numbers) - len(set(numbers)) <= 2 else 0
    for n in PHRASE_LENGTHS:
        # A twelfth of all phrases of words that are drawn repeat one; prose about one thing repeats several.
        if n <= len(numbers) and 3 * len(set(numbers[:n])) >= 2 * n and phrase_checks(numbers[:n]):
            return ends[n - 1]
    return 0


def phrase_starts(text: str, first: int, last: int) -> list[int]:
    """The offsets from `first` to `last` at which twelve words of the list may begin that are not the same few."""
    fewest, end = PHRASE_LENGTHS[-1], last + _LONGEST
    found: list[str] = _LETTERS.findall(text, first, end)
    runs = list(_listed_runs(found, fewest))
    if not runs:
        return []
    offsets = [word.start() for word in _LETTERS.finditer(text, first, end)]
    return [
        offsets[n]
        for begin, stop in runs
        for n in range(begin, stop - fewest + 1)
        if offsets[n] <= last and len({word.lower() for word in found[n : n + fewest]}) >= _DISTINCT
    ]


def _listed_runs(found: Sequence[str], fewest: int) -> Iterator[tuple[int, int]]:
    """[begin, end) of words of the list in a row, at least `fewest` and not all of them the same few."""
    known, done = words(), 0
    for sample in range(fewest - 1, len(found), fewest):  # one of them lies in every run that is long enough
        if sample < done or found[sample].lower() not in known:
            continue
        begin, done = sample, sample + 1
        while begin and found[begin - 1].lower() in known:
            begin -= 1
        while done < len(found) and found[done].lower() in known:
            done += 1
        if done - begin >= fewest and len({word.lower() for word in found[begin:done]}) >= _DISTINCT:
            yield begin, done


_MIX = np.uint32(0x9E3779B1)
"""2^32 over the golden ratio: multiplied by it, words spread over the table's places (Knuth, TAOCP 6.4)."""


@cache
def _beginnings() -> npt.NDArray[Any]:
    """By the mixed first four letters of a word: whether one of the list begins so. Four tell them apart (BIP-39)."""
    firsts = [word.encode().ljust(4, b"\0")[:4] for word in words()]
    table = np.zeros(1 << 16, dtype=bool)
    table[_places(np.frombuffer(b"".join(firsts), dtype="<u4"))] = True
    return table


def _places(firsts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (firsts * _MIX) >> np.uint32(16)


def listed_stretches(data: bytes) -> list[tuple[int, int]]:
    """(first, last) offsets in ASCII between zeros at which twelve words of the list in a row may begin.

    By the first letters of all words at once, so some are no such words, but none is missed: for long texts, in which
    that is faster than to look for what has the shape of twelve words.
    """
    lower = np.frombuffer(data, dtype=np.uint8) | np.uint8(0x20)
    letter = (lower - np.uint8(97)) < 26
    begins = np.flatnonzero(letter[1:] > letter[:-1]) + 1
    text = (lower * letter).tobytes()
    firsts = np.ndarray((len(text) - 3,), dtype="<u4", buffer=text, strides=(1,))
    listed = _beginnings().take(_places(firsts.take(begins)))
    fewest = PHRASE_LENGTHS[-1]
    for step in (1, 2, 4, fewest - 8):  # runs of 2, 4, 8 and 12
        listed = listed[:-step] & listed[step:]
    runs = np.flatnonzero(np.diff(listed, prepend=False, append=False))
    return [(int(begins[run]), int(begins[end - 1])) for run, end in runs.reshape(-1, 2)]


def trailing_words(text: str) -> int:
    """How many characters at the end of `text` are words of the list in a row, the last one perhaps cut.

    A stream holds these back until a word that is not in the list follows; in prose that is hardly ever far.
    """
    known, start = words(), len(text)
    tail = text[-PHRASE_LENGTHS[0] * (8 + _MAX_GAP) :].lower()
    found = list(_LETTERS.finditer(tail))
    for i, word in enumerate(reversed(found)):
        gap = (found[-i].start() if i else len(tail)) - word.end()
        cut = i == 0 and gap == 0 and any(w.startswith(word[0]) for w in known)
        if gap > _MAX_GAP or (word[0] not in known and not cut):
            break
        start = len(text) - len(tail) + word.start()
    return len(text) - start


def wallet_key(value: str) -> int:
    """A private key with a right check sum: WIF of main or test net, or a BIP-32 extended private key."""
    payload = base58check(value)
    if payload is None:
        return 0
    wif = payload[:1] in (b"\x80", b"\xef") and (len(payload) == 33 or (len(payload) == 34 and payload[-1] == 1))
    extended = payload[:4] in _EXTENDED and len(payload) == 78
    return len(value) if wif or extended else 0
