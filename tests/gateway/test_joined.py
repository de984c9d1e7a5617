"""Offsets in joined texts lead back to the texts, whatever they are made of."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.joined import FAR, REACH, Part, apart, seamless, seams

TEXTS = st.lists(st.text(max_size=2 * REACH + 60), min_size=1, max_size=6)


@given(TEXTS, st.data())
def test_every_stretch_of_joined_texts_is_located(texts, data):
    joined = apart(texts)
    index = data.draw(st.integers(0, len(texts) - 1))
    if texts[index]:
        start = data.draw(st.integers(0, len(texts[index]) - 1))
        end = data.draw(st.integers(start + 1, len(texts[index])))
        shift = sum(len(t) + 1 for t in texts[:index])
        assert joined.locate(shift + start, shift + end) == [Part(index, start, end)]


def test_a_text_cannot_pretend_to_be_several():
    joined = apart(["a\0b", "c"])
    assert joined.text == "a\x01b\0c"
    assert joined.locate(0, 3) == [Part(0, 0, 3)]


@given(TEXTS, st.sampled_from(["", " "]), st.data())
def test_neighbouring_ends_are_one_text_at_the_seams(texts, between, data):
    [joined] = seams(texts, range(len(texts)), [between])
    for left, right in pairwise(map(seamless, texts)):
        assert left[-REACH:] + between + right[:REACH] in joined.text
    if joined.text:
        start = data.draw(st.integers(0, len(joined.text) - 1))
        end = data.draw(st.integers(start + 1, len(joined.text)))
        parts = joined.locate(start, end)
        inside = joined.text[start:end]
        told = seamless("".join(texts[p.text][p.start : p.end] for p in parts))
        assert told.replace(between, "") == inside.replace(between, "") or "\0" in inside


@pytest.mark.parametrize("cut", [1, 99, 101, 350, 599, 699])
def test_a_long_value_without_spaces_is_whole_at_a_seam(cut):
    """Most of it may stand on one side."""
    value, prose = "".join(f"k{n}" for n in range(200))[:700], "word " * 400
    [joined] = seams([prose + value[:cut], value[cut:] + "\n" + prose], [0, 1], [""])
    assert value in joined.text
    assert len(joined.text) < 700 + 5 * REACH


def test_a_text_without_any_space_is_read_so_far_and_no_farther():
    assert seams(["x" * 9_000, "y"], [0, 1], [""])[0].text == "x" * FAR + "\0" + "x" * FAR + "y"


def test_a_text_cannot_pretend_to_have_a_seam():
    assert seams(["key\0", "\0value"], [0, 1], [""])[0].text == "key\x01\x01value"


def test_what_goes_over_a_seam_has_several_parts():
    [joined] = seams(["x" * 500 + "AKIA", "", "1234"], [0, 1, 2], [""])
    at = joined.text.index("AKIA")
    assert joined.locate(at, at + 8) == [Part(0, 500, 504), Part(2, 0, 4)]
    assert joined.locate(at, at + 4) == [Part(0, 500, 504)]
