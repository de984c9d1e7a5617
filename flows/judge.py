"""Attempts → judge_votes, verdicts, reviews, and the judges' health."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from flows.engine import Engine
from tasks.crash import crash_point
from tasks.judging.anchors import calibration_rows, fit_calibrations, read_quarantined, stored_calibrations
from tasks.judging.configured import budget_of, configured_panel
from tasks.judging.consensus import Policy
from tasks.judging.egress_ledger import egress_rows, makers_under_test, manifest, spent_in
from tasks.judging.gold import draw
from tasks.judging.health import examine, health_rows
from tasks.judging.independence import planned_label
from tasks.judging.ledger import (
    evidence_review_rows,
    evidence_verdict_rows,
    method_version,
    review_rows,
    verdict_rows,
    vote_rows,
    votes_from_rows,
)
from tasks.judging.offline import Panel
from tasks.judging.panel import Window, collect, settle
from tasks.lake import Lake
from tasks.probing.cases import case_for
from tasks.probing.catalog import Family
from tasks.records import Severity, Vote
from tasks.runs import Run
from tasks.settings import Settings

BATCH = 500
"""Cases of one task: the window that one draw of gold rows watches over."""


def judge(run: Run, engine: Engine, families: Mapping[str, Family]) -> list[str]:
    """Evidence first: judges see only what it left undecided."""
    crash_point("judge:before")
    attempts = run.lake.query("select * from lake.probe_attempts where run_id = ? order by attempt_id", [run.run_id])
    open_ones = [row for row in attempts if row["verdict"] == "undecided" and row["rubric"]]
    engine.run(settle_by_evidence, run=run, attempts=attempts, judged={row["attempt_id"] for row in open_ones})
    # Findings rest on the verdicts of their time; what is unjudged by then is for the quality gate to report.
    numbers = [] if run.committed("findings") else range(0, len(open_ones), BATCH)
    if numbers:
        engine.run(calibrate, run=run)
    batches = [{"run": run, "number": n, "attempts": open_ones[n : n + BATCH], "families": families} for n in numbers]
    done = 0
    engine.progress.update("judge", 0, len(open_ones))
    troubles = []
    for arguments, outcome in engine.map(judge_batch, batches):
        done += len(arguments["attempts"])
        engine.progress.update("judge", done, len(open_ones), planned_label(run.settings.judging))
        if isinstance(outcome, Exception):
            troubles.append(f"judging batch {arguments['number']}: {outcome}")
    if numbers:
        engine.run(record_egress, run=run)
    crash_point("judge:after")
    return troubles + unjudged(run)


def unjudged(run: Run) -> list[str]:
    """Troubles to tell: attempts without a verdict because judges failed, and too few judges left."""
    rows = run.lake.query(
        "select count(*) as n from lake.verdicts where run_id = ? and reason = 'judges_unavailable'", [run.run_id]
    )
    count = rows[0]["n"]
    if not count:
        return []
    quarantined = ", ".join(sorted(read_quarantined(run.lake, panel_of(run.settings))))
    because = f" ({quarantined} in quarantine)" if quarantined else ""
    return [f"{count} attempts had fewer than two valid votes{because}; `aispm judge rerun` asks the judges again"]


def panel_of(settings: Settings, run_id: str = "") -> Panel:
    """The judges that the settings name, held to the budget of the run that asks them."""
    judging = settings.judging
    budget = budget_of(run_id, judging, lambda: spent_in(Lake(settings.lake), run_id))
    return configured_panel(judging, budget, batch_folder=settings.home / "judging" / "batches")


def record_egress(run: Run) -> int:
    """What of this run's cases went to which provider, as evidence; how many providers there are."""
    rows = manifest(run.lake, run.run_id, run.settings.judging.egress)
    run.commit("evidence", egress_rows(rows, run_id=run.run_id, made_at=dt.datetime.now(dt.UTC)), batch="egress")
    return len(rows)


