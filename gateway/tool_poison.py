"""Instructions to the model inside a tool's definition. No I/O.

A definition says what a tool does; one that speaks to the model as if it were its operator, or in a way that its human
readers would not see, is poisoned. The rules are few and narrow on purpose: honest definitions say "always", "never"
and "important" all the time. What they miss is caught by a pin, and what is approved by one is not asked.
Background: Invariant Labs, "MCP Security Notification: Tool Poisoning Attacks" (2025).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.normalize import code_points, skeleton
from gateway.tools import DEFINITION

TOOL_POISON = "tool_poison"
"""The name by which a policy's `rules` speak of these."""
MAX_TEXT = 256 << 10
"""Characters of a definition that are looked at; a longer one counts as poisoned: nobody can have read it."""
MAX_REMEMBERED = 4096
"""Definitions whose verdict is kept; the same ones come with every request."""

_TAG = r"<[\s/]{0,3}(?:important|system|instructions?|secret|hidden|admin|critical|override)\b[^>]{0,80}>"
_TEMPLATE = r"<\|[a-z_]{2,24}\|>|\[/?INST\]|<<\s{0,2}/?SYS\s{0,2}>>"
_SECRECY = (
    r"\b(?:do not|don'?t|never|without|must not|avoid)\s{1,4}(?:\w{1,20}\s{1,4}){0,3}?"
    r"(?:tell|mention|inform|reveal|notify|disclose|telling|mentioning|informing|notifying|alert|alerting)\b"
    r".{0,40}?\b(?:user|human|customer|operator)\b"
)
_OVERRIDE = (
    r"\b(?:ignore|disregard|forget)\b.{0,20}?\b(?:previous|prior|above|earlier|all)\b.{0,20}?"
    r"\b(?:instructions?|prompts?|rules|messages|guidelines|polic(?:y|ies))\b"
)
_STEALTH = r"\b(?:secretly|covertly|without (?:the )?(?:user|human|customer)(?:'s)? (?:knowledge|noticing))\b"
RULES = tuple(
    (words, re.compile(expression, re.IGNORECASE | re.DOTALL))
    for words, expression in (
        (("<",), _TAG),
        (("<|", "[inst", "[/inst", "<<"), _TEMPLATE),
        (("user", "human", "customer", "operator"), _SECRECY),
        (("ignore", "disregard", "forget"), _OVERRIDE),
        (("secretly", "covertly", "knowledge", "noticing"), _STEALTH),
    )
)
"""(a word of which every match has one, expression): most definitions have none of the words."""
_UNSEEN = re.compile("[\U000e0000-\U000e007f\u202a-\u202e\u2066-\u2069]")
"""Tag characters and changes of direction: a person reads something else than a model does."""
_verdicts: dict[str, bool] = {}


def poisoned(sha256: str, definition: Mapping[str, Any]) -> bool:
    """Whether a definition instructs the model; `sha256`: see `gateway.tools.definition_sha256`."""
    verdict = _verdicts.get(sha256)
    if verdict is None:
        if len(_verdicts) >= MAX_REMEMBERED:
            _verdicts.clear()
        verdict = _verdicts[sha256] = _judge("\n".join(_texts([definition.get(key) for key in DEFINITION])))
    return verdict


def _texts(value: Any) -> Iterator[str]:
    """All strings and names below `value`, whose depth the parser bounds."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _judge(text: str) -> bool:
    if len(text) > MAX_TEXT:
        return True
    if not text.isascii():
        if _UNSEEN.search(text):
            return True
        seen = skeleton(code_points(text))
        text = text if seen is None else seen.text
    small = text.lower()
    return any(any(word in small for word in words) and rule.search(text) for words, rule in RULES)
