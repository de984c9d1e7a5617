"""The real gate (Great Expectations in its child) on small lakes, and what a run becomes when it fails."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flow_homes import Home, asset_yaml
from run_flow import WavesThrough
from small_target import SmallTarget

from tasks.lake import Lake
from tasks.quality import QualityGate, QualityResult

pytestmark = pytest.mark.xdist_group("quality_gate")  # its child takes seconds to start
NOW = dt.datetime(2026, 11, 24, 2, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def gate() -> Iterator[QualityGate]:
    with QualityGate() as one:
        yield one


def attempt(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "attempt_id": f"a{number}",
        "campaign_id": "nightly/r1",
        "run_id": "r1",
        "asset_id": "llm_endpoint:x",
        "family_id": "direct_override",
        "family_sha256": "f",
        "seed_id": "s",
        "template_sha256": f"t{number}",
        "transforms": "{}",
        "trial": 0,
        "tries": 1,
        "request_sha256": "q",
        "response_sha256": "p",
        "excerpt": "",
        "tool_trace": "[]",
        "started_at": NOW,
        "ended_at": NOW,
        "verdict": "resistant",
        "proof_label": "declared",
        "dt": NOW.date(),
        **changes,
    }


def planted(root: Path, *attempts: dict[str, Any], verdicts: int | None = None) -> Path:
    """A lake with attempts and a verdict for each of the first `verdicts`."""
    lake = Lake(root)
    lake.append("probe_attempts", attempts, key="attempts", run_id="r1")
    judged = [
        {
            "attempt_id": row["attempt_id"],
            "run_id": "r1",
            "method_version": "1",
            "verdict": "resistant",
            "decided_by": "evidence",
            "judges_label": "no judges",
            "route": "automatic",
            "reason": "a refusal",
            "decided_at": NOW,
            "dt": NOW.date(),
        }
        for row in attempts[:verdicts]
    ]
    written = lake.append("verdicts", judged, key="verdicts", run_id="r1")
    assert written.quarantined == 0
    return root


def failed(result: QualityResult) -> set[tuple[str, str]]:
    return {(r["table"], r["column"]) for r in result.results if r["state"] != "passed"}


def test_a_clean_lake_passes(gate: QualityGate, tmp_path: Path) -> None:
    result = gate.check(planted(tmp_path, attempt(1), attempt(2)), "r1")
    assert (result.state, failed(result)) == ("passed", set()), result.detail
    assert len(result.results) > 15


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"error_kind": "timeout"}, "clean"),
        ({"ended_at": NOW - dt.timedelta(seconds=1)}, "ordered"),
        ({"tries": 301}, "tries"),
        ({"attempt_id": "a1"}, "attempt_id"),
    ],
)
def test_a_bad_attempt_fails_the_gate(gate: QualityGate, tmp_path: Path, changes: dict[str, Any], column: str) -> None:
    lake = planted(tmp_path, attempt(1))
    written = Lake(lake).append("probe_attempts", [attempt(2, **changes)], key="bad", run_id="r1")
    assert written.rows == 1, "the row must pass the table's own constraints"
    result = gate.check(lake, "r1")
    assert result.state == "failed"
    assert ("probe_attempts", column) in failed(result)


def test_an_attempt_without_verdict_fails_the_gate(gate: QualityGate, tmp_path: Path) -> None:
    result = gate.check(planted(tmp_path, attempt(1), attempt(2), verdicts=1), "r1")
    assert result.state == "failed"
    assert {table for table, _ in failed(result)} == {"verdicts"}


def test_another_runs_rows_do_not_count(gate: QualityGate, tmp_path: Path) -> None:
    lake = planted(tmp_path, attempt(1))
    other = {**attempt(9, error_kind="timeout"), "run_id": "r2"}
    Lake(lake).append("probe_attempts", [other], key="other", run_id="r2")
    assert gate.check(lake, "r1").state == "passed"


def test_a_lake_it_cannot_read_is_an_error(gate: QualityGate, tmp_path: Path) -> None:
    lake = planted(tmp_path, attempt(1))
    for file in (lake / "tables" / "probe_attempts").rglob("*.parquet"):
        file.write_bytes(b"no parquet")
    result = gate.check(lake, "r1")
    assert result.state == "error"
    assert result.detail


def test_a_killed_or_silent_child_is_an_error_never_a_pass(tmp_path: Path) -> None:
    lake = planted(tmp_path, attempt(1))
    with QualityGate() as one:
        silent = one.check(lake, "r1", timeout_s=0)
        one._child.kill()
        one._child.wait()
        dead = one.check(lake, "r1")
        again = one.check(lake, "r1")
    assert [silent.state, dead.state, again.state] == ["error"] * 3
    assert silent.detail
    assert dead.detail


class Scripted(WavesThrough):
    """A gate that answers with what it is given."""

    def __init__(self, answer: QualityResult) -> None:
        self.answer = answer

    def check(self, lake: Path, run_id: str, timeout_s: float = 120) -> QualityResult:
        return self.answer


BAD = {"table": "probe_attempts", "expectation": "expect_x", "column": "clean", "state": "failed", "unexpected": 1}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        pytest.param(QualityResult("failed", (BAD,)), "probe_attempts expect_x", marks=pytest.mark.full),
        (QualityResult("error", (), "no answer within 120 s"), "no answer within 120 s"),
    ],
    ids=["failed", "error"],
)
def test_a_run_whose_gate_does_not_pass_is_incomplete_and_says_so(
    answer: QualityResult, says: str, home: Callable[..., Home], target: Callable[..., SmallTarget]
) -> None:
    service = target(one="refusing")
    here = home([asset_yaml("one", service.url("one"))], families=("prefix_injection",))

    outcome = here.inside(gate=Scripted(answer))

    assert outcome.state == "incomplete"
    assert outcome.troubles == (f"quality gate {answer.state}: {says}",)
    assert outcome.posture["quality"]["state"] == answer.state
    assert outcome.posture["run"]["state"] == "incomplete"
