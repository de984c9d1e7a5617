"""Encodings that a secret may be wrapped in: where they begin, and what the wrapped piece says. No I/O.

A decoder names cheap triggers, expressions that hyperscan finds in one pass. Most of them match once, at the beginning
of a run of encoded characters, and only when these decode to printable ASCII, so ordinary text and random keys do not
set them off. What a decoder finds are pieces of the text with their reading; each piece is taken once.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

import numpy.typing as npt

from gateway.leet import WORDS, spellings, words_around

MAX_INFLATED = 256 << 10
"""Characters of one compressed piece; what would become longer is not looked into but refused."""
MANY = 128
"""Signs of one kind of escape in a text from which on it is read in blocks: URL-encoded or JSON-escaped documents have
thousands."""
_BLOCK = 1_024
"""Characters of a block, which go when a secret is cut out whose place in it is not clear."""

_HEX = "0-9A-Fa-f"
_B64 = "A-Za-z0-9+/_-"
ALNUM = "A-Za-z0-9"
GAP = r" \t\n.,:;|/*~+_\x2d\x80-\xff"
"""What may stand between the letters of a spaced-out value; also any sign that is not ASCII."""


INLINE = frozenset({"percent", "entity", "escape", "quoted_printable", "utf7", "control"})
"""Encodings of single characters, which join those around them to a word."""
REVERSED = "reversed"
"""Written from the end to the beginning."""


class Unreadable(Exception):  # noqa: N818 - a finding about the text, not an error
    """A piece is encoded in a way that would take more than the filter spends on it."""


class Piece(NamedTuple):
    """[start, end) of a text reads as `text`."""

    start: int
    end: int
    text: str
    name: str


@dataclass(frozen=True, slots=True)
class Decoder:
    """One encoding."""

    name: str
    triggers: tuple[str, ...]
    """Expressions over bytes, without look-arounds."""
    read: Callable[[str, Sequence[int]], Iterator[Piece]]
    """The pieces of a text, given where matches of the triggers end in it, in order."""
    within: str = ""
    """What each match of a trigger holds, if that is faster to find."""
    once: bool = False
    """Whether the first match says it all; a text that was decoded from bytes may be full of them."""


def run_start(items: Sequence[str], times: int) -> str:
    """An expression that matches where `times` rounds of `items`, sets of characters, begin with no round before."""
    width = len(items)
    before = "|".join("." * i + f"[^{item}]" + "." * (width - i - 1) for i, item in enumerate(items))
    return f"(?:{before})(?:{''.join(f'[{item}]' for item in items)}){{{times}}}"


# -- base64, base32, hex: runs of characters that stand for bytes ------------------------------------------------------

QUAD = ("I-Za-f", "AQgwC-HS-Xi-ny-z0-3", "ABEFIJMNQRUVYZcdghklopstwx014589", _B64)
"""Three printable ASCII bytes in base64 (RFC 4648): the high bit of each is zero, the next two are not both."""
_B64_RUN = re.compile(rf"(?:(?:[{_B64}]{{4}})++\r?\n[ \t]{{0,8}})*+[{_B64}]*={{0,2}}")
_QUADS = re.compile(f"(?:{''.join(f'[{chars}]' for chars in QUAD)})*+[{_B64}]{{0,3}}={{0,2}}")
_APART = 20
"""Characters of a run that begins within another: shorter ones are chance, as every third in base64 of base64."""
_B64_BYTES = bytes.maketrans(b"-_", b"+/")
_OCTET = ("E-P", "ABEFIJMNQRUVYZ45", "A-Z2-7", "C-HS-X", "ACEGIKMOQSUWY246", "I-Z2-7", "BCDJKLRSTZ23", "A-Z2-7")
"""Five printable ASCII bytes in base32 (RFC 4648)."""
_B32_RUN = re.compile("[A-Z2-7]*={0,6}")
_HEX_RUN = re.compile(f"[{_HEX}]*+")
_HEX_SPACED = re.compile(rf"(?:[{_HEX}]{{2}}[ :,\n-])*[{_HEX}]{{2}}")
_HEX_LISTED = re.compile(rf"0[xX][{_HEX}]{{2}}(?:(?:, ?| )0[xX][{_HEX}]{{2}})*")
CONTROLS = re.compile(r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]+")
_CODES = re.compile(r"(?<![0-9])(?:[3-9][0-9]|1[0-2][0-9])(?:[,; ] ?(?:[3-9][0-9]|1[0-2][0-9])){7,}(?![0-9])")


def _base64(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    start = done = apart = 0
    wrapped = False
    for end in ends:
        at = end - 12
        if at >= done:
            # The four before may hold the first character of the value behind one that is not ASCII.
            start = at - 4 if at >= done + 4 and _B64_SET.issuperset(text[at - 4 : at]) else at
            found = _B64_RUN.match(text, start)
            done = found.end() if found else end
            wrapped = "\n" in text[start:done]
            yield Piece(start, done, _from_base64(text[start:done]).decode("utf-8", "replace"), "base64")
        elif at >= apart and (at - (_line(text, start, at) if wrapped else start)) % 4:
            # Counted from other characters of the run: an encoding that begins in the middle of what looks like one.
            found = _QUADS.match(text, at)
            apart = found.end() if found else end
            reading = _from_base64(text[at:apart]).decode("utf-8", "replace")
            if apart - at >= _APART and CONTROLS.search(reading) is None:
                yield Piece(at, apart, reading, "base64")


def _base64_invisible(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    """Text in which every other character is an invisible one, so that no three in a row are ASCII."""
    done = 0
    for end in ends:
        if end <= done:
            continue
        before = text[max(done, end - 84) : end - 20]
        start = end - 20 - sum(1 for _ in takewhile(_B64_SET.__contains__, reversed(before))) // 4 * 4
        found = _B64_RUN.match(text, start)
        done = found.end() if found else end
        yield Piece(start, done, _from_base64(text[start:done]).decode("utf-8", "replace"), "base64")


def _line(text: str, start: int, at: int) -> int:
    """Where the line of a wrapped run begins that `at` lies in."""
    line = max(start, text.rfind("\n", start, at) + 1)
    while text[line] in " \t":
        line += 1
    return line


def _compressed(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        start = end - 16
        if start < done:
            continue
        found = _B64_RUN.match(text, start)
        stop = found.end() if found else end
        inflate = zlib.decompressobj(47)
        try:
            raw = inflate.decompress(_from_base64(text[start:stop]), MAX_INFLATED)
        except zlib.error:
            continue
        if inflate.unconsumed_tail:
            raise Unreadable
        done = stop
        yield Piece(start, stop, raw.decode("utf-8", "replace"), "gzip")


def _from_base64(text: str) -> bytes:
    raw = text.encode("ascii", "ignore").translate(_B64_BYTES, b"\r\n\t =")
    return binascii.a2b_base64(raw[: len(raw) - (len(raw) % 4 == 1)] + b"==")


def _base32(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        at = end - 16
        if at < done:
            continue
        found = _B32_RUN.match(text, at)
        done = found.end() if found else end
        run = text[at:done].rstrip("=")
        run = run[: len(run) - len(run) % 8 + (0, 0, 2, 2, 4, 5, 5, 7)[len(run) % 8]]
        raw = base64.b32decode(run + "=" * (-len(run) % 8))
        yield Piece(at, done, raw.decode("utf-8", "replace"), "base32")


def _hex(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done, phase = 0, 0
    for end in ends:
        at = end - 16
        if at < done and (at - phase) % 2 == 0:
            continue
        found = _HEX_RUN.match(text, at)
        done, phase = found.end() if found else end, at
        done -= (done - at) % 2
        yield Piece(at, done, bytes.fromhex(text[at:done]).decode("utf-8", "replace"), "hex")


def _hex_spaced(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    yield from _listed(text, ends, 35, _HEX_SPACED)


def _hex_listed(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    yield from _listed(text, ends, 30, _HEX_LISTED)


def _listed(text: str, ends: Sequence[int], back: int, run: re.Pattern[str]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        if end <= done:
            continue
        found = run.match(text, end - back)
        if found is None or end - back < done:
            continue
        done = found.end()
        digits = found[0].encode().replace(b"0x", b"").replace(b"0X", b"").translate(None, b" :,\n-")
        raw = bytes.fromhex(digits.decode())
        yield Piece(found.start(), done, raw.decode("utf-8", "replace"), "hex")


def _codes(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        if end <= done:
            continue
        found = _CODES.search(text, max(done, end - 72))
        if found is None or found.start() > end:
            continue
        done = found.end()
        chars = "".join(chr(int(n)) for n in re.findall("[0-9]+", found[0]))
        yield Piece(found.start(), done, chars, "codes")


# -- characters written as escapes -------------------------------------------------------------------------------------

_SEPARATOR = "(?:20|0[9AaDd]|2[2367CcFf89]|3[BbCcEeFf]|5[BbDd]|7[BbDd])"
"""Of a URL: space, line ends, quotes, brackets and such."""
_VALUE = r"(?:[A-Za-z0-9+/_-]{8}|[0-9]{3,4}(?:[ %\\-]|\b)|[A-Z]{4})"
"""How a key, a number in groups or a PEM label may go on."""
_ESCAPED = (
    r"(?:u00[0-7][0-9A-Fa-f]|x[0-9A-Fa-f]{2}|u\{[0-9A-Fa-f]{1,6}\}|U[0-9A-Fa-f]{8}|[0-3][0-7]{2}|/"
    rf"|u[0-9A-Fa-f]{{4}}(?=\\|{_VALUE})|(?<=[A-Za-z0-9+/_-]{{8}}\\)u[0-9A-Fa-f]{{4}}|[nrt](?=[A-Za-z0-9+/_-]{{12}}|[0-9]))"
)
"""An accented letter among others, or a line's end before a short word, hides nothing."""
_ANY_ESCAPED = r"(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|u\{[0-9A-Fa-f]{1,6}\}|U[0-9A-Fa-f]{8}|[0-3][0-7]{2}|/|[nrt])"
_ENTITY = (
    r"(?:#[0-9]{1,7};?|#[xX][0-9A-Fa-f]{1,6};?|(?:amp|lowbar|hyphen|dash|period|sol|bsol|equals|plus|colon|commat|num|"
    r"percnt|dollar|Tab|NewLine|ZeroWidthSpace|shy|nbsp);)"
)
_UNIT = f"%(?:u[{_HEX}]{{4}}|[{_HEX}]{{2}})"
_UNESCAPE = (
    (
        "percent",
        "%",
        re.compile(
            f"%(?:u[{_HEX}]{{4}}|(?!{_SEPARATOR})[{_HEX}]{{2}}|{_SEPARATOR}(?=%|{_VALUE})"
            f"|(?<=[A-Za-z0-9+/_-]{{8}}%){_SEPARATOR})(?:{_UNIT})*"
        ),
    ),
    ("entity", "&", re.compile(f"&{_ENTITY}(?:&{_ENTITY})*")),
    ("escape", "\\", re.compile(rf"\\\\{{0,7}}+{_ESCAPED}(?:\\{{1,8}}+{_ANY_ESCAPED})*")),
)
_CUT = re.compile(r"[ \n]|%[2-7]|&|(?<!\\)\\")
"""Where a block may end without cutting an escape, or one character of several, in two."""
_PERCENT_U = re.compile(f"%u([{_HEX}]{{4}})")
_NUMBERED = re.compile("&#([0-9]{1,6});?")
_NAMED = re.compile(f"&{_ENTITY}")
_BACKSLASHES = re.compile(r"\\{2,8}(?=[uUx/0-3nrt])")
_ESCAPE = re.compile(rf"\\{{1,8}}({_ANY_ESCAPED})")


def unescape(text: str) -> list[Piece]:
    """Percent signs, HTML entities and backslashes, together, because one value may be written with several of them.

    Single runs; in a text with very many, blocks of text with all that is in them, so as not to take longer.
    """
    kinds = [kind for kind in _UNESCAPE if kind[1] in text]
    if not kinds:
        return []
    found: list[tuple[int, int, str]] = []
    for name, _, run in kinds:
        for match in run.finditer(text):
            found.append((*match.span(), name))
            if len(found) > MANY:
                return list(_blocks(text))
    return [Piece(start, end, _READERS[name](text[start:end]), name) for start, end, name in sorted(found)]


def _blocks(text: str) -> Iterator[Piece]:
    start = 0
    while start < len(text):
        cut = _CUT.search(text, min(start + _BLOCK, len(text)))
        stop = cut.start() if cut else len(text)
        reading = text[start:stop]
        names = []
        for name, sign, _ in _UNESCAPE:
            if sign in reading and (changed := _READERS[name](reading)) != reading:
                names.append(name)
                reading = changed
        if names:
            yield Piece(start, stop, reading, names[0])
        start = stop


def _percent(text: str) -> str:
    if "%u" in text:
        text = _PERCENT_U.sub(lambda m: _char(int(m[1], 16)), text)
    return unquote_to_bytes(text.encode("utf-8", "replace")).decode("utf-8", "replace")


