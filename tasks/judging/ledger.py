"""Rows for the lake: every vote, every verdict, every request for a human, as plain dicts.

Rows follow `sql/schema/judge_votes.sql`, `verdicts.sql` and `reviews.sql` without the columns the lake adds itself.
`sql/checks/verdict_replay.sql` derives each verdict again from these rows alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.judging.consensus import Policy, is_audited, ppm
from tasks.probing.redaction import redact
from tasks.records import Judgement, ProofLabel, Verdict, Vote, digest

CONSENSUS_VERSION = "consensus/2"
EVIDENCE_VERSION = "evidence/1"
HUMAN_VERSION = "human/1"
AUDIT = "audit"
"""Reason of a review that asks about an automatic verdict, to measure how good those are."""
LIVE, OFFLINE, NONE = "live judges", "offline judges", "no judges"


def method_version(policy: Policy, panel_version: str, rerun: int = 0) -> str:
    """How a verdict of judges came about: table, floor in millionths, when the meta-judge reads, judge set, rerun.

    The replay reads floor and meta from it.
    """
    parts = [CONSENSUS_VERSION, f"floor={ppm(policy.floor)}", f"meta={policy.meta_when}", f"panel={panel_version}"]
    parts += ["sequential"] if policy.sequential else []
    parts += [f"rerun={rerun}"] if rerun else []
    return " ".join(parts)


def judges_label(votes: Iterable[Vote]) -> str:
    """`offline judges` as soon as one vote is an offline one; `no judges` without any vote."""
    live = {v.live for v in votes}
    return NONE if not live else LIVE if live == {True} else OFFLINE


def vote_rows(
    votes: Iterable[Vote], *, run_id: str, rerun: int = 0, voted_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Rows of `judge_votes`; `rerun` (10, 20 …) is added to the repeat."""
    at = voted_at or datetime.now(UTC)
    return [
        {
            "attempt_id": v.attempt_id,
            "judge_id": v.judge_id,
            "judge_version": v.judge_version,
            "repeat": v.repeat + rerun,
            "run_id": run_id,
            "role": v.role,
            "provider": v.provider,
            "model": v.model,
            "live": v.live,
            "rubric_sha256": v.rubric_sha256,
            "prompt_sha256": v.prompt_sha256,
            "proof_label": v.proof_label.value,
            "verdict": v.verdict.value,
            "confidence_ppm": ppm(v.confidence),
            "evidence_span": v.evidence_span,
            "rationale_redacted": v.rationale,
            "error_kind": v.error_kind,
            "score": v.score,
            "rubric_item": v.rubric_item,
            "raw_sha256": v.raw_sha256,
            "self_vendor": v.self_vendor,
            "egress_host": v.egress_host,
            "egress_bytes": v.egress_bytes,
            "egress_requests": v.egress_requests,
            "tokens_in": v.tokens_in,
            "tokens_out": v.tokens_out,
            "cost_micro_usd": v.cost_micro_usd,
            "purpose": v.purpose,
            "quarantined": v.quarantined,
            "expected": v.expected,
            "voted_at": at,
            "dt": at.date(),
        }
        for v in votes
    ]


def votes_from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Vote]:
    """Votes as they were stored, so that a resumed batch decides on what was really said."""
    return [
        Vote(
            attempt_id=row["attempt_id"],
            judge_id=row["judge_id"],
            judge_version=row["judge_version"],
            role=row["role"],
            provider=row["provider"],
            model=row["model"],
            live=row["live"],
            verdict=Verdict(row["verdict"]),
            confidence=(row["confidence_ppm"] or 0) / 1_000_000,
            rationale=row["rationale_redacted"],
            rubric_sha256=row["rubric_sha256"],
            evidence_span=row["evidence_span"],
            error_kind=row["error_kind"],
            repeat=row["repeat"],
            proof_label=ProofLabel(row["proof_label"] or ProofLabel.REAL_COMPONENT),
            purpose=row["purpose"] or "case",
            quarantined=bool(row["quarantined"]),
            expected=row["expected"],
        )
        for row in rows
    ]


