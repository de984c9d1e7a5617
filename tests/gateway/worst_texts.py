"""Texts of 64 KiB that are made to cost a scanner as much as they can. For `test_engine.py` and `bench_gateway.py`."""

from __future__ import annotations

import base64
import gzip
import random

SIZE = 64 << 10


def _fill(text: str) -> str:
    return (text * (SIZE // len(text) + 1))[:SIZE]


def worst_texts() -> dict[str, str]:
    """name -> text."""
    rng = random.Random(1)
    prose = "The meeting of last week showed that the numbers for the third quarter are not final. " * 900
    numbers = [rng.randint(10, 129) for _ in range(SIZE)]
    repeated = {
        "keywords": "password=", "keywords with values": "token: a1b2c3d4 ", "headers": "authorization: Bearer abc ",
        "vendors": "openai ", "prefixes": "sk-", "half keys": "AKIAQYLPMN5HHHFPZAM ", "at signs": "a@b ",
        "addresses": "ann.smith@example.com ", "urls": "a://b:cccc@", "links": "https://example.com/a?b=c ",
        "digits": "7", "cards": "4111111111111111 ", "not cards": "4111111111111112 ", "phones": "+1 (415) 555-01 ",
        "social security": "536-22-8726 ", "accounts": "DE89370400440532013000 ", "capitals": "ABCD12 ",
        "base64 runs": "aGVsbG8gd29ybGQsIHRoaXMgaXMgdGV4dA== ", "short base64 runs": "QUtJQVFZTFBN ",
        "base64 off phase": "QUtJQVFZTFBNxQUtJQVFZTFBNNN", "compressed": "H4sIAAAAAAAAAAAA ",
        "compressed for real": base64.b64encode(gzip.compress(b"a" * 20_000)).decode() + " ",
        "entities": "a&#65;", "ampersands": "&amp; ", "percent": "a%41", "spaces in URLs": "abcdefgh%20",
        "percent twice": "%2541", "backslashes": "\\", "escapes": "a\\u0041b", "line ends": "\\nabcdefghijklm",
        "quoted-printable": "a=41=4B=49 ", "UTF-7": "+AEE- ", "ascii85": "<~9jqo^~>", "open ascii85": "<~9jqo",
        "bytes": "0x41, 0x4b, ", "bits": "0,1,", "letters apart": "a-b-c-d-e-f-g-h ", "controls": "abc\x01",
        "one list word": "abandon ", "words": "lorem ipsum dolor sit amet, ", "web tokens": "eyJaaaaaaaa ",
        "key files": "-----BEGIN PRIVATE KEY-----\nMII", "account files": '"service_account"', "twilio": "twilio ",
        "backwards": "2MAZPFHHH5NMPLYQAIKA ", "overrides": "\u202eabc\u202c ", "bidi marks": "a\u200e\u200fb",
        "selectors": "\ufe01" * 8 + "a", "zero width": "a\u200b", "fullwidth": "ＡＢＣ１２ ", "ligatures": "ﬁ",
        "other scripts": "Привет мир ", "look-alikes": "АКІА", "combining": "a\u0301", "instructions": "ignore all ",
    }  # fmt: skip
    return {name: _fill(text) for name, text in repeated.items()} | {
        "random base64": base64.b64encode(rng.randbytes(SIZE))[:SIZE].decode(),
        "base64 of prose": base64.b64encode(prose.encode())[:SIZE].decode(),
        "base64 twice": base64.b64encode(base64.b64encode(prose.encode()))[:SIZE].decode(),
        "random hex": rng.randbytes(SIZE // 2).hex(),
        "hex of prose": prose[: SIZE // 2].encode().hex(),
        "spaced hex of prose": prose[: SIZE // 3].encode().hex(" "),
        "random digits": "".join(rng.choice("0123456789") for _ in range(SIZE)),
        "two-digit numbers": ",".join(str(n % 90 + 10) for n in numbers)[:SIZE],
        "character codes": ", ".join(map(str, numbers))[:SIZE],
    }
