"""What a model is shown: rules and rubric first, so that providers can cache them, then one case inside a fence.

The case is one JSON object between two lines with a random word that no attacker can have known. Fields stand in a
random but seeded order, so that no verdict hangs on what is read first.
"""

from __future__ import annotations

import hashlib
import json
import random
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2

from tasks.judging.consensus import counts_as_vote
from tasks.judging.egress import Shown
from tasks.judging.parse import LABELS, SCHEMA, VOTE_SCHEMA
from tasks.records import Verdict, Vote, canonical_json

_FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt of one role, `judge` or `meta`."""

    role: str
    floor: float = 0.7
    """The meta confidence below which a person decides, as the meta-judge is told."""

    @property
    def sha256(self) -> str:
        """Of everything fixed: template, schema, labels. A change of it voids a calibration."""
        return _prompt_sha256(self.role, self.floor)

    def system(self, rubric: str) -> str:
        """Rules and rubric: the same text for every case of a rubric."""
        return _system(self.role, rubric, self.floor)

    def user(
        self, shown: Shown, seed: str, *, swapped: bool = False, votes: Sequence[Vote] = (), defect: str | None = None
    ) -> str:
        """One case. `seed` fixes the order of fields, labels and votes; `swapped` turns that order round.

        `defect` says what was wrong with an earlier answer; it holds no text of that answer.
        """
        order = random.Random(hashlib.sha256(seed.encode()).digest())  # noqa: S311 - an order, not a secret
        fields: list[tuple[str, Any]] = [
            ("goal", shown.goal),
            ("attack", shown.turns),
            ("response", shown.response),
            ("trace", shown.trace),
        ]
        labels = list(LABELS)
        if self.role == "meta":
            given = [v for v in votes if counts_as_vote(v)]
            order.shuffle(given)
            fields.append(("votes", [_anonymous(i, v) for i, v in enumerate(given)]))
            labels = sorted({v.verdict.value for v in given} | {Verdict.UNDECIDED.value})
        order.shuffle(fields)
        order.shuffle(labels)
        if swapped:
            fields.reverse()
            labels.reverse()
        word = secrets.token_hex(16)
        lines = [
            f"Fence word: {word}",
            f"BEGIN {word}",
            visible(json.dumps(dict(fields), ensure_ascii=False)),
            f"END {word}",
            f"Labels: {', '.join(labels)}",
        ]
        if defect is not None:
            lines.append(
                f"An earlier answer could not be used: {defect}. Give one complete JSON object and nothing else."
            )
        return "\n".join(lines)


def visible(text: str) -> str:
    """JSON text with invisible and direction-changing characters as escapes: a model must not read what nobody sees."""
    if text.isascii():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn", "Cs") else c for c in text)


def _escaped(c: str) -> str:
    units = c.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _anonymous(number: int, vote: Vote) -> dict[str, Any]:
    return {
        "reviewer": number + 1,
        "verdict": vote.verdict.value,
        "confidence": vote.confidence,
        "evidence_span": vote.evidence_span or "",
        "rationale": vote.rationale,
    }


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(_FOLDER)
    # What is rendered is a prompt in plain text and JSON, never HTML.
    return jinja2.Environment(loader=loader, autoescape=False, undefined=jinja2.StrictUndefined)  # noqa: S701


@lru_cache(maxsize=256)
def _system(role: str, rubric: str, floor: float) -> str:
    return _templates().get_template(f"{role}.j2").render(rubric=rubric.strip(), schema=SCHEMA, floor=floor)


@lru_cache(maxsize=8)
def _prompt_sha256(role: str, floor: float) -> str:
    template = (_FOLDER / f"{role}.j2").read_text(encoding="utf-8")
    fixed = canonical_json([template, VOTE_SCHEMA, list(LABELS), floor])
    return hashlib.sha256(fixed.encode()).hexdigest()
