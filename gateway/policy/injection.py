"""What a policy does about texts that give the model instructions. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.policy.actions import ACTIONS
from gateway.policy.reading import check_keys, read_choice, read_object

KINDS = {
    "direct": "INJECTION.DIRECT",
    "indirect": "INJECTION.INDIRECT",
    "obfuscated": "INJECTION.OBFUSCATED",
    "tool_poison": "INJECTION.TOOL_POISON",
}
"""Where the instructions stand -> the reason they are reported with: in what a user or system says, in the result of a
tool, in an encoding or disguise, in the definition of a tool."""
DEFAULT = dict.fromkeys(KINDS, "flag")
"""Phrases are a hint, no proof, so without a word from the policy nothing is refused for them."""


def read_injection(value: Any, _: frozenset[str]) -> Mapping[str, str]:
    """`{"direct"?, "indirect"?, "obfuscated"?, "tool_poison"?}`, each an action. Raises PolicyError."""
    entries = read_object(value, "injection")
    check_keys(entries, set(), set(KINDS), "injection")
    return DEFAULT | {kind: read_choice(action, ACTIONS, f"injection.{kind}") for kind, action in entries.items()}
