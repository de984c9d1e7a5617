"""What is told about an expression without running it holds for what it does when it runs."""

from __future__ import annotations

import re

import pytest

from gateway.linear import check_linear, count_ways, longest_match, required_literals
from gateway.pattern_files import load_patterns

ALL = load_patterns()


@pytest.mark.parametrize(
    "expression",
    [
        "a+",
        "a*b",
        "(?:a{1,5}){2}",
        "(?:a?){20}",
        "(?:a|ab){3}",
        "(?:[a-z]{1,5}[a-f]{1,3}){1,4}",
        "(?:[a-z]{1,5}[ ]{0,3}){1,4}",
        r"(a)\1",
        "(?<=abc)d",
        "a{0,9999}",
        "(?>a*)b",
        "a++",
        "(?i)a",
        "(?x) a",
        "a(?i:b)",
    ],
)
def test_expressions_that_could_explode_are_refused(expression):
    with pytest.raises(ValueError, match=r"\w"):
        check_linear(expression)


def test_words_and_what_stands_between_them_may_repeat():
    """There is one way to read such a text, though both parts vary in length."""
    assert check_linear("(?:[a-z]{3,8}[ ,]{1,3}){2,9}[a-z]{1,8}") == 107
    assert count_ways("(?:[a-z]{3,8}[ ,]{1,3}){2,9}[0-9]") == 1


@pytest.mark.parametrize(
    ("expression", "ways"),
    [
        ("abc", 1),
        ("a{1,9}b", 1),
        ("a{1,9}", 1),
        ("a{1,9}a", 9),
        ("a{1,9}[a-z]", 9),
        ("A{1,9}a", 9),
        ("a{1,9}[^b]", 9),
        (r"a{1,9}\b", 9),
        (r"\d{1,9}\W", 1),
        (r"\S{1,9}\w", 9),
        ("[^a]{1,9}b{0,4}a", 9),
        ("(?:ab){1,9}a", 9),
        ("a{0,9}(?:bb|aa)", 20),
        ("a{0,9}b{0,9}a", 10),
        (".{0,9}.{0,9}x", 100),
    ],
)
def test_ways_to_read_a_text(expression, ways):
    assert count_ways(expression) == ways


@pytest.mark.parametrize(
    ("expression", "literals"),
    [
        ("secret[0-9]{3}", ("secret",)),
        ("[0-9]{3}Secret-x[0-9]to", ("secret-x",)),
        ("(?:alpha|bravo){1,3}", ("alpha", "bravo")),
        ("(?:alpha|[0-9])", ()),
        ("(?:alpha){0,1}be", ("be",)),
        ("(?:alpha|b)gamma", ("gamma",)),
        ("[0-9]", ()),
    ],
)
def test_literals_that_every_match_contains(expression, literals):
    assert required_literals(expression) == literals


@pytest.mark.parametrize("pattern", ALL, ids=lambda p: p.id)
def test_what_is_told_of_the_built_in_patterns_is_true(pattern):
    expression = pattern.verify.pattern
    assert len(longest_match(expression)) == pattern.width == check_linear(expression)
    literals = required_literals(expression)
    for text in pattern.match:
        found = pattern.verify.search(text)
        assert found is not None
        assert not literals or any(x in found[0].lower() for x in literals)


def test_a_longest_match_is_one():
    for expression in (r"a[^a]{2}\d\w.\S\D\W", "(?:x|yyy){2,3}[é-ü]", "[^\x00-\x7f]b?"):
        text = longest_match(expression)
        assert re.fullmatch(expression, text)
        assert len(text) == check_linear(expression.replace("(?:x|yyy){2,3}", "(?:yyy)(?:yyy)(?:yyy)"))
