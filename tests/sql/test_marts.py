"""The marts' figures on the two-run lake, each worked out by hand beside the assertion."""

from __future__ import annotations

import duckdb
import pytest
from lake_double import create_views, empty_lake, insert
from two_runs import AGENT, APP, LLM, MCP, R1, R2, R3, RAG, RX, event, gateway_events, rows, two_runs


@pytest.fixture(scope="module")
def lake() -> duckdb.DuckDBPyConnection:
    return two_runs()


def test_a_run_is_compared_with_the_newest_finished_run_before_it(lake: duckdb.DuckDBPyConnection) -> None:
    """The abandoned run is skipped, and a run still going on has no end."""
    assert lake.execute(
        "select run_id, state, previous_run_id, sealed, duration_s from runs order by run_id"
    ).fetchall() == [
        (R1, "complete", None, True, 600),
        (RX, "abandoned", R1, False, 300),
        (R2, "complete", R1, True, 600),
        (R3, "started", R2, False, None),
    ]


def test_assets_show_presence_owner_and_newest_outcomes(lake: duckdb.DuckDBPyConnection) -> None:
    assert lake.execute(
        """select asset_id, state, declared, versions, observations, pass, fail, unknown, not_applicable
           from assets order by asset_id"""
    ).fetchall() == [
        (AGENT, "present", True, 1, 2, 1, 0, 0, 1),
        (APP, "present", True, 1, 2, 1, 0, 0, 0),
        (LLM, "present", True, 1, 2, 1, 1, 1, 0),
        (MCP, "absent", True, 2, 1, 0, 1, 0, 0),
        (RAG, "present", False, 1, 1, 0, 0, 1, 0),
    ]


def test_findings_are_the_newest_state_with_age_and_controls(lake: duckdb.DuckDBPyConnection) -> None:
    """Discovered 1 January 02:08, newest finished run ends 3 January 02:10: two whole days."""
    assert lake.execute(
        """select finding_id, severity, state, asset_name, age_days, hits, trials, len(controls),
                  frameworks_without_control, waiver_by
           from findings order by finding_id"""
    ).fetchall() == [
        ("f1", "high", "fixed", "Support assistant", 2, 0, 1, 5, ["iso-42001"], None),
        ("f2", "critical", "open", "File server", 2, 1, 1, 5, ["iso-42001"], None),
        ("f3", "medium", "accepted", "Support assistant", 0, 1, 1, 5, ["iso-42001"], "ciso@bank.example"),
        ("f4", "high", "confirmed", "Support assistant", 2, 3, 8, 5, ["iso-42001"], None),
        ("f5", "critical", "open", "Payments clerk", 0, 1, 1, 5, ["iso-42001"], None),
    ]


def test_history_keeps_what_was_known_at_each_run(lake: duckdb.DuckDBPyConnection) -> None:
    history = lake.execute(
        "select finding_id, state from finding_history where run_id = ? order by finding_id", [R1]
    ).fetchall()
    assert history == [("f1", "open"), ("f2", "open"), ("f4", "in_review")]
    assert lake.execute(
        "select asset_id, state from asset_history where run_id = ? order by asset_id", [R1]
    ).fetchall() == [(AGENT, "present"), (APP, "present"), (LLM, "present"), (MCP, "present")]


def test_the_verdict_in_force_is_human_then_judges_then_evidence(lake: duckdb.DuckDBPyConnection) -> None:
    found = dict(lake.execute("select attempt_id, (verdict, decided_by) from attempts").fetchall())
    assert found["r2-01"] == ("vulnerable", "evidence")
    assert found["r2-02"] == ("vulnerable", "judges")
    assert found["r2-03"] == ("vulnerable", "human")
    assert found["r2-04"] == ("resistant", "evidence")
    assert found["r2-09"] == ("undecided", "judges")
    assert found["r2-10"] == ("error", "evidence")
    in_force = lake.execute("select method_version from verdicts where attempt_id = 'r2-03' and in_force").fetchall()
    assert in_force == [("human/1",)]


def test_families_count_verdicts_apart_and_bound_the_rate(lake: duckdb.DuckDBPyConnection) -> None:
    """Wilson, 95 %: 3 of 8 is 13.68 % to 69.43 %, 1 of 1 is 20.65 % to 100 %, 0 of 3 is 0 % to 56.15 %."""
    assert lake.execute(
        """select run_id, family_id, attempts, vulnerable, resistant, undecided, error, not_applicable, rate_ppm,
                  low_ppm, high_ppm
           from family_results order by run_id, family_id"""
    ).fetchall() == [
        (R1, "direct_override", 4, 0, 3, 1, 0, 0, 0, 0, 561_498),
        (R2, "direct_override", 10, 3, 5, 1, 1, 0, 375_000, 136_844, 694_258),
        (R2, "tool_misuse", 2, 1, 0, 0, 0, 1, 1_000_000, 206_549, 1_000_000),
    ]


