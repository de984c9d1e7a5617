"""The routing table: one test per row, the floor to the millionth, and properties over all votes."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judging.consensus import Calibrated, decide, is_audited, needs_meta, ppm, unavailable
from tasks.records import Judgement, Verdict, Vote

VERDICTS = {"V": Verdict.VULNERABLE, "R": Verdict.RESISTANT, "U": Verdict.UNDECIDED, "E": Verdict.ERROR}
V, R, U, E = VERDICTS.values()


def vote(
    letter: str,
    judge: str = "meta",
    role: str = "judge",
    confidence: float = 0.9,
    *,
    attempt_id: str = "a1",
    error_kind: str | None = None,
    repeat: int = 0,
) -> Vote:
    failed = letter == "E"
    return Vote(
        attempt_id=attempt_id,
        judge_id=judge,
        judge_version="1",
        role=role,
        provider="p",
        model="m",
        live=False,
        verdict=VERDICTS[letter],
        confidence=0.0 if failed else confidence,
        rationale="",
        rubric_sha256="0" * 64,
        error_kind="judge_failed" if failed else error_kind,
        repeat=repeat,
    )


def panel(letters: str) -> list[Vote]:
    return [vote(letter, f"j{i}") for i, letter in enumerate(letters)]


def meta(letter: str, confidence: float = 0.9) -> Vote:
    return vote(letter, "meta", "meta", confidence)


def routed(letters: str, said: Vote | None, floor: float = 0.7) -> tuple[Verdict, str, Verdict, str]:
    j = decide(panel(letters), said, floor)
    return j.verdict, j.route, j.proposal, j.reason


def test_three_agree_and_meta_agrees_is_automatic() -> None:
    assert routed("VVV", meta("V")) == (V, "automatic", V, "unanimous")
    assert routed("RRR", meta("R")) == (R, "automatic", R, "unanimous")


@pytest.mark.parametrize("letters", ["VVV", "VVR", "VVU", "VVE", "VV"])
def test_floor_is_exact_also_on_agreement(letters: str) -> None:
    assert routed(letters, meta("V", 0.70))[:2] == (V, "automatic")
    for below in (0.6999, 0.6999999, 0.0):
        assert routed(letters, meta("V", below))[:3] == (U, "review", V)


def test_three_agree_meta_differs_never_flips() -> None:
    for said in (meta("R", 1.0), meta("U", 1.0)):
        assert routed("VVV", said) == (U, "review", V, "unanimous_meta_differs")


@pytest.mark.parametrize("said", [None, meta("E")])
def test_three_agree_meta_missing_or_failed_is_review(said: Vote | None) -> None:
    assert routed("RRR", said) == (U, "review", R, "unanimous_meta_missing")


def test_two_to_one_meta_sides_with_the_two() -> None:
    assert routed("VRV", meta("V")) == (V, "automatic", V, "majority")
    assert routed("RUR", meta("R")) == (R, "automatic", R, "majority")


def test_two_to_one_meta_sides_with_the_one_is_review() -> None:
    assert routed("VRV", meta("R", 1.0)) == (U, "review", V, "majority_meta_differs")


def test_three_different_is_review_with_the_meta_proposal() -> None:
    assert routed("VRU", meta("V", 1.0)) == (U, "review", V, "judges_disagree")
    assert routed("VRU", None) == (U, "review", U, "judges_disagree")


def test_two_abstentions_are_review() -> None:
    assert routed("UUV", meta("V", 1.0)) == (U, "review", V, "judges_abstained")
    assert routed("EUU", meta("U", 1.0)) == (U, "review", U, "judges_abstained")


def test_all_abstain_is_review() -> None:
    assert routed("UUU", meta("U", 1.0)) == (U, "review", U, "judges_abstained")
    # A verdict that nobody gave is not proposed.
    assert routed("UUU", meta("V", 1.0)) == (U, "review", U, "judges_abstained")


@pytest.mark.parametrize("letters", ["VV", "VVE"])
def test_two_valid_votes_need_both_and_the_meta(letters: str) -> None:
    assert routed(letters, meta("V")) == (V, "automatic", V, "two_agree")
    assert routed(letters, meta("R")) == (U, "review", V, "two_agree_meta_differs")
    assert routed(letters, None) == (U, "review", V, "two_agree_meta_missing")


def test_two_valid_votes_that_differ_are_review() -> None:
    assert routed("VRE", meta("R")) == (U, "review", R, "judges_disagree")
    assert routed("VU", meta("V")) == (U, "review", V, "judges_disagree")


@pytest.mark.parametrize("letters", ["V", "VEE", "EEE", "E", "UEE"])
def test_one_valid_vote_or_none_is_an_error(letters: str) -> None:
    assert routed(letters, meta("V", 1.0)) == (E, "error", U, "judges_unavailable")


def test_a_vote_marked_invalid_does_not_count() -> None:
    votes = [vote("V", "j0"), vote("V", "j1", error_kind="span_not_found"), vote("V", "j2", error_kind="malformed")]
    assert decide(votes, meta("V")).route == "error"
    assert decide(votes, meta("V")).pattern == "VEE"


def test_tests_of_a_judge_do_not_vote() -> None:
    swapped = [replace(vote("R", judge, repeat=1), purpose="swap") for judge in ("j0", "j1")]
    votes = [*panel("VVR"), *swapped]
    assert decide(votes, meta("V")).verdict is V


@pytest.mark.parametrize(
    "votes",
    [
        [],
        panel("VVVV"),
        [vote("V", "j0"), vote("V", "j0")],
        [vote("V", "j0"), vote("V", "j1", attempt_id="a2")],
        [vote("V", "j0", role="meta")],
    ],
)
def test_caller_mistakes_raise(votes: list[Vote]) -> None:
    with pytest.raises(ValueError, match=r"judge|attempt"):
        decide(votes, None)


def test_a_quarantined_vote_does_not_count() -> None:
    votes = [*panel("VV"), replace(vote("R", "j2"), quarantined=True)]
    judged = decide(votes, meta("V"))
    assert (judged.verdict, judged.reason, judged.pattern) == (V, "two_agree", "VVQ")
    one = [vote("V", "j0"), *(replace(v, quarantined=True) for v in panel("VV")[1:])]
    assert decide(one, meta("V")).route == "error"


def calibrated(p: float, threshold: float) -> Calibrated:
    return Calibrated(ppm(p), ppm(threshold), "c" * 64)


def test_calibrated_threshold_only_sends_more_to_review() -> None:
    sure, unsure, against = calibrated(0.97, 0.9), calibrated(0.89, 0.9), calibrated(0.4, 0.5)
    judged = decide(panel("VVV"), meta("V"), calibrated=sure)
    assert (judged.route, judged.p_ppm, judged.lambda_ppm) == ("automatic", 970_000, 900_000)
    judged = decide(panel("VVV"), meta("V"), calibrated=unsure)
    assert (judged.verdict, judged.proposal, judged.reason) == (U, V, "unanimous_below_calibrated")
    assert decide(panel("VVR"), meta("V"), calibrated=against).reason == "majority_calibration_contradicts"
    assert decide(panel("VVV"), meta("V", 0.6999), calibrated=sure).reason == "unanimous_below_floor"
    assert decide(panel("RRR"), meta("R"), calibrated=calibrated(0.03, 0.9)).verdict is R


def test_no_threshold_at_all_sends_everything_to_review() -> None:
    nothing_holds = Calibrated(1_000_000, 1_000_001, "c" * 64)
    assert decide(panel("VVV"), meta("V", 1.0), calibrated=nothing_holds).reason == "unanimous_below_calibrated"


def test_a_held_row_goes_to_review_and_nothing_else_changes() -> None:
    assert decide(panel("VVV"), meta("V"), hold=True).reason == "unanimous_held"
    assert decide(panel("VRU"), meta("V"), hold=True).reason == "judges_disagree"


def test_disagreement_spares_the_meta_judge_what_three_agree_on() -> None:
    def alone(letters: str, confidences: tuple[float, ...], c: Calibrated | None = None) -> Judgement:
        votes = [vote(x, f"j{i}", confidence=s) for i, (x, s) in enumerate(zip(letters, confidences, strict=True))]
        assert not needs_meta(votes, "disagreement")
        assert needs_meta(votes, "always")
        return decide(votes, None, meta_when="disagreement", calibrated=c)

    assert alone("VVV", (0.9, 0.70, 0.8)).reason == "unanimous_panel"
    assert alone("VVV", (0.9, 0.6999, 0.8)).reason == "unanimous_panel_below_floor"
    assert alone("RRR", (0.1, 0.1, 0.1), calibrated(0.05, 0.9)).confidence == pytest.approx(0.95)
    for letters in ("VVR", "VV", "VVE", "UUU", "VVU"):
        assert needs_meta(panel(letters), "disagreement")
        assert decide(panel(letters), None, meta_when="disagreement").route != "automatic"
    assert not needs_meta(panel("VEE"), "always")


def test_audit_takes_its_share_by_hash() -> None:
    ids = [f"attempt-{i}" for i in range(10_000)]
    assert 400 <= sum(is_audited(i, 0.05) for i in ids) <= 600
    assert not any(is_audited(i, 0.0) for i in ids)
    assert all(is_audited(i, 1.0) for i in ids)
    assert all(is_audited(i, 0.2) for i in ids if is_audited(i, 0.05))


def test_nobody_to_ask_is_an_error() -> None:
    assert (unavailable("a").verdict, unavailable("a").reason) == (E, "judges_unavailable")


def test_every_order_of_every_panel_gives_the_same_judgement() -> None:
    for size in (1, 2, 3):
        for letters in product("VRUE", repeat=size):
            for said in [None, *(meta(x) for x in "VRUE")]:
                votes = panel("".join(letters))
                outcomes = {decide(order, said) for order in permutations(votes)}
                assert len(outcomes) == 1


def test_a_missing_judge_is_like_one_that_failed() -> None:
    for letters in product("VRU", repeat=2):
        for said in [None, *(meta(x) for x in "VRUE")]:
            two = decide(panel("".join(letters)), said)
            with_error = decide(panel("".join(letters) + "E"), said)
            assert replace(with_error, pattern=two.pattern) == two


@given(st.lists(st.sampled_from("VRUE"), min_size=1, max_size=3).map("".join), st.integers(0, 1_000_000))
def test_a_calibration_never_makes_a_review_automatic(letters: str, p: int) -> None:
    for said in [None, *(meta(x) for x in "VRU")]:
        plain = decide(panel(letters), said)
        stricter = decide(panel(letters), said, calibrated=Calibrated(p, 900_000, "c" * 64))
        assert stricter.route == plain.route or (plain.route, stricter.route) == ("automatic", "review")


letters_of_votes = st.lists(st.sampled_from("VRUE"), min_size=1, max_size=3).map("".join)
metas = st.none() | st.builds(meta, st.sampled_from("VRUE"), st.floats(0, 1))


@given(letters_of_votes, metas, st.floats(0.05, 1))
def test_automatic_only_when_two_judges_and_the_meta_say_so(letters: str, said: Vote | None, floor: float) -> None:
    j = decide(panel(letters), said, floor)
    if j.route == "automatic":
        assert said is not None
        assert j.verdict is said.verdict is j.proposal
        assert j.verdict in (V, R)
        assert ppm(said.confidence) >= ppm(floor)
        assert sum(VERDICTS[x] is j.verdict for x in letters) >= 2
    else:
        assert j.verdict is (E if j.route == "error" else U)
        assert j.proposal in (V, R, U)


@given(letters_of_votes, metas, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_floor_never_makes_a_review_automatic(letters: str, said: Vote | None, a: float, b: float) -> None:
    low, high = sorted((a, b))
    strict, lax = decide(panel(letters), said, high), decide(panel(letters), said, low)
    assert strict.route != "automatic" or lax == strict


@given(st.floats(0, 1))
def test_millionths_never_round_up(share: float) -> None:
    assert 0 <= ppm(share) <= 1_000_000
    assert ppm(share) <= share * 1_000_000 + 1e-5


def test_hundredths_are_exact_millionths() -> None:
    assert [ppm(i / 100) for i in range(101)] == [i * 10_000 for i in range(101)]


def test_judgement_is_a_plain_record() -> None:
    assert isinstance(decide(panel("VVV"), meta("V")), Judgement)
