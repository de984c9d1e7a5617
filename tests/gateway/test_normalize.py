"""Foreign characters read as the ASCII ones they look like, and every one of them leads back to where it stood."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.normalize import OTHER, code_points, one_byte_each, skeleton


def read(text):
    found = skeleton(code_points(text))
    return text if found is None and text.isascii() else None if found is None else found.text


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("АКІА", "AKIA"),  # Cyrillic
        ("ΑΚΙΑ", "AKIA"),  # Greek
        ("ＡＫＩＡ４", "AKIA4"),
        ("𝐀𝐊𝐈𝐀𝟒", "AKIA4"),
        ("ⒶⓀ①⓪", "AK10"),
        ("🅰🅺🇮🇦", "AKIA"),
        ("ᴀᴋɪᴀ", "akia"),
        ("café ÅØłđ", "cafe AOld"),
        ("٤١١١ ۴۱۱۱ ४१११", "4111 4111 4111"),
        ("4111\u00a01111\u20091111\u30001111", "4111 1111 1111 1111"),
        ("A\u200bK\u200dI\ufe0f\u00ad\u034f\u3164\u180b\u2800\u2060\ufeffA", "AKIA"),
        ("A\u0301K\u20ddI\u0336A", "AKIA"),
        ("\U000e0041\U000e004b\U000e0049\U000e0041\U000e007f", "AKIA"),
        ("\u2066A\u2069\u202eK", "AK"),
        ("ﬁﬃﬆ ㎏ … ½ ℀", "fiffist kg . " + OTHER + " a"),
        ("你好 wörld", OTHER * 2 + " world"),
        ("\ud800A\u0410", OTHER + "AA"),
    ],
)
def test_what_characters_read_as(text, reading):
    assert read(text) == reading


def test_an_invisible_sign_of_an_emoji_is_part_of_it():
    """So the text keeps its length; a sign between letters is still nothing."""
    found = skeleton(code_points("ok \u26a0\ufe0f \U0001f469\u200d\U0001f4bb A\u200bK"))
    assert found.text == f"ok {OTHER * 2} {OTHER * 3} AK"
    assert skeleton(code_points("\u26a0\ufe0f \u2713\ufe0f é")).in_place


def test_text_that_looks_like_nothing_else_has_no_skeleton():
    assert read("你好世界") is None
    assert read("plain ASCII, \x00 and \x7f") == "plain ASCII, \x00 and \x7f"


@given(st.text(st.characters(exclude_categories=[]), min_size=1))
def test_every_character_of_a_skeleton_leads_back(text):
    found = skeleton(code_points(text))
    if found is None:
        return
    at = 0
    for n in range(len(found.text)):
        start, end = found.span(n, n + 1)
        assert end == start + 1
        assert start >= at
        at = start
        if text[start].isascii():
            assert found.text[n] == text[start]
    assert all(c.isascii() or c == OTHER for c in found.text)


@given(st.text(st.characters(exclude_categories=[])))
def test_one_byte_each_keeps_offsets_and_ascii(text):
    data = one_byte_each(code_points(text))
    assert len(data) == len(text)
    assert all(chr(b) == c if c.isascii() else b >= 0x80 for b, c in zip(data, text, strict=True))


def test_compatibility_forms_are_folded_as_unicode_says():
    """All of Unicode: what NFKC makes a letter, digit or sign of ASCII reads as that."""
    for point in range(0x80, sys.maxunicode + 1):
        char = chr(point)
        folded = unicodedata.normalize("NFKC", char)
        if folded != char and folded.isascii() and folded.isprintable():
            assert read(char) in (folded, folded[0]), hex(point)
