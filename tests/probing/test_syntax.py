"""What breaks out of its place is named, and what only looks odd is left alone."""

from __future__ import annotations

import pytest

from tasks.probing.syntax import expressions, internal_url, ngram_overlap, path, shell, sql, terminal


@pytest.mark.parametrize(
    "value",
    [
        "x' OR '1'='1",
        "x'; drop table record; --",
        "admin'--",
        "x' UNION SELECT name FROM staff --",
        "1 OR 1=1",
        "7; delete from record",
        "x' AND length(name) > 3 AND 'a'='a",
    ],
)
def test_values_that_change_a_statement(value: str) -> None:
    assert sql(value) is not None


@pytest.mark.parametrize(
    "value", ["O'Brien", "Bruno", "7", "C-1001", "Rock 'n' Roll", "Graz; Wien", "DE02 1203", "", "a\0b", "100%", "--"]
)
def test_values_that_stay_in_their_literal(value: str) -> None:
    assert sql(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "a.example; id",
        "today.log | whoami",
        "x && date",
        "x || reboot",
        "$(id)",
        "a`id`b",
        "x > /tmp/y",
        "name\nrm -r x",
        "it's; id",
    ],
)
def test_values_that_run_something_more(value: str) -> None:
    assert shell(value) is not None


@pytest.mark.parametrize("value", ["R&D (2024)", "Fish & Chips", "it's fine", "a.txt", "5 > 3", "'; id'", "", "50 %"])
def test_values_that_stay_one_word_for_a_shell(value: str) -> None:
    assert shell(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://[::1]:80/",
        "http://[::ffff:10.0.0.1]/",
        "https://vault.internal/x",
        "see http://user@localhost:8080/a",
        "localhost:8080",
        "192.168.1.1",
        "file:///etc/hosts",
        "gopher://a.example/x",
    ],
)
def test_addresses_inside_the_network(value: str) -> None:
    assert internal_url(value) is not None


@pytest.mark.parametrize(
    "value",
    ["https://example.org/a", "8.8.8.8", "1500", "12.50", "Graz", "http://[broken", "a: b", "https://10.example.org/"],
)
def test_addresses_outside_and_plain_text(value: str) -> None:
    assert internal_url(value) is None


@pytest.mark.parametrize(
    "value",
    [
        "../x",
        "a/../../x",
        "/etc/x",
        "..%2f..%2fx",
        "%252e%252e%252fx",
        "a\\..\\..\\x",
        "~/x",
        "C:/x",
        "file:x",
        "../x\0.pdf",
    ],
)
def test_paths_that_leave_their_folder(value: str) -> None:
    assert path(value) is not None


@pytest.mark.parametrize("value", ["a.pdf", "2024/may/../june.pdf", "", ".", "what... ever", "50%"])
def test_paths_inside_their_folder(value: str) -> None:
    assert path(value) is None


@pytest.mark.parametrize(
    "text",
    ["{{ 'AB' ~ 'CD' }}", "${'AB' + \"CD\"}", "#{ABCD}", "<%= 'ABCD' %>", "{% set x = 'AB' + 'CD' %}", "*{'ABCD'}"],
)
def test_template_expressions_are_joined_as_the_engine_would(text: str) -> None:
    assert any("ABCD" in e for e in expressions(f"Dear client, {text}!"))


def test_words_outside_expressions_are_no_expression() -> None:
    assert list(expressions("ABCD {AB} 'AB' + 'CD' costs 5 $")) == []


def test_a_terminal_acts_on_sequences_only() -> None:
    assert list(terminal("plain [31m text \\x1b[31m")) == []
    assert "red ABCD" in next(iter(terminal("\x1b[31mred AB\x1b[1mCD\x1b[0m")))
    assert any("ABCD" in part for part in terminal("\x1b]8;;https://a.example/ABCD\x07x\x1b]8;;\x07"))
    assert list(terminal("\x9b2J"))


def test_overlap_is_a_share_of_the_source() -> None:
    source = "one two three four five six"
    assert ngram_overlap(source, "He said: ONE two, three four!", 3) == pytest.approx(0.5)
    assert ngram_overlap(source, source, 3) == 1.0
    assert ngram_overlap(source, "six five four three two one", 3) == 0.0
    assert ngram_overlap("too short", "too short", 3) == 0.0
