"""The built-in patterns: one YAML file each in `gateway/patterns/`, read strictly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from gateway.errors import ConfigError
from gateway.linear import check_linear
from gateway.policy.actions import ACTIONS, CATEGORIES, INJECTION, Actions
from gateway.reasons import reasons
from gateway.validators import VALIDATORS

PATTERNS = Path(__file__).with_name("patterns")
INSTRUCTIONS = Path(__file__).with_name("injection")
"""Phrases by which a text tells the model what to do; not counted among the patterns for data."""
SEVERITIES = ("critical", "high", "medium", "low", "info")
HOLDS = ("token", "digits", "upper", "line", "block", "words", "link", "any", "none")
"""How a hit that is still incomplete can be told at the end of a stream so far, see `gateway.stream`; none = is not."""

_FIELDS = {"id", "title", "category", "severity", "reason", "action", "anchor", "verify", "hold", "match", "no_match"}
_OPTIONAL = {"validator", "redactable", "ignore_case", "trigger"}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: reading all files takes a tenth of the time."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A literal or trigger that must occur, a bounded regular expression around it, then a validator."""

    id: str
    title: str
    category: str
    severity: str
    reason: str
    action: Actions
    """Unless the policy says otherwise."""
    anchor: tuple[str, ...]
    """Literals of which each hit contains one (lower case); empty = has a trigger or contains two digits in a row."""
    trigger: re.Pattern[str] | None
    """Without literals: a cheap expression whose matches lie inside every hit."""
    verify: re.Pattern[str]
    """The group `secret`, if there is one, is what gets redacted and validated; else the whole match."""
    validate: Callable[[str], int] | None
    hold: str
    """One of `HOLDS`."""
    width: int
    """Characters of the longest match."""
    redactable: bool
    """False when the secret goes on after the match; `redact` then means `block`."""
    match: tuple[str, ...]
    no_match: tuple[str, ...]
    version: str
    """Of what it says; see `digest`."""


def digest(source: bytes) -> str:
    """What tells two versions of a rule apart in events: 12 hex digits of the SHA-256 of its text."""
    return hashlib.sha256(source).hexdigest()[:12]


@cache
def load_patterns(folder: Path = PATTERNS) -> tuple[Pattern, ...]:
    """All patterns, in order of id. Raises ConfigError naming the file when one is not as it must be."""
    return tuple(_read(path) for path in sorted(folder.glob("*.yaml")))


def _read(path: Path) -> Pattern:
    raw = path.read_bytes()
    try:
        data: Any = yaml.load(raw.decode(), Loader=_LOADER)  # noqa: S506 - a safe loader, see above
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
            ("category", data["category"] in (*CATEGORIES, INJECTION)),
            ("severity", data["severity"] in SEVERITIES),
            ("reason: not in reason_codes.yaml", data["reason"] in reasons()),
            ("action", set(action) == {"request", "response"} and set(action.values()) <= set(ACTIONS)),
            ("validator", data.get("validator") is None or data["validator"] in VALIDATORS),
            ("hold", data["hold"] in HOLDS),
            (
                "anchor: an empty list goes with a trigger, `hold: digits` or `upper`",
                data["anchor"] or data.get("trigger") or data["hold"] in ("digits", "upper"),
            ),
            ("match: at least three", len(data["match"]) > 2),
            ("no_match: at least three", len(data["no_match"]) > 2),
        )
        if not fine
    ]
    if wrong:
        raise ConfigError(f"wrong or missing: {'; '.join(wrong)}", path)
    try:
        flags = re.ASCII | (re.IGNORECASE if data.get("ignore_case") else 0)
        verify = re.compile(data["verify"], flags)
        width = check_linear(verify.pattern)
        trigger = None if data.get("trigger") is None else re.compile(data["trigger"], flags)
        if trigger is not None:
            check_linear(trigger.pattern)
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
        trigger=trigger,
        verify=verify,
        validate=None if validator is None else VALIDATORS[validator],
        hold=data["hold"],
        width=width,
        redactable=bool(data.get("redactable", True)),
        match=tuple("".join(parts) for parts in data["match"]),
        no_match=tuple("".join(parts) for parts in data["no_match"]),
        version=digest(raw),
    )
