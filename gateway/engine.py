"""Patterns and the scan: a literal that must occur, a bounded regular expression around it, then a validator.

Pure `re`, so every expression is checked when it is read: no unbounded repeat, nothing variable inside a repeat, no
back reference. With that, and windows around the literals, the time to scan a text grows linearly with it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError
from gateway.policy.bundle import ACTIONS, CATEGORIES, Actions
from gateway.reasons import reasons
from gateway.validators import VALIDATORS

PATTERNS = Path(__file__).with_name("patterns")
MAX_WIDTH = 6_144
"""Characters of the longest hit of any pattern: a stream may have to hold this much back."""
SEVERITIES = ("critical", "high", "medium", "low", "info")

_FIELDS = {"id", "title", "category", "severity", "reason", "action", "anchor", "verify", "hold", "match", "no_match"}
_OPTIONAL = {"validator", "redactable", "ignore_case"}
_DIGITS = re.compile("[0-9]{2,}")
_ASCII_LOWER = {c: c + 32 for c in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One file of `gateway/patterns/`."""

    id: str
    title: str
    category: str
    severity: str
    reason: str
    action: Actions
    """Unless the policy says otherwise."""
    anchor: tuple[str, ...]
    """Literals of which each hit contains one (lower case); empty = contains two digits in a row."""
    verify: re.Pattern[str]
    """The group `secret`, if there is one, is what gets redacted and validated; else the whole match."""
    validate: Callable[[str], int] | None
    hold: str
    """How a hit that is still incomplete can be told at the end of a stream so far; see `gateway.stream`."""
    width: int
    """Characters of the longest match."""
    redactable: bool
    """False when the secret goes on after the match; `redact` then means `block`."""
    match: tuple[str, ...]
    no_match: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A validated match, as character offsets into the scanned text."""

    pattern: Pattern
    match_start: int
    """Where the match, with its keyword, begins."""
    start: int
    """Where the secret begins."""
    end: int


HOLDS = ("token", "digits", "upper", "line")


@cache
def load_patterns(folder: Path = PATTERNS) -> tuple[Pattern, ...]:
    """All patterns, in order of id. Raises ConfigError naming the file when one is not as it must be."""
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> Pattern:
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise ConfigError("not valid YAML", path, None if mark is None else mark.line + 1) from None
    if not isinstance(data, dict) or not set(data) >= _FIELDS or set(data) - _FIELDS - _OPTIONAL:
        raise ConfigError(f"a pattern has the fields {', '.join(sorted(_FIELDS))}, and may have {_OPTIONAL}", path)
    action = data["action"]
    wrong = [
        what
        for what, fine in (
            ("id: must equal the file name", data["id"] == path.stem),
            ("category", data["category"] in CATEGORIES),
            ("severity", data["severity"] in SEVERITIES),
            ("reason: not in reason_codes.yaml", data["reason"] in reasons()),
            ("action", set(action) == {"request", "response"} and set(action.values()) <= set(ACTIONS)),
            ("validator", data.get("validator") is None or data["validator"] in VALIDATORS),
            ("hold", data["hold"] in HOLDS),
            ("anchor: an empty list goes with `hold: digits` or `upper`", data["anchor"] or data["hold"] in HOLDS[1:3]),
            ("match: at least two", len(data["match"]) > 1),
            ("no_match: at least two", len(data["no_match"]) > 1),
        )
        if not fine
    ]
    if wrong:
        raise ConfigError(f"wrong or missing: {'; '.join(wrong)}", path)
    try:
        verify = re.compile(data["verify"], re.ASCII | (re.IGNORECASE if data.get("ignore_case") else 0))
        width = check_linear(verify.pattern)
    except (re.error, ValueError) as e:
        raise ConfigError(f"verify: {e}", path) from None
    validator = data.get("validator")
    return Pattern(
        id=data["id"],
        title=data["title"],
        category=data["category"],
        severity=data["severity"],
        reason=data["reason"],
        action=Actions(action["request"], action["response"]),
        anchor=tuple(a.lower() for a in data["anchor"]),
        verify=verify,
        validate=None if validator is None else VALIDATORS[validator],
        hold=data["hold"],
        width=width,
        redactable=bool(data.get("redactable", True)),
        match=tuple("".join(parts) for parts in data["match"]),
        no_match=tuple("".join(parts) for parts in data["no_match"]),
    )


def check_linear(expression: str) -> int:
    """The greatest width of a match. Raises ValueError unless the expression is safe by construction."""
    tree: Any = importlib.import_module("re._parser").parse(expression)
    _check(tree, inside_repeat=False)
    width = int(tree.getwidth()[1])
    if width > MAX_WIDTH:
        raise ValueError(f"a match may be {width} characters long; at most {MAX_WIDTH} are held in a stream")
    return width


def _check(tree: Any, inside_repeat: bool) -> None:
    for op, value in tree:
        name = str(op)
        if name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError("back references are not linear")
        if name == "BRANCH":
            if inside_repeat:
                raise ValueError("alternatives inside a repeat may be ambiguous; write them out")
            for branch in value[1]:
                _check(branch, inside_repeat)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            low, high, body = value
            if int(high) > MAX_WIDTH:
                raise ValueError("every repeat needs an upper bound")
            if inside_repeat and low != high:
                raise ValueError("a repeat of variable length inside a repeat is not linear")
            _check(body, inside_repeat or int(high) > 1)
        elif name in ("ASSERT", "ASSERT_NOT"):
            if int(value[1].getwidth()[1]) > 2:
                raise ValueError("a look-around may span two characters at most")
            _check(value[1], inside_repeat)
        elif name == "SUBPATTERN":
            _check(value[3], inside_repeat)


class Engine:
    """A set of patterns, ready to scan. Stateless: one may be shared."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        self.patterns = tuple(patterns)

    def scan(self, text: str, start: int = 0) -> list[Hit]:
        """All hits that begin at `start` or later, in order; what lies before is seen by look-behinds only."""
        hits: list[Hit] = []
        if len(text) - start < 3:
            return hits
        folded = text.translate(_ASCII_LOWER) if not text.isascii() else text.lower()
        digits: list[tuple[int, int]] | None = None
        for pattern in self.patterns:
            if pattern.anchor:
                places = _occurrences(pattern, folded, start)
            else:
                if digits is None:
                    digits = [m.span() for m in _DIGITS.finditer(text, start)]
                places = digits
            for low, high in _windows(pattern, places, start, len(text)):
                hits.extend(_verify(pattern, text, low, high))
        hits.sort(key=lambda h: (h.start, -h.end))
        return hits