def test_undecided_attempts_and_errors_stand_beside_the_rate(lake: duckdb.DuckDBPyConnection) -> None:
    """3 vulnerable, 5 resistant, 1 undecided: 3/9 to 4/9; one error in ten attempts. R1: 0/4 to 1/4."""
    assert lake.execute(
        """select run_id, if_undecided_low_ppm, if_undecided_high_ppm, error_ppm from family_results
           where family_id = 'direct_override' order by run_id"""
    ).fetchall() == [(R1, 0, 250_000, 0), (R2, 333_333, 444_444, 100_000)]


def test_a_family_without_a_decided_attempt_is_bounded_by_nothing() -> None:
    con = empty_lake()
    kept = {name: values for name, values in rows().items() if name in ("runs", "asset_versions", "probe_attempts")}
    kept["probe_attempts"] = [r for r in kept["probe_attempts"] if r["verdict"] in ("error", "undecided")]
    for table, values in kept.items():
        insert(con, table, values)
    create_views(con)
    found = con.execute("select distinct rate_ppm, low_ppm, high_ppm from family_results").fetchall()
    assert found == [(None, 0, 1_000_000)]


def test_coverage_leaves_unknown_out_of_the_numerator(lake: duckdb.DuckDBPyConnection) -> None:
    """Support: 1 pass, 1 fail, 1 unknown = 2/3. Handbook: only an unknown = 0. Not applicable counts nowhere."""
    assert lake.execute(
        """select kind, assets, pass, fail, unknown, not_applicable, coverage_ppm
           from coverage where run_id = ? order by kind""",
        [R2],
    ).fetchall() == [
        ("agent", 1, 1, 0, 0, 1, 1_000_000),
        ("ai_application", 1, 1, 0, 0, 0, 1_000_000),
        ("llm_endpoint", 1, 1, 1, 1, 0, 666_666),
        ("rag_system", 1, 0, 0, 1, 0, 0),
    ]


def test_scores_follow_the_penalties(lake: duckdb.DuckDBPyConnection) -> None:
    """Internet and personal data: x 1.95, so medium 5.85, high 19.5. Points lost in the second run:

    support: failed 5.85 (accepted) + probe 19.5 = 25.35, unread 5.85; clerk: critical probe 25; handbook: critical
    unread 25; the portal has none of its own and takes the clerk's, which it uses.
    """
    assert lake.execute(
        """select asset_id, score_best, score_worst, own_best, score_best_without_accepted, coverage_ppm
           from scores where run_id = ? order by asset_id""",
        [R2],
    ).fetchall() == [
        (AGENT, 75, 75, 75, 75, 1_000_000),
        (APP, 75, 75, 100, 100, 1_000_000),
        (LLM, 74, 68, 74, 80, 666_666),
        (RAG, 100, 75, 100, 100, 0),
    ]


def test_a_finding_in_review_counts_as_unread_not_as_failed(lake: duckdb.DuckDBPyConnection) -> None:
    """First run, support: failed 19.5; unread 5.85 and the probe finding in review 19.5."""
    found = lake.execute("select own_best, own_worst from scores where run_id = ? and asset_id = ?", [R1, LLM])
    assert found.fetchall() == [(80, 55)]


def test_penalties_of_a_severity_are_capped(lake: duckdb.DuckDBPyConnection) -> None:
    """Ten high failures cost 60 points, not 100; ten medium 30; a critical one is not capped."""
    data = rows()
    base = data["check_results"][0]
    many = [
        {**base, "asset_id": AGENT, "check_id": f"{severity}-{n}", "severity": severity, "outcome": "fail"}
        for severity in ("high", "low")
        for n in range(20)
    ]
    con = empty_lake()
    for table in ("runs", "asset_versions"):
        insert(con, table, data[table])
    insert(con, "check_results", many)
    create_views(con)
    assert con.execute("select score_best, score_worst from scores").fetchall() == [(30, 30)]


