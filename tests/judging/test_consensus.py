"""The routing table: one test per row, the floor to the millionth, and properties over all votes."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judging.consensus import decide, ppm
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


def test_every_order_of_every_panel_gives_the_same_judgement() -> None:
    for size in (1, 2, 3):
        for letters in product("VRUE", repeat=size):
            for said in [None, *(meta(x) for x in "VRUE")]:
                votes = panel("".join(letters))
                outcomes = {decide(order, said) for order in permutations(votes)}
                assert len(outcomes) == 1


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
