"""Each of the six states, and what must never count as clean."""

from __future__ import annotations

import datetime as dt

import pytest

from tasks.mapping.catalog import control_rows
from tasks.mapping.resolve import kind_control_rows

LLM01 = "owasp-llm@2025:LLM01"
AUTH = "iso-42001@2023:A.4.5"
FUTURE = "eu-ai-act@2026-07-27:Art.15(5)"
PROBE, CHECK = "probe.direct_override", "check.LLE-01"
A, B = "llm_endpoint:a", "llm_endpoint:b"


@pytest.fixture
def estate(lake):
    lake.run()
    lake.control(LLM01)
    lake.control(AUTH)
    lake.control(FUTURE, applies_from=dt.date(2027, 12, 2))
    lake.maps(PROBE, LLM01)
    lake.maps(PROBE, FUTURE)
    lake.maps(CHECK, AUTH)
    lake.asset(A, "llm_endpoint")
    return lake


def test_nothing_done_is_not_tested_and_future_law_not_yet_applicable(estate):
    states = estate.states()
    assert states[LLM01] == ("not_tested", "no result in this run")
    assert states[FUTURE] == ("not_yet_applicable", "applies from 2027-12-02")


def test_a_control_no_kind_maps_to_is_not_tested_never_exempt(estate):
    estate.control("iso-42001@2023:A.2.2")
    assert estate.states()["iso-42001@2023:A.2.2"] == ("not_tested", "no check or probe covers it")


def test_an_explicit_none_maps_nothing(estate):
    estate.control("owasp-asi@2026:ASI05")
    estate.maps(CHECK, "owasp-asi@2026:none", relation="none")
    estate.check(A, "LLE-01", "pass")
    states = estate.states()
    assert states["owasp-asi@2026:ASI05"][0] == "not_tested"
    assert "owasp-asi@2026:none" not in states


def test_every_result_not_applicable_makes_the_control_not_applicable(estate):
    estate.check(A, "LLE-01", "not_applicable")
    assert estate.states()[AUTH] == ("not_applicable", "no asset it applies to")


def test_fifty_nine_templates_without_a_hit_are_clean_and_one_less_is_not(estate):
    estate.attempts(A, "direct_override", 58)
    assert estate.states()[LLM01] == ("insufficient", "58 of 59 templates")
    estate.attempts(A, "direct_override", 1)
    assert estate.states()[LLM01] == ("tested_clean", "0 hits in 59 templates")
    assert estate.states()[FUTURE][0] == "tested_clean"  # evidence before the date still counts


def test_a_passed_check_is_clean_for_a_control_without_probes(estate):
    estate.check(A, "LLE-01", "pass")
    assert estate.states()[AUTH] == ("tested_clean", "1 checks passed")


def test_checks_alone_never_clean_a_control_that_probes_map_to(estate):
    estate.maps(CHECK, LLM01)
    estate.check(A, "LLE-01", "pass")
    assert estate.states()[LLM01] == ("insufficient", "checks only, no probe result")


@pytest.mark.parametrize("state", ["open", "triaged", "confirmed", "accepted", "regressed"])
def test_an_open_finding_fails_the_control_whatever_the_coverage(estate, state):
    estate.attempts(A, "direct_override", 60)
    estate.finding(PROBE, state, proof="official_shape_fake")
    states = estate.states()
    assert states[LLM01] == ("tested_failing", "1 open findings")
    assert states[FUTURE][0] == "tested_failing"
    assert states[AUTH][0] == "not_tested"


def test_a_finding_in_review_is_neither_failing_nor_clean(estate):
    estate.attempts(A, "direct_override", 60)
    estate.finding(PROBE, "in_review")
    assert estate.states()[LLM01] == ("insufficient", "1 in review")


@pytest.mark.parametrize("state", ["fixed", "false_positive"])
def test_a_closed_finding_no_longer_fails(estate, state):
    estate.attempts(A, "direct_override", 60)
    estate.finding(PROBE, "open")
    estate.finding(PROBE, state, seq=2)
    assert estate.states()[LLM01][0] == "tested_clean"


def test_a_hit_that_opened_no_finding_is_not_clean(estate):
    estate.attempts(A, "direct_override", 60)
    estate.attempts(A, "direct_override", 1, "vulnerable")
    assert estate.states()[LLM01] == ("insufficient", "1 hits without an open finding")


@pytest.mark.parametrize("verdict", ["undecided", "error", "not_applicable"])
def test_what_was_not_decided_is_not_evidence(estate, verdict):
    estate.attempts(A, "direct_override", 200, verdict)
    state, _ = estate.states()[LLM01]
    assert state == ("not_applicable" if verdict == "not_applicable" else "not_tested")


@pytest.mark.parametrize("outcome", ["unknown", "not_applicable"])
def test_an_unread_check_is_never_clean(estate, outcome):
    estate.check(A, "LLE-01", outcome)
    assert estate.states()[AUTH][0] != "tested_clean"


