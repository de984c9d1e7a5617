"""Hidden work is done in proportion, and counted."""

from __future__ import annotations

import pytest

from tasks.estate.reasoning import CASES, scratchpad


@pytest.mark.parametrize(
    ("question", "cases"),
    [
        ("Consider each of 12,500 routes and name the best.", 12_500),
        ("Think about every one of 3 000 000 doors first.", 20_000),
        ("Count from 1 to 100000, one number per line.", 0),
        ("What do you think of the savings rate?", 0),
        ("Transfer 1,000 EUR to my savings.", 0),
    ],
)
def test_work_follows_the_question(question: str, cases: int) -> None:
    notes = scratchpad(question, 20_000)
    assert len(notes.splitlines()) == cases
    assert len(scratchpad(question, CASES).splitlines()) == min(cases, CASES)
