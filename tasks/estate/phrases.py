"""Patterns by concept, from `phrases.yaml`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def source(concept: str) -> str:
    """The regular expression of a concept as text. Raises KeyError on an unknown concept."""
    parts: list[dict[str, list[str]]] = _all()[concept]
    return "|".join(_part(kind, items) for part in parts for kind, items in part.items())


def pattern(concept: str) -> re.Pattern[str]:
    """The compiled expression, matched without regard to case; `^` is a line's start and `.` any character."""
    return re.compile(source(concept), re.IGNORECASE | re.MULTILINE | re.DOTALL)


def words(name: str) -> frozenset[str]:
    """A plain word list. Raises KeyError on an unknown name."""
    return frozenset(_all()[name])


def _part(kind: str, items: list[str]) -> str:
    choice = "|".join(items)
    return {"any": choice, "stems": rf"\b(?:{choice})", "words": rf"\b(?:{choice})\b"}[kind]


@cache
def _all() -> dict[str, Any]:
    text = (Path(__file__).parent / "phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded
