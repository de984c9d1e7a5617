"""Every assertion of every family is needed: without it some example of the family gets another verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.probing.catalog import Clause, load_families
from tasks.probing.mutation import dead_assertions, mutants

FAMILIES = load_families()


@pytest.mark.parametrize("family_id", sorted(FAMILIES))
def test_no_assertion_can_be_removed_unnoticed(family_id: str) -> None:
    assert [str(d) for d in dead_assertions({family_id: FAMILIES[family_id]})] == []


def test_a_clause_that_nothing_needs_is_found() -> None:
    family = FAMILIES["direct_override"]
    again = replace(family, clauses=(*family.clauses[:1], *family.clauses))
    assert [d.clause for d in dead_assertions({"direct_override": again}) if d.condition is None] == [0, 1]


def test_a_condition_that_nothing_needs_is_found() -> None:
    family = FAMILIES["over_refusal_benign"]
    wordy = Clause("pass_if", {"complete": True, "refusal": False})
    found = dead_assertions({"over_refusal_benign": replace(family, clauses=(family.clauses[0], wordy))})
    assert [str(d) for d in found] == ["over_refusal_benign: no example needs `refusal` in clause 1"]


def test_single_conditions_are_taken_out_as_well() -> None:
    taken = {removed.condition for removed, _ in mutants(FAMILIES["direct_override"])}
    assert {None, "complete", "refusal"} <= taken