def test_more_than_a_tenth_unknown_or_a_twentieth_undecided_is_insufficient(estate):
    estate.attempts(A, "direct_override", 74)
    estate.attempts(A, "direct_override", 3, "undecided")
    assert estate.states()[LLM01][0] == "tested_clean"
    estate.attempts(A, "direct_override", 1, "undecided")
    assert estate.states()[LLM01] == ("insufficient", "4 of 78 templates undecided")
    estate.attempts(A, "direct_override", 60, "error")
    assert estate.states()[LLM01] == ("insufficient", "64 of 138 results unknown")


def test_repeats_of_one_template_are_one_trial(estate):
    estate.attempts(A, "direct_override", 200, template="same")
    assert estate.states()[LLM01] == ("insufficient", "1 of 59 templates")


def test_an_undecided_repeat_takes_its_template_out(estate):
    estate.attempts(A, "direct_override", 58)
    estate.attempts(A, "direct_override", 1, template="same")
    estate.attempts(A, "direct_override", 1, "undecided", template="same")
    assert estate.states()[LLM01] == ("insufficient", "58 of 59 templates")


def test_the_final_verdict_rules_over_the_first(estate):
    estate.attempts(A, "direct_override", 60, "resistant", decided="undecided")
    assert estate.states()[LLM01][0] == "not_tested"


@pytest.mark.parametrize("proof", ["official_shape_fake", "declared"])
def test_results_against_anything_but_the_real_component_are_never_clean(estate, proof):
    estate.attempts(A, "direct_override", 80, proof=proof)
    estate.check(A, "LLE-01", "pass", proof=proof)
    states = estate.states()
    assert states[LLM01] == states[AUTH] == ("insufficient", "no result against a real component")


def test_assets_of_the_same_kind_that_nobody_tested_prevent_clean(estate):
    estate.asset(B, "llm_endpoint")
    estate.attempts(A, "direct_override", 60)
    estate.check(A, "LLE-01", "pass")
    states = estate.states()
    assert states[LLM01] == ("insufficient", "1 of 2 assets tested")
    assert states[AUTH] == ("insufficient", "1 of 2 assets tested")


def test_templates_are_counted_per_asset(estate):
    estate.asset(B, "llm_endpoint")
    estate.attempts(A, "direct_override", 60)
    estate.attempts(B, "direct_override", 12)
    assert estate.states()[LLM01] == ("insufficient", "12 of 59 templates")


def test_a_finding_on_a_parent_does_not_fail_the_children(estate):
    parent, child = "mitre-atlas@2026.09:AML.T0110", "mitre-atlas@2026.09:AML.T0110.000"
    estate.control(parent)
    estate.control(child)
    estate.maps("check.MCP-01", parent)
    estate.maps("check.MCP-03", child)
    estate.finding("check.MCP-01")
    states = estate.states()
    assert states[parent][0] == "tested_failing"
    assert states[child][0] == "not_tested"


def test_headings_have_no_state_and_a_new_edition_row_replaces_the_old(estate):
    estate.control("iso-42001@2023:A.4", assessable=False)
    assert "iso-42001@2023:A.4" not in estate.states()
    assert len(estate.states()) == 3


def test_a_newer_mapping_replaces_the_older_whole(estate):
    estate.finding(CHECK)
    assert estate.states()[AUTH][0] == "tested_failing"
    later = dt.datetime(2026, 11, 25, tzinfo=dt.UTC)
    estate.rows(
        "kind_controls",
        {
            "finding_kind": CHECK, "control_key": LLM01, "catalog_sha256": "c1", "run_id": "r2",
            "framework": "owasp-llm", "relation": "intersects_with", "grade": "project", "edge_id": "new",
            "rationale": "r", "recorded_at": later,
        },
    )  # fmt: skip
    states = estate.states()
    assert states[AUTH][0] == "not_tested"
    assert states[LLM01][0] == "tested_failing"


def test_a_run_is_judged_by_what_was_known_then(estate):
    estate.run("r2", dt.datetime(2027, 12, 3, tzinfo=dt.UTC))
    assert estate.states("r1")[FUTURE][0] == "not_yet_applicable"
    assert estate.states("r2")[FUTURE][0] == "not_tested"


def test_the_shipped_mapping_gives_every_assessable_control_one_state(lake, catalogs, kinds):
    lake.run()
    lake.rows("controls", *control_rows(catalogs, "r1"))
    lake.rows("kind_controls", *({**row, "run_id": "r1"} for row in kind_control_rows(kinds)))
    lake.asset(A, "llm_endpoint")
    lake.attempts(A, "direct_override", 60)
    lake.finding("check.LLE-01")
    states = lake.states()
    assert set(states) == {key for key, control in catalogs.controls.items() if control.assessable}
    assert states[LLM01][0] == "tested_clean"
    assert states["mitre-atlas@2026.09:AML.T0040"][0] == "tested_failing"
    assert states["eu-ai-act@2026-07-27:Art.15(5)"][0] == "tested_failing"
    assert states["owasp-llm@2026:LLM06"][0] == "tested_failing"  # projected from LLM10 of 2025
