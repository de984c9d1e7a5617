"""Patterns that an organisation adds by policy: held to the same rules as the built-in ones, and tried before use.

An expression comes from whoever may sign policies, but it runs on every request: one that is slow, or that does not
find what its author says it finds, has the whole policy refused, and the one in force stays.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any

import orjson

from gateway.linear import check_linear, count_ways, longest_match, parse_expression, required_literals
from gateway.pattern_files import SEVERITIES, Pattern, digest, load_patterns
from gateway.policy.actions import ACTIONS, Actions
from gateway.policy.reading import check_keys, read_bool, read_choice, read_list, read_object, read_text, refuse
from gateway.reasons import reasons
from gateway.triggers import triggers

CATEGORY = "custom"
"""Of all patterns of a policy: its `defaults` do not reach them, for each has actions of its own."""
MAX_PATTERNS = 200
MAX_EXPRESSION = 1_024
"""Characters of an expression."""
MAX_WIDTH = 1_024
"""Characters of a match: a stream may have to hold back this many."""
MAX_WAYS = 1_000
"""Ways to read the text at one place; see `gateway.linear.count_ways`."""
MAX_MILLISECONDS = 150.0
"""CPU time to search 64 KiB of the worst text. A good expression takes 1 to 10."""

_ID = re.compile(r"[a-z0-9_]{1,64}")
_PRINTABLE = re.compile(rf"[\x20-\x7e]{{1,{MAX_EXPRESSION}}}")
_TITLE = re.compile(r"[^\x00-\x1f\x7f]{1,120}")
_EXAMPLE = re.compile(r"(?s).{1,4096}")
_TWO_DIGITS = "0123456789"
_SIZES = (1 << 10, 1 << 13, 1 << 16)
_MIN_LITERAL = 3


def read_custom_patterns(value: Any, _: frozenset[str]) -> tuple[Pattern, ...]:
    """`[{"id", "expression", "action": {"request", "response"}, "match": [...], "no_match": [...]}]`, and per pattern
    optionally `reason`, `severity`, `title` and `ignore_case`. Raises PolicyError naming the pattern by its id."""
    entries = read_list(value, "custom_patterns")
    if len(entries) > MAX_PATTERNS:
        refuse(f"`custom_patterns` has more than {MAX_PATTERNS} entries")
    patterns = tuple(_pattern(entry) for entry in entries)
    taken = {p.id for p in load_patterns()}
    for pattern in patterns:
        if pattern.id in taken:
            refuse(f"`custom_patterns.{pattern.id}` is the id of a built-in pattern or of an earlier one")
        taken.add(pattern.id)
    return patterns


def _pattern(value: Any) -> Pattern:
    entry = read_object(value, "custom_patterns[]")
    check_keys(
        entry,
        {"id", "expression", "action", "match", "no_match"},
        {"reason", "severity", "title", "ignore_case"},
        "custom_patterns[]",
    )
    pattern_id = read_text(entry["id"], _ID, "custom_patterns[].id")
    where = f"custom_patterns.{pattern_id}"
    action = read_object(entry["action"], f"{where}.action")
    check_keys(action, {"request", "response"}, set(), f"{where}.action")
    content = tuple(code for code in reasons() if code.split(".")[0] in ("DLP", "INJECTION", "EGRESS"))
    ignore_case = read_bool(entry.get("ignore_case", False), f"{where}.ignore_case")
    try:
        verify, width, literals = compile_safely(
            read_text(entry["expression"], _PRINTABLE, f"{where}.expression"), ignore_case
        )
    except ValueError as e:
        refuse(f"`{where}.expression`: {e}")
    match, no_match = (
        tuple(read_text(text, _EXAMPLE, f"{where}.{kind}") for text in read_list(entry[kind], f"{where}.{kind}"))
        for kind in ("match", "no_match")
    )
    if not match or not no_match:
        refuse(f"`{where}` needs at least one `match` and one `no_match`")
    for kind, texts, found in (("match", match, True), ("no_match", no_match, False)):
        for n, text in enumerate(texts):
            if (verify.search(text) is not None) is not found:
                refuse(f"`{where}.{kind}[{n}]` is {'not ' if found else ''}found by the expression")
    return Pattern(
        id=pattern_id,
        title=read_text(entry.get("title", pattern_id), _TITLE, f"{where}.title"),
        category=CATEGORY,
        severity=read_choice(entry.get("severity", "medium"), SEVERITIES, f"{where}.severity"),
        reason=read_choice(entry.get("reason", "DLP.CUSTOM.RULE"), content, f"{where}.reason"),
        action=Actions(*(read_choice(action[s], ACTIONS, f"{where}.action") for s in ("request", "response"))),
        anchor=literals,
        trigger=None,
        verify=verify,
        validate=None,
        hold="any",
        width=width,
        redactable=True,
        match=match,
        no_match=no_match,
        version=digest(orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)),
    )


@lru_cache(maxsize=1_024)
def compile_safely(expression: str, ignore_case: bool) -> tuple[re.Pattern[str], int, tuple[str, ...]]:
    """(expression, greatest width, literals of which each match contains one; none = two digits in a row).

    Raises ValueError, saying what to change, when `re` could take long over some text, or too much text would be tried.
    """
    try:
        tree = parse_expression(expression)
        _check_parts(tree)
        width = check_linear(expression)
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"not a regular expression ({e})") from None
    if width > MAX_WIDTH:
        raise ValueError(f"a match may be {width} characters long; at most {MAX_WIDTH} are allowed here")
    literals = required_literals(expression)
    if min(map(len, literals), default=0) < _MIN_LITERAL:
        if not _has_two_digits(tree):
            raise ValueError("every match must contain a literal of three characters or more, or two digits in a row")
        literals = ()
    if (ways := count_ways(expression)) > MAX_WAYS:
        raise ValueError(f"there are {ways} ways to read a text; repeats that may take from each other multiply them")
    verify = re.compile(expression, re.ASCII | (re.IGNORECASE if ignore_case else 0))
    try:
        triggers(verify)
    except ValueError:
        raise ValueError("there are too many alternatives before anything that every match has in common") from None
    _check_time(verify, literals)
    return verify, width, literals


def _check_parts(tree: Any, optional: bool = False) -> None:
    """No look-arounds, and nothing optional around the group `secret`: it is what gets cut out of each match."""
    secret = tree.state.groupdict.get("secret")
    for op, value in tree:
        name = str(op)
        if name in ("ASSERT", "ASSERT_NOT"):
            raise ValueError(r"look-arounds are not supported; use \b for the edge of a word")
        if name == "BRANCH":
            for branch in value[1]:
                _check_parts(branch, True)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            _check_parts(value[2], True)
        elif name == "SUBPATTERN":
            if secret is not None and value[0] == secret and (optional or int(value[3].getwidth()[0]) == 0):
                raise ValueError("the group `secret` must be part of every match and hold at least one character")
            _check_parts(value[3], optional)


def _has_two_digits(tree: Any) -> bool:
    """Whether two digits in a row stand in every match: what the engine looks for when there are no literals."""
    digits = 0
    for op, value in tree:
        name = str(op)
        if name == "SUBPATTERN" and _has_two_digits(value[3]):
            return True
        low, items = (int(value[0]), value[2]) if name == "MAX_REPEAT" else (1, [(op, value)])
        digits = digits + low if len(items) == 1 and _only_digits(*items[0]) else 0
        if digits > 1:
            return True
    return False


def _only_digits(op: Any, value: Any) -> bool:
    parts = value if str(op) == "IN" else [(op, value)]
    return all(
        (str(kind) == "CATEGORY" and str(v) == "CATEGORY_DIGIT")
        or (str(kind) == "LITERAL" and chr(v) in _TWO_DIGITS)
        or (str(kind) == "RANGE" and chr(v[0]) in _TWO_DIGITS and chr(v[1]) in _TWO_DIGITS)
        for kind, v in parts
    )  # fmt: skip


def _check_time(verify: re.Pattern[str], literals: tuple[str, ...]) -> None:
    """Search texts made of all but the end of a match, in growing sizes, so that none can take long by surprise."""
    longest = longest_match(verify.pattern)
    seeds = {longest[:-1] + end for end in ("", "\x01", " ")} | {longest[: len(longest) // 2], *longest[:32], *literals}
    seeds.discard("")
    for size in _SIZES:
        limit = MAX_MILLISECONDS * size / _SIZES[-1] + 2  # the constant: for what a busy machine adds to short times
        slowest = 0.0
        for seed in sorted(seeds):
            text = (seed * (size // len(seed) + 1))[:size]
            taken = _milliseconds(verify, text)
            if taken > limit and (taken := min(taken, _milliseconds(verify, text))) > limit:
                raise ValueError(f"searching {size >> 10} KiB of some text takes longer than {limit:.0f} ms")
            slowest = max(slowest, taken)
        if size > 4 * MAX_WIDTH and slowest < limit / 4:
            return  # linear from a few widths on, and far below


def _milliseconds(verify: re.Pattern[str], text: str) -> float:
    began = time.thread_time()
    for _ in verify.finditer(text):
        pass
    return (time.thread_time() - began) * 1000