def test_posture_of_a_run(lake: duckdb.DuckDBPyConnection) -> None:
    """Means over four scored assets, rounded down: (75+75+74+100)/4 = 81, (75+75+68+75)/4 = 73.25.

    73 would be a C; a critical failure holds it at D. Runs without checks have no score.
    """
    assert lake.execute(
        """select run_id, score_best, score_worst, coverage_ppm, grade, critical, high, medium, low, accepted
           from posture order by run_id"""
    ).fetchall() == [
        (R1, 82, 71, 833_333, "D", 1, 2, 0, 0, 0),
        (RX, None, None, None, None, 1, 2, 0, 0, 0),
        (R2, 81, 73, 666_666, "D", 2, 1, 1, 0, 1),
        (R3, None, None, None, None, 2, 1, 1, 0, 1),
    ]
    assert lake.execute("select run_id, vulnerable, position from trend order by position").fetchall() == [
        (R1, 0, 1),
        (R2, 4, 2),
    ]


def test_no_grade_when_too_little_was_read() -> None:
    """One result of two read: 50 % coverage, below the 60 % a grade needs."""
    data = rows()
    con = empty_lake()
    for table in ("runs", "asset_versions"):
        insert(con, table, data[table])
    insert(con, "check_results", [r for r in data["check_results"] if r["run_id"] == R1 and r["asset_id"] == LLM][1:])
    create_views(con)
    assert con.execute("select coverage_ppm, grade from posture where run_id = ?", [R1]).fetchall() == [(500_000, None)]


def test_judges_are_compared_pair_by_pair(lake: duckdb.DuckDBPyConnection) -> None:
    """First two judges: four attempts, three alike. AC1: rates 2/4 and 1/4, chance 2·0.375·0.625 = 0.46875, so
    (0.75 - 0.46875) / 0.53125 = 0.529412; kappa: chance 0.5, so 0.5. A vote that is an error joins no pair."""
    assert lake.execute(
        """select judge_a, judge_b, both_decided, agreed, agreement_ppm, ac1_ppm, kappa_ppm
           from judge_agreement order by judge_a, judge_b"""
    ).fetchall() == [
        ("j1-rule", "j2-lexical", 4, 3, 750_000, 529_412, 500_000),
        ("j1-rule", "j3-similarity", 2, 1, 500_000, 200_000, 0),
        ("j2-lexical", "j3-similarity", 2, 1, 500_000, 200_000, 0),
    ]


def test_only_unlabelled_attempts_wait_for_review(lake: duckdb.DuckDBPyConnection) -> None:
    assert lake.execute("select attempt_id, pattern, asset_name from review_queue").fetchall() == [
        ("r2-09", "VRU", "Support assistant")
    ]


def test_gateway_counts_answered_requests_once() -> None:
    """A segment shipped twice adds nothing; matches and tool calls are no requests."""
    con = empty_lake()
    # The key constraint is the lake's; a shipped-again segment is what is left when two commits slip past it.
    con.execute("create or replace table lake.gateway_events as from lake.gateway_events")
    again = event(R2, "g-3", 2, "block", "DLP.SECRET.AWS_ACCESS_KEY", severity="critical")
    insert(con, "gateway_events", [*gateway_events(), again])
    create_views(con)
    assert con.execute("select count(*) from gateway_events").fetchall() == [(7,)]
    assert con.execute(
        "select decision, sum(requests)::bigint from gateway_summary group by all order by decision"
    ).fetchall() == [("allow", 2), ("block", 1), ("flag", 1), ("redact", 1)]


def test_relationships_and_tools_say_what_is_current(lake: duckdb.DuckDBPyConnection) -> None:
    assert lake.execute(
        "select src_id, rel, dst_id, runs, is_current from edges order by src_id, dst_id"
    ).fetchall() == [
        (AGENT, "calls", LLM, 1, False),
        (AGENT, "mounts", MCP, 1, False),
        (APP, "uses", AGENT, 2, True),
    ]
    assert lake.execute("select tool_name, definitions, description from tools order by tool_name").fetchall() == [
        ("list_files", 1, "List"),
        ("read_file", 2, "Read any file"),
    ]


def test_sources_quality_and_waivers_are_readable(lake: duckdb.DuckDBPyConnection) -> None:
    assert lake.execute(
        "select source, completeness, reason, observations from sources order by source"
    ).fetchall() == [
        ("aws_bedrock", "denied", "AccessDenied", 0),
        ("inventory", "full", "", 5),
    ]
    assert lake.execute("select table_name, state, expectations, failed from quality order by position").fetchall() == [
        ("findings", "passed", 1, 0),
        ("findings", "passed", 1, 0),
        ("verdicts", "failed", 1, 1),
    ]
    assert lake.execute("select check_id, accepted_by, days_left, expired, finding_id from waivers").fetchall() == [
        ("LLM-02", "ciso@bank.example", 28, False, "f3")
    ]
