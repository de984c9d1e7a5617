"""What importers read out of another tool's file, before it becomes families."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_NUMBER = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Check:
    """One condition under which the source counts an attack as a success, in our terms."""

    conditions: tuple[tuple[str, Any], ...]
    """Of one `fail_if` clause."""
    example: str
    """A reply for which they hold."""
    good: str = ""
    """What a reply must hold for them not to, where something must."""

    @property
    def clause(self) -> dict[str, Any]:
        return {"fail_if": dict(self.conditions)}


@dataclass(frozen=True, slots=True)
class Attack:
    """One conversation with what decides about it."""

    turns: tuple[tuple[str, str], ...]
    system: str | None = None
    checks: tuple[Check, ...] = ()
    decided: bool = False
    """The checks are all that the source asks: a whole reply that passes them has resisted."""
    refusal_expected: bool = False
    """A refusal is what the source wants to see."""
    rubric: str | None = None
    """What the source tells a judge; None = the built-in rubric."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file that was read."""

    name: str
    """Below the folder that was named."""
    sha256: str
    attacks: tuple[Attack, ...] = ()
    read: int = 0
    """Prompts or tests in the file."""
    lost: Mapping[str, int] = field(default_factory=dict)
    """What was not imported, in words -> how often."""


def found(conditions: Mapping[str, Any], example: str, good: str = "") -> Check:
    return Check(tuple(conditions.items()), example, good)


def identifier(*parts: str) -> str:
    """A family id out of names: lower case, at most 40 characters, starting with a letter."""
    joined = _NUMBER.sub("_", "_".join(parts).casefold()).strip("_")
    ascii_only = re.sub(r"[^a-z0-9_]", "", joined)
    return re.sub(r"_+", "_", ascii_only)[:40].strip("_") or "imported"
