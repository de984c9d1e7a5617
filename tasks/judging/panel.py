"""Cases through a panel: gold mixed in, votes collected, judges tested, verdicts settled.

`collect` asks and `settle` decides, so that a resumed batch decides again on the votes that were stored. Cases must be
redacted before they come here: a vote quotes the response.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks.judging.asking import ask_judges, ask_meta
from tasks.judging.calibration import Calibration
from tasks.judging.consensus import DEFAULT_FLOOR, Policy, counts_as_vote, decide, is_audited, needs_meta, unavailable
from tasks.judging.gold import TestCase, shuffled
from tasks.judging.health import QUARANTINED, examine, mark, quarantine
from tasks.judging.judge import Judge, rubric_sha256
from tasks.judging.offline import Panel, offline_panel
from tasks.judging.self_vendor import mark_self_vendor
from tasks.records import Case, Judgement, Vote

SWAP_SHARE = 0.10
"""Of cases that live judges read a second time in another order."""
FIRST_ASKED = 2
"""Judges that sequential judging asks before it may stop."""


@dataclass(frozen=True, slots=True)
class Window:
    """What a batch of cases is judged under. `key` names it and fixes its gold rows and their places."""

    key: str
    policy: Policy
    tests: Sequence[TestCase] = ()
    calibrations: Mapping[str, Calibration] | None = None
    """By sha256 of the rubric; a rubric without one is uncalibrated."""
    quarantined: frozenset[str] = frozenset()
    """Judges that are not asked, from earlier windows."""
    makers: Mapping[str, str] = field(default_factory=dict)
    """By attempt id whose model answered, where that is known; see `self_vendor`."""
    exclude_self_vendor: bool = False
    held: Collection[str] = ()
    """Attempts whose verdict always needs a human."""

    def calibration_of(self, case: Case) -> Calibration | None:
        return (self.calibrations or {}).get(rubric_sha256(case.rubric))


def collect(cases: Sequence[Case], panel: Panel, window: Window) -> list[Vote]:
    """Every vote on the cases and on the window's test cases, the meta-judge's on the cases included.

    A judge that fails costs its vote, not the run; one that fails its test is marked in all its votes, and what it
    alone had read is read by the others. With fewer than two judges left nobody is asked.
    """
    judges = [j for j in panel.judges if j.spec.name not in window.quarantined]
    if len(judges) < 2:
        return []
    families = {j.spec.name: j.spec.family for j in judges}
    found = _first_votes(cases, judges, window)
    found = mark_self_vendor(found, families, window.makers, exclude=window.exclude_self_vendor)
    failed = {h.judge_id for h in examine(found, window.tests).values() if h.state == QUARANTINED}
    if failed:
        found = quarantine(found, failed)
        found += _missing_votes(cases, [j for j in judges if j.spec.name not in failed], found)
    found += _swapped_votes(cases, judges, found)
    return found + _meta_votes(cases, panel, window, found)


def settle(cases: Sequence[Case], votes: Iterable[Vote], window: Window) -> list[Judgement]:
    """One judgement per case, in order: pure, from the votes and the window's policy alone."""
    own, metas = _by_case(votes)
    judgements = []
    for case in cases:
        given = own.get(case.attempt_id)
        if not given:
            judgements.append(unavailable(case.attempt_id))
            continue
        calibration = window.calibration_of(case)
        judgements.append(
            decide(
                given,
                metas.get(case.attempt_id),
                window.policy.floor,
                meta_when=window.policy.meta_when,
                calibrated=calibration.of(given) if calibration else None,
                hold=case.attempt_id in window.held,
            )
        )
    return judgements


def judge_cases(
    cases: Iterable[Case], *, floor: float = DEFAULT_FLOOR, panel: Panel | None = None
) -> tuple[list[Vote], list[Judgement]]:
    """All votes and one judgement per case without test cases or calibration; `panel` None is the offline panel."""
    everything = list(cases)
    window = Window("", Policy(floor))
    votes = collect(everything, panel or offline_panel(), window)
    return votes, settle(everything, votes, window)


