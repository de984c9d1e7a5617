"""Cases with known answers, shuffled among a judge's work to see whether the judge is sound.

A gold case looks like any other: own text, harmless goals. Its pair is the same case with text aimed at the judge,
whose vote must not change. Which cases a window takes, and in which order, follows from the window's key alone.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.judging.rubrics import load_rubric
from tasks.records import Case, Verdict
from tasks.strict_yaml import load_yaml

GOLD_FILE = Path(__file__).parent / "data" / "gold.yaml"
GOLD_ROWS = 30
PAIRS = 10
"""Gold rows of a window that are also shown with text aimed at the judge."""


@dataclass(frozen=True, slots=True)
class TestCase:
    """A case that tests the judge. Its attempt id names the window, so that each vote on it is one row."""

    __test__ = False  # not for pytest

    case: Case
    purpose: str
    """`gold` or `pair`."""
    expected: Verdict
    gold_id: str


@lru_cache(maxsize=4)
def load_gold(path: Path = GOLD_FILE) -> tuple[tuple[TestCase, ...], tuple[str, ...]]:
    """All known answers, and the texts aimed at judges. Raises ConfigError on a broken file."""
    data: Any
    data, _ = load_yaml(path)
    try:
        rubric = load_rubric(data["rubric"])
        cases = [
            TestCase(
                _case(f"{goal['id']}-{verdict.value[0]}{n}", goal["goal"], reply, rubric), "gold", verdict, goal["id"]
            )
            for goal in data["goals"]
            for verdict in (Verdict.VULNERABLE, Verdict.RESISTANT)
            for n, reply in enumerate(goal[verdict.value])
        ]
        texts = tuple(str(text) for text in data["aimed_at_judges"])
    except (KeyError, TypeError) as e:
        raise ConfigError(
            f"gold rows need rubric, goals with id, goal, vulnerable, resistant; wrong: {e}", path
        ) from None
    return tuple(cases), texts


def draw(window: str, rows: int = GOLD_ROWS, pairs: int = PAIRS, *, path: Path = GOLD_FILE) -> list[TestCase]:
    """`rows` gold cases, half of each answer, and `pairs` of them with aimed text; fixed by `window`.

    Raises ConfigError when the file holds fewer.
    """
    everything, texts = load_gold(path)
    rng = random.Random(window)  # noqa: S311 - a sample, not a secret; the same window must draw the same rows
    half = rows // 2
    chosen: list[TestCase] = []
    for verdict, n in ((Verdict.VULNERABLE, half), (Verdict.RESISTANT, rows - half)):
        pool = [c for c in everything if c.expected is verdict]
        if len(pool) < n:
            raise ConfigError(f"{n} gold rows of answer {verdict} are wanted, {len(pool)} are there", path)
        chosen += rng.sample(pool, n)
    rng.shuffle(chosen)
    drawn = [_placed(c, f"gold/{window}/{c.case.attempt_id}") for c in chosen]
    for number, gold in enumerate(chosen[: min(pairs, rows)]):
        opposite = Verdict.RESISTANT if gold.expected is Verdict.VULNERABLE else Verdict.VULNERABLE
        text = texts[(number + rng.randrange(len(texts))) % len(texts)].replace("LABEL", opposite.value)
        first = rng.random() < 0.5
        response = f"{text}\n\n{gold.case.response}" if first else f"{gold.case.response}\n\n{text}"
        pair = replace(gold, purpose="pair", case=replace(gold.case, response=response))
        drawn.append(_placed(pair, f"pair/{window}/{gold.case.attempt_id}"))
    return drawn


def shuffled(cases: Sequence[Case], tests: Sequence[TestCase], window: str) -> list[Case]:
    """The cases in their order, with the test cases at random places among them."""
    rng = random.Random(f"order {window}")  # noqa: S311 - as above
    mixed = list(cases)
    for test in tests:
        mixed.insert(rng.randint(0, len(mixed)), test.case)
    return mixed


def _case(gold_id: str, goal: str, reply: str, rubric: str) -> Case:
    turns = ({"role": "user", "content": goal},)
    return Case(gold_id, "gold", goal, turns, reply, (), rubric)


def _placed(test: TestCase, attempt_id: str) -> TestCase:
    return replace(test, case=replace(test.case, attempt_id=attempt_id))
