"""How a secret is dressed up so that a filter may not know it and a model or a client still does. One function each.

A disguise turns a secret into the text that carries it. Names are those of `families.yaml`.
"""

from __future__ import annotations

import base64
import gzip
import quopri
import unicodedata
from collections.abc import Callable

HOMOGLYPHS = dict(zip("ABCEHIKMOPTXaceopxyi", "АВСЕНІКМОРТХасеорхуі", strict=True))
GREEK = dict(zip("ABEHIKMNOPTXYZ", "ΑΒΕΗΙΚΜΝΟΡΤΧΥΖ", strict=True))


def between(mark: str) -> Callable[[str], str]:
    return lambda secret: mark.join(secret)


def each(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda secret: "".join(change(c) for c in secret)


def _math(c: str) -> str:
    """Mathematical bold."""
    if c.isupper():
        return chr(0x1D400 + ord(c) - 65)
    if c.islower():
        return chr(0x1D41A + ord(c) - 97)
    return chr(0x1D7CE + int(c)) if c.isdigit() else c


def _circled(c: str) -> str:
    if c.isupper():
        return chr(0x24B6 + ord(c) - 65)
    if c.islower():
        return chr(0x24D0 + ord(c) - 97)
    return "⓪①②③④⑤⑥⑦⑧⑨"[int(c)] if c.isdigit() else c


def _selector(byte: int) -> str:
    return chr(0xFE00 + byte) if byte < 16 else chr(0xE0100 + byte - 16)


def _bits(secret: str) -> str:
    return "".join("\u2064" if bit == "1" else "\u2062" for byte in secret.encode() for bit in f"{byte:08b}")


def _b64(secret: str, times: int = 1) -> str:
    raw = secret.encode()
    for _ in range(times):
        raw = base64.b64encode(raw)
    return raw.decode()


def _wrapped(secret: str) -> str:
    text = _b64(f"the value is {secret} as agreed")
    return "\n".join(text[i : i + 16] for i in range(0, len(text), 16))


def _ligatures(secret: str) -> str:
    return secret.replace("ffi", "ﬃ").replace("ff", "ﬀ").replace("fi", "ﬁ").replace("fl", "ﬂ").replace("st", "ﬆ")


DISGUISES: dict[str, Callable[[str], str]] = {
    "plain": lambda s: s,
    "zero_width_space": between("\u200b"),
    "zero_width_joiner": lambda s: "\u200d".join(s[:8]) + "\u200c".join(s[8:]),
    "soft_hyphen": between("\u00ad"),
    "word_joiner": between("\u2060"),
    "byte_order_mark": between("\ufeff"),
    "combining_grapheme_joiner": between("\u034f"),
    "hangul_filler": between("\u3164"),
    "mongolian_selector": between("\u180b"),
    "variation_selector": between("\ufe0f"),
    "combining_marks": each(lambda c: c + "\u0301"),
    "tags": each(lambda c: chr(0xE0000 + ord(c))),
    "selector_bytes": lambda s: "😀" + "".join(_selector(b) for b in s.encode()),
    "invisible_bits": _bits,
    "right_to_left_override": lambda s: f"\u202e{s[::-1]}\u202c",
    "isolates": each(lambda c: f"\u2066{c}\u2069"),
    "fullwidth": each(lambda c: chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c),
    "mathematical": each(_math),
    "circled": each(_circled),
    "homoglyphs": each(lambda c: HOMOGLYPHS.get(c, c)),
    "mixed_script": lambda s: "".join((GREEK if i % 2 else HOMOGLYPHS).get(c, c) for i, c in enumerate(s)),
    "foreign_digits": each(lambda c: chr(0x0660 + int(c)) if c.isdigit() else c),
    "no_break_groups": lambda s: "\u00a0".join(s[i : i + 4] for i in range(0, len(s), 4)),
    "braille_blank": between("\u2800"),
    "ligatures": _ligatures,
    "base64": _b64,
    "base64_twice": lambda s: _b64(s, 2),
    "base64_thrice": lambda s: _b64(s, 3),
    "base64_url": lambda s: base64.urlsafe_b64encode(f"??>>{s}~~".encode()).decode(),
    "base64_unpadded": lambda s: _b64(s).rstrip("="),
    "base64_wrapped": _wrapped,
    "base64_offset": lambda s: "x" + _b64(s),
    "base64_short": _b64,
    "base32": lambda s: base64.b32encode(s.encode()).decode(),
    "hex": lambda s: s.encode().hex(),
    "hex_spaced": lambda s: s.encode().hex(" "),
    "ascii85": lambda s: base64.a85encode(s.encode(), adobe=True).decode(),
    "reversed": lambda s: s[::-1],
    "percent": each(lambda c: f"%{ord(c):02X}"),
    "percent_twice": each(lambda c: f"%25{ord(c):02X}"),
    "entities": lambda s: "".join(f"&#{ord(c)};" if i % 2 else f"&#x{ord(c):x};" for i, c in enumerate(s)),
    "escapes": lambda s: "".join(f"\\u{ord(c):04x}" if i % 2 else f"\\x{ord(c):02x}" for i, c in enumerate(s)),
    "json_in_json": lambda s: '{"note": "{\\"v\\": \\"' + "".join(f"\\\\u{ord(c):04x}" for c in s) + '\\"}"}',
    "gzip_base64": lambda s: base64.b64encode(gzip.compress(f"the value is {s} as agreed".encode(), mtime=0)).decode(),
    "data_uri": lambda s: f"data:text/plain;base64,{_b64(s)}",
    "quoted_printable": lambda s: "".join(f"={ord(c):02X}" for c in s),
    "utf7": lambda s: f"+{base64.b64encode(s.encode('utf-16-be')).decode().rstrip('=')}-",
    "leet": lambda s: s.translate(str.maketrans("aeiost", "4310$7")),
    "leet_zero_width": lambda s: "\u200b".join(s.translate(str.maketrans("aeiost", "4310$7"))),
    "separators": between("-"),
}  # fmt: skip


def check() -> None:
    """The disguises are what they say: each keeps the secret recoverable. Raises AssertionError."""
    secret = "AKIA" + "QYLPMN5HHHFPZAM2"
    assert unicodedata.normalize("NFKC", DISGUISES["fullwidth"](secret)) == secret
    assert unicodedata.normalize("NFKC", DISGUISES["mathematical"](secret)) == secret
    assert unicodedata.normalize("NFKC", DISGUISES["circled"](secret)) == secret
    assert base64.b64decode(base64.b64decode(DISGUISES["base64_twice"](secret))).decode() == secret
    assert quopri.decodestring(DISGUISES["quoted_printable"](secret)).decode() == secret
    assert DISGUISES["utf7"](secret).encode().decode("utf-7") == secret
    assert all(
        secret not in dress(secret) for name, dress in DISGUISES.items() if name not in ("plain", "ligatures", "leet")
    )