def counts(panel: Panel | None = None) -> int:
    """Number of judges without the meta-judge."""
    return (panel or offline_panel()).counts()


def _first_votes(cases: Sequence[Case], judges: Sequence[Judge], window: Window) -> list[Vote]:
    """Every judge on everything; under sequential judging the later ones only where the first leave it open."""
    mixed = shuffled(cases, window.tests, window.key)
    if not window.policy.sequential or not window.calibrations:
        return mark(_flat(ask_judges(judges, mixed)), window.tests)
    found = mark(_flat(ask_judges(judges[:FIRST_ASKED], mixed)), window.tests)
    own, _ = _by_case(found)
    left = [case for case in mixed if not _is_clear(own.get(case.attempt_id, ()), window.calibration_of(case))]
    return found + mark(_flat(ask_judges(judges[FIRST_ASKED:], left)), window.tests)


def _is_clear(votes: Sequence[Vote], calibration: Calibration | None) -> bool:
    """Whether two votes agree so well that the calibrated threshold holds without a third."""
    said = {v.verdict for v in votes if counts_as_vote(v)}
    if calibration is None or len(votes) < FIRST_ASKED or len(said) != 1 or not all(map(counts_as_vote, votes)):
        return False
    calibrated = calibration.of(votes)
    return calibrated.confidence_ppm >= calibrated.lambda_ppm


def _missing_votes(cases: Sequence[Case], judges: Sequence[Judge], found: Sequence[Vote]) -> list[Vote]:
    """Votes of sound judges on cases that sequential judging had spared them."""
    seen = {(v.attempt_id, v.judge_id) for v in found}
    votes: list[Vote] = []
    for judge in judges:
        unread = [c for c in cases if (c.attempt_id, judge.spec.name) not in seen]
        votes += _flat(ask_judges([judge], unread)) if unread else []
    return votes


def _meta_votes(cases: Sequence[Case], panel: Panel, window: Window, found: Sequence[Vote]) -> list[Vote]:
    if panel.meta is None:
        return []
    own, _ = _by_case(found)
    asked = [c for c in cases if needs_meta(own.get(c.attempt_id, ()), window.policy.meta_when)]
    valid = [[v for v in own[c.attempt_id] if counts_as_vote(v)] for c in asked]
    return ask_meta(panel.meta, asked, valid) if asked else []


def _by_case(votes: Iterable[Vote]) -> tuple[dict[str, list[Vote]], dict[str, Vote]]:
    """The judges' votes and the meta vote of each case."""
    own: dict[str, list[Vote]] = {}
    metas: dict[str, Vote] = {}
    for vote in votes:
        if vote.purpose != "case":
            continue
        if vote.role == "meta":
            metas[vote.attempt_id] = vote
        else:
            own.setdefault(vote.attempt_id, []).append(vote)
    return own, metas


def _swapped_votes(cases: Sequence[Case], judges: Sequence[Judge], found: Iterable[Vote]) -> list[Vote]:
    """A share of the cases read again in another order; expected is what the judge said the first time, if anything."""
    chosen = [c for c in cases if is_audited(f"swap {c.attempt_id}", SWAP_SHARE)]
    again = _flat(ask_judges(judges, chosen, 1)) if chosen else []
    first = {(v.attempt_id, v.judge_id): v for v in found if v.purpose == "case"} if again else {}
    swapped = []
    for vote in again:
        plain = first.get((vote.attempt_id, vote.judge_id))
        said = plain.verdict if plain is not None and counts_as_vote(plain) else None
        swapped.append(replace(vote, purpose="swap", expected=said))
    return swapped


def _flat(answers: Iterable[Iterable[Vote]]) -> list[Vote]:
    return [vote for votes in answers for vote in votes]
