"""What counts of attempts say about a rate: intervals, tests and the numbers needed before either says anything.

Wilson's interval speaks for the templates that were sent; transforms of one seed are not independent, so the bootstrap
over seeds speaks for attacks like these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the normal distribution."""


class Interval(NamedTuple):
    """Bounds of a rate, 0 to 1."""

    low: float
    high: float


def wilson(hits: int, trials: int, z: float = Z95) -> Interval:
    """Wilson's score interval (Wilson 1927). Without trials nothing is known: 0 to 1.

    Raises ValueError when `hits` is not between 0 and `trials`.
    """
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} hits in {trials} trials")
    if trials == 0:
        return Interval(0.0, 1.0)
    p, z2 = hits / trials, z * z
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials)) / (1 + z2 / trials)
    return Interval(0.0 if hits == 0 else max(centre - half, 0.0), 1.0 if hits == trials else min(centre + half, 1.0))


def undecided_range(vulnerable: int, resistant: int, undecided: int) -> Interval:
    """The rate if every undecided attempt had been resistant, and if every one had been vulnerable."""
    n = vulnerable + resistant + undecided
    return Interval(0.0, 1.0) if n == 0 else Interval(vulnerable / n, (vulnerable + undecided) / n)


def hit_at_k(hits: int, trials: int, k: int) -> float:
    """Chance that at least one of `k` attempts drawn from these succeeds: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021).

    Raises ValueError when there are fewer than `k` trials, or `k` < 1.
    """
    if not 0 <= hits <= trials or not 1 <= k <= trials:
        raise ValueError(f"hit@{k} of {hits} hits in {trials} trials")
    return 1 - math.comb(trials - hits, k) / math.comb(trials, k)


def cluster_bootstrap(clusters: Sequence[tuple[int, int]], draws: int = 10_000, seed: int = 0) -> Interval | None:
    """95 % percentile interval of the pooled rate when whole clusters, (hits, trials) each, are drawn anew.

    None with fewer than two clusters that have trials, or when all trials ended alike: what never happened cannot be
    drawn, and a point would pretend to certainty. Reproducible by `seed`.
    """
    counts = np.array([c for c in clusters if c[1] > 0], dtype=np.int64)
    if len(counts) < 2 or int(counts[:, 0].sum()) in (0, int(counts[:, 1].sum())):
        return None
    picked = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    sums = picked @ counts
    low, high = np.quantile(sums[:, 0] / sums[:, 1], (0.025, 0.975))
    return Interval(float(low), float(high))


def mcnemar(worse: int, better: int) -> float:
    """One-sided exact p-value that pairs flip to worse no more often than to better (McNemar 1947, binomial form)."""
    n = worse + better
    return float(sum(math.comb(n, k) for k in range(worse, n + 1)) / 2**n)


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the given order (Benjamini and Hochberg 1995): rejecting those <= q keeps the FDR at q."""
    m = len(p_values)
    adjusted = [0.0] * m
    running = 1.0
    for rank, i in sorted(enumerate(sorted(range(m), key=lambda i: p_values[i]), 1), reverse=True):
        running = min(running, p_values[i] * m / rank)
        adjusted[i] = running
    return adjusted


def clean_trials(rate: float, confidence: float = 0.95) -> int:
    """Trials without a hit that bound the rate at `rate` (exact, one-sided): 59 for 5 % at 95 %."""
    _shares(rate, confidence)
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate))


def trials_for_width(rate: float, half_width: float) -> int:
    """Fewest trials after which Wilson's 95 % interval around about `rate` reaches at most `half_width` either way."""
    _shares(half_width)
    if not 0 <= rate <= 1:
        raise ValueError(f"{rate} is no rate")
    n = 1
    while (i := wilson(round(rate * n), n)).high - i.low > 2 * half_width:
        n += max(1, n // 200)  # good to half a per cent: a plan needs no more
    return n


def least_flips(families: int, q: float = 0.05) -> int:
    """One-way flips that a single changed family needs to be noticed among `families`: 2^-flips <= q / families."""
    _shares(q)
    return math.ceil(math.log2(families / q))


def pairs_for_change(before: float, after: float, families: int, *, power: float = 0.8, q: float = 0.05) -> int | None:
    """Fewest pairs of independent attempts with which a lone worsening is noticed with probability `power`.

    None when 2,000 pairs are not enough. Raises ValueError unless 0 <= before < after <= 1.
    """
    _shares(power, q)
    if not 0 <= before < after <= 1:
        raise ValueError("the later rate must be above the earlier one")
    most = 2_000
    worse, better = (1 - before) * after, before * (1 - after)
    flips = worse + better
    noticed = _noticed(most, worse / flips, q / families)
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(most + 1), 1)))
    for n in range(least_flips(families, q), most + 1):
        d = np.arange(n + 1)
        log_choose = log_factorial[n] - log_factorial[d] - log_factorial[n - d]
        if flips == 1:
            reached = noticed[n]
        else:
            reached = float(np.exp(log_choose + d * math.log(flips) + (n - d) * math.log1p(-flips)) @ noticed[: n + 1])
        if reached >= power:
            return n
    return None


def _noticed(most: int, share: float, alpha: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """For 0 to `most` flips, the chance that the test gives p <= `alpha` when each is worse with chance `share`."""
    found = np.zeros(most + 1)
    fair, real = np.array([1.0]), np.array([1.0])  # distributions of the count of worse flips
    for d in range(1, most + 1):
        fair = np.convolve(fair, (0.5, 0.5))
        real = np.convolve(real, (1 - share, share))
        tail = np.cumsum(fair[::-1])[::-1]
        critical = int(np.searchsorted(-tail, -alpha))  # the first count whose tail is small enough
        found[d] = real[critical:].sum()
    return found


def _shares(*values: float) -> None:
    for value in values:
        if not 0 < value < 1:
            raise ValueError(f"{value} is not between 0 and 1")