def _entity(text: str) -> str:
    parts: list[str] = _NUMBERED.split(text)
    parts[1::2] = map(_char, map(int, parts[1::2]))
    text = "".join(parts)
    return _NAMED.sub(lambda m: _named(m[0]), text) if "&" in text else text


@lru_cache(maxsize=256)
def _named(entity: str) -> str:
    return html.unescape(entity)


def _escape(text: str) -> str:
    if "\\\\" in text:
        text = _BACKSLASHES.sub(r"\\", text)
    if "\\u" in text:
        text = text.encode("latin-1", "backslashreplace").decode("raw_unicode_escape", "replace")
    return _ESCAPE.sub(_escape_char, text) if "\\" in text else text


def _escape_char(found: re.Match[str]) -> str:
    code = found[1]
    if code in _LETTERS:
        return _LETTERS[code]
    return _char(int(code.strip("uUx{}"), 16) if code[0] in "uUx" else int(code, 8))


_LETTERS = {"/": "/", "n": "\n", "r": "\r", "t": "\t"}


def _char(number: int) -> str:
    return chr(number) if number < 0x110000 else "\ufffd"


_READERS = {"percent": _percent, "entity": _entity, "escape": _escape}
_QUOTED = re.compile(f"=(?:[{_HEX}]{{2}}|\r?\n)(?:=(?:[{_HEX}]{{2}}|\r?\n))*")
_UTF7 = re.compile(r"\+([A-Za-z0-9+/]+)-?")


