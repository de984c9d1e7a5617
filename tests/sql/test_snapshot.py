"""`posture.json` of the two-run lake: valid, complete, the same every time, and fixed to its run."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from lake_double import create_views, empty_lake, insert
from two_runs import AGENT, LLM, MCP, R1, R2, RAG, TURNS_BAD, TURNS_GOOD, rows, two_runs

from tasks.errors import ConfigError
from tasks.records import canonical_json
from tasks.reporting.schema import posture_problems
from tasks.reporting.snapshot import build_posture

CATALOGS = [
    {
        "framework": "owasp-llm",
        "version": "2025",
        "licence": "CC-BY-SA-4.0",
        "url": "https://x",
        "sha256": "1",
        "rows": 9,
    },
    {
        "framework": "iso-42001",
        "version": "2023",
        "licence": "numbers only",
        "url": "https://y",
        "sha256": "2",
        "rows": 38,
    },
]


@pytest.fixture(scope="module")
def lake() -> duckdb.DuckDBPyConnection:
    return two_runs()


@pytest.fixture(scope="module")
def posture(lake: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    return build_posture(lake, R2, catalogs=CATALOGS, code_version="c0de")


def test_posture_is_valid(posture: dict[str, Any]) -> None:
    assert posture_problems(posture) == []


def test_posture_is_the_same_twice_and_holds_no_floats(
    lake: duckdb.DuckDBPyConnection, posture: dict[str, Any]
) -> None:
    again = build_posture(lake, R2, catalogs=CATALOGS[::-1], code_version="c0de")
    assert canonical_json(again) == canonical_json(posture)
    assert json.loads(json.dumps(posture), parse_float=lambda text: pytest.fail(f"a float: {text}"))


def test_summary_compares_with_the_previous_run(posture: dict[str, Any]) -> None:
    summary = posture["summary"]
    assert posture["run"]["previous_run_id"] == R1
    assert (summary["score_best"], summary["score_worst"], summary["grade"]) == (81, 73, "D")
    assert summary["findings"] == {"critical": 2, "high": 1, "medium": 1, "low": 0, "info": 0}
    assert summary["delta"] == {"critical": 1, "high": -1, "medium": 1, "low": 0, "info": 0}
    assert (summary["assets_new"], summary["assets_gone"]) == (1, 1)


def test_controls_that_turned_are_named(posture: dict[str, Any]) -> None:
    assert posture["summary"]["newly_failing"] == [TURNS_BAD]
    assert posture["summary"]["newly_passing"] == [TURNS_GOOD]


def test_counts_equal_the_rows_they_count(posture: dict[str, Any]) -> None:
    by_severity = {s: sum(f["severity"] == s for f in posture["findings"]) for s in posture["summary"]["findings"]}
    assert by_severity == posture["summary"]["findings"]
    assert posture["scope"]["assets"] == sum(kind["count"] for kind in posture["scope"]["kinds"])
    assert [a["asset_id"] for a in posture["assets"]] == [AGENT, "ai_application:portal", LLM, RAG]


def test_findings_carry_controls_reasons_for_none_and_votes(posture: dict[str, Any]) -> None:
    found = {f["finding_id"]: f for f in posture["findings"]}
    assert set(found) == {"f2", "f3", "f4", "f5"}
    assert found["f2"]["asset_id"] == MCP
    assert len(found["f4"]["controls"]) == 5
    assert found["f4"]["none"] == [{"framework": "iso-42001", "rationale": "no control speaks of it"}]
    assert [(v["judge_id"], v["verdict"]) for v in found["f4"]["votes"]] == [
        ("j1-rule", "vulnerable"),
        ("j2-lexical", "vulnerable"),
        ("j3-similarity", "resistant"),
        ("meta", "vulnerable"),
    ]
    assert (found["f4"]["low_ppm"], found["f4"]["high_ppm"]) == (136_844, 694_258)
    assert (found["f2"]["low_ppm"], found["f2"]["votes"]) == (None, [])
    assert [c["applies_from"] for c in found["f4"]["controls"] if c["framework"] == "eu-ai-act"] == ["2027-12-02"]


def test_gateway_exceptions_judges_and_evidence(posture: dict[str, Any]) -> None:
    gateway = posture["gateway"]
    assert [gateway[name] for name in ("requests", "allow", "redact", "flag", "block")] == [4, 1, 1, 1, 1]
    assert {"reason_code": "DLP.PII.EMAIL", "count": 1} in gateway["by_reason"]
    assert posture["exceptions"] == [
        {
            "finding_id": "f3",
            "title": f"check.LLM-02 on {LLM}",
            "reason": "migration under way",
            "by": "ciso@bank.example",
            "until": "2026-02-01",
        }
    ]
    assert posture["labels"]["judges"] == "offline judges"
    assert [(j["judge_id"], j["votes"], j["error"]) for j in posture["judges"]][2] == ("j3-similarity", 4, 1)
    assert posture["evidence"] == {
        "run_root": f"root-{R2}", "chain_seq": 2, "prev": f"root-{R1}", "key_id": "k1", "anchored": False,
    }  # fmt: skip
    assert posture["quality"] == {"state": "failed", "expectations": 3, "failed": 1}
    assert posture["quarantined"] == 1
    assert [t["run_id"] for t in posture["trend"]] == [R1, R2]
    assert [c["framework"] for c in posture["catalogs"]] == ["iso-42001", "owasp-llm"]


@pytest.mark.parametrize(
    "part",
    [
        "Source aws_bedrock (all) was not read in full, denied: AccessDenied.",
        "No asset of these kinds was found: cloud_ai_service, data_source",
        "Nothing could be evaluated for any of the 1 asset(s) of kind rag_system.",
        "2 check result(s) are unknown",
        "1 of 10 attempts against Support assistant ended in an error",
        "Offline judges voted",
        "uncalibrated for 4 of 4 verdicts",
        "1 of 4 votes of judge j3-similarity are errors.",
        "1 attempt(s) wait for a human reviewer.",
        "Data quality failed: 1 of 3 expectations.",
        "1 row(s) broke a rule",
        "not anchored",
    ],
)
def test_gaps_say_what_is_not_known(posture: dict[str, Any], part: str) -> None:
    assert any(part in gap for gap in posture["gaps"]), posture["gaps"]


def test_a_report_of_an_old_run_shows_what_was_known_then(lake: duckdb.DuckDBPyConnection) -> None:
    old = build_posture(lake, R1, catalogs=[], code_version="c0de")
    assert {f["finding_id"]: f["state"] for f in old["findings"]} == {"f1": "open", "f2": "open", "f4": "in_review"}
    assert old["summary"]["delta"] is None
    assert (old["summary"]["assets_new"], old["summary"]["assets_gone"]) == (4, 0)
    assert old["gateway"]["requests"] == 1
    assert [t["run_id"] for t in old["trend"]] == [R1]
    assert posture_problems(old) == []


def test_a_run_with_nothing_in_it_is_all_gaps() -> None:
    con = empty_lake()
    insert(con, "runs", rows()["runs"][:1])
    create_views(con)
    bare = build_posture(con, R1, catalogs=[], code_version="c0de")
    assert posture_problems(bare) == []
    assert (bare["summary"]["score_best"], bare["summary"]["grade"], bare["labels"]["judges"]) == (
        None,
        None,
        "no judges",
    )
    assert "The run is started: parts of the plan were not carried out." in bare["gaps"]
    assert "The run is not sealed: its evidence carries no signed root." in bare["gaps"]


def test_a_report_names_judges_in_quarantine_and_only_what_is_uncalibrated() -> None:
    con = empty_lake()
    for table, given in rows().items():
        if table == "verdicts":
            given = [{**r, "p_ppm": 900_000 if r["decided_by"] == "judges" else None} for r in given]
        if table == "judge_votes":
            given = [{**r, "quarantined": r["judge_id"] == "j2-lexical"} for r in given]
        insert(con, table, given)
    create_views(con)
    gaps = build_posture(con, R2, catalogs=[], code_version="c0de")["gaps"]
    assert "Judge j2-lexical is in quarantine: 4 of its votes count for nothing." in gaps
    assert not [gap for gap in gaps if "uncalibrated" in gap]


def test_an_unknown_run_is_named(lake: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ConfigError, match="the lake has no run nowhere"):
        build_posture(lake, "nowhere", catalogs=[], code_version="c0de")


def test_hostile_names_stay_data(lake: duckdb.DuckDBPyConnection) -> None:
    """Text from the estate reaches no SQL: a run id that is an injection is just not found."""
    with pytest.raises(ConfigError):
        build_posture(lake, "' or 1=1; drop schema lake cascade; --", catalogs=[], code_version="c0de")
    assert lake.execute("select count(*) from runs").fetchall() == [(4,)]
