"""Cases through a panel to votes, verdicts and lake rows.

Rows follow `sql/schema/judge_votes.sql`, `verdicts.sql` and `reviews.sql` without the columns the lake adds itself.
Cases must be redacted before they come here: a vote quotes the response.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tasks.judging.asking import ask_judges, ask_meta
from tasks.judging.consensus import DEFAULT_FLOOR, decide, ppm
from tasks.judging.offline import Panel, offline_panel
from tasks.records import Case, Judgement, Verdict, Vote, digest

CONSENSUS_VERSION = "consensus/1"
EVIDENCE_VERSION = "evidence/1"
LIVE, OFFLINE, NONE = "live judges", "offline judges", "no judges"


def judge_cases(
    cases: Iterable[Case], *, floor: float = DEFAULT_FLOOR, panel: Panel | None = None
) -> tuple[list[Vote], list[Judgement]]:
    """All votes (the meta-judge's too) and one judgement per case, in the order of `cases`.

    `panel` None is the offline panel. A judge that fails costs its vote, not the run.
    """
    chosen = panel or offline_panel()
    all_cases = list(cases)
    asked = ask_judges(chosen.judges, all_cases)
    metas = ask_meta(chosen.meta, all_cases, asked) if chosen.meta is not None else [None] * len(all_cases)
    votes: list[Vote] = []
    judgements: list[Judgement] = []
    for own, meta in zip(asked, metas, strict=True):
        votes += own if meta is None else [*own, meta]
        judgements.append(decide(own, meta, floor))
    return votes, judgements


def counts(panel: Panel | None = None) -> int:
    """Number of judges without the meta-judge."""
    return (panel or offline_panel()).counts()


def method_version(floor: float, panel: Panel | None = None) -> str:
    """How a verdict of judges came about: table, floor in millionths, judge set. The replay reads the floor from it."""
    return f"{CONSENSUS_VERSION} floor={ppm(floor)} panel={(panel or offline_panel()).version}"


def judges_label(votes: Iterable[Vote]) -> str:
    """`offline judges` as soon as one vote is an offline one; `no judges` without any vote."""
    live = {v.live for v in votes}
    return NONE if not live else LIVE if live == {True} else OFFLINE


def vote_rows(votes: Iterable[Vote], *, run_id: str, voted_at: datetime | None = None) -> list[dict[str, Any]]:
    """Rows of `judge_votes`."""
    at = voted_at or datetime.now(UTC)
    return [
        {
            "attempt_id": v.attempt_id,
            "judge_id": v.judge_id,
            "judge_version": v.judge_version,
            "repeat": v.repeat,
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


def verdict_rows(
    judgements: Iterable[Judgement],
    votes: Sequence[Vote],
    *,
    run_id: str,
    floor: float = DEFAULT_FLOOR,
    panel: Panel | None = None,
    decided_at: datetime | None = None,
) -> list[dict[str, Any]]:
    """Rows of `verdicts` decided by judges; `floor` and `panel` as given to `judge_cases`, `votes` as it returned."""
    at = decided_at or datetime.now(UTC)
    method = method_version(floor, panel)
    by_attempt: dict[str, list[Vote]] = {}
    for vote in votes:
        by_attempt.setdefault(vote.attempt_id, []).append(vote)
    return [
        _verdict_row(
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
        )
        for j in judgements
    ]


def review_rows(
    judgements: Iterable[Judgement],
    *,
    run_id: str,
    floor: float = DEFAULT_FLOOR,
    panel: Panel | None = None,
    requested_at: datetime | None = None,
) -> list[dict[str, Any]]:
    """Rows of `reviews`, one request for each judgement that a human must look at."""
    at = requested_at or datetime.now(UTC)
    method = method_version(floor, panel)
    return [
        _review_row(j.attempt_id, method, run_id, j.proposal, j.reason, at) for j in judgements if j.route == "review"
    ]


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
