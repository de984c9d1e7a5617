"""Statistics against published and hand-worked values."""

from __future__ import annotations

import pytest

from tasks.probing.statistics import (
    benjamini_hochberg,
    clean_trials,
    cluster_bootstrap,
    hit_at_k,
    least_flips,
    mcnemar,
    pairs_for_change,
    trials_for_width,
    undecided_range,
    wilson,
)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [  # Newcombe 1998 (Statistics in Medicine 17:857), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_bounds(hits: int, trials: int, low: float, high: float) -> None:
    assert tuple(round(b, 4) for b in wilson(hits, trials)) == (low, high)


def test_wilson_at_the_ends() -> None:
    """0 of 256 is not "no risk", and nothing tried is nothing known."""
    assert wilson(0, 256) == (0.0, pytest.approx(0.01478, abs=1e-5))
    assert wilson(256, 256).high == 1.0
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 hits in 2 trials"):
        wilson(3, 2)


def test_undecided_attempts_widen_the_rate() -> None:
    assert undecided_range(2, 6, 2) == (0.2, 0.4)
    assert undecided_range(0, 0, 0) == (0.0, 1.0)


def test_hit_at_k_is_a_draw_without_replacement() -> None:
    """Two hits in five: two draws miss both with (3 x 2) / (5 x 4) = 0.3."""
    assert hit_at_k(2, 5, 1) == pytest.approx(0.4)
    assert hit_at_k(2, 5, 2) == pytest.approx(0.7)
    assert hit_at_k(0, 5, 5) == 0.0
    assert hit_at_k(1, 5, 5) == 1.0
    with pytest.raises(ValueError, match="hit@6"):
        hit_at_k(1, 5, 6)


def test_mcnemar_exact_one_sided() -> None:
    """9 of 10 flips worse: (10 + 1) / 1024. Fleiss' textbook pair of 15 and 5: 21,700 / 2^20."""
    assert mcnemar(9, 1) == 11 / 1024
    assert mcnemar(15, 5) == pytest.approx(0.020695, abs=1e-6)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 7) == 1.0


def test_benjamini_hochberg_on_the_papers_own_example() -> None:
    """The fifteen p-values of the 1995 paper, section 3.2: at 0.05 the four smallest are rejected, not the fifth."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    adjusted = benjamini_hochberg(p)
    assert [a <= 0.05 for a in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)
    assert benjamini_hochberg(p[::-1]) == adjusted[::-1]
    assert benjamini_hochberg([]) == []


def test_the_bootstrap_is_wider_than_wilson_when_seeds_differ() -> None:
    """Two seeds that always work among eight that never do: sixty attempts, but only ten independent attacks."""
    clusters = [(6, 6)] * 2 + [(0, 6)] * 8
    drawn = cluster_bootstrap(clusters)
    assert drawn is not None
    assert drawn.low == 0.0  # 0.8^10 = 10.7 % of draws hold neither seed
    assert drawn.high == pytest.approx(0.5, abs=0.05)
    assert drawn.high - drawn.low > wilson(12, 60).high - wilson(12, 60).low
    assert drawn == cluster_bootstrap(clusters)
    assert cluster_bootstrap([(1, 4), (0, 0)]) is None
    assert cluster_bootstrap([(4, 4), (2, 2)]) is None


def test_numbers_needed() -> None:
    """59 misses bound a rate at 5 %; 11 one-way flips among 62 or 89 families; some 93 trials for ten points."""
    assert clean_trials(0.05) == 59
    assert 0.95**59 <= 0.05 < 0.95**58
    assert least_flips(62) == least_flips(89) == 11
    n = trials_for_width(0.5, 0.1)
    assert 90 <= n <= 100
    i = wilson(round(n / 2), n)
    assert i.high - i.low <= 0.2


def test_pairs_for_a_certain_change_are_the_least_flips() -> None:
    """From never to always every pair flips, so the planner needs as many pairs as flips."""
    assert pairs_for_change(0.0, 1.0, 62) == 11
    assert pairs_for_change(0.02, 0.021, 62) is None
    with pytest.raises(ValueError, match="above"):
        pairs_for_change(0.2, 0.1, 62)


def test_planned_pairs_reach_their_power_in_simulation() -> None:
    """With the planned number the test notices 2 % -> 25 % in about 80 % of simulated comparisons."""
    import numpy as np

    n = pairs_for_change(0.02, 0.25, 62)
    assert n is not None
    rng = np.random.default_rng(3)
    before, after = rng.random((1500, n)) < 0.02, rng.random((1500, n)) < 0.25
    worse, better = (after & ~before).sum(axis=1), (before & ~after).sum(axis=1)
    noticed = np.mean([mcnemar(int(w), int(b)) <= 0.05 / 62 for w, b in zip(worse, better, strict=True)])
    assert 0.77 <= noticed <= 0.86
