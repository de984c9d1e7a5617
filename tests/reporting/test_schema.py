"""The posture's one table of members: what is missing, foreign or contradictory is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tasks.errors import ConfigError
from tasks.reporting.schema import posture_problems, require_posture

Make = Callable[..., dict[str, Any]]


def test_the_fixture_is_valid(make_posture: Make) -> None:
    assert posture_problems(make_posture(60)) == []
    assert posture_problems(make_posture(60, hostile=True)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda p: p.pop("gaps"), "$.gaps: missing"),
        (lambda p: p.update(extra=1), "$.extra: unknown member"),
        (lambda p: p["summary"].update(score_best=68.5), "$.summary.score_best: int is expected, not float"),
        (lambda p: p["summary"].update(assets_new=True), "$.summary.assets_new: int is expected, not bool"),
        (lambda p: p["run"].update(started_at="yesterday"), "$.run.started_at: 'yesterday' is not a time"),
        (lambda p: p["controls"][0].update(key="LLM01"), "$.controls[0].key: 'LLM01' is not a key"),
        (lambda p: p["findings"][0].update(controls={}), "$.findings[0].controls: a list is expected, not dict"),
    ],
)  # fmt: skip
def test_a_wrong_member_is_named(make_posture: Make, change: Any, problem: str) -> None:
    posture = make_posture(5)
    change(posture)
    assert posture_problems(posture) == [problem]


def test_enums_are_the_vocabulary(make_posture: Make) -> None:
    posture = make_posture(1)
    posture["controls"][0]["state"] = "passed"
    (problem,) = posture_problems(posture)
    assert problem.startswith("$.controls[0].state: 'passed' is none of tested_failing, insufficient")


def test_nullable_members_may_be_null_and_others_not(make_posture: Make) -> None:
    posture = make_posture(1)
    posture["summary"].update(delta=None, grade=None, score_best=None)
    assert posture_problems(posture) == []
    posture["run"]["state"] = None
    assert posture_problems(posture) == ["$.run.state: text is expected, not NoneType"]


def test_counts_that_contradict_their_rows_are_refused(make_posture: Make) -> None:
    posture = make_posture(20)
    posture["summary"]["control_states"]["tested_clean"] += 1
    posture["summary"]["findings"]["high"] += 1
    posture["scope"]["assets"] += 1
    problems = " ".join(posture_problems(posture))
    for part in ("must add up", "control_states.tested_clean", "findings.high", "scope.assets"):
        assert part in problems
    with pytest.raises(ConfigError, match="not a valid posture"):
        require_posture(posture)