def _quoted_printable(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        if end <= done:
            continue
        for found in _QUOTED.finditer(text, max(done, end - 256), end + 512):
            done = found.end()
            raw = bytes.fromhex("".join(re.findall(f"=([{_HEX}]{{2}})", found[0])))
            yield Piece(found.start(), done, raw.decode("utf-8", "replace"), "quoted_printable")


def _utf7(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        if end <= done:
            continue
        found = _UTF7.search(text, max(done, end - 9))
        if found is None:
            continue
        done = found.end()
        raw = _from_base64(found[1])
        yield Piece(found.start(), done, raw[: len(raw) // 2 * 2].decode("utf-16-be", "replace"), "utf7")


def _ascii85(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done, last = 0, text.rfind("~>")
    for end in ends:
        if end - 6 < done:
            continue
        if end > last:
            break
        stop = text.find("~>", end)
        try:
            raw = base64.a85decode(text[end - 4 : stop], ignorechars=b" \t\n\r\v")
        except ValueError:
            continue
        done = stop + 2
        yield Piece(end - 6, done, raw.decode("utf-8", "replace"), "ascii85")


# -- letters set apart -------------------------------------------------------------------------------------------------


def _spaced(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    done = 0
    for end in ends:
        if end <= done:
            continue
        for stride in (2, 4, 3):
            at = end - 7 * stride - 1
            if at >= done and all(text[at + i * stride].isalnum() for i in range(8)):
                break
        else:
            continue
        # The last letter of a word before is none of the letters that are set apart.
        at += stride if at and text[at - 1].isalnum() else 0
        gap = text[at + 1 : at + stride]
        if all(text[i + 1 : i + stride] == gap for i in range(at, end - 1, stride)):
            # One and the same gap: then all that it sets apart belongs to it, whatever it is.
            while at - stride >= done and text[at - stride + 1 : at] == gap and _alone(text, at - stride):
                at -= stride
            while text[end : end + stride - 1] == gap and text[end + stride - 1 : end + stride].strip():
                end += stride
        else:
            while not text[end : end + stride - 1].isalnum() and text[end + stride - 1 : end + stride].isalnum():
                end += stride
        end -= stride if text[end : end + 1].isalnum() else 0
        done = end
        yield Piece(at, end, text[at:end:stride], "spaced")


def _alone(text: str, at: int) -> bool:
    return not text[at].isspace() and not (at and text[at].isalnum() and text[at - 1].isalnum())


def _control(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    """From the first of them on; where there are very many, in blocks of text."""
    first = ends[0] - 1
    runs = [found.span() for found in islice(CONTROLS.finditer(text, first), MANY + 1)]
    if len(runs) <= MANY:
        for start, end in runs:
            yield Piece(start, end, "", "control")
        return
    for start in range(first, len(text), _BLOCK):
        yield Piece(start, min(start + _BLOCK, len(text)), CONTROLS.sub("", text[start : start + _BLOCK]), "control")


def _leet(text: str, ends: Sequence[int]) -> Iterator[Piece]:
    return (Piece(start, end, reading, "leet") for start, end, reading in words_around(text, ends))


# -- what only foreign characters can do -------------------------------------------------------------------------------

_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{8,}")
_BITS = re.compile("[\u2062\u2064]{64,}|[\u200b\u200c]{64,}|[\u200c\u200d]{64,}")
_OVERRIDE = re.compile("\u202e([^\u202c\n\0]*)[\u202c\n]?")
_FEWEST = 8
"""Invisible signs in a row that may say something."""


def hidden(text: str, gone: npt.NDArray[Any]) -> Iterator[Piece]:
    """Bytes as variation selectors, bits as invisible signs, and text that is shown backwards; in no order.

    `gone`: where the invisible signs stand.
    """
    if "\u202e" in text:
        for found in _OVERRIDE.finditer(text):
            if found[1]:
                yield Piece(*found.span(), found[1][::-1], "bidi")
    if not (gone[_FEWEST - 1 :] - gone[: 1 - _FEWEST] < _FEWEST).any():
        return
    for found in _SELECTORS.finditer(text):
        raw = bytes(ord(c) - 0xFE00 if c < "\U000e0100" else ord(c) - 0xE0100 + 16 for c in found[0])
        yield Piece(*found.span(), raw.decode("utf-8", "replace"), "invisible")
    for found in _BITS.finditer(text):
        low = min(found[0])
        bits = "".join("0" if c == low else "1" for c in found[0][: len(found[0]) // 8 * 8])
        raw = int(bits, 2).to_bytes(len(bits) // 8, "big")
        yield Piece(*found.span(), raw.decode("utf-8", "replace"), "invisible")


_B64_SET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_-")
_CODE = "(?:4[5-9]|5[0-7]|6[5-9]|[78][0-9]|9[0579]|98|1[01][0-9]|12[0-2])"
"""A letter, digit, hyphen, full stop or underscore."""
_NO_CODE = r"(?:[^0-9,; ] ?|[^0-9][0-2]?[0-9][,; ]{1,2}|(?:1[3-9]|[2-9][0-9]|[0-9]{3})[0-9][,; ]{1,2})"
_CODES_LISTED = f"{_CODE}(?:[,; ] ?{_CODE}){{11}}"
"""Found faster than where such a list begins, since it begins with a digit."""

DECODERS = (
    Decoder("base64", (run_start(QUAD, 3),), _base64),
    Decoder("base64_invisible", (f"4oC[I-Z][{_B64}]{{12}}4oC[I-Z]",), _base64_invisible),
    Decoder("gzip", (f"H4sI[{_B64}]{{12}}", f"[^{_B64}]e[JNAF][{_B64}]{{14}}"), _compressed),
    Decoder("base32", ("[^A-Z2-7]" + "".join(f"[{chars}]" for chars in _OCTET) * 2,), _base32),
    Decoder("hex", (run_start(("2-7", _HEX), 8),), _hex),
    Decoder("hex_spaced", (run_start(("2-7", _HEX, r" :,\n\x2d"), 11) + f"[2-7][{_HEX}]",), _hex_spaced),
    Decoder(
        "hex_listed",
        (run_start(("0", "xX", "2-7", _HEX, ", "), 6), run_start(("0", "xX", "2-7", _HEX, ",", " "), 5)),
        _hex_listed,
    ),
    Decoder("codes", (_NO_CODE + _CODES_LISTED,), _codes, within=_CODES_LISTED),
    Decoder("quoted_printable", (run_start(("=", "2-7", _HEX), 3), f"[{ALNUM}]=\r?\n[{ALNUM}]"), _quoted_printable),
    Decoder(
        "utf7",
        (r"\+A[C-HS-X][AEIMQUYcgkosw048]A[I-Za-f][AQgw][AB]", r"\+A[C-H][AEIMQUYcgkosw048]-"),
        _utf7,
    ),
    Decoder("ascii85", (r"<~[!-u]{4}",), _ascii85),
    Decoder(
        "spaced",
        (
            run_start((ALNUM, GAP), 7) + f"[{ALNUM}]",
            run_start((ALNUM, GAP, GAP), 7) + f"[{ALNUM}]",
            run_start((ALNUM, GAP, GAP, GAP), 7) + f"[{ALNUM}]",
        ),
        _spaced,
    ),
    Decoder("leet", tuple(spellings(word) for word in WORDS), _leet),
    Decoder("control", (r"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]",), _control, once=True),
)  # fmt: skip
"""All whose triggers hyperscan finds; `unescape` and `hidden` look for themselves."""