def _occurrences(pattern: Pattern, folded: str, start: int) -> list[tuple[int, int]]:
    """Where the literals of a pattern lie."""
    places: list[tuple[int, int]] = []
    for literal in pattern.anchor:
        at = folded.find(literal, start)
        while at >= 0:
            places.append((at, at))
            at = folded.find(literal, at + 1)
    places.sort()
    return places


def _windows(pattern: Pattern, places: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """Merged stretches in which a match may lie, each wide enough for the match and its look-ahead."""
    reach = pattern.width + 2
    windows: list[tuple[int, int]] = []
    for first, last in places:
        low, high = max(start, first - reach), min(end, last + reach)
        if windows and low <= windows[-1][1]:
            windows[-1] = (windows[-1][0], high)
        else:
            windows.append((low, high))
    return windows


def _verify(pattern: Pattern, text: str, low: int, high: int) -> Iterable[Hit]:
    search = pattern.verify.search
    found = search(text, low, high)
    while found is not None:
        group = "secret" if "secret" in pattern.verify.groupindex else 0
        value = found.group(group)
        accepted = len(value) if pattern.validate is None else pattern.validate(value)
        if accepted:
            begin = found.start(group)
            yield Hit(pattern, found.start(), begin, begin + accepted)
            found = search(text, begin + accepted, high)
        else:
            # A refused candidate must not hide one that begins inside it.
            found = search(text, found.start() + 1, high)
