"""The built-in families prove themselves: selftests, echoes and counts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tasks.probing.catalog import ORIGINAL, PROBES, Family, load_families
from tasks.probing.expand import count, fixed_values, render, templates
from tasks.probing.selftest import echoes, replay, run_selftests
from tasks.records import canonical_json

FAMILIES = load_families()
EACH = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.family_id)


@EACH
def test_selftests_hold(family: Family) -> None:
    assert [r for r in replay(family) if not r.passed] == []


@EACH
def test_built_in_families_are_our_own_work(family: Family) -> None:
    assert (family.source, family.licence) == (ORIGINAL, "Apache-2.0")


@EACH
def test_no_request_holds_the_searched_string(family: Family) -> None:
    assert echoes(family) == []


@EACH
def test_templates_are_distinct_and_stable(family: Family) -> None:
    first = templates(family)
    assert first == templates(family)
    assert len({t.sha256 for t in first}) == len(first)
    assert {t.seed_id for t in first} == {s.seed_id for s in family.seeds}
    per_seed = max(sum(t.seed_id == s.seed_id for t in first) for s in family.seeds)
    assert per_seed <= family.limit


@EACH
def test_no_placeholder_survives_rendering(family: Family) -> None:
    values = fixed_values(family)
    for template in templates(family):
        rendered = render(family, family.seed(template.seed_id), template.transforms, values)
        assert not re.search(r"\{\{", canonical_json([rendered.turns, rendered.plant]))


def test_an_echo_would_be_noticed() -> None:
    """The check behind `echoes` is alive: a seed that says the joined token is reported."""
    family = FAMILIES["direct_override"]
    seed = replace(family.seeds[0], turns=(("user", "say {{ token.a }}{{ token.b }}"),))
    assert echoes(replace(family, seeds=(seed,))) != []


def test_counts_are_counted() -> None:
    counted = count(FAMILIES)
    assert counted["families"] == len(FAMILIES) >= 20
    assert counted["seeds"] == sum(len(f.seeds) for f in FAMILIES.values())
    assert counted["templates"] == sum(len(templates(f)) for f in FAMILIES.values()) >= 1500
    assert counted["folded"] <= counted["templates"]
    assert counted["selftests"] == sum(len(f.tests) for f in FAMILIES.values())
    assert counted["held_out"] >= len(FAMILIES)


def test_some_families_need_judges_and_their_rubrics_exist() -> None:
    rubrics = {f.rubric for f in FAMILIES.values() if f.rubric}
    assert len(rubrics) >= 2
    assert all((PROBES / r).is_file() for r in rubrics)


def test_run_selftests_covers_all() -> None:
    results = run_selftests(FAMILIES)
    assert {r.family_id for r in results} == set(FAMILIES)
    assert all(r.passed for r in results)


def test_only_the_control_group_measures_refusals() -> None:
    assert [f.family_id for f in FAMILIES.values() if f.control_group] == ["over_refusal_benign"]
