"""Lake checks: silent on good rows and on none, and each finds the fault it is there for."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest
from lake_double import SQL, create_views, empty_lake, insert
from two_runs import R1, rows

# verdict_replay holds verdicts against the judges' own rules; it is tested beside them.
CHECKS = sorted(f for f in (SQL / "checks").glob("*.sql") if f.stem != "verdict_replay")


def first(table: str, **match: Any) -> dict[str, Any]:
    return next(row for row in rows()[table] if all(row[k] == v for k, v in match.items()))


def faults() -> dict[str, tuple[str, dict[str, Any]]]:
    """Per check a table and a row that it must find."""
    late = first("observations", run_id=R1)
    late = {**late, "observation_id": "late", "recorded_at": late["recorded_at"] + dt.timedelta(hours=1)}
    unreadable = {**first("probe_attempts", verdict="resistant"), "attempt_id": "x-01", "error_kind": "timeout"}
    return {
        "duplicate_keys": ("reviews", first("reviews")),
        "row_without_run": ("observations", {**first("observations"), "observation_id": "x", "run_id": "nowhere"}),
        "row_after_seal": ("observations", late),
        "verdict_without_attempt": ("verdicts", {**first("verdicts"), "attempt_id": "nowhere"}),
        "vote_without_attempt": ("judge_votes", {**first("judge_votes"), "attempt_id": "nowhere"}),
        "finding_without_asset": ("findings", {**first("findings"), "finding_id": "x", "asset_id": "agent:nowhere"}),
        "finding_without_controls": ("findings", {**first("findings"), "finding_id": "x"}),
        "stamp_on_unknown_control": (
            "finding_controls",
            {**first("finding_controls"), "control_key": "owasp-llm@2025:LLM99"},
        ),
        "check_result_without_asset": ("check_results", {**first("check_results"), "asset_id": "agent:nowhere"}),
        "error_counted_as_resistant": ("probe_attempts", unreadable),
        "vulnerable_without_evidence": (
            "probe_attempts",
            {**first("probe_attempts", verdict="vulnerable"), "attempt_id": "x-02", "evidence_kind": None},
        ),
        "counts_disagree": ("probe_attempts", {**first("probe_attempts"), "attempt_id": "x-03", "verdict": "skipped"}),
        "finding_history_gap": ("findings", {**first("findings", finding_id="f2"), "seq": 5}),
        "run_history_gap": ("runs", {**first("runs"), "seq": 7}),
        "expired_waiver_accepted": (
            "findings",
            {**first("findings", finding_id="f3"), "seq": 2, "evaluated_at": dt.datetime(2026, 3, 1, tzinfo=dt.UTC)},
        ),
        "label_claims_live": (
            "verdicts",
            {**first("verdicts", attempt_id="r2-02"), "method_version": "x", "judges_label": "live judges"},
        ),
        "gateway_position_taken_twice": ("gateway_events", {**first("gateway_events"), "event_id": "x"}),
        "exchange_without_decision": (
            "gateway_events",
            {**first("gateway_events"), "event_id": "x", "seq": 99, "decision": "block"},
        ),
        "edge_without_asset": ("edges", {**first("edges"), "dst_id": "tool:nowhere"}),
        "egress_not_in_manifest": (
            "evidence",
            {
                **first("evidence", kind="quality"),
                "kind": "egress",
                "detail": '{"provider": "openai", "host": "h", "model": "m", "requests": 1, "bytes": 2}',
            },
        ),
        "root_chain_broken": ("evidence", {**first("evidence", kind="root"), "position": 7}),
    }


FAULTS = faults()


@pytest.fixture(scope="module")
def lake() -> duckdb.DuckDBPyConnection:
    """The two-run lake without the constraints that keep faulty rows out."""
    con = empty_lake()
    for (table,) in con.execute("select table_name from duckdb_tables()").fetchall():
        con.execute(f"create or replace table lake.{table} as from lake.{table}")
    for table, values in rows().items():
        insert(con, table, values)
    create_views(con)
    return con


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    con = empty_lake()
    create_views(con)
    return con


@pytest.mark.parametrize("file", CHECKS, ids=lambda f: f.stem)
def test_check_is_silent_on_good_rows(lake: duckdb.DuckDBPyConnection, file) -> None:
    assert lake.execute(file.read_text()).fetchall() == []


@pytest.mark.parametrize("file", CHECKS, ids=lambda f: f.stem)
def test_check_is_silent_on_an_empty_lake(empty: duckdb.DuckDBPyConnection, file) -> None:
    assert empty.execute(file.read_text()).fetchall() == []


@pytest.mark.parametrize("file", CHECKS, ids=lambda f: f.stem)
def test_check_finds_its_fault(lake: duckdb.DuckDBPyConnection, file) -> None:
    table, row = FAULTS[file.stem]
    lake.execute("begin")
    try:
        insert(lake, table, [row])
        assert lake.execute(file.read_text()).fetchall() != []
    finally:
        lake.execute("rollback")


def test_duplicate_keys_looks_at_every_table() -> None:
    text = (SQL / "checks" / "duplicate_keys.sql").read_text()
    assert [f.stem for f in sorted((SQL / "schema").glob("*.sql")) if f"from lake.{f.stem}\n" not in text] == []


def test_row_without_run_looks_at_every_table() -> None:
    text = (SQL / "checks" / "row_without_run.sql").read_text()
    assert [f.stem for f in sorted((SQL / "schema").glob("*.sql")) if f"from lake.{f.stem}\n" not in text] == []
