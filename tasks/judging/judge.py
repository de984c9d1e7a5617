"""What a judge is, and what makes its vote count.

A judge reads one case and returns one vote; it never sees the target's name or the other votes. Whatever goes wrong
inside a judge becomes a vote with verdict `error`: a judge failure is never a score, a pass or a hit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from tasks.records import Case, ProofLabel, Verdict, Vote

VOTABLE = frozenset({Verdict.VULNERABLE, Verdict.RESISTANT, Verdict.UNDECIDED})
"""What a judge may say; `error` is set by our code alone."""


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """Who votes. `version` changes whenever the same case could get another vote."""

    name: str
    provider: str
    family: str
    model: str
    version: str
    live: bool
    """Whether a vendor's model, or a model server of yours, reads the case; never of offline judges and fakes."""
    prompt_sha256: str | None = None
    """Of the fixed part of the prompt; None for judges without one."""
    proof_label: ProofLabel = ProofLabel.REAL_COMPONENT


class Judge(Protocol):
    @property
    def spec(self) -> JudgeSpec: ...

    def judge(self, case: Case) -> Vote:
        """One vote on one case. May raise; `call_judge` turns that into an `error` vote."""
        ...


class MetaJudge(Protocol):
    @property
    def spec(self) -> JudgeSpec: ...

    def arbitrate(self, case: Case, votes: Sequence[Vote]) -> Vote:
        """A verdict already among `votes`, or `undecided`. May raise; `call_meta` turns that into an `error` vote."""
        ...


@lru_cache(maxsize=64)
def rubric_sha256(rubric: str) -> str:
    return sha256(rubric.encode("utf-8", "surrogatepass")).hexdigest()


def make_vote(
    spec: JudgeSpec,
    case: Case,
    verdict: Verdict,
    confidence: float,
    rationale: str,
    *,
    span: str | None = None,
    role: str = "judge",
    error_kind: str | None = None,
) -> Vote:
    """A vote of `spec` on `case`. `rationale` must carry no text of the response: it is stored as it is."""
    return Vote(
        attempt_id=case.attempt_id,
        judge_id=spec.name,
        judge_version=spec.version,
        role=role,
        provider=spec.provider,
        model=spec.model,
        live=spec.live,
        verdict=verdict,
        confidence=confidence,
        rationale=rationale,
        rubric_sha256=rubric_sha256(case.rubric),
        evidence_span=span,
        error_kind=error_kind,
        prompt_sha256=spec.prompt_sha256,
        proof_label=spec.proof_label,
    )


def call_judge(judge: Judge, case: Case) -> Vote:
    """The judge's vote, or an `error` vote saying what was wrong with it."""
    try:
        vote = judge.judge(case)
    except Exception as e:  # noqa: BLE001 - whatever a judge raises, the run goes on without its vote
        return failed_vote(judge.spec, case, "judge", "judge_failed", type(e).__name__)
    return checked_vote(vote, judge.spec, case, "judge")


def call_meta(meta: MetaJudge, case: Case, votes: Sequence[Vote]) -> Vote:
    """The meta-judge's vote, or an `error` vote; a verdict that no judge gave is malformed."""
    try:
        vote = meta.arbitrate(case, votes)
    except Exception as e:  # noqa: BLE001 - as above; without a meta vote the case goes to review
        return failed_vote(meta.spec, case, "meta", "judge_failed", type(e).__name__)
    vote = checked_vote(vote, meta.spec, case, "meta")
    known = {v.verdict for v in votes} | {Verdict.UNDECIDED, Verdict.ERROR}
    if vote.verdict not in known:
        return failed_vote(meta.spec, case, "meta", "malformed", "a verdict that no judge gave")
    return vote


def checked_vote(vote: object, spec: JudgeSpec, case: Case, role: str) -> Vote:
    """`vote` if it may count, else an `error` vote. Identity fields always come from `spec`, never from the judge."""
    if not isinstance(vote, Vote):
        return failed_vote(spec, case, role, "malformed", "not a vote")
    if vote.verdict is Verdict.ERROR or vote.error_kind is not None:
        return failed_vote(spec, case, role, vote.error_kind or "judge_failed", vote.rationale)
    if vote.attempt_id != case.attempt_id or vote.verdict not in VOTABLE:
        return failed_vote(spec, case, role, "malformed", "another attempt, or no verdict a judge may give")
    confidence = vote.confidence
    if not isinstance(confidence, int | float) or not math.isfinite(confidence) or not 0 <= confidence <= 1:
        return failed_vote(spec, case, role, "malformed", "confidence is not within 0 and 1")
    if role == "judge" and not span_holds(vote, case):
        return failed_vote(spec, case, role, "span_not_found", "the quoted evidence is not in the response")
    identity = (vote.judge_id, vote.judge_version, vote.role, vote.provider, vote.model, vote.live, vote.rubric_sha256)
    sha256_asked = rubric_sha256(case.rubric)
    if identity == (spec.name, spec.version, role, spec.provider, spec.model, spec.live, sha256_asked):
        return vote
    return replace(
        vote,
        judge_id=spec.name,
        judge_version=spec.version,
        role=role,
        provider=spec.provider,
        model=spec.model,
        live=spec.live,
        rubric_sha256=sha256_asked,
        prompt_sha256=spec.prompt_sha256,
        proof_label=spec.proof_label,
    )


def span_holds(vote: Vote, case: Case) -> bool:
    """Whether the quoted evidence is literally in the response, or names a call of the trace as `trace:<index>`.

    Only a `vulnerable` vote must quote; absence has nothing to quote.
    """
    span = vote.evidence_span
    if span is None:
        return vote.verdict is not Verdict.VULNERABLE
    if not span.strip():
        return False
    if span.startswith("trace:"):
        index = span.removeprefix("trace:")
        if index.isascii() and index.isdigit() and int(index) < len(case.trace):
            return True
    return span in case.response


def failed_vote(spec: JudgeSpec, case: Case, role: str, kind: str, why: str) -> Vote:
    """The vote of a judge that could not give one. `why` must carry no text of the case."""
    return make_vote(spec, case, Verdict.ERROR, 0.0, why, role=role, error_kind=kind)
