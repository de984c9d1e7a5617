"""What judging would ask and cost at most, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.judging.egress import NotRedactable, shown
from tasks.judging.judge import Judge, JudgeSpec, MetaJudge, make_vote
from tasks.judging.offline import Panel
from tasks.judging.panel import SWAP_SHARE
from tasks.judging.parse import MAX_RATIONALE
from tasks.judging.vendor_judge import VendorJudge
from tasks.records import Case, Verdict, Vote


@dataclass(frozen=True, slots=True)
class Estimate:
    """One judge's part: upper bounds, since answers are counted at their longest and nothing as cached."""

    judge: str
    provider: str
    model: str
    host: str | None
    """None when nothing is sent."""
    redaction: str | None
    requests: int
    tokens: int
    micro_usd: int


def estimate(panel: Panel, cases: Sequence[Case], tests: Sequence[Case]) -> list[Estimate]:
    """A row per judge, the meta-judge last: on the cases, on `tests` among them, on the share that is read twice."""
    again = SWAP_SHARE * len(cases) / max(1, len(cases) + len(tests))
    rows = [_of(judge, [*cases, *tests], 1 + again) for judge in panel.judges]
    return rows + ([_of(panel.meta, cases, 1.0)] if panel.meta is not None else [])


def _of(judge: Judge | MetaJudge, cases: Sequence[Case], factor: float) -> Estimate:
    spec = judge.spec
    if not isinstance(judge, VendorJudge):
        return Estimate(spec.name, spec.provider, spec.model, None, None, 0, 0, 0)
    requests = tokens = micro_usd = 0
    for case in cases:
        try:
            visible = shown(case, judge.connection.mode)
        except NotRedactable:
            continue
        votes = _longest_votes(spec, case) if judge.prompt.role == "meta" else ()
        most = judge.most(judge.ask(case, visible, votes, 0, None), batch=judge.batch)
        requests, tokens, micro_usd = requests + 1, tokens + most.tokens, micro_usd + most.micro_usd
    figures = (round(n * factor) for n in (requests, tokens, micro_usd))
    return Estimate(spec.name, spec.provider, spec.model, judge.host, judge.connection.mode, *figures)


def _longest_votes(spec: JudgeSpec, case: Case) -> list[Vote]:
    """Three votes as long as votes get, for the length of what the meta-judge reads."""
    return [make_vote(spec, case, Verdict.UNDECIDED, 0.5, "x" * MAX_RATIONALE) for _ in range(3)]
