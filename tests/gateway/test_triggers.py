"""Triggers point at every match of the expression they were made from, at the distance they say."""

from __future__ import annotations

import re

import pytest

from gateway.pattern_files import load_patterns
from gateway.triggers import MARGIN, triggers


def points_at(verify, text, at):
    """Whether some trigger ends where it must for a match that begins at `at`."""
    data = bytes(MARGIN) + text.encode("latin-1", "replace") + bytes(MARGIN)
    for trigger in triggers(verify):
        expression = re.compile(trigger.expression.encode("latin-1"), re.DOTALL)
        for begin in range(len(data)):
            # All ends of all matches, as hyperscan reports them.
            for end in range(begin + 1, min(len(data), begin + 64) + 1):
                if expression.fullmatch(data, begin, end) and trigger.nearest <= end - MARGIN - at <= trigger.farthest:
                    return True
    return False


@pytest.mark.parametrize("pattern", [p for p in load_patterns() if p.trigger is None], ids=lambda p: p.id)
def test_every_example_is_pointed_at(pattern):
    for text in (t for t in pattern.match if len(t) < 400):
        for around in (text, f"({text})"):
            found = pattern.verify.search(around)
            assert found is not None
            assert points_at(pattern.verify, around, found.start()), around


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("(?:ab|c)d{2,4}x", "ddddx cddddx"),
        ("(?<![a-z])key[0-9]{3}(?![0-9])", "key123"),
        ("x[0-9]{0,50}(?<!7)yz", "x1234yz"),
        ("(?:a1){3}", "a1a1a1"),
        ("a{1,3}b?c", "aac"),
        (r"\w{2}-\d{2}\s", "ab-12 "),
        ("[^a]zz", "bzz"),
    ],
)
def test_expressions_of_all_kinds(expression, text):
    verify = re.compile(expression.replace("\\\\\\\\", "\\\\"), re.ASCII)
    found = verify.search(text)
    assert found is not None
    assert points_at(verify, text, found.start())


def test_letters_in_either_case():
    verify = re.compile("token=[0-9]{4}", re.ASCII | re.IGNORECASE)
    assert points_at(verify, "a ToKeN=1234", 2)


def test_backwards_a_trigger_finds_the_text_backwards():
    (trigger,) = triggers(re.compile("key_[0-9]{4}", re.ASCII), backwards=True)
    assert re.search(trigger.expression, "see 4321_yek") is not None


def test_an_expression_that_may_match_nothing_has_no_trigger():
    with pytest.raises(ValueError, match="empty"):
        triggers(re.compile("a{0,3}"))