def policy_of(run: Run) -> Policy:
    """How the run's settings want votes to become verdicts."""
    chosen = run.settings.judging
    return Policy(chosen.meta_floor, chosen.meta_when, chosen.sequential)


def settle_by_evidence(run: Run, attempts: list[dict[str, Any]], judged: set[str]) -> None:
    """A verdict for each attempt that no judge will see."""
    rows = [row for row in attempts if row["attempt_id"] not in judged]
    run.commit("verdicts", evidence_verdict_rows(rows, run_id=run.run_id), batch="evidence")
    run.commit("reviews", evidence_review_rows(rows, run_id=run.run_id), batch="evidence")


def calibrate(run: Run) -> int:
    """Commit the calibrations this run works under, once: a resumed run goes on with them; how many there are."""
    if not run.committed("evidence", "calibration"):
        fitted = fit_calibrations(run.lake, panel_of(run.settings), run.settings.judging.alpha)
        run.commit("evidence", calibration_rows(fitted, run.run_id), batch="calibration")
    return len(stored_calibrations(run.lake, run.run_id))


def judge_batch(
    run: Run, number: int, attempts: list[dict[str, Any]], families: Mapping[str, Family], rerun: int = 0
) -> int:
    """Votes first, then the judges' health and the verdicts they give, then what a person has to look at.

    `rerun` is the repeat its votes carry, 0 for the first time.
    """
    key = f"judged/{number}"
    if run.committed("reviews", key):
        return 0
    panel, policy = panel_of(run.settings, run.run_id), policy_of(run)
    cases = [case for row in attempts if (case := case_for(row, families)) is not None]
    window = Window(
        key=f"{run.run_id}/{number}",
        policy=policy,
        tests=draw(f"{run.run_id}/{number}", run.settings.judging.gold_rows),
        calibrations=stored_calibrations(run.lake, run.run_id),
        quarantined=frozenset(read_quarantined(run.lake, panel)),
        makers=makers_under_test(run.lake, attempts),
        exclude_self_vendor=run.settings.judging.self_vendor == "exclude",
        held=_held(run, attempts, families),
    )
    if not run.committed("judge_votes", key):
        votes = collect(cases, panel, window)
        run.commit("judge_votes", vote_rows(votes, run_id=run.run_id, rerun=rerun), batch=key)
    votes = _stored_votes(run, key)
    crash_point("judge:during")
    now = dt.datetime.now(dt.UTC)
    health = examine(votes, window.tests)
    run.commit("evidence", health_rows(health.values(), run_id=run.run_id, window=number, made_at=now), batch=key)
    judgements = settle(cases, votes, window)
    method = method_version(policy, panel.version, rerun)
    run.commit(
        "verdicts",
        verdict_rows(
            judgements, votes, run_id=run.run_id, method=method, meta_not_independent=panel.meta_not_independent
        ),
        batch=key,
    )
    share = run.settings.judging.audit_share
    run.commit("reviews", review_rows(judgements, run_id=run.run_id, method=method, audit_share=share), batch=key)
    return len(cases)


def _stored_votes(run: Run, key: str) -> list[Vote]:
    """The batch's votes as committed, perhaps by the execution that this one resumes."""
    rows = run.lake.query(
        "select * from lake.judge_votes where run_id = ? and batch_key = ?",
        [run.run_id, f"{run.run_id}/judge_votes/{key}#1"],
    )
    return votes_from_rows(rows)


def _held(run: Run, attempts: Sequence[Mapping[str, Any]], families: Mapping[str, Family]) -> frozenset[str]:
    """Attempts of critical families, when the settings want a human to see all of those."""
    if not run.settings.judging.review_critical:
        return frozenset()
    critical = {name for name, family in families.items() if family.severity == Severity.CRITICAL}
    return frozenset(row["attempt_id"] for row in attempts if row["family_id"] in critical)
