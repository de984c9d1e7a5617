"""Probabilities from anchors, and a threshold whose promise holds."""

from __future__ import annotations

import json
import random
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from tasks.judging.calibration import (
    INFEASIBLE,
    LEAST_ANCHORS,
    Anchor,
    Calibration,
    at_most,
    brier,
    choose_threshold,
    expected_calibration_error,
    fit,
    fit_table,
    load_calibration,
    pattern_of,
    upper_bound,
)

ACCURACY = {"a": 0.92, "b": 0.85, "c": 0.80}
"""Of three made-up judges, independent of each other."""


def drawn(rng: random.Random, n: int, rate: float = 0.4) -> list[Anchor]:
    anchors = []
    for i in range(n):
        truth = rng.random() < rate
        said = {j: "VR"[(rng.random() < right) != truth] for j, right in ACCURACY.items()}
        anchors.append(Anchor(f"{rng.random()}-{i}", said, truth))
    return anchors


def fitted(anchors: list[Anchor], alpha: float = 0.10) -> Calibration:
    calibration = fit(anchors, judge_set="s", rubric_sha256="r", alpha=alpha)
    assert calibration is not None
    return calibration


@pytest.mark.parametrize(("n", "p"), [(1, 0.5), (30, 0.9), (200, 0.03), (500, 0.5)])
def test_binomial_equals_scipy(n: int, p: float) -> None:
    for k in range(-1, n + 1, max(1, n // 7)):
        expected = float(binom.cdf(k, n, p))
        assert at_most(k, n, p) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("wrong", "n"), [(0, 22), (0, 45), (3, 100), (20, 300), (99, 100)])
def test_clopper_pearson_equals_scipy(wrong: int, n: int) -> None:
    assert upper_bound(wrong, n, 0.1) == pytest.approx(float(beta.ppf(0.9, wrong + 1, n - wrong)), abs=1e-9)


@pytest.mark.parametrize(("alpha", "rows"), [(0.05, 45), (0.08, 28), (0.10, 22)])
def test_error_free_rows_needed_for_a_bound(alpha: float, rows: int) -> None:
    assert upper_bound(0, rows, 0.1) <= alpha < upper_bound(0, rows - 1, 0.1)


def test_below_the_least_number_of_anchors_there_is_no_calibration() -> None:
    anchors = drawn(random.Random(1), LEAST_ANCHORS)
    assert fit(anchors[:-1], judge_set="s", rubric_sha256="r", alpha=0.1) is None
    assert fit(anchors, judge_set="s", rubric_sha256="r", alpha=0.1) is not None


def test_table_is_drawn_towards_naive_bayes_where_anchors_are_few() -> None:
    table = fit_table(drawn(random.Random(2), 2000))
    assert len(table) == 4**3
    assert table["a=V b=V c=V"] > 970_000
    assert table["a=R b=R c=R"] < 30_000
    assert table["a=V b=R c=V"] > table["a=R b=V c=R"]
    assert 500_000 < table["a=V b=R"] < 1_000_000  # c is missing: it drops out
    assert 300_000 < table[""] < 500_000  # nobody voted: the base rate
    alone = fit_table([Anchor("x", {"a": "V"}, vulnerable=True)])
    assert 500_000 < alone["a=V"] < 1_000_000
    assert 0 < alone["a=R"] < 1_000_000


def test_same_anchors_in_any_order_give_the_same_document() -> None:
    anchors = drawn(random.Random(3), 500)
    first = fitted(anchors)
    random.Random(9).shuffle(anchors)
    again = fitted(anchors)
    assert again.document == first.document
    assert load_calibration(first.document) == first
    assert not [v for v in json.loads(first.document).values() if isinstance(v, float)]
    with pytest.raises(ValueError, match="not a"):
        load_calibration('{"schema": "aispm.calibration/9"}')


def test_promise_holds_over_many_draws() -> None:
    """At most alpha of the rows above lambda are wrong, in at least nine of ten draws of anchors."""
    rng = random.Random(4)
    everything = drawn(rng, 6000)
    violations = 0
    for _ in range(60):
        c = fitted(rng.sample(everything, 400))
        kept = [(c.p_ppm[pattern_of(a.letters)], a.vulnerable) for a in everything]
        kept = [(p, t) for p, t in kept if max(p, 1_000_000 - p) >= c.lambda_ppm]
        assert kept
        violations += sum((p >= 500_000) != t for p, t in kept) / len(kept) > 0.10
    assert violations <= 6


def test_no_threshold_when_none_holds() -> None:
    coin = random.Random(6)
    assert choose_threshold([(900_000, coin.random() < 0.5) for _ in range(300)], 0.1) == INFEASIBLE
    assert choose_threshold([(990_000, True)] * 29, 0.5) == INFEASIBLE  # too few rows to start with
    assert choose_threshold([(990_000, True)] * 30, 0.1) == 990_000


def test_the_walk_ends_at_the_first_failure() -> None:
    """Looser thresholds are not looked at again, however well they would do."""
    rows = [(990_000, True)] * 50 + [(900_000, False)] * 50 + [(800_000, True)] * 5000
    assert choose_threshold(rows, 0.1) == 990_000


letters = st.dictionaries(st.sampled_from("abc"), st.sampled_from("VRU"))


@settings(max_examples=30)
@given(st.lists(st.tuples(letters, st.booleans()), min_size=1, max_size=60), letters)
def test_probabilities_are_probabilities(rows: list[tuple[dict[str, str], bool]], asked: dict[str, str]) -> None:
    table = fit_table([Anchor(str(i), said, truth) for i, (said, truth) in enumerate(rows)])
    assert all(0 <= p <= 1_000_000 for p in table.values())
    assert len({pattern_of(dict(order)) for order in permutations(asked.items())}) == 1


def test_brier_and_ece_by_hand() -> None:
    rows = [(1_000_000, True), (0, False), (800_000, False), (800_000, True)]
    assert brier(rows) == pytest.approx((0 + 0 + 0.64 + 0.04) / 4)
    assert expected_calibration_error(rows) == pytest.approx((0 + 0 + abs(1.6 - 1)) / 4)
