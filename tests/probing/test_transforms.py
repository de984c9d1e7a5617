"""Disguises can be undone, and what a detector reads is what a target could have said under them."""

from __future__ import annotations

import base64
import codecs
import unicodedata
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.probing.detectors import contains
from tasks.probing.transforms import TRANSFORMS

DECODERS = ("plain", "nfkc", "base64", "rot13", "hex", "reverse")
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=60)
TOKEN = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=12, max_size=12)

INVERSES = {
    "base64": lambda t: base64.b64decode(t).decode(),
    "base32": lambda t: base64.b32decode(t).decode(),
    "hex": lambda t: bytes.fromhex(t).decode(),
    "url": unquote,
    "rot13": lambda t: codecs.decode(t, "rot13"),
    "reverse": lambda t: t[::-1],
    "escapes": lambda t: t.encode().decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16"),
}


@pytest.mark.parametrize("name", sorted(INVERSES))
@given(text=TEXT)
def test_encodings_round_trip(name: str, text: str) -> None:
    told, _, body = TRANSFORMS[name](text, ()).partition("\n")
    assert told.startswith("The following is ")
    assert INVERSES[name](body) == text


@given(text=TEXT)
def test_zero_width_and_full_width_fold_back(text: str) -> None:
    plain = text.replace("\u200b", "")
    assert TRANSFORMS["zero_width"](plain, ()).replace("\u200b", "") == plain
    ascii_only = plain.encode("ascii", "ignore").decode()
    assert unicodedata.normalize("NFKC", TRANSFORMS["fullwidth"](ascii_only, ())) == ascii_only


@given(a=TOKEN, b=TOKEN, text=TEXT)
def test_lossy_disguises_leave_the_canary_readable(a: str, b: str, text: str) -> None:
    for name in ("leet", "homoglyph", "zero_width", "fullwidth", "diacritics", "soft_hyphen"):
        out = TRANSFORMS[name](f"{text} {a} and {b} {text}", (a, b))
        assert a in out
        assert b in out


@given(token=TOKEN, before=TEXT, after=TEXT)
def test_every_decoder_finds_what_it_decodes(token: str, before: str, after: str) -> None:
    said = f"{before} {token} {after}"
    forms = {
        "plain": "\u200b".join(said),
        "nfkc": TRANSFORMS["fullwidth"](token, ()),
        "base64": base64.b64encode(said.encode()).decode(),
        "rot13": codecs.encode(said, "rot13"),
        "hex": said.encode().hex(),
        "reverse": said[::-1],
    }
    for decoder, form in forms.items():
        assert contains(f"Here: {form}", token, DECODERS) is not None
        assert contains(f"Here: {form}", token, (decoder,)) == decoder


@given(token=TOKEN, gap=st.sampled_from([" ", "\n", '" and "', " + ", "-", ", "]))
def test_halves_side_by_side_are_not_the_token(token: str, gap: str) -> None:
    assert contains(f"You gave {token[:6]}{gap}{token[6:]}.", token, DECODERS) is None


@given(text=TEXT)
def test_transforms_are_pure(text: str) -> None:
    for name, transform in TRANSFORMS.items():
        assert transform(text, ()) == transform(text, ()), name


def test_rot13_of_other_scripts_changes_nothing() -> None:
    """Such products are dropped as unchanged when a family is expanded."""
    assert TRANSFORMS["bare_rot13"]("привет", ()) == "привет"