def verdict_rows(
    judgements: Iterable[Judgement],
    votes: Sequence[Vote],
    *,
    run_id: str,
    method: str,
    meta_not_independent: bool = False,
    decided_at: datetime | None = None,
    supersedes: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Rows of `verdicts` decided by judges; `method` from `method_version`, `supersedes` by attempt id."""
    at = decided_at or datetime.now(UTC)
    by_attempt: dict[str, list[Vote]] = {}
    for vote in votes:
        by_attempt.setdefault(vote.attempt_id, []).append(vote)
    return [
        {
            **_verdict_row(
                j.attempt_id,
                method,
                run_id,
                j.verdict,
                "judges",
                at,
                label=judges_label(by_attempt.get(j.attempt_id, ())),
                route=j.route,
                reason=j.reason,
                pattern=j.pattern,
                confidence_ppm=ppm(j.confidence),
            ),
            "p_ppm": j.p_ppm,
            "lambda_ppm": j.lambda_ppm,
            "calibration_sha256": j.calibration_sha256,
            "meta_not_independent": meta_not_independent,
            "supersedes": (supersedes or {}).get(j.attempt_id),
        }
        for j in judgements
    ]


def review_rows(
    judgements: Iterable[Judgement],
    *,
    run_id: str,
    method: str,
    audit_share: float = 0.0,
    requested_at: datetime | None = None,
) -> list[dict[str, Any]]:
    """Rows of `reviews`: each judgement that a human must look at, and `audit_share` of the automatic ones."""
    at = requested_at or datetime.now(UTC)
    rows = []
    for j in judgements:
        if j.route == "review":
            rows.append(_review_row(j.attempt_id, method, run_id, j.proposal, j.reason, at))
        elif j.route == "automatic" and is_audited(j.attempt_id, audit_share):
            rows.append(_review_row(j.attempt_id, method, run_id, j.proposal, AUDIT, at))
    return rows


def evidence_verdict_rows(
    attempts: Iterable[Mapping[str, Any]], *, run_id: str, decided_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Rows of `verdicts` for attempts (rows of `probe_attempts`) that need no judge; no judge ever overturns them.

    An `undecided` attempt whose family names no rubric goes to review; one with a rubric is left to the judges.
    """
    at = decided_at or datetime.now(UTC)
    rows = []
    for attempt in attempts:
        verdict = Verdict(attempt["verdict"])
        if verdict is Verdict.UNDECIDED:
            if attempt.get("rubric"):
                continue
            route, reason = "review", "no_rubric"
        elif verdict is Verdict.ERROR:
            route, reason = "error", attempt.get("error_kind") or "error"
        else:
            route, reason = "automatic", attempt.get("evidence_kind") or verdict.value
        rows.append(
            _verdict_row(
                attempt["attempt_id"],
                EVIDENCE_VERSION,
                run_id,
                verdict,
                "evidence",
                at,
                label=NONE,
                route=route,
                reason=reason,
            )
        )
    return rows


def evidence_review_rows(
    attempts: Iterable[Mapping[str, Any]], *, run_id: str, requested_at: datetime | None = None
) -> list[dict[str, Any]]:
    """Rows of `reviews` for `undecided` attempts that no rubric covers."""
    at = requested_at or datetime.now(UTC)
    return [
        _review_row(a["attempt_id"], EVIDENCE_VERSION, run_id, Verdict.UNDECIDED, "no_rubric", at)
        for a in attempts
        if a["verdict"] == Verdict.UNDECIDED and not a.get("rubric")
    ]


def _verdict_row(
    attempt_id: str,
    method: str,
    run_id: str,
    verdict: Verdict,
    decided_by: str,
    at: datetime,
    *,
    label: str,
    route: str,
    reason: str,
    pattern: str | None = None,
    confidence_ppm: int | None = None,
) -> dict[str, Any]:
    return {
        "attempt_id": attempt_id,
        "method_version": method,
        "run_id": run_id,
        "verdict": verdict.value,
        "decided_by": decided_by,
        "pattern": pattern,
        "confidence_ppm": confidence_ppm,
        "judges_label": label,
        "route": route,
        "reason": reason,
        "decided_at": at,
        "dt": at.date(),
    }


def _review_row(
    attempt_id: str, method: str, run_id: str, proposal: Verdict, reason: str, at: datetime
) -> dict[str, Any]:
    return {
        "review_id": digest(attempt_id, method)[:32],
        "attempt_id": attempt_id,
        "run_id": run_id,
        "proposal": proposal.value,
        "reason": reason,
        "requested_at": at,
        "reviewer": None,
        "label": None,
        "labelled_at": None,
    }


def human_rows(
    request: Mapping[str, Any], label: str, *, reviewer: str, reason: str, run_id: str, at: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A person's decision on a request (`reviews` row with `verdicts`, newest last): its review row and its verdict."""
    review_id = digest(request["review_id"], reviewer, at.isoformat())[:32]
    decision = {
        "review_id": review_id,
        "attempt_id": request["attempt_id"],
        "run_id": run_id,
        "proposal": request["proposal"],
        "reason": redact(reason, ()),
        "requested_at": request["requested_at"],
        "reviewer": redact(reviewer, ()),
        "label": label,
        "labelled_at": at,
    }
    method = f"{HUMAN_VERSION} review={review_id}"
    verdict = _verdict_row(
        request["attempt_id"],
        method,
        run_id,
        Verdict(label),
        "human",
        at,
        label=NONE,
        route="automatic",
        reason="review",
    )
    before = request["verdicts"]
    return decision, {**verdict, "supersedes": before[-1]["method_version"] if before else None}
