"""Attempts → judge_votes, verdicts, reviews."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.judging.panel import (
    evidence_review_rows,
    evidence_verdict_rows,
    judge_cases,
    review_rows,
    verdict_rows,
    vote_rows,
)
from tasks.probing.campaign import case_for
from tasks.probing.catalog import Family
from tasks.runs import Run

BATCH = 500
"""Cases of one task."""


def judge(run: Run, engine: Engine, families: Mapping[str, Family]) -> list[str]:
    """Evidence first: judges see only what it left undecided."""
    crash_point("judge:before")
    attempts = run.lake.query("select * from lake.probe_attempts where run_id = ? order by attempt_id", [run.run_id])
    open_ones = [row for row in attempts if row["verdict"] == "undecided" and row["rubric"]]
    engine.run(settle_by_evidence, run=run, attempts=attempts, judged={row["attempt_id"] for row in open_ones})
    # Findings rest on the verdicts of their time; what is unjudged by then is for the quality gate to report.
    numbers = [] if run.committed("findings") else range(0, len(open_ones), BATCH)
    batches = [{"run": run, "number": n, "attempts": open_ones[n : n + BATCH], "families": families} for n in numbers]
    done = 0
    engine.progress.update("judge", 0, len(open_ones))
    troubles = []
    for arguments, outcome in engine.map(judge_batch, batches):
        done += len(arguments["attempts"])
        engine.progress.update("judge", done, len(open_ones), "offline judges")
        if isinstance(outcome, Exception):
            troubles.append(f"judging batch {arguments['number']}: {outcome}")
    crash_point("judge:after")
    return troubles


def settle_by_evidence(run: Run, attempts: list[dict[str, Any]], judged: set[str]) -> None:
    """A verdict for each attempt that no judge will see."""
    rows = [row for row in attempts if row["attempt_id"] not in judged]
    run.commit("verdicts", evidence_verdict_rows(rows, run_id=run.run_id), batch="evidence")
    run.commit("reviews", evidence_review_rows(rows, run_id=run.run_id), batch="evidence")


def judge_batch(run: Run, number: int, attempts: list[dict[str, Any]], families: Mapping[str, Family]) -> int:
    """Votes first, then the verdicts they give, then what a person has to look at."""
    key = f"judged/{number}"
    if run.committed("reviews", key):
        return 0
    floor = run.settings.judging.meta_floor
    cases = [case for row in attempts if (case := case_for(row, families)) is not None]
    votes, judgements = judge_cases(cases, floor=floor)
    run.commit("judge_votes", vote_rows(votes, run_id=run.run_id), batch=key)
    crash_point("judge:during")
    run.commit("verdicts", verdict_rows(judgements, votes, run_id=run.run_id, floor=floor), batch=key)
    run.commit("reviews", review_rows(judgements, run_id=run.run_id, floor=floor), batch=key)
    return len(cases)
